//! LoRA: `W + (alpha / rank) B A` with narrow matrices A and B (arXiv:2106.09685, section 4.1).

use super::settings::adapter_settings;
use super::{AdapterMethod, Beside, Part, SavedForBackward};
use crate::diagnostic::{Text, msg};

adapter_settings! {
    /// `[peft]` with `type = "lora"`: trains matrices A (rank, in) and B (out, rank) beside each weight matrix W.
    /// B starts at zero.
    pub struct Lora {
        /// Rows of A and columns of B, at least 1. Memory and time grow with it.
        #[schemars(range(min = 1), extend("x-unit" = "columns"))]
        pub rank: u32 = 32,
        /// Numerator of the scale `alpha / rank` of the update, above 0.
        #[schemars(extend("x-unit" = "no unit", "exclusiveMinimum" = 0.0))]
        pub alpha: f64 = 64.0,
        /// Dropout probability of the inputs of A, from 0 to below 1. RWKV trainers usually use 0.01.
        #[schemars(range(min = 0.0), extend("x-unit" = "probability", "exclusiveMaximum" = 1.0))]
        pub dropout: f64 = 0.0,
    }
}

impl AdapterMethod for Lora {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn beside(&self) -> Beside<'_> {
        self.settings()
    }

    fn parts(&self, size: [i64; 2]) -> Result<Vec<Part>, Text> {
        low_rank_parts(self.rank.into(), size).map(Vec::from)
    }

    /// Saves the inputs of A and of B.
    fn saved_for_backward(&self) -> SavedForBackward {
        SavedForBackward { inputs: true, numbers: self.rank.into() }
    }
}

/// `lora_A` (R, in) and `lora_B` (out, R).
///
/// # Errors
/// A rank that the matrix cannot have.
pub(super) fn low_rank_parts(rank: i64, [out, width]: [i64; 2]) -> Result<[Part; 2], Text> {
    if rank > out.min(width) {
        return Err(msg!(MATRIX_RANK, out, width, rank = out.min(width)));
    }
    Ok([Part::trainable("lora_A", &[rank, width]), Part::trainable("lora_B", &[out, rank])])
}
