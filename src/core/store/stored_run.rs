//! A stored run, read from its directory without tensors.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::find_run;
use crate::diagnostic::{Diagnostic, Text};
use crate::records::{
    Chain, Checkpoint, EventLine, Link, Lock, Metrics, PastSettings, ReadRunError, RunDir,
    RunRecord, SkippedSample, Status, best_checkpoint_name, checkpoint_folders, checkpoints,
    dir_name, is_busy, name_and_id, read_chain, read_copies, read_documents, read_last_line,
    read_metrics, read_records, run_of_settings,
};
use crate::resolved_settings::ResolvedSettings;

/// State of a run: its recorded status, checked against the lock.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum RunState {
    /// A process trains the run.
    Running,
    /// All steps are done.
    Done,
    /// Stopped on request; can be resumed.
    Interrupted,
    /// The process was killed: the status is still running, but the lock is free. Can be resumed.
    Killed,
    /// Stopped with an error.
    Failed,
    /// Loss, gradients or parameters became NaN or infinite.
    Diverged,
}

impl RunState {
    fn new(status: &Status, is_locked: bool) -> RunState {
        match status {
            Status::Running { .. } if is_locked => RunState::Running,
            Status::Running { .. } => RunState::Killed,
            Status::Done => RunState::Done,
            Status::Interrupted => RunState::Interrupted,
            Status::Failed { .. } => RunState::Failed,
            Status::Diverged { .. } => RunState::Diverged,
        }
    }

    /// The name in output and in filters.
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

/// State and recorded status of the run at `path`, which need not have a readable status: a locked run counts as
/// running, any other as killed.
pub fn run_state(path: &Path) -> (RunState, Option<Status>) {
    if is_busy(path) {
        return (RunState::Running, Status::load(path));
    }
    match Status::load(path) {
        // Another process may have opened the run between both checks.
        Some(Status::Running { .. }) | None if is_busy(path) => {
            (RunState::Running, Status::load(path))
        }
        None => (RunState::Killed, None),
        Some(status) => (RunState::new(&status, false), Some(status)),
    }
}

/// A stored run. Opening reads `status.json` only; methods read other records when called.
#[derive(Clone, Debug)]
pub struct StoredRun {
    path: PathBuf,
    record: RunRecord,
    state: RunState,
}

impl StoredRun {
    /// Opens the run in this directory.
    ///
    /// # Errors
    /// When `status.json` cannot be read, is not valid, or has another schema.
    pub fn open(path: &Path) -> Result<StoredRun, ReadRunError> {
        let first = RunRecord::load(path)?;
        let is_running = |record: &RunRecord| matches!(record.status, Status::Running { .. });
        if !is_running(&first) {
            return Ok(StoredRun::new(path, first, false));
        }
        let busy = is_busy(path);
        // The run may have ended between both reads.
        Ok(StoredRun::new(path, RunRecord::load(path)?, busy))
    }

    /// Opens a run whose lock this process holds.
    ///
    /// # Errors
    /// As [`StoredRun::open`].
    pub(super) fn open_locked(path: &Path) -> Result<StoredRun, ReadRunError> {
        Ok(StoredRun::new(path, RunRecord::load(path)?, false))
    }

    fn new(path: &Path, record: RunRecord, busy: bool) -> StoredRun {
        let state = RunState::new(&record.status, busy);
        StoredRun { path: path.to_path_buf(), record, state }
    }

    /// Finds a run by name, as [`find_run`], and opens it.
    ///
    /// # Errors
    /// A message for the user when no run has the name, or the run cannot be read.
    pub fn find(runs_dir: &Path, name: &str) -> Result<StoredRun, Box<Diagnostic>> {
        let path = find_run(runs_dir, name)?;
        StoredRun::open(&path).map_err(|error| Box::new(error.diagnostic()))
    }

    /// The run directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory's name.
    pub fn directory(&self) -> String {
        dir_name(&self.path)
    }

    /// The experiment's name, from the directory's name.
    pub fn name(&self) -> String {
        name_and_id(&self.path).0
    }

    /// The run's id, from the directory's name.
    pub fn id(&self) -> String {
        name_and_id(&self.path).1
    }

    /// The content of `status.json`.
    pub fn record(&self) -> &RunRecord {
        &self.record
    }

    /// The run's state.
    pub fn state(&self) -> RunState {
        self.state
    }

    /// Optimizer steps done: the larger of the last line of `metrics.jsonl` and `status.json`.
    ///
    /// # Errors
    /// When `metrics.jsonl` cannot be read.
    pub fn steps(&self) -> Result<u64, ReadRunError> {
        // The status of a finished run is complete.
        if self.state == RunState::Done {
            return Ok(self.record.steps);
        }
        let reported = self.last_metrics()?.map_or(0, |metrics| metrics.step);
        Ok(reported.max(self.record.steps))
    }

    /// Tags, note and pin.
    ///
    /// # Errors
    /// When `marks.toml` cannot be read.
    pub fn annotations(&self) -> Result<Annotations, ReadRunError> {
        Annotations::load(&self.path)
    }

    /// Every setting with its origin.
    ///
    /// # Errors
    /// When `resolved.toml` cannot be read.
    pub fn settings(&self) -> Result<ResolvedSettings, ReadRunError> {
        StoredRun::settings_in(&self.path)
    }

