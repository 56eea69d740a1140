//! `incidents/NNNNNN/`: a step whose numbers were not finite, with everything that it takes to compute it again.
//!
//! The folder's name is the number of the step, counted from 1. It holds
//!
//! ```text
//! incident.json          what happened, where it began, the norms of the steps before, the environment
//! batch.jsonl            a line a row: its documents, tokens and targets
//! trainable.safetensors  what learned before the step (after it, where the update was to blame)
//! ```

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::checkpoint::TRAINABLE;
use super::{CheckpointError, LoadCheckpointError, RunDir, RunDirError};
use crate::config::Nonfinite;
use crate::data::PlainRow;
use crate::diagnostic::{Text, msg};
use crate::tensorfile::WeightsError;

const RECORD: &str = "incident.json";
const BATCH: &str = "batch.jsonl";

/// What is known of an incident, as `incident.json` holds it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Incident {
    /// Name and version of this form: [`Incident::SCHEMA`].
    pub schema: String,
    /// The step, counted from 1.
    pub step: u64,
    /// Its mini-epoch, counted from 0.
    pub epoch: u64,
    /// What was not finite: `loss`, `gradient norm` or `what learns`.
    pub what: String,
    /// What it became: `NaN`, `inf` or `-inf`.
    pub became: String,
    /// The first value that was not finite; absent when computing the step again showed none.
    pub first: Option<FirstBad>,
    /// What was done about it.
    pub policy: Nonfinite,
    /// Learning rate of the step.
    pub lr: f64,
    /// The factor on its loss.
    pub loss_scale: f64,
    /// Gradient norms of the last steps, its own at the end; `null` where one was not finite or not reached.
    pub grad_norms: Vec<Option<f64>>,
    /// The documents of its batch.
    pub documents: Vec<String>,
    /// The newest checkpoint; absent when there was none.
    pub checkpoint: Option<String>,
    /// What computed it.
    pub environment: Environment,
    /// The command that computes the step again; absent where its update was to blame.
    pub replay: Option<String>,
}

/// Where numbers stopped being finite.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize, JsonSchema)]
pub struct FirstBad {
    /// `emb`, `blocks.3.att`, `blocks.3.att WKV`, `blocks.3.ffn`, `ln_out`, `head`, or the name of a parameter.
    pub place: String,
    /// `before` the step, `forward`, `backward` or `update`.
    pub direction: String,
    /// The micro-batch, counted from 0.
    pub micro_batch: Option<usize>,
    /// How many of its values are not finite.
    pub not_finite: i64,
    /// The rows of the micro-batch with such values.
    pub rows: Vec<usize>,
    /// The heads with such values.
    pub heads: Vec<usize>,
    /// The documents in these rows.
    pub documents: Vec<String>,
}

/// What computed a step.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Environment {
    /// Version of this program.
    pub statetune: String,
    /// Version of libtorch.
    pub libtorch: String,
    /// sha256 of the kernels.
    pub kernels: String,
    /// The device.
    pub device: String,
    /// The implementation of the recurrence.
    pub op: String,
    /// Threads of libtorch.
    pub threads: i32,
    /// `train.precision`.
    pub precision: String,
}

/// A row of the batch, as a line of `batch.jsonl`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct BatchRow {
    /// The micro-batch, counted from 0.
    pub micro_batch: usize,
    /// Its documents.
    pub documents: Vec<String>,
    /// Its tokens.
    #[serde(flatten)]
    pub row: PlainRow,
}

impl Incident {
    /// Name and version of the record's form.
    pub const SCHEMA: &str = "statetune.incident/1";
    /// Name of the folder of all incidents of a run.
    pub const FOLDER: &str = "incidents";

    /// The name of its folder.
    pub fn name(&self) -> String {
        Incident::name_of(self.step)
    }

    /// The name of the folder of an incident at `step`, counted from 1.
    pub fn name_of(step: u64) -> String {
        format!("{step:06}")
    }

    /// Reads the record in this folder.
    ///
    /// # Errors
    /// When it cannot be read, or is none of this program.
    pub fn load(folder: &Path) -> Result<Incident, LoadCheckpointError> {
        let file = folder.join(RECORD);
        let damaged = |problem| LoadCheckpointError::Damaged { path: file.clone(), problem };
        let bytes = fs::read(&file).map_err(|error| damaged(Text::from(&error)))?;
        serde_json::from_slice(&bytes).map_err(|error| damaged(Text::library(error)))
    }

    /// Reads the batch in this folder: the rows of each micro-batch.
    ///
    /// # Errors
    /// When it cannot be read, is none of this program, or has a token beyond `vocab_size`.
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

/// What is wrong with a row for a model of `vocab_size` tokens.
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

/// The folders of all incidents of the run at `run`, the earliest step first.
pub fn incident_folders(run: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(run.join(Incident::FOLDER)) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let mut folders: Vec<PathBuf> = paths.filter(|path| path.join(RECORD).is_file()).collect();
    folders.sort();
    folders
}

/// Writes an incident, all of it or nothing, and returns its folder. One of the same step is replaced.
/// `write_values` writes the trainable parameters into a file.
///
/// # Errors
/// When something cannot be written.
pub fn save_incident(
    run: &RunDir,
    incident: &Incident,
    rows: &[BatchRow],
    write_values: impl FnOnce(&Path) -> Result<(), WeightsError>,
) -> Result<PathBuf, CheckpointError> {
    let building = run.join(format!("{}/.{}", Incident::FOLDER, incident.name()));
    let finished = run.join(format!("{}/{}", Incident::FOLDER, incident.name()));
    let fail = |path: &Path| {
        let path = path.to_path_buf();
        move |source: io::Error| RunDirError { path, source }
    };
    let _ = fs::remove_dir_all(&building); // what a killed process left
    fs::create_dir_all(&building).map_err(fail(&building))?;
    let write = || -> Result<(), CheckpointError> {
        let record = serde_json::to_string_pretty(incident).expect("plain data") + "\n";
        let line = |row| serde_json::to_string(row).expect("plain data") + "\n";
        let batch: String = rows.iter().map(line).collect();
        for (name, text) in [(RECORD, record), (BATCH, batch)] {
            let path = building.join(name);
            fs::write(&path, text)
                .and_then(|()| File::open(&path)?.sync_all())
                .map_err(fail(&path))?;
        }
        Ok(write_values(&building.join(TRAINABLE))?)
    };
    let written = write();
    if written.is_err() {
        let _ = fs::remove_dir_all(&building);
    }
    written?;
    let _ = fs::remove_dir_all(&finished);
    fs::rename(&building, &finished).map_err(fail(&finished))?;
    Ok(finished)
}
