//! PiSSA: a low-rank update that starts as the principal part of the matrix, which is subtracted from the frozen
//! matrix (arXiv:2404.02948).
//!
//! With the R largest singular values of `W = U S V^T`, the update starts at `A0 = S^1/2 V^T` and
//! `B0 = U S^1/2`, and the frozen residual is `W - B0 A0`. Files hold A0 and B0 beside the update, because its users
//! must subtract exactly the same product from W.

use std::rc::Rc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::Pissa;
use super::adapter::{Adapter, AdapterMath};
use super::lora::LowRankUpdate;
use crate::model::{Matrix, Update};

/// Extra directions of the search beyond the R results, for faster convergence.
const OVERSAMPLING: i64 = 8;

impl AdapterMath for Pissa {
    fn initial_values(&self, matrix: &Tensor, rng: &mut ChaCha8Rng) -> Vec<Tensor> {
        let matrix = matrix.to_kind(Kind::Float);
        let (u, s, v) = largest_singular_values(&matrix, self.rank.into(), self.svd_niter, rng);
        let root = s.sqrt();
        let a = (v.tr() * root.unsqueeze(1)).contiguous();
        let b = u * root;
        vec![a.copy(), b.copy(), a, b]
    }

    fn adapter(&self, values: &[Tensor]) -> Rc<dyn Adapter> {
        Rc::new(PissaUpdate {
            update: LowRankUpdate::new(&values[0], &values[1], 1.0, 0.0),
            a0: values[2].shallow_clone(),
            b0: values[3].shallow_clone(),
        })
    }
}

/// U (out, R), S (R) and V (in, R) of the R largest singular values of `matrix` (out, in), float32.
///
/// Randomised subspace iteration with `(W W^T)^niter W`, then the singular values of W projected on that subspace
/// (arXiv:0909.4061, algorithms 4.4 and 5.1). The results depend only on the matrix and `rng`.
fn largest_singular_values(
    matrix: &Tensor,
    rank: i64,
    niter: u32,
    rng: &mut ChaCha8Rng,
) -> (Tensor, Tensor, Tensor) {
    let (out, width) = matrix.size2().expect("a matrix");
    let directions = (rank + OVERSAMPLING).min(out).min(width);
    let random: Vec<f32> =
        (0..width * directions).map(|_| rng.random_range(-1.0..=1.0f32)).collect();
    let random = Tensor::from_slice(&random).view([width, directions]).to_device(matrix.device());
    let orthonormal = |x: &Tensor| Tensor::linalg_qr(x, "reduced").0;
    let mut space = orthonormal(&matrix.matmul(&random)); // (out, directions)
    for _ in 0..niter {
        space = orthonormal(&matrix.matmul(&orthonormal(&matrix.tr().matmul(&space))));
    }
    let (u, s, v) = space.tr().matmul(matrix).svd(true, true);
    (space.matmul(&u.narrow(1, 0, rank)), s.narrow(0, 0, rank), v.narrow(1, 0, rank))
}

/// An update and the product that was subtracted from its matrix.
#[derive(Debug)]
struct PissaUpdate {
    update: LowRankUpdate,
    /// (R, in), float32.
    a0: Tensor,
    /// (out, R), float32.
    b0: Tensor,
}

impl Update for PissaUpdate {
    fn apply(&self, matrix: &dyn Matrix, x: &Tensor) -> Tensor {
        self.update.apply(matrix, x)
    }
}

impl Adapter for PissaUpdate {
    /// `W - B0 A0`.
    fn residual(&self, matrix: &Tensor) -> Option<Tensor> {
        let kind = if matrix.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        // In place, so that at most two copies of a large matrix exist.
        let mut residual = self.b0.to_kind(kind).matmul(&self.a0.to_kind(kind));
        Some(residual.neg_().g_add_(&matrix.to_kind(kind)))
    }

    fn merged(&self, frozen: &Tensor) -> Tensor {
        self.update.merged(frozen)
    }
}
