//! LoRA: `W + (alpha / rank) B A` with narrow matrices A and B (arXiv:2106.09685, section 4.1).

use std::rc::Rc;

use rand::Rng;
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::Lora;
use super::adapter::{Adapter, AdapterMath};
use crate::kernels::add_low_rank;
use crate::kernels::flat::in_kind;
use crate::model::{Matrix, Update};

impl AdapterMath for Lora {
    /// A is uniform within `1 / sqrt(in)`, B is zero.
    fn initial_values(&self, matrix: &Tensor, rng: &mut ChaCha8Rng) -> Vec<Tensor> {
        let (out, width) = matrix.size2().expect("a matrix");
        let rank = i64::from(self.rank);
        let bound = 1.0 / (width as f32).sqrt();
        let a: Vec<f32> = (0..rank * width).map(|_| rng.random_range(-bound..=bound)).collect();
        let options = (Kind::Float, matrix.device());
        let a = Tensor::from_slice(&a).view([rank, width]).to_device(matrix.device());
        vec![a, Tensor::zeros([out, rank], options)]
    }

    fn adapter(&self, values: &[Tensor]) -> Rc<dyn Adapter> {
        let scale = self.alpha / f64::from(self.rank);
        Rc::new(LowRankUpdate::new(&values[0], &values[1], scale, self.dropout))
    }
}

/// `x (W + scale B A)^T`, computed as `x W^T + scale (x A^T) B^T` in the dtype of x.
#[derive(Debug)]
pub(super) struct LowRankUpdate {
    /// (R, in), float32 or float64.
    a: Tensor,
    /// (out, R), as A.
    b: Tensor,
    scale: f64,
    dropout: f64,
}

impl LowRankUpdate {
    /// The update with these matrices, which it shares.
    pub(super) fn new(a: &Tensor, b: &Tensor, scale: f64, dropout: f64) -> LowRankUpdate {
        LowRankUpdate { a: a.shallow_clone(), b: b.shallow_clone(), scale, dropout }
    }

    /// `base`, the product of the matrix, plus that of the update, for its inputs `x`.
    fn add_to(&self, base: Tensor, x: &Tensor) -> Tensor {
        let [a, b] = [&self.a, &self.b].map(|part| in_kind(part, x.kind()));
        add_low_rank(base, x, &a, &b, self.scale)
    }
}

impl Update for LowRankUpdate {
    fn apply(&self, matrix: &dyn Matrix, x: &Tensor) -> Tensor {
        self.add_to(matrix.linear(x), x)
    }
}

impl Adapter for LowRankUpdate {
    fn merged(&self, frozen: &Tensor) -> Tensor {
        let kind = frozen.kind();
        frozen + self.b.to_kind(kind).matmul(&self.a.to_kind(kind)) * self.scale
    }

    fn training(&self, seed: u64) -> Option<Rc<dyn Update>> {
        (self.dropout > 0.0).then(|| {
            let update = LowRankUpdate::new(&self.a, &self.b, self.scale, self.dropout);
            Rc::new(WithDropout { update, seed: seed.cast_signed() }) as Rc<dyn Update>
        })
    }
}

/// A low-rank update with dropout of its inputs.
#[derive(Debug)]
struct WithDropout {
    update: LowRankUpdate,
    /// Seed of libtorch's generator, so that a block that is computed twice drops the same inputs.
    seed: i64,
}

impl Update for WithDropout {
    fn apply(&self, matrix: &dyn Matrix, x: &Tensor) -> Tensor {
        tch::manual_seed(self.seed);
        self.update.add_to(matrix.linear(x), &x.dropout(self.update.dropout, true))
    }
}
