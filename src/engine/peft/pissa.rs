//! PiSSA: a low-rank update that starts as the largest part of the matrix, which is taken out of what
//! stays frozen (arXiv:2404.02948).
//!
//! With the R largest singular values of `W = U S V^T`, the update starts at `A0 = S^1/2 V^T` and
//! `B0 = U S^1/2`, and `W - B0 A0` stays. A0 and B0 are kept beside the update, because whoever uses it
//! has to take the very same product out of W.

use std::rc::Rc;

use rand::RngExt;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::Pissa;
use super::adapter::{Adapter, AdapterMath};
use super::lora::LowRankUpdate;
use crate::model::{Matrix, Update};

/// Directions that the search follows besides the R that are kept; they make it exact sooner.
const OVERSAMPLING: i64 = 8;

impl AdapterMath for Pissa {
    fn start(&self, matrix: &Tensor, rng: &mut ChaCha8Rng) -> Vec<Tensor> {
        let matrix = matrix.to_kind(Kind::Float);
        let (u, s, v) = largest_singular_values(&matrix, self.rank, self.svd_niter, rng);
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
/// Follows random directions through `(W W^T)^niter W` and takes the small matrix apart that is left of W
/// in the space they end in (arXiv:0909.4061, algorithms 4.4 and 5.1). The numbers depend on nothing but
/// the matrix and `rng`.
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

/// An update together with the product that was taken out of the matrix for it.
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
    fn frozen(&self, matrix: &Tensor) -> Option<Tensor> {
        let kind = if matrix.kind() == Kind::Double { Kind::Double } else { Kind::Float };
        // In place, so that a large matrix is there no more than twice.
        let mut rest = self.b0.to_kind(kind).matmul(&self.a0.to_kind(kind));
        Some(rest.neg_().g_add_(&matrix.to_kind(kind)))
    }

    fn merged(&self, frozen: &Tensor) -> Tensor {
        self.update.merged(frozen)
    }
}
