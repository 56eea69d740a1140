//! `ckpt/`: what a run needs to continue from a step with the same numbers as an uninterrupted run.
//!
//! `ckpt/epoch-0003/` was written after mini-epoch 3 (counted from 0), `ckpt/step-0001234/` after 1234 steps, when
//! the run stopped within a mini-epoch. Each holds
//!
//! ```text
//! trainable.safetensors  trainable parameters, float32, by checkpoint name
//! optimizer.safetensors  Adam's moments, NAME.m and NAME.v, float32
//! position.json          position of the run and running sums of its records
//! ```
//!
//! `ckpt/last` and `ckpt/best` are text files that name a checkpoint.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digests::{Chain, LINK_BYTES};
use super::run_dir::REPLACED;
use super::sinks::{Kept, rewind_sinks};
use super::{
    Best, CheckpointError, LoadCheckpointError, LossScaler, PastSettings, Position, RunDir,
    RunDirError, SkippedSample, Totals, dir_name,
};
use crate::diagnostic::Text;
use crate::tensorfile::WeightsError;

/// The folder of all checkpoints of a run.
pub(crate) const CHECKPOINTS: &str = "ckpt";
/// The file of the trainable parameters.
pub const TRAINABLE: &str = "trainable.safetensors";
/// The file of the optimizer's moments.
pub const OPTIMIZER: &str = "optimizer.safetensors";
const POSITION: &str = "position.json";

/// Everything but tensors that a run needs to continue: the content of `position.json`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize)]
pub struct CheckpointRecord {
    /// Steps and samples done.
    pub position: Position,
    /// Mini-epochs done.
    pub epochs: u64,
    /// Updates of the optimizer; fewer than the run's steps when steps were skipped.
    pub adam_steps: i32,
    /// Loss scale, for float16 only.
    pub scaler: Option<LossScaler>,
    /// Running sums of the metrics.
    pub totals: Totals,
    /// Running digest of `chain.bin`.
    pub chain: u64,
    /// Validation loss before training, in nats; `None` without validation documents.
    pub val_before: Option<f64>,
    /// The newest validation loss, in nats.
    #[serde(default)]
    pub val_now: Option<f64>,
    /// The best evaluation so far.
    pub best: Option<Best>,
    /// Whether every probe with `stop` had reached its goal at the newest evaluation.
    #[serde(default)]
    pub goal_reached: bool,
    /// Whether the run stopped during the evaluation after this step, which is still due.
    #[serde(default, skip_serializing_if = "is_false")]
    pub evaluation_due: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

/// A complete checkpoint of a run directory.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// The checkpoint's folder.
    pub path: PathBuf,
    /// The content of `position.json`.
    pub record: CheckpointRecord,
}

impl Checkpoint {
    /// The folder's name: `epoch-0003` or `step-0001234`.
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

    /// Whether the checkpoint was written at the end of a mini-epoch.
    pub fn ends_epoch(&self) -> bool {
        self.name().starts_with("epoch-")
    }

    /// The file of the trainable parameters.
    pub fn trainable(&self) -> PathBuf {
        self.path.join(TRAINABLE)
    }

    /// Opens the checkpoint in this folder.
    ///
    /// # Errors
    /// When `position.json` cannot be read or is not valid.
    pub fn open(path: &Path) -> Result<Checkpoint, LoadCheckpointError> {
        let file = path.join(POSITION);
        let damaged = |problem: Text| LoadCheckpointError::Damaged { path: file.clone(), problem };
        let bytes = fs::read(&file).map_err(|error| damaged(Text::from(&error)))?;
        let record =
            serde_json::from_slice(&bytes).map_err(|error| damaged(Text::library(error)))?;
        Ok(Checkpoint { path: path.to_path_buf(), record })
    }
}

/// All complete checkpoints of the run at `run`, sorted by steps. Damaged checkpoints are omitted.
pub fn checkpoints(run: &Path) -> Vec<Checkpoint> {
    let Ok(entries) = fs::read_dir(run.join(CHECKPOINTS)) else { return Vec::new() };
    let mut found: Vec<Checkpoint> = entries
        .filter_map(|entry| {
            let entry = entry.ok()?;
            let hidden = entry.file_name().to_string_lossy().starts_with('.');
            (!hidden && entry.path().is_dir()).then(|| Checkpoint::open(&entry.path()).ok())?
        })
        .collect();
    found.sort_by_key(|one| (one.record.position.steps, one.path.clone()));
    found
}

