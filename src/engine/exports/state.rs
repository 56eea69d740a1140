//! Trained initial states as files, in the two formats that RWKV programs load.

use std::path::{Path, PathBuf};

use statetune_core::tensorfile::{Dtype, NewTensor, WeightsError, write_pth, write_safetensors};
use tch::{Kind, Tensor};

use super::files::remove_earlier;
use super::{ExportOptions, Passport};
use crate::model::{TimeState, file_tensor};

/// Writes `STEM.pth` with its passport `STEM.json`, and `STEM.st`; returns the tensor files. A state with shift states
/// has no `.st`, because the programs that read one would drop them without a word.
///
/// # Errors
/// Those of [`save_state_pth`] and [`save_state_st`].
pub fn save_state(
    state: &TimeState,
    stem: &Path,
    export: &ExportOptions<'_>,
) -> Result<Vec<PathBuf>, WeightsError> {
    let (pth, st) = (stem.with_added_extension("pth"), stem.with_added_extension("st"));
    if state.shift.is_some() {
        save_state_pth(state, &pth, export)?;
        remove_earlier(&st)?;
        return Ok(vec![pth]);
    }
    let st_tensors = st_tensors(state, &st)?; // before the first file is written
    save_state_pth(state, &pth, export)?;
    write_st(&st, st_tensors, export.passport)?;
    Ok(vec![pth, st])
}

/// Writes a state for RWKV Runner and the `rwkv` package, with its passport beside it.
///
/// The file holds one tensor a layer, `blocks.N.att.time_state` (H, N, N) indexed `[head, value, key]`, and with shift
/// states behind them `blocks.N.att.shift_state` and `blocks.N.ffn.shift_state` (C). Without shift states it holds nothing
/// else: RWKV Runner counts the tensors.
///
/// # Errors
/// A value beyond the range of the dtype, or a file that cannot be written; no partial file is left behind.
pub fn save_state_pth(
    state: &TimeState,
    path: &Path,
    export: &ExportOptions<'_>,
) -> Result<(), WeightsError> {
    write_pth(path, tensors(state, path, export.dtype)?)?;
    export.passport.save_beside(path)
}

/// Writes a state for Ai00 and web-rwkv, with its passport in the metadata.
///
/// The file is safetensors with one float16 tensor a layer, `blocks.N.att.time_state` (H, N, N) indexed
/// `[head, key, value]`, and nothing else.
///
/// # Errors
/// A value beyond the range of float16, or a file that cannot be written; no partial file is left behind.
pub fn save_state_st(
    state: &TimeState,
    path: &Path,
    passport: &Passport,
) -> Result<(), WeightsError> {
    write_st(path, st_tensors(state, path)?, passport)
}

fn st_tensors(state: &TimeState, path: &Path) -> Result<Vec<NewTensor<'static>>, WeightsError> {
    tensors(&state.wkv_alone().transposed(), path, Dtype::F16)
}

fn write_st(
    path: &Path,
    tensors: Vec<NewTensor<'static>>,
    passport: &Passport,
) -> Result<(), WeightsError> {
    let metadata = passport.metadata();
    write_safetensors(path, tensors, &metadata.each_ref().map(|(key, text)| (*key, &**text)))
}

/// The states as tensors of the file to write at `path`.
fn tensors(
    state: &TimeState,
    path: &Path,
    dtype: Dtype,
) -> Result<Vec<NewTensor<'static>>, WeightsError> {
    let named = |(_, name, s): (i64, String, &Tensor)| {
        check_range(&name, s, path, dtype)?;
        Ok(file_tensor(&name, s, dtype))
    };
    state.tensors().map(named).collect()
}

/// Refuses a tensor with a value that would become infinite in `dtype`.
pub(super) fn check_range(
    name: &str,
    tensor: &Tensor,
    path: &Path,
    dtype: Dtype,
) -> Result<(), WeightsError> {
    let value = tensor.detach().abs().max().to_kind(Kind::Double).double_value(&[]);
    if value <= dtype.max() {
        return Ok(());
    }
    Err(WeightsError::BeyondRange {
        path: path.to_path_buf(),
        tensor: name.to_string(),
        value,
        dtype,
        limit: dtype.max(),
    })
}
