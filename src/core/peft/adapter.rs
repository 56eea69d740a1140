//! Adapters: trainable updates of frozen matrices, as data.

use std::fmt::Debug;

use super::{Bat, Bone, Lora, Pissa};
use crate::arch::Shape;
use crate::config::Target;
use crate::diagnostic::Text;

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

    /// Whether updates start with a part of the matrix, which is taken out of it.
    fn takes_out(&self) -> bool {
        false
    }
}

/// Every adapter method: the registry of this crate.
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

impl AnyMethod {
    fn method(&self) -> &dyn AdapterMethod {
        match self {
            Self::Lora(method) => method,
            Self::Pissa(method) => method,
            Self::Bone(method) => method,
            Self::Bat(method) => method,
        }
    }
}

impl AdapterMethod for AnyMethod {
    fn parts(&self, size: [i64; 2]) -> Result<Vec<Part>, Text> {
        self.method().parts(size)
    }

    fn kept(&self) -> Kept {
        self.method().kept()
    }

    fn takes_out(&self) -> bool {
        self.method().takes_out()
    }
}

/// A method and the linear layers that it changes.
#[derive(Clone, Debug)]
pub struct AdapterRecipe {
    /// How they are changed.
    pub method: AnyMethod,
    /// Which ones; `None`: all.
    pub targets: Option<Vec<Target>>,
}

impl AdapterRecipe {
    /// The matrices that are changed, (out, in), in the order of the checkpoint.
    pub fn matrices(&self, shape: &Shape) -> Vec<(String, [i64; 2])> {
        let linears = shape.linears().into_iter().filter(|(name, _)| self.changes(name));
        linears.map(|(name, size)| (name, [size[0], size[1]])).collect()
    }

    /// Whether the matrix `name` of a linear layer is changed.
    pub fn changes(&self, name: &str) -> bool {
        let targets = self.targets.as_ref();
        targets.is_none_or(|targets| targets.iter().any(|target| is_of(*target, name)))
    }

    /// Whether a part of the matrix `name` is taken out of it, with which its adapter starts.
    pub fn takes_out_of(&self, name: &str) -> bool {
        self.method.takes_out() && self.changes(name)
    }

    /// The tensors of the adapters by name, with their sizes, for a model that the method can change.
    ///
    /// # Panics
    /// On a model for which [`super::Recipe::check`] fails.
    pub fn tensors(&self, shape: &Shape) -> Vec<(String, Vec<i64>)> {
        let matrices = self.matrices(shape).into_iter();
        matrices.flat_map(|(matrix, size)| self.parts_of(&matrix, size)).collect()
    }

    /// How many of the numbers of the adapters learn.
    ///
    /// # Panics
    /// As [`AdapterRecipe::tensors`].
    pub fn learned(&self, shape: &Shape) -> u64 {
        let parts = |size| self.method.parts(size).expect("sizes were checked");
        let matrices = self.matrices(shape);
        let learned = matrices.iter().flat_map(|(_, size)| parts(*size)).filter(|part| part.learns);
        learned.map(|part| part.size.iter().product::<i64>().unsigned_abs()).sum()
    }

    fn parts_of(&self, matrix: &str, size: [i64; 2]) -> Vec<(String, Vec<i64>)> {
        let parts = self.method.parts(size).expect("sizes were checked");
        parts.into_iter().map(|part| (tensor_name(matrix, &part), part.size)).collect()
    }
}

/// Whether a linear layer by its name in a checkpoint is one of these layers. The channel mix in place of the
/// first time mix counts as one.
pub(super) fn is_of(target: Target, name: &str) -> bool {
    let name = name.replace(".ffnPre.", ".ffn.");
    name.ends_with(&format!(".{target}.weight"))
}

/// `blocks.0.att.key.lora_A` for the part `lora_A` of the matrix `blocks.0.att.key.weight`.
pub fn tensor_name(matrix: &str, part: &Part) -> String {
    format!("{}.{}", matrix.strip_suffix(".weight").unwrap_or(matrix), part.name)
}
