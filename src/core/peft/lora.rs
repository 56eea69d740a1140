//! LoRA: `W + (alpha / rank) B A` with narrow matrices A and B (arXiv:2106.09685, section 4.1).

use super::{AdapterMethod, Part, SavedForBackward};
use crate::diagnostic::{Text, msg};

/// Low-rank updates that start at zero.
#[derive(Clone, Copy, Debug)]
pub struct Lora {
    /// Rows of A and columns of B, R.
    pub rank: i64,
    /// Numerator of the scale `alpha / rank`.
    pub alpha: f64,
    /// Dropout of the inputs of A in training steps, from 0 to below 1.
    pub dropout: f64,
}

impl AdapterMethod for Lora {
    fn parts(&self, size: [i64; 2]) -> Result<Vec<Part>, Text> {
        low_rank_parts(self.rank, size).map(Vec::from)
    }

    /// Saves the inputs of A and of B.
    fn saved_for_backward(&self) -> SavedForBackward {
        SavedForBackward { inputs: true, numbers: self.rank }
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
