//! The methods that change matrices, as one type of plain data.

use std::rc::Rc;

use rand_chacha::ChaCha8Rng;
use tch::Tensor;

use super::adapter::{Adapter, AdapterMethod, Kept, Part};
use super::{Bat, Bone, Lora, Pissa};
use crate::diagnostic::Text;

/// One of the methods. Unlike a `dyn AdapterMethod` it can be planned with by a program that has no tensors:
/// the table of a trait object holds all functions of the trait.
#[derive(Clone, Copy, Debug)]
pub enum AnyMethod {
    /// Low-rank updates that start as nothing.
    Lora(Lora),
    /// Low-rank updates that start at the largest singular values.
    Pissa(Pissa),
    /// DiSHA with one block of numbers for all pieces of the inputs.
    Bone(Bone),
    /// DiSHA with a block for each piece.
    Bat(Bat),
}

impl AdapterMethod for AnyMethod {
    fn parts(&self, size: [i64; 2]) -> Result<Vec<Part>, Text> {
        match self {
            Self::Lora(method) => method.parts(size),
            Self::Pissa(method) => method.parts(size),
            Self::Bone(method) => method.parts(size),
            Self::Bat(method) => method.parts(size),
        }
    }

    fn kept(&self) -> Kept {
        match self {
            Self::Lora(method) => method.kept(),
            Self::Pissa(method) => method.kept(),
            Self::Bone(method) => method.kept(),
            Self::Bat(method) => method.kept(),
        }
    }

    fn start(&self, matrix: &Tensor, rng: &mut ChaCha8Rng) -> Vec<Tensor> {
        match self {
            Self::Lora(method) => method.start(matrix, rng),
            Self::Pissa(method) => method.start(matrix, rng),
            Self::Bone(method) => method.start(matrix, rng),
            Self::Bat(method) => method.start(matrix, rng),
        }
    }

    fn takes_out(&self) -> bool {
        match self {
            Self::Lora(method) => method.takes_out(),
            Self::Pissa(method) => method.takes_out(),
            Self::Bone(method) => method.takes_out(),
            Self::Bat(method) => method.takes_out(),
        }
    }

    fn adapter(&self, values: &[Tensor]) -> Rc<dyn Adapter> {
        match self {
            Self::Lora(method) => method.adapter(values),
            Self::Pissa(method) => method.adapter(values),
            Self::Bone(method) => method.adapter(values),
            Self::Bat(method) => method.adapter(values),
        }
    }
}

impl From<Lora> for AnyMethod {
    fn from(method: Lora) -> Self {
        Self::Lora(method)
    }
}

impl From<Pissa> for AnyMethod {
    fn from(method: Pissa) -> Self {
        Self::Pissa(method)
    }
}

impl From<Bone> for AnyMethod {
    fn from(method: Bone) -> Self {
        Self::Bone(method)
    }
}

impl From<Bat> for AnyMethod {
    fn from(method: Bat) -> Self {
        Self::Bat(method)
    }
}
