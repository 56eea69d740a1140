//! `status.json`: status and results of a run.

use std::fs;
use std::path::Path;

use chrono::{DateTime, FixedOffset, SecondsFormat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ReadRunError;
use super::clock::local_time;
use crate::diagnostic::Text;

/// Status of a run, as its last process wrote it.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// A process trains the run, or was killed while training: then the lock is free.
    Running {
        /// Process id.
        pid: u32,
    },
    /// The run ended without an error.
    Done,
    /// Stopped on request; a checkpoint holds every step.
    Interrupted,
    /// Stopped with an error.
    Failed {
        /// The error message.
        message: String,
        /// The message's code.
        code: String,
    },
    /// Loss, gradients or parameters became NaN or infinite.
    Diverged {
        /// The error message.
        message: String,
        /// The message's code.
        code: String,
    },
}

impl Status {
    /// The status of the run at `path`; `None` when `status.json` cannot be read.
    pub fn load(path: &Path) -> Option<Status> {
        RunRecord::load(path).ok().map(|record| record.status)
    }

    /// Error message and code of a failed or diverged run.
    pub fn failure(&self) -> Option<(&str, &str)> {
        match self {
            Self::Failed { message, code } | Self::Diverged { message, code } => {
                Some((message, code))
            }
            Self::Running { .. } | Self::Done | Self::Interrupted => None,
        }
    }
}

/// Share of answers that match a probe, from 0 to 1.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ProbeRate {
    /// The probe's name.
    pub name: String,
    /// Before training; `null` when the model is new.
    pub base: Option<f64>,
    /// After training.
    pub tuned: Option<f64>,
}

/// The best evaluation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Best {
    /// Validation loss, in nats; `null` without validation documents.
    pub val_loss: Option<f64>,
    /// Share of answers that match the probe of `eval.metric`; absent when the metric is `val_loss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<f64>,
    /// Optimizer steps done at the evaluation.
    pub steps: u64,
    /// Evaluations since then.
    pub since: u32,
}

impl Best {
    /// Whether this evaluation is better than `other`: by the probe of `eval.metric`, otherwise by validation loss.
    pub fn beats(&self, other: &Best) -> bool {
        match (self.probe, other.probe) {
            (Some(now), Some(before)) => now > before,
            _ => self.val_loss.zip(other.val_loss).is_some_and(|(now, before)| now < before),
        }
    }
}

/// The content of `status.json`: status and results of a run.
///
/// Written when a process begins, after each evaluation and checkpoint, and at the end. Later steps are in
/// `metrics.jsonl`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(title = "statetune run record")]
pub struct RunRecord {
    /// Name and version of this format, and thereby of the whole run directory.
    #[schemars(extend("const" = RunRecord::SCHEMA))]
    pub schema: String,
    /// Status of the run.
    #[serde(flatten)]
    pub status: Status,
    /// sha256 of everything that the run's numbers depend on; absent until the inputs were read. Runs with equal
    /// identities compute equal numbers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Optimizer steps at the last checkpoint or evaluation.
    pub steps: u64,
    /// Optimizer steps of the whole run; absent until the inputs were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_steps: Option<u64>,
    /// Validation loss before training, in nats; absent without validation documents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_before: Option<f64>,
    /// The newest validation loss, in nats.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// The best evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// Probe rates of the newest answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeRate>,
    /// Start of the run, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub started: String,
    /// Time of writing, RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub updated: String,
}

impl RunRecord {
    /// Name of the file.
    pub const FILE: &str = "status.json";
    /// Name and version of the format.
    pub const SCHEMA: &str = "statetune.run/1";

    /// The record of a run that starts now.
    pub(super) fn new(status: Status) -> RunRecord {
        RunRecord {
            schema: RunRecord::SCHEMA.to_string(),
            status,
            identity: None,
            steps: 0,
            total_steps: None,
            val_before: None,
            val_loss: None,
            best: None,
            probes: Vec::new(),
            started: now(),
            updated: now(),
        }
    }

    /// Reads the record of the run at `path`.
    ///
    /// # Errors
    /// When the file cannot be read, is not valid, or has another schema.
    pub fn load(path: &Path) -> Result<RunRecord, ReadRunError> {
        /// The field that every version has.
        #[derive(Deserialize)]
        struct Versioned {
            #[serde(default)]
            schema: String,
        }
        let file = path.join(RunRecord::FILE);
        let bytes =
            fs::read(&file).map_err(|source| ReadRunError::Read { path: file.clone(), source })?;
        let damaged = |error: serde_json::Error| ReadRunError::Damaged {
            path: file.clone(),
            problem: Text::library(error),
        };
        let Versioned { schema } = serde_json::from_slice(&bytes).map_err(damaged)?;
        if schema != RunRecord::SCHEMA {
            return Err(ReadRunError::Version {
                path: file,
                found: schema,
                expected: RunRecord::SCHEMA,
            });
        }
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    /// The file's text: one key per line, in a fixed order.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record is plain data") + "\n"
    }

    /// Start of the run; `None` when the recorded time is not valid.
    pub fn started(&self) -> Option<DateTime<FixedOffset>> {
        DateTime::parse_from_rfc3339(&self.started).ok()
    }
}

/// The current time as records hold it: RFC 3339, with milliseconds.
pub(super) fn now() -> String {
    local_time().to_rfc3339_opts(SecondsFormat::Millis, false)
}
