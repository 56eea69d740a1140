//! PiSSA: a low-rank update that starts as the principal part of the matrix, which is subtracted from the frozen
//! matrix (arXiv:2404.02948).
//!
//! With the R largest singular values of `W = U S V^T`, the update starts at `A0 = S^1/2 V^T` and
//! `B0 = U S^1/2`, and the frozen residual is `W - B0 A0`. Files hold A0 and B0 beside the update, because its users
//! must subtract exactly the same product from W.

use super::lora::low_rank_parts;
use super::{AdapterMethod, Part, SavedForBackward};
use crate::diagnostic::Text;

/// Low-rank updates that start at the largest singular values.
#[derive(Clone, Copy, Debug)]
pub struct Pissa {
    /// Singular values in the update, R.
    pub rank: i64,
    /// Iterations of the search for them.
    pub svd_niter: u32,
}

impl AdapterMethod for Pissa {
    fn parts(&self, size: [i64; 2]) -> Result<Vec<Part>, Text> {
        let [a, b] = low_rank_parts(self.rank, size)?;
        let kept = [Part::frozen("init_lora_A", &a.size), Part::frozen("init_lora_B", &b.size)];
        Ok([a, b].into_iter().chain(kept).collect())
    }

    /// Saves the inputs of A and of B.
    fn saved_for_backward(&self) -> SavedForBackward {
        SavedForBackward { inputs: true, numbers: self.rank }
    }

    fn splits_matrix(&self) -> bool {
        true
    }
}
