//! A run as its directory tells it, for everything that looks at runs without tensors.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::find::directory;
use super::lines::{read_last_line, read_lines};
use super::resolved::Resolved;
use super::{
    Checkpoint, Earlier, EventLine, LeftOut, Link, Lock, Marks, Metrics, RunRecord, Status,
    best_checkpoint, checkpoints, find_run, is_busy, name_and_id, read_chain, read_metrics,
};
use crate::diagnostic::{Diagnostic, Text, msg};

/// Something of a stored run could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum ReadRunError {
    /// The operating system does not let us.
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is not what it should be.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Text,
    },
    /// Another version of this program wrote it.
    Version {
        /// The file.
        path: PathBuf,
        /// What it says about itself.
        found: String,
    },
}

impl ReadRunError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Read { path, .. } => msg!(CANNOT_READ_RUN, path),
            Self::Damaged { path, problem } => msg!(RUN_IS_DAMAGED, path, problem),
            Self::Version { path, found } => {
                msg!(RUN_SCHEMA, path, found, expected = RunRecord::SCHEMA)
            }
        }
    }
}

impl ReadRunError {
    /// The message as the user sees it.
    pub fn diagnostic(&self) -> Diagnostic {
        let message = Diagnostic::error(self.text());
        match self {
            Self::Read { source, .. } => message.note(source),
            Self::Damaged { .. } => message,
            Self::Version { .. } => message.note(msg!(WRITTEN_BY_ANOTHER_VERSION)),
        }
    }
}

/// What becomes of a run, seen from outside.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Standing {
    /// A process works on it.
    Running,
    /// It came to its end.
    Done,
    /// It was asked to stop, and can go on.
    Interrupted,
    /// Its process was killed, and it can go on.
    Killed,
    /// It ended early.
    Failed,
    /// Its numbers became infinite or no numbers.
    Diverged,
}

impl Standing {
    /// That of a run with this status, which a process holds or not.
    pub(super) fn of(status: &Status, is_held: bool) -> Standing {
        match status {
            Status::Running { .. } if is_held => Standing::Running,
            Status::Running { .. } => Standing::Killed,
            Status::Done => Standing::Done,
            Status::Interrupted => Standing::Interrupted,
            Status::Failed { .. } => Standing::Failed,
            Status::Diverged { .. } => Standing::Diverged,
        }
    }

    /// As it is shown and written in conditions.
    pub fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Done => "done",
            Self::Interrupted => "interrupted",
            Self::Killed => "killed",
            Self::Failed => "failed",
            Self::Diverged => "diverged",
        }
    }
}

/// A run as its directory tells it. Only `status.json` is read at first, everything else when it is asked for.
#[derive(Clone, Debug)]
pub struct StoredRun {
    path: PathBuf,
    record: RunRecord,
    standing: Standing,
}

impl StoredRun {
    /// The experiment file as it was written.
    pub const EXPERIMENT: &str = "experiment.toml";
    /// Every setting, each with where it came from.
    pub const SETTINGS: &str = "resolved.toml";
    /// The settings that were set over the experiment file.
    pub const OVERRIDES: &str = "overrides.toml";
    /// What a run that left its terminal has printed.
    pub const OUTPUT: &str = "output.txt";
    /// The folder of answers.
    pub const SAMPLES: &str = "samples";
    /// The folder of products.
    pub const EXPORT: &str = "export";

    /// The run in this directory.
    ///
    /// # Errors
    /// When its status cannot be read, or is that of another version.
    pub fn open(path: &Path) -> Result<StoredRun, ReadRunError> {
        let first = RunRecord::load(path)?;
        let is_running = |record: &RunRecord| matches!(record.status, Status::Running { .. });
        if !is_running(&first) {
            return Ok(StoredRun::new(path, first, false));
        }
        let busy = is_busy(path);
        // It may have ended between the two looks.
        Ok(StoredRun::new(path, RunRecord::load(path)?, busy))
    }

    /// The run in this directory, whose lock this process holds.
    ///
    /// # Errors
    /// As [`StoredRun::open`].
    pub(super) fn open_locked(path: &Path) -> Result<StoredRun, ReadRunError> {
        Ok(StoredRun::new(path, RunRecord::load(path)?, false))
    }

    fn new(path: &Path, record: RunRecord, busy: bool) -> StoredRun {
        let standing = Standing::of(&record.status, busy);
        StoredRun { path: path.to_path_buf(), record, standing }
    }

