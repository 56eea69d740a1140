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
    /// Whether the tensor is trained; a frozen tensor is needed to apply the trained ones.
    pub trainable: bool,
}

impl Part {
    /// A trainable tensor.
    pub(super) fn trainable(name: &'static str, size: &[i64]) -> Part {
        Part { name, size: size.to_vec(), trainable: true }
    }

    /// A frozen tensor.
    pub(super) fn frozen(name: &'static str, size: &[i64]) -> Part {
        Part { name, size: size.to_vec(), trainable: false }
    }
}

/// Values for each token that an update of a matrix saves for the backward pass, whether its inputs need gradients or
/// not.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SavedForBackward {
    /// Whether the inputs are saved.
    pub inputs: bool,
    /// Number of other values.
    pub numbers: i64,
}

/// A method that changes matrices, independent of their model.
pub trait AdapterMethod: Debug {
    /// The adapter's tensors for a matrix (out, in).
    ///
    /// # Errors
    /// The reason why the method cannot change a matrix of this size.
    fn parts(&self, size: [i64; 2]) -> Result<Vec<Part>, Text>;

    /// Values for each token that an update saves for the backward pass.
    fn saved_for_backward(&self) -> SavedForBackward;

    /// Whether the method splits the matrix into the initial update and a frozen residual.
    fn splits_matrix(&self) -> bool {
        false
    }
}

/// Every adapter method: the registry of this crate.
#[derive(Clone, Copy, Debug)]
pub enum AnyMethod {
    /// Low-rank updates that start at zero.
    Lora(Lora),
    /// Low-rank updates that start at the largest singular values.
    Pissa(Pissa),
    /// DiSHA with one block for all pieces of the inputs.
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

    fn saved_for_backward(&self) -> SavedForBackward {
        self.method().saved_for_backward()
    }

    fn splits_matrix(&self) -> bool {
        self.method().splits_matrix()
    }
}

/// A method and the linear layers that it changes.
#[derive(Clone, Debug)]
pub struct AdapterSpec {
    /// The method.
    pub method: AnyMethod,
    /// The layers; `None`: all.
    pub targets: Option<Vec<Target>>,
}

impl AdapterSpec {
    /// The changed matrices, (out, in), in the order of the checkpoint.
    pub fn matrices(&self, shape: &Shape) -> Vec<(String, [i64; 2])> {
        let linears = shape.linears().into_iter().filter(|(name, _)| self.changes(name));
        linears.map(|(name, size)| (name, [size[0], size[1]])).collect()
    }

    /// Whether the matrix `name` of a linear layer is changed.
    pub fn changes(&self, name: &str) -> bool {
        let targets = self.targets.as_ref();
        targets.is_none_or(|targets| targets.iter().any(|target| is_of(*target, name)))
    }

    /// Whether the matrix `name` is split into the initial update and a frozen residual.
    pub fn splits(&self, name: &str) -> bool {
        self.method.splits_matrix() && self.changes(name)
    }

    /// The tensors of the adapters by name, with their sizes.
    ///
    /// # Panics
    /// For a model with which [`super::TuningSpec::check`] fails.
    pub fn tensors(&self, shape: &Shape) -> Vec<(String, Vec<i64>)> {
        let matrices = self.matrices(shape).into_iter();
        matrices.flat_map(|(matrix, size)| self.parts_of(&matrix, size)).collect()
    }

    /// Number of trainable parameters of the adapters.
    ///
    /// # Panics
    /// As [`AdapterSpec::tensors`].
    pub fn trainable_parameters(&self, shape: &Shape) -> u64 {
        let parts = |size| self.method.parts(size).expect("sizes were checked");
        let matrices = self.matrices(shape);
        let trainable =
            matrices.iter().flat_map(|(_, size)| parts(*size)).filter(|part| part.trainable);
        trainable.map(|part| part.size.iter().product::<i64>().unsigned_abs()).sum()
    }

    fn parts_of(&self, matrix: &str, size: [i64; 2]) -> Vec<(String, Vec<i64>)> {
        let parts = self.method.parts(size).expect("sizes were checked");
        parts.into_iter().map(|part| (tensor_name(matrix, &part), part.size)).collect()
    }
}

/// Whether the linear layer `name` of a checkpoint is one of these layers. The channel mix that replaces the first time
/// mix counts too.
pub(super) fn is_of(target: Target, name: &str) -> bool {
    let name = name.replace(".ffnPre.", ".ffn.");
    name.ends_with(&format!(".{target}.weight"))
}

/// `blocks.0.att.key.lora_A` for the part `lora_A` of the matrix `blocks.0.att.key.weight`.
pub fn tensor_name(matrix: &str, part: &Part) -> String {
    format!("{}.{}", matrix.strip_suffix(".weight").unwrap_or(matrix), part.name)
}
