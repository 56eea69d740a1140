//! DiSHA, also called Bone and MiSS: one small block of numbers changes all blocks of a matrix
//! (arXiv:2409.15371).
//!
//! The inputs of a matrix W (out, in) are cut into pieces of R. All updates start at zero.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::settings::adapter_settings;
use super::{AdapterMethod, Beside, Part, SavedForBackward};
use crate::diagnostic::{Text, msg};

/// The name of the tensor in files.
const DISHA: &str = "disha";

adapter_settings! {
    /// `[peft]` with `type = "disha"` (also `miss` or `bone`): trains one block beside each weight matrix, starting from
    /// zero.
    pub struct Disha {
        /// How the block updates the matrix.
        pub mode: DishaMode = DishaMode::default(),
        /// Rows of the block D, at least 1. Memory and time grow with it.
        #[schemars(range(min = 1), extend("x-unit" = "columns"))]
        pub rank: u32 = 64,
    }
}

/// How the block of `disha` updates a matrix.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum DishaMode {
    /// Added: D (rank, out), repeated over the inputs.
    // `dW[o, b R + j] = D[j, o]` for every piece b. A last piece that is shorter uses the first rows of D.
    #[default]
    Bone,
    /// Multiplied with the blocks of the matrix, then added: D (in / rank, rank, rank). The rank must divide both
    /// sides of the matrix.
    // `dW[a, b] = W[a, b] D[b] + D[b]` for the blocks (R, R) of W, with one D (R, R) for each piece b of the inputs.
    Bat,
}

impl AdapterMethod for Disha {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn beside(&self) -> Beside<'_> {
        self.settings()
    }

    fn parts(&self, [out, width]: [i64; 2]) -> Result<Vec<Part>, Text> {
        let r = i64::from(self.rank);
        match self.mode {
            DishaMode::Bone if r > width => Err(msg!(MATRIX_INPUTS, out, width)),
            DishaMode::Bone => Ok(vec![Part::trainable(DISHA, &[r, out])]),
            DishaMode::Bat if width % r != 0 || out % r != 0 => {
                Err(msg!(MATRIX_BLOCKS, out, width, r))
            }
            DishaMode::Bat => Ok(vec![Part::trainable(DISHA, &[width / r, r, r])]),
        }
    }

    /// `bone` saves the sum of the pieces, `bat` the inputs, of which the pieces are views.
    fn saved_for_backward(&self) -> SavedForBackward {
        match self.mode {
            DishaMode::Bone => SavedForBackward { inputs: false, numbers: self.rank.into() },
            DishaMode::Bat => SavedForBackward { inputs: true, numbers: 0 },
        }
    }
}
