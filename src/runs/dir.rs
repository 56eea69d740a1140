//! One run directory.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use chrono::{Local, SecondsFormat};
use serde::Serialize;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::tensorfile::write_atomically;

/// Letters of the random part of a run's name.
const ID_LETTERS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const ID_LEN: usize = 4;

/// A file of a run directory could not be written or read.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot write to the run directory", path.display())]
pub struct RunDirError {
    /// The file or folder.
    pub path: PathBuf,
    /// What the operating system says.
    pub source: io::Error,
}

/// How a run stands.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Status {
    /// A process works on it, or was killed while it did.
    Running {
        /// The process.
        pid: u32,
    },
    /// It came to its end.
    Done,
    /// It stopped early.
    Failed {
        /// Why.
        message: String,
    },
}

/// A directory that holds everything about one run.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    /// Makes `RUNS_DIR/DATE-NAME-ID` with status running.
    ///
    /// # Errors
    /// When it cannot be made or written to.
    pub fn create(runs_dir: &Path, name: &str) -> Result<RunDir, RunDirError> {
        let fail = |path: &Path| {
            let path = path.to_path_buf();
            move |source| RunDirError { path, source }
        };
        fs::create_dir_all(runs_dir).map_err(fail(runs_dir))?;
        let date = Local::now().format("%Y-%m-%d");
        let path = loop {
            let path = runs_dir.join(format!("{date}-{name}-{}", random_id()));
            match fs::create_dir(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(source) => return Err(RunDirError { path, source }),
            }
        };
        let run = RunDir { path };
        for folder in ["ckpt", "export", "samples"] {
            let folder = run.join(folder);
            fs::create_dir(&folder).map_err(fail(&folder))?;
        }
        run.set_status(&Status::Running { pid: std::process::id() })?;
        Ok(run)
    }

    /// Where the run lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// A file of the run.
    pub fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Writes a whole file: it appears with its full content or not at all.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, content: &[u8]) -> Result<(), RunDirError> {
        let path = self.join(name);
        write_atomically(&path, |file| file.write_all(content))
            .map_err(|source| RunDirError { path, source })
    }

    /// Adds a line to a file that only grows.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn append(&self, name: &str, line: &str) -> Result<(), RunDirError> {
        let path = self.join(name);
        let add = || -> io::Result<()> {
            let mut file: File = OpenOptions::new().create(true).append(true).open(&path)?;
            file.write_all(format!("{line}\n").as_bytes())
        };
        add().map_err(|source| RunDirError { path: path.clone(), source })
    }

    /// Notes in `events.jsonl` that something happened now.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn event(&self, event: &str, mut details: Value) -> Result<(), RunDirError> {
        let mut line = json!({ "time": Local::now().to_rfc3339_opts(SecondsFormat::Millis, false), "event": event });
        if let (Some(line), Some(details)) = (line.as_object_mut(), details.as_object_mut()) {
            line.append(details);
        }
        self.append("events.jsonl", &line.to_string())
    }

    /// Says how the run stands.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn set_status(&self, status: &Status) -> Result<(), RunDirError> {
        let text = serde_json::to_string(status).expect("a status is plain data") + "\n";
        self.write("status.json", text.as_bytes())
    }
}

/// Four letters that differ between runs.
fn random_id() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let seed = format!("{} {}", now.as_nanos(), std::process::id());
    let digest = Sha256::digest(seed);
    digest
        .iter()
        .take(ID_LEN)
        .map(|&byte| char::from(ID_LETTERS[usize::from(byte) % ID_LETTERS.len()]))
        .collect()
}
