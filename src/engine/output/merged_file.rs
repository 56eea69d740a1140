//! A base and what was learned on it as one checkpoint.

use std::path::Path;

use tch::Tensor;

use super::Passport;
use super::state_file::check_range;
use crate::model::{dtype_of, file_tensor};
use statetune_core::tensorfile::{WeightsError, write_pth};

/// Writes the tensors as a `.pth`, each in its own dtype, in their order, with the passport beside it.
///
/// `tensors` is asked for twice: nothing is written before every number is known to be finite, and no more
/// than one tensor at a time is held.
///
/// # Errors
/// When a number is beyond its dtype, or a file cannot be written; nothing half-written is left behind.
pub fn save_merged<'a, I: Iterator<Item = (String, Tensor)> + 'a>(
    path: &Path,
    tensors: impl Fn() -> I,
    passport: &Passport,
) -> Result<(), WeightsError> {
    for (name, tensor) in tensors() {
        check_range(&name, &tensor, path, dtype_of(tensor.kind()))?;
    }
    write_pth(path, tensors().map(|(name, x)| file_tensor(&name, &x, dtype_of(x.kind()))))?;
    passport.save_beside(path)
}