    /// The run that `name` means, as [`find_run`] reads it.
    ///
    /// # Errors
    /// A message when there is no such run, or it cannot be read.
    pub fn find(runs_dir: &Path, name: &str) -> Result<StoredRun, Box<Diagnostic>> {
        let path = find_run(runs_dir, name)?;
        StoredRun::open(&path).map_err(|error| Box::new(error.diagnostic()))
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The name of its directory.
    pub fn directory(&self) -> String {
        directory(&self.path)
    }

    /// The experiment's name, as the directory has it.
    pub fn name(&self) -> String {
        name_and_id(&self.path).0
    }

    /// The letters of its id.
    pub fn id(&self) -> String {
        name_and_id(&self.path).1
    }

    /// What `status.json` says.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// How it stands: a run that says it is running, but that no process holds, was killed.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Optimizer steps done: those of the last line of metrics, or those that are saved, if they are more.
    ///
    /// # Errors
    /// When the records cannot be read.
    pub fn steps(&self) -> Result<u64, ReadRunError> {
        // What ended in order has nothing to add to its status.
        if self.standing == Standing::Done {
            return Ok(self.record.steps);
        }
        let reported = self.last_metrics()?.map_or(0, |metrics| metrics.step);
        Ok(reported.max(self.record.steps))
    }

    /// Tags, note and pin of a person.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn marks(&self) -> Result<Marks, ReadRunError> {
        Marks::load(&self.path)
    }

    /// Every setting, with where it came from.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn settings(&self) -> Result<Resolved, ReadRunError> {
        StoredRun::settings_in(&self.path)
    }

    /// The settings in the run's folder `folder`, as [`StoredRun::settings`].
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn settings_in(folder: &Path) -> Result<Resolved, ReadRunError> {
        let path = folder.join(StoredRun::SETTINGS);
        match fs::read_to_string(&path) {
            Ok(text) => {
                Resolved::parse(text).map_err(|problem| ReadRunError::Damaged { path, problem })
            }
            Err(source) => Err(ReadRunError::Read { path, source }),
        }
    }

    /// What its numbers depend on beside the settings; `None` before its inputs were read.
    pub fn lock(&self) -> Option<Lock> {
        Lock::load(&self.path)
    }

    /// The folder with settings and lock of its first steps, and the number of these steps, where later ones have
    /// others, or leave documents out.
    ///
    /// # Errors
    /// When what is left out cannot be read.
    pub fn first_steps(&self) -> Result<(PathBuf, Option<u64>), ReadRunError> {
        let earlier = Earlier::all(&self.path).into_iter().next();
        let left_out = read_lines::<LeftOut>(&self.path.join(LeftOut::FILE))?;
        let documents = left_out.iter().filter(|one| matches!(one, LeftOut::Document { .. }));
        let documents = documents.filter(|one| !one.never_came());
        let changed = earlier.as_ref().map(|earlier| earlier.steps);
        let steps = documents.map(LeftOut::from_step).chain(changed).min();
        Ok((earlier.map_or_else(|| self.path.clone(), |earlier| earlier.path), steps))
    }

    /// Its intervals, as [`read_metrics`] reads them.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn metrics(&self) -> Result<Vec<Metrics>, ReadRunError> {
        read_metrics(&self.path)
    }

    /// The last line of `metrics.jsonl`, of which only the end is read, without its times.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn last_metrics(&self) -> Result<Option<Metrics>, ReadRunError> {
        read_last_line(&self.path.join(Metrics::FILE))
    }

    /// The lines of `events.jsonl`, without half a line at its end.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn events(&self) -> Result<Vec<EventLine>, ReadRunError> {
        read_lines(&self.path.join(EventLine::FILE))
    }

    /// The digests of its steps; none when there are no steps.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn chain(&self) -> Result<Vec<Link>, ReadRunError> {
        match read_chain(&self.path) {
            Ok(links) => Ok(links),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => {
                Err(ReadRunError::Read { path: self.path.join(super::Chain::FILE), source })
            }
        }
    }

    /// Its complete checkpoints, the one with the fewest steps first.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        checkpoints(&self.path)
    }

    /// The checkpoint with the lowest held-out loss.
    pub fn best_checkpoint(&self) -> Option<Checkpoint> {
        best_checkpoint(&self.path)
    }

    /// Questions and answers of each moment, by its name: `base`, `tuned`.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn samples(&self) -> Result<BTreeMap<String, Vec<SampleLine>>, ReadRunError> {
        let folder = self.path.join(StoredRun::SAMPLES);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(ReadRunError::Read { path: folder, source }),
        };
        let mut moments = BTreeMap::new();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_some_and(|end| end == "jsonl") && !stem.starts_with('.') {
                moments.insert(stem, read_lines(&path)?);
            }
        }
        Ok(moments)
    }
}

/// A line of `samples/MOMENT.jsonl`.
#[derive(Clone, Debug, Eq, PartialEq, serde::Deserialize, serde::Serialize)]
pub struct SampleLine {
    /// What was asked.
    pub prompt: String,
    /// What the model said.
    pub answer: String,
}
