//! `now.json`: long work of a live run, such as an evaluation; exists only during the work.

use std::cell::Cell;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::tensorfile::write_atomically;
use crate::work::{Observer, Progress};

/// Work that ends sooner is not recorded.
const SHORT: Duration = Duration::from_millis(300);
/// Interval between two records.
const EVERY: Duration = Duration::from_millis(500);

/// What a live run does besides its steps.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Now {
    /// What is done: `validation loss`.
    pub what: String,
    /// How far, for people: `validation loss 37/200  ETA 0:12`.
    pub text: String,
    /// Units done.
    pub done: u64,
    /// All units; 0 when their number is not known.
    pub total: u64,
    /// Seconds left at the speed so far.
    pub left_secs: Option<f64>,
}

impl Now {
    /// Name of the file.
    pub const FILE: &str = "now.json";

    /// What the run at `path` does besides its steps, if anything.
    pub fn load(path: &Path) -> Option<Now> {
        serde_json::from_slice(&fs::read(path.join(Now::FILE)).ok()?).ok()
    }
}

impl From<&Progress> for Now {
    fn from(progress: &Progress) -> Now {
        Now {
            what: progress.what.to_string(),
            text: progress.to_string(),
            done: progress.done,
            total: progress.total,
            left_secs: progress.left().map(|left| left.as_secs_f64()),
        }
    }
}

/// Writes `now.json` during the work.
#[derive(Debug)]
pub struct NowWriter {
    file: PathBuf,
    written: Cell<Option<Instant>>,
}

impl NowWriter {
    /// The writer of the run at `path`.
    pub fn new(path: &Path) -> NowWriter {
        NowWriter { file: path.join(Now::FILE), written: Cell::new(None) }
    }
}

impl Observer for NowWriter {
    fn progress(&self, progress: &Progress) {
        let is_new = self.written.get().is_none_or(|at| at.elapsed() >= EVERY);
        if progress.elapsed < SHORT || !is_new {
            return;
        }
        let text = serde_json::to_string(&Now::from(progress)).expect("plain data");
        // Nothing depends on the file.
        let _ = write_atomically(&self.file, |file| writeln!(file, "{text}"));
        self.written.set(Some(Instant::now()));
    }

    fn ended(&self) {
        if self.written.take().is_some() {
            let _ = fs::remove_file(&self.file);
        }
    }
}
