//! `incidents/NNNNNN/`: a step with NaN or infinite numbers, with everything needed to compute it again.
//!
//! The folder's name is the number of the step, counted from 1. It holds
//!
//! ```text
//! incident.json          what was not finite and where first, recent gradient norms, environment
//! batch.jsonl            one line per row: documents, tokens, targets, and what is compared
//! trainable.safetensors  trainable parameters before the step (after it when the update was not finite)
//! ```

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::checkpoint::TRAINABLE;
use super::events::{FirstNonFinite, Nonfinite};
use super::{CheckpointError, LoadCheckpointError, RunDir, RunDirError};
use crate::data::PlainRow;
use crate::diagnostic::{Text, msg};
use crate::tensorfile::WeightsError;

const RECORD: &str = "incident.json";
const BATCH: &str = "batch.jsonl";

/// An incident: the content of `incident.json`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Incident {
    /// Name and version of the format: [`Incident::SCHEMA`].
    pub schema: String,
    /// The step, counted from 1.
    pub step: u64,
    /// The mini-epoch, counted from 0.
    pub epoch: u64,
    /// What was not finite: `loss`, `gradient norm` or `parameters`.
    pub what: String,
    /// Its value: `NaN`, `inf` or `-inf`.
    pub became: String,
    /// The first tensor that was not finite; `null` when computing the step again found none.
    pub first: Option<FirstNonFinite>,
    /// `guard.nonfinite`: what the run did.
    pub policy: Nonfinite,
    /// Loss of the step, in nats; `null` when it was not finite.
    #[serde(default)]
    pub loss: Option<f64>,
    /// Learning rate of the step.
    pub lr: f64,
    /// Loss scale of the step; 1 without scaling.
    pub loss_scale: f64,
    /// Gradient norms of the last steps, ending with this one; `null` for a norm that was not finite or not computed.
    pub grad_norms: Vec<Option<f64>>,
    /// Documents of the batch.
    pub documents: Vec<String>,
    /// The newest checkpoint; `null` before the first one.
    pub checkpoint: Option<String>,
    /// Programs and device.
    pub environment: Environment,
    /// Command that computes the step again; `null` when the update was not finite.
    pub replay: Option<String>,
}

/// Programs and device that computed a step.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Environment {
    /// Version of this program.
    pub statetune: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// sha256 of the kernels' source.
    pub kernels: String,
    /// The device.
    pub device: String,
    /// The implementation of the recurrence.
    pub op: String,
    /// Threads of libtorch and the kernels.
    pub threads: i32,
    /// `train.precision`.
    pub precision: String,
}

/// A row of the batch: a line of `batch.jsonl`.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct BatchRow {
    /// The micro-batch, counted from 0.
    pub micro_batch: usize,
    /// Documents of the row.
    pub documents: Vec<String>,
    /// Tokens of the row.
    #[serde(flatten)]
    pub row: PlainRow,
}

impl Incident {
    /// Name and version of the format.
    pub const SCHEMA: &str = "statetune.incident/1";
    /// The folder of all incidents of a run.
    pub const FOLDER: &str = "incidents";

    /// The name of the incident's folder.
    pub fn name(&self) -> String {
        Incident::name_of(self.step)
    }

    /// The folder's name for an incident at `step`, counted from 1.
    pub fn name_of(step: u64) -> String {
        format!("{step:06}")
    }

    /// Reads `incident.json` in this folder.
    ///
    /// # Errors
    /// When the file cannot be read or is not a valid record.
    pub fn load(folder: &Path) -> Result<Incident, LoadCheckpointError> {
        let file = folder.join(RECORD);
        let damaged = |problem| LoadCheckpointError::Damaged { path: file.clone(), problem };
        let bytes = fs::read(&file).map_err(|error| damaged(Text::from(&error)))?;
        serde_json::from_slice(&bytes).map_err(|error| damaged(Text::library(error)))
    }

    /// Reads `batch.jsonl` in this folder: the rows of each micro-batch.
    ///
    /// # Errors
    /// When the file cannot be read, is not valid, or has a token id outside `0..vocab_size`.
    pub fn load_batches(
        folder: &Path,
        vocab_size: i64,
    ) -> Result<Vec<Vec<PlainRow>>, LoadCheckpointError> {
        let file = folder.join(BATCH);
        let damaged = |problem| LoadCheckpointError::Damaged { path: file.clone(), problem };
        let text = fs::read_to_string(&file).map_err(|error| damaged(Text::library(error)))?;
        let mut batches: Vec<Vec<PlainRow>> = Vec::new();
        for (i, line) in text.lines().enumerate() {
            let of_line = |problem: Text| damaged(msg!(LINE_PROBLEM, number = i + 1, problem));
            let row: BatchRow =
                serde_json::from_str(line).map_err(|error| of_line(Text::library(error)))?;
            check(&row.row, vocab_size).map_err(of_line)?;
            if row.micro_batch == batches.len() {
                batches.push(Vec::new());
            }
            if row.micro_batch + 1 != batches.len() {
                return Err(of_line(msg!(INCIDENT_ORDER)));
            }
            batches[row.micro_batch].push(row.row);
        }
        Ok(batches)
    }
}

/// Checks a row for a model of `vocab_size` tokens; the error says what is wrong.
fn check(row: &PlainRow, vocab_size: i64) -> Result<(), Text> {
    let ids = row.inputs.iter().chain(&row.targets);
    if let Some(id) = ids.into_iter().find(|id| !(0..vocab_size).contains(id)) {
        return Err(msg!(INCIDENT_TOKEN, id));
    }
    let len = row.inputs.len();
    let places = row.learned_at.iter().chain(&row.restarts);
    if row.learned_at.len() != row.targets.len() || places.into_iter().any(|&at| at >= len) {
        return Err(msg!(INCIDENT_POSITIONS));
    }
    Ok(())
}

/// The folders of all incidents of the run at `run`, sorted by step.
pub fn incident_folders(run: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(run.join(Incident::FOLDER)) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut folders: Vec<PathBuf> = paths.filter(|path| path.join(RECORD).is_file()).collect();
    folders.sort();
    folders
}

/// Writes an incident atomically and returns its folder; replaces an incident of the same step. `write_values` writes
/// the trainable parameters to the file that it gets.
///
/// # Errors
/// When a file cannot be written.
pub fn save_incident(
    run: &RunDir,
    incident: &Incident,
    rows: &[BatchRow],
    write_values: impl FnOnce(&Path) -> Result<(), WeightsError>,
) -> Result<PathBuf, CheckpointError> {
    run.write_folder(Incident::FOLDER, &incident.name(), |building| {
        let record = serde_json::to_string_pretty(incident).expect("plain data") + "\n";
        let line = |row| serde_json::to_string(row).expect("plain data") + "\n";
        let batch: String = rows.iter().map(line).collect();
        for (name, text) in [(RECORD, record), (BATCH, batch)] {
            let path = building.join(name);
            fs::write(&path, text)
                .and_then(|()| File::open(&path)?.sync_all())
                .map_err(|source| RunDirError { path, source })?;
        }
        Ok(write_values(&building.join(TRAINABLE))?)
    })
}
