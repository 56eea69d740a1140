//! An adapter method with the layers that the method changes.

use super::AnyMethod;
use super::adapter::{is_of, tensor_name};
use super::target::Target;
use crate::arch::Shape;

/// Whether a tensor name in a file belongs to an adapter of any method.
pub fn is_adapter_tensor(name: &str) -> bool {
    let last = name.rsplit('.').next();
    let parts = |method: AnyMethod| method.parts([1024, 1024]).unwrap_or_default();
    AnyMethod::all().into_iter().flat_map(parts).any(|part| last == Some(part.name))
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
            && self.method.beside().layers.contains_tensor(name)
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
