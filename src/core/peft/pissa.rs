//! PiSSA: a low-rank update that starts as the largest part of the matrix, which is taken out of what
//! stays frozen (arXiv:2404.02948).
//!
//! With the R largest singular values of `W = U S V^T`, the update starts at `A0 = S^1/2 V^T` and
//! `B0 = U S^1/2`, and `W - B0 A0` stays. A0 and B0 are kept beside the update, because whoever uses it
//! has to take the very same product out of W.

use super::lora::low_rank_parts;
use super::{AdapterMethod, Kept, Part};
use crate::diagnostic::Text;

/// Low-rank updates that start at the largest singular values.
#[derive(Clone, Copy, Debug)]
pub struct Pissa {
    /// Singular values in the update, R.
    pub rank: i64,
    /// Rounds of the search for them.
    pub svd_niter: u32,
}

impl AdapterMethod for Pissa {
    fn parts(&self, size: [i64; 2]) -> Result<Vec<Part>, Text> {
        let [a, b] = low_rank_parts(self.rank, size)?;
        let kept = [Part::kept("init_lora_A", &a.size), Part::kept("init_lora_B", &b.size)];
        Ok([a, b].into_iter().chain(kept).collect())
    }

    /// The inputs for A, and what A makes of them for B.
    fn kept(&self) -> Kept {
        Kept { inputs: true, numbers: self.rank }
    }

    fn takes_out(&self) -> bool {
        true
    }
}
