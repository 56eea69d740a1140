//! `status.json`: how a run stands, and what it has come to so far.

use std::fs;
use std::path::Path;

use chrono::{DateTime, FixedOffset, Local, SecondsFormat};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Best, ReadRunError};
use crate::diagnostic::Text;

/// How a run stands, as its last process said it.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// A process works on it, or was killed while it did: then nobody holds its lock.
    Running {
        /// The process.
        pid: u32,
    },
    /// It came to its end.
    Done,
    /// It was asked to stop, and everything up to there is saved.
    Interrupted,
    /// It stopped early.
    Failed {
        /// Why.
        message: String,
        /// The code of that message.
        code: String,
    },
    /// Its numbers became infinite or no numbers.
    Diverged {
        /// Where.
        message: String,
        /// The code of that message.
        code: String,
    },
}

impl Status {
    /// How the run at `path` stands; `None` when it does not say so.
    pub fn load(path: &Path) -> Option<Status> {
        RunRecord::load(path).ok().map(|record| record.status)
    }
}

/// A probe with the share of answers that have what it looks for, from 0 to 1.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct ProbeRate {
    /// Its name.
    pub name: String,
    /// Before training; absent without a model to compare with.
    pub base: Option<f64>,
    /// After it.
    pub tuned: Option<f64>,
}

/// What `status.json` holds: how a run stands, and what it has come to.
///
/// It is written whenever that changes: when a process begins, after each evaluation and checkpoint, and at the
/// end. What has happened since stands in the records of single steps.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(title = "statetune run record")]
pub struct RunRecord {
    /// Kind and version of this record, and by it of the whole run directory.
    #[schemars(extend("const" = RunRecord::SCHEMA))]
    pub schema: String,
    /// How it stands.
    #[serde(flatten)]
    pub status: Status,
    /// sha256 of everything that its numbers depend on; absent before its inputs were read. Runs with the same
    /// one compute the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity: Option<String>,
    /// Optimizer steps that were done and saved, or evaluated.
    pub steps: u64,
    /// Steps of the whole run; absent before its inputs were read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_steps: Option<u64>,
    /// Held-out loss before training, in nats; absent when nothing is held out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_before: Option<f64>,
    /// The newest held-out loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub val_loss: Option<f64>,
    /// The best evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// What was counted in the answers, once there are any.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub probes: Vec<ProbeRate>,
    /// When it began, as RFC 3339.
    #[schemars(extend("format" = "date-time"))]
    pub started: String,
    /// When this record was written.
    #[schemars(extend("format" = "date-time"))]
    pub updated: String,
}

impl RunRecord {
    /// Name of the file.
    pub const FILE: &str = "status.json";
    /// Kind and version of the record.
    pub const SCHEMA: &str = "statetune.run/1";

    /// The record of a run that begins now.
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

    /// The record of the run at `path`.
    ///
    /// # Errors
    /// When it cannot be read, or is that of another version.
    pub fn load(path: &Path) -> Result<RunRecord, ReadRunError> {
        /// What every version has.
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
            return Err(ReadRunError::Version { path: file, found: schema });
        }
        serde_json::from_slice(&bytes).map_err(damaged)
    }

    /// The text of the file: a key a line, always in the same order.
    pub(super) fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a record is plain data") + "\n"
    }

    /// When the run began; `None` where the record names no time.
    pub fn started(&self) -> Option<DateTime<FixedOffset>> {
        DateTime::parse_from_rfc3339(&self.started).ok()
    }
}

/// The time now as records write it: RFC 3339, with milliseconds.
pub(super) fn now() -> String {
    Local::now().to_rfc3339_opts(SecondsFormat::Millis, false)
}
