//! Adapters and merged models as files.

use std::path::{Path, PathBuf};

use statetune_core::tensorfile::{Dtype, NewTensor, WeightsError, write_pth, write_safetensors};
use statetune_core::work::Work;
use tch::Tensor;

use super::Passport;
use super::state::check_range;
use crate::model::{dtype_of, file_tensor};

/// Writes an adapter as `STEM.pth` with its passport `STEM.json`, and as `STEM.safetensors` with the passport in the
/// metadata; returns the two tensor files.
///
/// Both hold the same tensors in float32: 16 bits would round away the small differences between the initial and the
/// trained values.
///
/// # Errors
/// A file that cannot be written; no partial file is left behind.
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

/// The stem of the file for the initial states that were trained together with weights: `rwkv-3-state` beside `rwkv-3`.
pub fn state_beside(stem: &Path) -> PathBuf {
    let mut name = stem.file_name().unwrap_or_default().to_os_string();
    name.push("-state");
    stem.with_file_name(name)
}

/// Writes a merged model as a `.pth` with its passport beside it. Tensors keep their dtype and order.
///
/// Calls `tensors` twice: the first pass checks that every value is finite in its dtype, the second writes. One tensor
/// is in memory at a time.
///
/// # Errors
/// A value beyond the range of its dtype, or a file that cannot be written; no partial file is left behind.
pub fn save_merged<'a, I: Iterator<Item = (String, Tensor)> + 'a>(
    path: &Path,
    tensors: impl Fn() -> I,
    passport: &Passport,
) -> Result<(), WeightsError> {
    let mut checking = Work::begin("checking tensors", 0);
    let mut count = 0;
    for (name, tensor) in tensors() {
        check_range(&name, &tensor, path, dtype_of(tensor.kind()))?;
        checking.advance(1);
        count += 1;
    }
    drop(checking);
    let mut writing = Work::begin("writing tensors", count);
    let written = tensors().map(|(name, x)| {
        writing.advance(1);
        file_tensor(&name, &x, dtype_of(x.kind()))
    });
    write_pth(path, written)?;
    passport.save_beside(path)
}
