//! PiSSA: a low-rank update that starts as the principal part of the matrix, which is subtracted from the frozen
//! matrix (arXiv:2404.02948).
//!
//! With the R largest singular values of `W = U S V^T`, the update starts at `A0 = S^1/2 V^T` and
//! `B0 = U S^1/2`, and the frozen residual is `W - B0 A0`. Files hold A0 and B0 beside the update, because its users
//! must subtract exactly the same product from W.

use super::lora::low_rank_parts;
use super::settings::adapter_settings;
use super::{AdapterMethod, Beside, Part, SavedForBackward};
use crate::diagnostic::Text;

adapter_settings! {
    /// `[peft]` with `type = "pissa"`: trains the part of each weight matrix at its largest singular values as two
    /// matrices of low rank; the rest stays frozen.
    pub struct Pissa {
        /// Singular values to train per matrix, at least 1. Memory and time grow with it.
        #[schemars(range(min = 1), extend("x-unit" = "columns"))]
        pub rank: u32 = 32,
        /// Iterations of the randomised SVD. The model before the first step is exact for any number.
        #[schemars(extend("x-unit" = "iterations"))]
        pub svd_niter: u32 = 4,
    }
}

impl AdapterMethod for Pissa {
    fn rank(&self) -> u32 {
        self.rank
    }

    fn beside(&self) -> Beside<'_> {
        self.settings()
    }

    fn parts(&self, size: [i64; 2]) -> Result<Vec<Part>, Text> {
        let [a, b] = low_rank_parts(self.rank.into(), size)?;
        let kept = [Part::frozen("init_lora_A", &a.size), Part::frozen("init_lora_B", &b.size)];
        Ok([a, b].into_iter().chain(kept).collect())
    }

    /// Saves the inputs of A and of B.
    fn saved_for_backward(&self) -> SavedForBackward {
        SavedForBackward { inputs: true, numbers: self.rank.into() }
    }

    fn splits_matrix(&self) -> bool {
        true
    }
}
