//! DiSHA, also called Bone and MiSS: one small block of numbers changes all blocks of a matrix
//! (arXiv:2409.15371).
//!
//! The inputs of a matrix W (out, in) are cut into pieces of R. All updates start at zero.

use super::{AdapterMethod, Part, SavedForBackward};
use crate::diagnostic::{Text, msg};

/// The name of the tensor in files.
const DISHA: &str = "disha";

/// `dW[o, b R + j] = D[j, o]` for every piece b, with D (R, out). A last piece that is shorter uses the
/// first rows of D.
#[derive(Clone, Copy, Debug)]
pub struct Bone {
    /// Inputs in a piece, R.
    pub rank: i64,
}

/// `dW[a, b] = W[a, b] D[b] + D[b]` for the blocks (R, R) of W, with one D (R, R) for each piece b of
/// the inputs.
#[derive(Clone, Copy, Debug)]
pub struct Bat {
    /// Rows and columns of a block, R.
    pub rank: i64,
}

impl AdapterMethod for Bone {
    fn parts(&self, [out, width]: [i64; 2]) -> Result<Vec<Part>, Text> {
        if self.rank > width {
            return Err(msg!(MATRIX_INPUTS, out, width));
        }
        Ok(vec![Part::trainable(DISHA, &[self.rank, out])])
    }

    /// Saves the sum of the pieces.
    fn saved_for_backward(&self) -> SavedForBackward {
        SavedForBackward { inputs: false, numbers: self.rank }
    }
}

impl AdapterMethod for Bat {
    fn parts(&self, [out, width]: [i64; 2]) -> Result<Vec<Part>, Text> {
        let r = self.rank;
        if width % r != 0 || out % r != 0 {
            return Err(msg!(MATRIX_BLOCKS, out, width, r));
        }
        Ok(vec![Part::trainable(DISHA, &[width / r, r, r])])
    }

    /// Saves the inputs, of which the pieces are views.
    fn saved_for_backward(&self) -> SavedForBackward {
        SavedForBackward { inputs: true, numbers: 0 }
    }
}
