//! `left_out.jsonl`: what later steps of a run leave out, and since when, so that a continued run leaves out the
//! same.

use std::path::Path;
use std::{fs, io};

use serde::{Deserialize, Serialize};

use super::{RunDir, RunDirError};

/// Something that is left out of the steps after `from_step`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum LeftOut {
    /// One step, which comes by without changing anything.
    Step {
        /// Steps that the run had done when this was decided.
        from_step: u64,
        /// The step, counted from 1.
        step: u64,
    },
    /// A document, which no batch holds any more.
    Document {
        /// Steps that the run had done when this was decided.
        from_step: u64,
        /// Its number in the order of the sources, or in the pair that is read as it is.
        document: usize,
        /// Where it comes from, for people.
        name: String,
    },
}

impl LeftOut {
    /// Name of the file.
    pub const FILE: &str = "left_out.jsonl";

    /// Steps that the run had done when this was decided.
    pub fn from_step(&self) -> u64 {
        match self {
            LeftOut::Step { from_step, .. } | LeftOut::Document { from_step, .. } => *from_step,
        }
    }

    /// Whether it is a document that no step of the run has seen.
    pub fn never_came(&self) -> bool {
        matches!(self, LeftOut::Document { from_step: 0, .. })
    }

    /// Everything that the run at `path` leaves out. A last line that was not written to its end is left out.
    ///
    /// # Errors
    /// When the file cannot be read, or a line is none of this program.
    pub fn load(path: &Path) -> Result<Vec<LeftOut>, RunDirError> {
        let path = path.join(LeftOut::FILE);
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(RunDirError { path, source }),
        };
        let whole = text.split_inclusive('\n').filter(|line| line.ends_with('\n'));
        whole
            .map(serde_json::from_str)
            .collect::<Result<_, _>>()
            .map_err(|error| RunDirError { path, source: error.into() })
    }

    /// Adds it to the file of `run`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add(&self, run: &RunDir) -> Result<(), RunDirError> {
        let line = serde_json::to_string(self).expect("plain data");
        run.append(LeftOut::FILE, &line)?;
        run.sync(LeftOut::FILE)
    }
}
