//! Adapters: trainable updates of frozen matrices, as data.

use std::fmt::Debug;

use super::settings::Beside;
use super::target::Target;
use crate::arch::SavedForBackward;
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

/// A method that changes matrices, independent of their model.
pub trait AdapterMethod: Debug {
    /// The setting `rank`, R.
    fn rank(&self) -> u32;

    /// The settings that every method has.
    fn beside(&self) -> Beside<'_>;

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
