//! `ckpt/`: what a run needs to continue from a step with the same numbers as an uninterrupted run.
//!
//! `ckpt/epoch-0003/` was written after mini-epoch 3 (counted from 0), `ckpt/step-0001234/` after 1234 steps, when
//! the run stopped within a mini-epoch. Each holds
//!
//! ```text
//! trainable.safetensors  trainable parameters, float32, by checkpoint name
//! optimizer.safetensors  Adam's moments, NAME.m and NAME.v, float32
//! position.json          position of the run and running sums of its records
//! digests.json           digests of the files above
//! ```
//!
//! `ckpt/last` and `ckpt/best` are text files that name a checkpoint.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::digests::{Chain, LINK_BYTES};
use super::names::{EPOCH, STEP, is_checkpoint_name};
use super::run_dir::remove_folder;
use super::seal::{check_seal, seal};
use super::sinks::{Kept, rewind_sinks};
use super::{
    Best, CheckpointError, LoadCheckpointError, LossScaler, PastSettings, Position, RunDir,
    RunDirError, SkippedSample, SuiteHistory, Totals, ValLosses,
};
use crate::diagnostic::Text;
use crate::objective::Rewards;
use crate::tensorfile::WeightsError;

/// The folder of all checkpoints of a run.
pub(crate) const CHECKPOINTS: &str = "ckpt";
/// The file of the trainable parameters.
pub const TRAINABLE: &str = "trainable.safetensors";
/// The file of the optimizer's moments.
pub const OPTIMIZER: &str = "optimizer.safetensors";
const POSITION: &str = "position.json";
/// The files that name the newest and the best checkpoint.
const LAST: &str = "last";
const BEST: &str = "best";

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
    /// How validation answers were judged before training; only with an objective that compares answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewards_before: Option<Rewards>,
    /// The same at the newest evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewards_now: Option<Rewards>,
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
        format!("{EPOCH}{epoch:04}")
    }

    /// The name of the checkpoint after `steps` steps, within a mini-epoch.
    pub fn step_name(steps: u64) -> String {
        format!("{STEP}{steps:07}")
    }

    /// Whether the checkpoint was written at the end of a mini-epoch.
    pub fn ends_epoch(&self) -> bool {
        self.name().starts_with(EPOCH)
    }

    /// The file of the trainable parameters.
    pub fn trainable(&self) -> PathBuf {
        self.path.join(TRAINABLE)
    }

    /// The files of tensors.
    pub fn tensor_files(&self) -> [PathBuf; 2] {
        [TRAINABLE, OPTIMIZER].map(|name| self.path.join(name))
    }

    /// Opens the checkpoint in this folder.
    ///
    /// # Errors
    /// When `position.json` cannot be read, is not valid or differs from its digest.
    pub fn open(path: &Path) -> Result<Checkpoint, LoadCheckpointError> {
        let file = path.join(POSITION);
        let damaged = |problem: Text| LoadCheckpointError::Damaged { path: file.clone(), problem };
        let bytes = fs::read(&file).map_err(|error| damaged(Text::from(&error)))?;
        check_seal(&file)?;
        let record =
            serde_json::from_slice(&bytes).map_err(|error| damaged(Text::library(error)))?;
        Ok(Checkpoint { path: path.to_path_buf(), record })
    }
}

/// The folders of all checkpoints of the run at `run`, whether they can be read or not.
pub fn checkpoint_folders(run: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(run.join(CHECKPOINTS)) else { return Vec::new() };
    let folders = entries.flatten().filter(|entry| {
        entry.file_name().to_str().is_some_and(is_checkpoint_name) && entry.path().is_dir()
    });
    let mut folders: Vec<PathBuf> = folders.map(|entry| entry.path()).collect();
    folders.sort();
    folders
}

/// The readable checkpoints of the run at `run`, sorted by steps. Who relies on there being no other asks
/// [`newest_checkpoint`].
pub fn checkpoints(run: &Path) -> Vec<Checkpoint> {
    let folders = checkpoint_folders(run).into_iter();
    let mut found: Vec<Checkpoint> =
        folders.filter_map(|folder| Checkpoint::open(&folder).ok()).collect();
    found.sort_by_key(|one| (one.record.position.steps, one.path.clone()));
    found
}

