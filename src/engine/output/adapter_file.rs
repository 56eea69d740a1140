//! What was learned beside a frozen model, as a file in two forms.

use std::path::{Path, PathBuf};

use tch::Tensor;

use super::Passport;
use crate::model::file_tensor;
use statetune_core::tensorfile::{Dtype, NewTensor, WeightsError, write_pth, write_safetensors};

/// Writes `STEM.pth` with its side-car `STEM.json`, and `STEM.safetensors` with the passport in its metadata;
/// returns the two products.
///
/// Both hold the same tensors, float32: 16 bits would not hold what an adapter starts with and what it
/// became far enough apart.
///
/// # Errors
/// When a file cannot be written; nothing half-written is left behind.
pub fn save_adapter<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a Tensor)>,
    stem: &Path,
    passport: &Passport,
) -> Result<Vec<PathBuf>, WeightsError> {
    let tensors: Vec<NewTensor<'_>> =
        tensors.map(|(name, tensor)| file_tensor(name, tensor, Dtype::F32)).collect();
    let pth = stem.with_added_extension("pth");
    write_pth(&pth, tensors.iter().cloned())?;
    passport.save_beside(&pth)?;
    let safetensors = stem.with_added_extension("safetensors");
    let metadata = passport.metadata();
    let metadata = metadata.each_ref().map(|(key, text)| (*key, text.as_str()));
    write_safetensors(&safetensors, tensors, &metadata)?;
    Ok(vec![pth, safetensors])
}

/// Where the states lie that learned beside weights: `rwkv-3-state` for the product `rwkv-3` (each plus an
/// extension).
pub fn state_beside(stem: &Path) -> PathBuf {
    let mut name = stem.file_name().unwrap_or_default().to_os_string();
    name.push("-state");
    stem.with_file_name(name)
}
