//! Changes of matrices that are kept apart from them: what the methods have in common.

use std::fmt::Debug;
use std::rc::Rc;

use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use crate::diagnostic::Text;
use crate::model::Update;

/// A tensor of an adapter.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// The last part of its name in files: `lora_A` of `blocks.0.att.key.lora_A`.
    pub name: &'static str,
    /// Its size along each axis.
    pub size: Vec<i64>,
    /// Whether it learns; otherwise it is needed to use what does.
    pub learns: bool,
}

impl Part {
    /// A tensor that learns.
    pub(super) fn learned(name: &'static str, size: &[i64]) -> Part {
        Part { name, size: size.to_vec(), learns: true }
    }

    /// A tensor that stays as it is.
    pub(super) fn kept(name: &'static str, size: &[i64]) -> Part {
        Part { name, size: size.to_vec(), learns: false }
    }
}

/// What an update of a matrix keeps of a token until the backward pass, where its inputs learn or not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Kept {
    /// Whether the inputs themselves.
    pub inputs: bool,
    /// Other numbers.
    pub numbers: i64,
}

/// A way to change matrices. It knows nothing of the model that they belong to.
pub trait AdapterMethod: Debug {
    /// The tensors by which a matrix (out, in) is changed.
    ///
    /// # Errors
    /// Why the method cannot change a matrix of this size, in words.
    fn parts(&self, size: [i64; 2]) -> Result<Vec<Part>, Text>;

    /// What an update keeps of every token until the backward pass.
    fn kept(&self) -> Kept;

    /// The first values of [`AdapterMethod::parts`] for this matrix (out, in), float32. Random numbers
    /// come from `rng`.
    fn start(&self, matrix: &Tensor, rng: &mut ChaCha8Rng) -> Vec<Tensor>;

    /// Whether updates start with a part of the matrix, which is taken out of it: [`Adapter::frozen`].
    fn takes_out(&self) -> bool {
        false
    }

    /// The adapter that these values of [`AdapterMethod::parts`] make. It shares them.
    fn adapter(&self, values: &[Tensor]) -> Rc<dyn Adapter>;
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
