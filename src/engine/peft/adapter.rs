//! Changes of matrices that are kept apart from them: what the methods have in common.

use std::rc::Rc;

use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::{AdapterMethod, AnyMethod};
use crate::model::Update;

/// The computation of an adapter method.
pub trait AdapterMath: AdapterMethod {
    /// The first values of [`AdapterMethod::parts`](super::AdapterMethod::parts) for this matrix (out, in),
    /// float32. Random numbers come from `rng`.
    fn start(&self, matrix: &Tensor, rng: &mut ChaCha8Rng) -> Vec<Tensor>;

    /// The adapter that these values of its parts make. It shares them.
    fn adapter(&self, values: &[Tensor]) -> Rc<dyn Adapter>;
}

/// The computation of each method: the registry of this crate.
pub(super) fn math(method: &AnyMethod) -> &dyn AdapterMath {
    match method {
        AnyMethod::Lora(method) => method,
        AnyMethod::Pissa(method) => method,
        AnyMethod::Bone(method) => method,
        AnyMethod::Bat(method) => method,
    }
}

/// A change of one matrix.
pub trait Adapter: Update {
    /// What stays of a matrix W (out, in) under the update, in float32 (float64 for a float64 matrix);
    /// `None`: all of it.
    fn frozen(&self, matrix: &Tensor) -> Option<Tensor> {
        let _ = matrix;
        None
    }

    /// The one matrix that does what `frozen`, a dense (out, in), does with the update.
    fn merged(&self, frozen: &Tensor) -> Tensor;

    /// The update as it is applied in a training step, where that is something else; `seed` belongs to
    /// the step and the matrix, and the same seed gives the same update.
    fn training(&self, seed: u64) -> Option<Rc<dyn Update>> {
        let _ = seed;
        None
    }
}
