//! `ckpt/`: what is needed to go on from a step as if nothing had happened.
//!
//! `ckpt/epoch-0003/` was written after mini-epoch 3, counted from 0, and `ckpt/step-0001234/` after 1234
//! steps, when the run was asked to stop within a mini-epoch. Each holds
//!
//! ```text
//! trainable.safetensors  what learned, float32, by its checkpoint names
//! optimizer.safetensors  Adam's running means, NAME.m and NAME.v, float32
//! position.json          how far the run had come, and what its records had added up
//! ```
//!
//! `ckpt/last` and `ckpt/best` are text files that name a checkpoint.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::dir::REPLACED;
use super::{Best, LossScaler, Position, RunDir, RunDirError, Totals, directory};
use crate::diagnostic::{Text, msg};
use crate::tensorfile::WeightsError;

pub(super) const FOLDER: &str = "ckpt";
/// The file of the trainable parameters.
pub const TRAINABLE: &str = "trainable.safetensors";
/// The file of the optimizer's moments.
pub const OPTIMIZER: &str = "optimizer.safetensors";
const POSITION: &str = "position.json";

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

/// A checkpoint could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum LoadCheckpointError {
    /// One of its tensor files.
    #[error(transparent)]
    Tensors(#[from] WeightsError),
    /// Its position.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Text,
    },
}

impl LoadCheckpointError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Tensors(error) => error.text(),
            Self::Damaged { path, problem } => msg!(CHECKPOINT_IS_DAMAGED, path, problem),
        }
    }
}

/// Everything but tensors that a run must know to go on.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct Place {
    /// How far training has come.
    pub position: Position,
    /// Mini-epochs done.
    pub epochs: u64,
    /// Steps that the optimizer has done; fewer than those of the run where some were skipped.
    pub adam_steps: i32,
    /// The loss scale of float16.
    pub scaler: Option<LossScaler>,
    /// What the records have added up.
    pub totals: Totals,
    /// The running digest of the chain.
    pub chain: u64,
    /// Held-out loss before training, where something is held out.
    pub val_before: Option<f64>,
    /// The newest held-out loss.
    #[serde(default)]
    pub val_now: Option<f64>,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Whether the newest evaluation found every goal reached that ends the run.
    #[serde(default)]
    pub goal_reached: bool,
}

/// A checkpoint that lies complete in a run directory.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// Its folder.
    pub path: PathBuf,
    /// How far the run had come.
    pub place: Place,
}

impl Checkpoint {
    /// Its name: `epoch-0003` or `step-0001234`.
    pub fn name(&self) -> &str {
        self.path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
    }

    /// The name of the checkpoint after mini-epoch `epoch`, counted from 0.
    pub fn epoch_name(epoch: u64) -> String {
        format!("epoch-{epoch:04}")
    }

    /// The name of the checkpoint after `steps` steps, within a mini-epoch.
    pub fn step_name(steps: u64) -> String {
        format!("step-{steps:07}")
    }

    /// Whether it was written at the end of a mini-epoch.
    pub fn is_border(&self) -> bool {
        self.name().starts_with("epoch-")
    }

    /// The file of what had been learned.
    pub fn learned(&self) -> PathBuf {
        self.path.join(TRAINABLE)
    }

    /// Opens the checkpoint in this folder.
    ///
    /// # Errors
    /// When its position cannot be read.
    pub fn open(path: &Path) -> Result<Checkpoint, LoadCheckpointError> {
        let file = path.join(POSITION);
        let damaged = |problem: Text| LoadCheckpointError::Damaged { path: file.clone(), problem };
        let bytes = fs::read(&file).map_err(|error| damaged(Text::from(&error)))?;
        let place =
            serde_json::from_slice(&bytes).map_err(|error| damaged(Text::library(error)))?;
        Ok(Checkpoint { path: path.to_path_buf(), place })
    }
}

