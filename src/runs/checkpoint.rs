//! `ckpt/`: what is needed to go on from a mini-epoch.

use std::fs;
use std::path::Path;

use super::{RunDir, RunDirError};
use crate::model::file_tensor;
use crate::optim::Adam;
use crate::tensorfile::{Dtype, NewTensor, WeightsError, write_safetensors};
use crate::train::Position;

/// A checkpoint could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// One of its tensor files.
    #[error(transparent)]
    Tensors(#[from] WeightsError),
    /// Anything else in the run directory.
    #[error(transparent)]
    Dir(#[from] RunDirError),
}

/// Writes `ckpt/epoch-NNNN/` for the mini-epoch `epoch`, all of it or nothing, and then names it in
/// `ckpt/last`.
///
/// `trainable.safetensors` holds what learned and `optimizer.safetensors` the running means (`NAME.m`,
/// `NAME.v`), all float32; `position.json` says how far the run has come.
///
/// # Errors
/// When something cannot be written.
pub fn save_checkpoint(
    run: &RunDir,
    epoch: u64,
    adam: &Adam,
    position: &Position,
) -> Result<(), CheckpointError> {
    let name = format!("epoch-{epoch:04}");
    let building = run.join(format!("ckpt/.{name}"));
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source| RunDirError { path, source }
    };
    fs::create_dir_all(&building).map_err(fail(&building))?;

    let trainable = adam.parameters().iter().map(|p| file_tensor(&p.name, &p.tensor, Dtype::F32));
    write_safetensors(&building.join("trainable.safetensors"), trainable, &[("format", "pt")])?;
    let moments = adam.parameters().iter().zip(adam.moments()).flat_map(|(p, moments)| {
        let named = |kind, tensor| -> NewTensor<'static> {
            file_tensor(&format!("{}.{kind}", p.name), tensor, Dtype::F32)
        };
        [named("m", &moments.m), named("v", &moments.v)]
    });
    write_safetensors(&building.join("optimizer.safetensors"), moments, &[("format", "pt")])?;
    let text = serde_json::to_string(position).expect("a position is plain data") + "\n";
    let file = building.join("position.json");
    fs::write(&file, text).map_err(fail(&file))?;

    let finished = run.join(format!("ckpt/{name}"));
    fs::rename(&building, &finished).map_err(fail(&finished))?;
    run.write("ckpt/last", format!("{name}\n").as_bytes())?;
    Ok(())
}