    /// The settings in `folder`: a run directory or one of its past settings. Paths are absolute.
    ///
    /// # Errors
    /// When `resolved.toml` cannot be read.
    pub fn settings_in(folder: &Path) -> Result<ResolvedSettings, ReadRunError> {
        let path = folder.join(RunDir::SETTINGS);
        let text = fs::read_to_string(&path)
            .map_err(|source| ReadRunError::Read { path: path.clone(), source })?;
        let mut settings = ResolvedSettings::parse(text)
            .map_err(|problem| ReadRunError::Damaged { path, problem })?;
        settings.resolve_paths(run_of_settings(folder));
        Ok(settings)
    }

    /// Inputs and environment; `None` until the inputs were read.
    pub fn lock(&self) -> Option<Lock> {
        Lock::load(&self.path)
    }

    /// The folder with settings and lock of the first steps, and the number of these steps when settings changed or
    /// documents were skipped later.
    ///
    /// # Errors
    /// When the skipped samples cannot be read.
    pub fn first_steps(&self) -> Result<(PathBuf, Option<u64>), ReadRunError> {
        let past = PastSettings::all(&self.path).into_iter().next();
        let skipped = SkippedSample::load(&self.path)?;
        let documents = skipped.iter().filter(|one| matches!(one, SkippedSample::Document { .. }));
        let documents = documents.filter(|one| !one.is_from_start());
        let changed = past.as_ref().map(|past| past.steps);
        let steps = documents.map(SkippedSample::from_step).chain(changed).min();
        Ok((past.map_or_else(|| self.path.clone(), |past| past.path), steps))
    }

    /// The reported intervals, as [`read_metrics`].
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn metrics(&self) -> Result<Vec<Metrics>, ReadRunError> {
        read_metrics(&self.path)
    }

    /// The last reported interval, without its times; reads only the end of `metrics.jsonl`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn last_metrics(&self) -> Result<Option<Metrics>, ReadRunError> {
        read_last_line(&self.path.join(Metrics::FILE))
    }

    /// The events, without broken lines.
    ///
    /// # Errors
    /// When `events.jsonl` cannot be read.
    pub fn events(&self) -> Result<Vec<EventLine>, ReadRunError> {
        let mut events: Vec<EventLine> = read_records(&self.path.join(EventLine::FILE))?;
        for line in &mut events {
            line.event.resolve_path(&self.path);
        }
        Ok(events)
    }

    /// The digests of the steps; empty before the first step.
    ///
    /// # Errors
    /// When `chain.bin` cannot be read.
    pub fn chain(&self) -> Result<Vec<Link>, ReadRunError> {
        match read_chain(&self.path) {
            Ok(links) => Ok(links),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(ReadRunError::Read { path: self.path.join(Chain::FILE), source }),
        }
    }

    /// The copies of each document in the training data, as [`read_copies`].
    ///
    /// # Errors
    /// When `copies.bin` cannot be read.
    pub fn copies(&self) -> Result<Option<Vec<u32>>, ReadRunError> {
        read_copies(&self.path)
    }

    /// The digests of the documents, as [`read_documents`].
    ///
    /// # Errors
    /// When `documents.bin` cannot be read.
    pub fn documents(&self) -> Result<Option<Vec<u64>>, ReadRunError> {
        read_documents(&self.path)
    }

    /// The complete checkpoints, sorted by steps.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        checkpoints(&self.path)
    }

    /// The names of checkpoints that cannot be read.
    pub fn damaged_checkpoints(&self) -> Vec<String> {
        let folders = checkpoint_folders(&self.path).into_iter();
        let damaged = folders.filter(|folder| Checkpoint::open(folder).is_err());
        damaged.map(|folder| dir_name(&folder)).collect()
    }

    /// The name of the checkpoint of the best evaluation.
    pub fn best_checkpoint(&self) -> Option<String> {
        best_checkpoint_name(&self.path)
    }

    /// Prompts and answers by the file name of `samples/`: `base`, `tuned`, `step-0000120`.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn samples(&self) -> Result<BTreeMap<String, Vec<SampleLine>>, ReadRunError> {
        let folder = self.path.join(RunDir::SAMPLES);
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(BTreeMap::new()),
            Err(source) => return Err(ReadRunError::Read { path: folder, source }),
        };
        let mut samples = BTreeMap::new();
        for path in entries.filter_map(|entry| Some(entry.ok()?.path())) {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            if path.extension().is_some_and(|end| end == "jsonl") && !stem.starts_with('.') {
                samples.insert(stem, read_records(&path)?);
            }
        }
        Ok(samples)
    }
}

/// A line of a file in `samples/`.
#[derive(Clone, Debug, Eq, PartialEq, Deserialize, Serialize)]
pub struct SampleLine {
    /// The prompt.
    pub prompt: String,
    /// The model's answer.
    pub answer: String,
}

/// Tags, note and pin that the user added to a run: the content of `marks.toml`. Tags of the experiment file are not
/// included.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Annotations {
    /// Whether `prune` and `rm` must keep the run.
    #[serde(default)]
    pub pinned: bool,
    /// Tags.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// The note.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Annotations {
    /// Name of the file.
    pub const FILE: &str = "marks.toml";

    /// The annotations of the run at `path`; empty when the file is missing.
    ///
    /// # Errors
    /// When the file cannot be read or is not valid.
    pub fn load(path: &Path) -> Result<Annotations, ReadRunError> {
        let file = path.join(Annotations::FILE);
        match fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text).map_err(|error| ReadRunError::Damaged {
                path: file,
                problem: Text::library(error.message()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Annotations::default()),
            Err(source) => Err(ReadRunError::Read { path: file, source }),
        }
    }
}
