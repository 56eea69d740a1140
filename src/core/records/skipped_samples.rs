//! `left_out.jsonl`: steps and documents that a run skips, and since when, so that a resumed run skips the same.

use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ReadRunError, RunDir, RunDirError, read_lines};

/// A step or document that is skipped after `from_step`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum SkippedSample {
    /// A step, which is counted but does not update parameters.
    Step {
        /// Steps done when the skip was decided.
        from_step: u64,
        /// The step, counted from 1.
        step: u64,
    },
    /// A document, which no later batch contains.
    Document {
        /// Steps done when the skip was decided.
        from_step: u64,
        /// Index in the order of the sources, or in the binidx pair that is used as is.
        document: usize,
        /// Displayed name: file and line.
        name: String,
    },
}

impl SkippedSample {
    /// Name of the file.
    pub const FILE: &str = "left_out.jsonl";

    /// Steps done when the skip was decided.
    pub fn from_step(&self) -> u64 {
        match self {
            SkippedSample::Step { from_step, .. } | SkippedSample::Document { from_step, .. } => {
                *from_step
            }
        }
    }

    /// Whether this is a document that was skipped from the first step on.
    pub fn is_from_start(&self) -> bool {
        matches!(self, SkippedSample::Document { from_step: 0, .. })
    }

    /// Everything that the run at `path` skips. An incomplete last line is ignored.
    ///
    /// # Errors
    /// When the file cannot be read or has a line that is not valid.
    pub fn load(path: &Path) -> Result<Vec<SkippedSample>, ReadRunError> {
        read_lines(&path.join(SkippedSample::FILE))
    }

    /// Appends the entry to the file of `run`.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn add(&self, run: &RunDir) -> Result<(), RunDirError> {
        let line = serde_json::to_string(self).expect("plain data");
        run.append(SkippedSample::FILE, &line)?;
        run.sync(SkippedSample::FILE)
    }
}