/// The checkpoint after most steps; `None` when the run has none.
///
/// # Errors
/// A checkpoint that cannot be read: it may be the newest.
pub fn newest_checkpoint(run: &Path) -> Result<Option<Checkpoint>, LoadCheckpointError> {
    let folders = checkpoint_folders(run);
    let found = folders.iter().map(|folder| Checkpoint::open(folder));
    let found: Vec<Checkpoint> = found.collect::<Result<_, _>>()?;
    Ok(found.into_iter().max_by_key(|one| (one.record.position.steps, one.path.clone())))
}

/// The checkpoint of this name; `None` when the run has none.
///
/// # Errors
/// A checkpoint that cannot be read.
pub fn named_checkpoint(run: &Path, name: &str) -> Result<Option<Checkpoint>, LoadCheckpointError> {
    let folder = run.join(CHECKPOINTS).join(name);
    folder.is_dir().then(|| Checkpoint::open(&folder)).transpose()
}

/// The name in `ckpt/best`.
pub fn best_checkpoint_name(run: &Path) -> Option<String> {
    name_in(run, BEST)
}

fn name_in(run: &Path, file: &str) -> Option<String> {
    let text = fs::read_to_string(run.join(CHECKPOINTS).join(file)).ok()?;
    Some(text.trim().to_owned()).filter(|name| is_checkpoint_name(name))
}

/// The checkpoint that `ckpt/best` of a run names.
///
/// # Errors
/// A checkpoint that cannot be read.
pub fn best_checkpoint(run: &Path) -> Result<Option<Checkpoint>, LoadCheckpointError> {
    best_checkpoint_name(run).map_or(Ok(None), |name| named_checkpoint(run, &name))
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
    run.write_folder(CHECKPOINTS, name, |building| {
        write_tensors(building)?;
        write_record(building, record)
    })?;
    write_name(run, LAST, name)?;
    Ok(())
}

/// What a run does after its newest checkpoint, `newest`: names it in `ckpt/last`, names the one of the best evaluation in
/// `ckpt/best` if `keep_best`, and removes all but the `keep_last` newest and the best; 0 removes none. A resumed run does
/// so again, since an earlier process may have been killed in between.
///
/// # Errors
/// When a name cannot be written. A checkpoint that cannot be removed stays.
pub fn settle_checkpoints(
    run: &RunDir,
    newest: &str,
    best: Option<Best>,
    keep_best: bool,
    keep_last: usize,
) -> Result<(), RunDirError> {
    write_name(run, LAST, newest)?;
    let found = checkpoints(run.path());
    // The base model, after 0 steps, is never the best checkpoint.
    let best = best.filter(|best| keep_best && best.steps > 0);
    let best =
        best.and_then(|best| found.iter().find(|one| one.record.position.steps == best.steps));
    if let Some(best) = best {
        write_name(run, BEST, best.name())?;
    }
    if keep_last > 0 {
        let best = best_checkpoint_name(run.path());
        let old = &found[..found.len().saturating_sub(keep_last)];
        for checkpoint in old.iter().filter(|one| Some(one.name()) != best.as_deref()) {
            let _ = remove_folder(&checkpoint.path);
        }
    }
    Ok(())
}

/// Writes the name of a checkpoint, unless the file has it.
fn write_name(run: &RunDir, file: &str, name: &str) -> Result<(), RunDirError> {
    if name_in(run.path(), file).as_deref() == Some(name) {
        return Ok(());
    }
    run.write(&format!("{CHECKPOINTS}/{file}"), format!("{name}\n").as_bytes())
}

fn write_record(folder: &Path, record: &CheckpointRecord) -> Result<(), CheckpointError> {
    let text = serde_json::to_string_pretty(record).expect("a record is plain data") + "\n";
    let path = folder.join(POSITION);
    let write = || {
        fs::write(&path, text)?;
        File::open(&path)?.sync_all()?;
        seal(folder)?;
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
    ValLosses::rewind(run, steps)?;
    SuiteHistory::rewind(run, steps)?;
    // A broken line stays, and is named when the file is read: later steps depend on all lines.
    run.keep_lines(SkippedSample::FILE, |line| {
        serde_json::from_str::<SkippedSample>(line).map_or(true, |one| one.from_step() <= steps)
    })?;
    let links = usize::try_from(steps).unwrap_or(usize::MAX).saturating_mul(LINK_BYTES);
    run.keep_bytes(Chain::FILE, links)
}