/// The checkpoint that `ckpt/best` of a run names.
pub fn best_checkpoint(run: &Path) -> Option<Checkpoint> {
    let name = fs::read_to_string(run.join(CHECKPOINTS).join("best")).ok()?;
    Checkpoint::open(&run.join(CHECKPOINTS).join(name.trim())).ok()
}

/// Writes a checkpoint atomically and names it in `ckpt/last`; replaces a checkpoint of the same name. `write_tensors`
/// writes the tensor files into the folder that it gets.
///
/// # Errors
/// When a file cannot be written; then the checkpoint of the same name is still there.
pub fn save_checkpoint(
    run: &RunDir,
    name: &str,
    record: &CheckpointRecord,
    write_tensors: impl FnOnce(&Path) -> Result<(), WeightsError>,
) -> Result<(), CheckpointError> {
    let building = run.join(format!("{CHECKPOINTS}/.{name}"));
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source| RunDirError { path, source }
    };
    let _ = fs::remove_dir_all(&building); // left by a killed process
    fs::create_dir_all(&building).map_err(fail(&building))?;
    let written = write_tensors(&building)
        .map_err(CheckpointError::from)
        .and_then(|()| write_record(&building, record));
    if written.is_err() {
        let _ = fs::remove_dir_all(&building);
    }
    written?;

    let finished = run.join(format!("{CHECKPOINTS}/{name}"));
    let replaced = run.join(format!("{CHECKPOINTS}/.{name}{REPLACED}"));
    let _ = fs::remove_dir_all(&replaced);
    if finished.exists() {
        fs::rename(&finished, &replaced).map_err(fail(&finished))?;
    }
    fs::rename(&building, &finished).map_err(fail(&finished))?;
    let folder = run.join(CHECKPOINTS);
    File::open(&folder).and_then(|folder| folder.sync_all()).map_err(fail(&folder))?;
    let _ = fs::remove_dir_all(&replaced);
    run.write(&format!("{CHECKPOINTS}/last"), format!("{name}\n").as_bytes())?;
    Ok(())
}

/// Names a checkpoint in `ckpt/best`.
///
/// # Errors
/// When the file cannot be written.
pub fn set_best_checkpoint(run: &RunDir, name: &str) -> Result<(), RunDirError> {
    run.write(&format!("{CHECKPOINTS}/best"), format!("{name}\n").as_bytes())
}

/// Removes all checkpoints but the `keep_last` newest and the best one; 0 removes none. Ignores checkpoints that cannot
/// be removed.
pub fn remove_old_checkpoints(run: &RunDir, keep_last: usize) {
    if keep_last == 0 {
        return;
    }
    let found = checkpoints(run.path());
    let best = best_checkpoint(run.path()).map(|best| best.path);
    let old = &found[..found.len().saturating_sub(keep_last)];
    for checkpoint in old.iter().filter(|one| Some(&one.path) != best.as_ref()) {
        let _ = remove_checkpoint(&checkpoint.path);
    }
}

/// Removes the checkpoint in this folder.
pub(crate) fn remove_checkpoint(path: &Path) -> io::Result<()> {
    // Hidden first: a half-removed folder must not pass for a checkpoint.
    let hidden = path.with_file_name(format!(".{}.removed", dir_name(path)));
    fs::rename(path, &hidden)?;
    fs::remove_dir_all(&hidden)
}

fn write_record(folder: &Path, record: &CheckpointRecord) -> Result<(), CheckpointError> {
    let text = serde_json::to_string_pretty(record).expect("a record is plain data") + "\n";
    let path = folder.join(POSITION);
    let write = || {
        fs::write(&path, text)?;
        File::open(&path)?.sync_all()?;
        File::open(folder)?.sync_all()
    };
    write().map_err(|source| RunDirError { path: path.clone(), source })?;
    Ok(())
}

/// Removes from the records of a run everything after a checkpoint at `steps` steps and `epochs` mini-epochs, so that
/// a resumed run writes the same records as an uninterrupted one.
///
/// # Errors
/// When a file cannot be written.
pub fn rewind_records(run: &RunDir, steps: u64, epochs: u64) -> Result<(), RunDirError> {
    rewind_sinks(run, Kept { steps, epochs })?;
    PastSettings::rewind(run, steps)?;
    run.keep_lines(SkippedSample::FILE, |line| {
        serde_json::from_str::<SkippedSample>(line).is_ok_and(|one| one.from_step() <= steps)
    })?;
    let links = usize::try_from(steps).unwrap_or(usize::MAX).saturating_mul(LINK_BYTES);
    run.keep_bytes(Chain::FILE, links)
}
