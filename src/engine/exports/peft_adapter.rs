//! Low-rank adapters as PEFT saves them, for a model in Hugging Face's naming.

use std::path::{Path, PathBuf};

use serde_json::json;
use statetune_core::arch::hugging_face_name;
use statetune_core::tensorfile::{Dtype, WeightsError, write_safetensors};
use tch::Tensor;

use super::Passport;
use super::files::{make_folder, write_text};
use crate::model::file_tensor;

/// The file of the tensors in the folder.
pub const ADAPTER: &str = "adapter_model.safetensors";
const CONFIG: &str = "adapter_config.json";

/// The update `scale B A` of one matrix.
#[derive(Debug)]
pub struct LowRank {
    /// The matrix, in the original naming: `blocks.0.att.key.weight`.
    pub matrix: String,
    /// (R, in), float32.
    pub a: Tensor,
    /// (out, R), float32.
    pub b: Tensor,
}

/// The files that [`save_peft`] writes into the folder `out`.
pub fn peft_files(out: &Path) -> [PathBuf; 2] {
    [out.join(ADAPTER), out.join(CONFIG)]
}

/// Writes the updates, all of one rank and scale, for the model in the folder `base`.
///
/// # Errors
/// A file that cannot be written.
///
/// # Panics
/// On a matrix that RWKV-7 does not have.
pub fn save_peft(
    updates: &[LowRank],
    scale: f64,
    base: &Path,
    out: &Path,
    passport: &Passport,
) -> Result<(), WeightsError> {
    make_folder(out)?;
    let modules: Vec<String> = updates.iter().map(|update| module(&update.matrix)).collect();
    let tensors = modules.iter().zip(updates).flat_map(|(module, update)| {
        [("A", &update.a), ("B", &update.b)].map(|(letter, tensor)| {
            let name = format!("base_model.model.{module}.lora_{letter}.weight");
            file_tensor(&name, tensor, Dtype::F32)
        })
    });
    let metadata = passport.metadata();
    let metadata = metadata.each_ref().map(|(key, text)| (*key, &**text));
    write_safetensors(&out.join(ADAPTER), tensors, &metadata)?;
    let rank = updates.first().map_or(0, |update| update.a.size()[0]);
    let config = json!({
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base.to_string_lossy(),
        "r": rank,
        "lora_alpha": scale * rank as f64,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": false,
        "inference_mode": true,
        "target_modules": modules,
    });
    write_text(&out.join(CONFIG), &format!("{config:#}\n"))
}

/// The module of a matrix in the model of Hugging Face.
fn module(matrix: &str) -> String {
    let (name, _) = hugging_face_name(matrix).expect("a matrix of RWKV-7");
    name.strip_suffix(".weight").map(str::to_owned).unwrap_or(name)
}
