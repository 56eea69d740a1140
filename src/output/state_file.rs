//! A trained initial state as a file, in the two forms that runtimes mount.

use std::path::{Path, PathBuf};

use tch::Tensor;

use crate::model::{TimeState, file_tensor};
use crate::tensorfile::{Dtype, NewTensor, WeightsError, write_pth, write_safetensors};

/// Writes `STEM.pth` and `STEM.st` and returns their paths.
///
/// - `.pth`: exactly one tensor a layer, `blocks.N.att.time_state` (H, N, N) indexed
///   `[head, value, key]`, bfloat16. RWKV Runner and the `rwkv` package read it.
/// - `.st`: safetensors with the same names, indexed `[head, key, value]`, float16. Ai00 and web-rwkv
///   read it.
///
/// # Errors
/// When a file cannot be written; nothing half-written is left behind.
pub fn save_state(state: &TimeState, stem: &Path) -> Result<Vec<PathBuf>, WeightsError> {
    let tensors = |dtype: Dtype, arrange: fn(&Tensor) -> Tensor| -> Vec<NewTensor<'static>> {
        let named = |(layer, s)| file_tensor(&TimeState::name(layer), &arrange(s), dtype);
        state.0.iter().enumerate().map(named).collect()
    };
    let pth = stem.with_added_extension("pth");
    write_pth(&pth, tensors(Dtype::BF16, Tensor::shallow_clone))?;
    let st = stem.with_added_extension("st");
    write_safetensors(&st, tensors(Dtype::F16, |s| s.transpose(1, 2)), &[("format", "pt")])?;
    Ok(vec![pth, st])
}