/// All complete checkpoints of the run at `run`, the one with the fewest steps first. Damaged ones are left
/// out.
pub fn checkpoints(run: &Path) -> Vec<Checkpoint> {
    let Ok(entries) = fs::read_dir(run.join(FOLDER)) else { return Vec::new() };
    let mut found: Vec<Checkpoint> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            (!hidden && entry.path().is_dir()).then(|| Checkpoint::open(&entry.path()).ok())?
        })
        .collect();
    found.sort_by_key(|one| (one.place.position.steps, one.path.clone()));
    found
}

/// The checkpoint that `ckpt/best` of a run names.
pub fn best_checkpoint(run: &Path) -> Option<Checkpoint> {
    let name = fs::read_to_string(run.join(FOLDER).join("best")).ok()?;
    Checkpoint::open(&run.join(FOLDER).join(name.trim())).ok()
}

/// Writes a checkpoint, all of it or nothing, and names it in `ckpt/last`. `write_tensors` writes the tensor files into
/// a folder. A checkpoint of the same name is replaced.
///
/// # Errors
/// When something cannot be written.
pub fn save_checkpoint(
    run: &RunDir,
    name: &str,
    place: &Place,
    write_tensors: impl FnOnce(&Path) -> Result<(), WeightsError>,
) -> Result<(), CheckpointError> {
    let building = run.join(format!("{FOLDER}/.{name}"));
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source| RunDirError { path, source }
    };
    let _ = fs::remove_dir_all(&building); // what a killed process left
    fs::create_dir_all(&building).map_err(fail(&building))?;
    let written = write_tensors(&building)
        .map_err(CheckpointError::from)
        .and_then(|()| write_place(&building, place));
    if written.is_err() {
        let _ = fs::remove_dir_all(&building);
    }
    written?;

    let finished = run.join(format!("{FOLDER}/{name}"));
    let replaced = run.join(format!("{FOLDER}/.{name}{REPLACED}"));
    let _ = fs::remove_dir_all(&replaced);
    if finished.exists() {
        fs::rename(&finished, &replaced).map_err(fail(&finished))?;
    }
    fs::rename(&building, &finished).map_err(fail(&finished))?;
    let folder = run.join(FOLDER);
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(fail(&folder))?;
    let _ = fs::remove_dir_all(&replaced);
    run.write(&format!("{FOLDER}/last"), format!("{name}\n").as_bytes())?;
    Ok(())
}

/// Names a checkpoint in `ckpt/best`.
///
/// # Errors
/// When it cannot be written.
pub fn name_best(run: &RunDir, name: &str) -> Result<(), RunDirError> {
    run.write(&format!("{FOLDER}/best"), format!("{name}\n").as_bytes())
}

/// Removes all checkpoints but the `keep_last` newest (0: none is removed) and the best one. One that cannot
/// be removed stays.
pub fn remove_old_checkpoints(run: &RunDir, keep_last: usize) {
    if keep_last == 0 {
        return;
    }
    let found = checkpoints(run.path());
    let best = best_checkpoint(run.path()).map(|best| best.path);
    let old = &found[..found.len().saturating_sub(keep_last)];
    for checkpoint in old.iter().filter(|one| Some(&one.path) != best.as_ref()) {
        let _ = remove(&checkpoint.path);
    }
}

/// Removes the checkpoint in this folder.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    // Out of sight first, so that no half of it is ever taken for a checkpoint.
    let hidden = path.with_file_name(format!(".{}.removed", directory(path)));
    fs::rename(path, &hidden)?;
    fs::remove_dir_all(&hidden)
}

fn write_place(folder: &Path, place: &Place) -> Result<(), CheckpointError> {
    let text = serde_json::to_string_pretty(place).expect("a place is plain data") + "\n";
    let path = folder.join(POSITION);
    let write = || {
        fs::write(&path, text)?;
        File::open(&path)?.sync_all()?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| RunDirError { path: path.clone(), source })?;
    Ok(())
}
