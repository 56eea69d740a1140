//! Removing runs, and the checkpoints of finished runs that nothing needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Annotations, RunState, StoredRun};
use crate::diagnostic::{Diagnostic, Text, msg};
use crate::records::{
    CHECKPOINTS, OpenRunError, ReadRunError, RunDir, holder_note, remove_folder, take_lock,
};

/// A stored run could not be removed, packed or unpacked.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum ChangeRunError {
    /// Another process trains the run.
    Busy {
        /// The run directory.
        path: PathBuf,
    },
    /// The run is pinned.
    Pinned {
        /// The run directory.
        path: PathBuf,
    },
    /// The target exists.
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// A packed run is damaged, or the file is not a packed run.
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Text,
    },
    /// The disk is too full to unpack the run.
    Room {
        /// The target folder.
        path: PathBuf,
        /// Bytes of the unpacked files.
        bytes: u64,
    },
    /// A record of the run could not be read.
    #[error(transparent)]
    Unreadable(#[from] ReadRunError),
    /// The operating system refused.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
}

impl ChangeRunError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Busy { path } => msg!(RUN_IS_BUSY, path),
            Self::Pinned { path } => msg!(RUN_IS_PINNED, path),
            Self::Exists { path } => msg!(PATH_IS_THERE, path),
            Self::Archive { path, problem } => msg!(PACK_IS_DAMAGED, path, problem),
            Self::Room { path, bytes } => msg!(NO_ROOM, path, bytes),
            Self::Unreadable(error) => error.text(),
            Self::Io { path, .. } => msg!(CANNOT_CHANGE_RUN, path),
        }
    }
}

impl From<OpenRunError> for ChangeRunError {
    fn from(error: OpenRunError) -> Self {
        match error {
            OpenRunError::Busy { path } => Self::Busy { path },
            OpenRunError::Unreadable(error) => Self::Unreadable(error),
            OpenRunError::Dir(error) => Self::Io { path: error.path, source: error.source },
        }
    }
}

impl ChangeRunError {
    /// The message for the user.
    pub fn diagnostic(&self) -> Diagnostic {
        let message = Diagnostic::error(self.text());
        match self {
            Self::Busy { path } => {
                let message = holder_note(path).into_iter().fold(message, Diagnostic::note);
                message.help(msg!(WAIT_OR_STOP, run = path))
            }
            Self::Pinned { path } => message.help(msg!(PIN_OFF, path)),
            Self::Exists { .. } => message.note(msg!(NOTHING_REPLACED)),
            Self::Archive { .. } => message.note(msg!(NOTHING_KEPT)),
            Self::Room { .. } => message.note(msg!(NOTHING_UNPACKED)),
            Self::Unreadable(error) => error.diagnostic(),
            Self::Io { source, .. } => message.note(source),
        }
    }
}

/// Adds `path` to an error of the operating system.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> ChangeRunError {
    let path = path.to_path_buf();
    move |source| ChangeRunError::Io { path, source }
}

/// Removes the run at `path`.
///
/// # Errors
/// When the run is pinned, another process trains it, or the directory cannot be removed.
pub fn remove_run(path: &Path) -> Result<(), ChangeRunError> {
    if Annotations::load(path)?.pinned {
        return Err(ChangeRunError::Pinned { path: path.to_path_buf() });
    }
    let _lock = take_lock(path)?;
    remove_folder(path).map_err(at(path))
}

/// The part of a run that `prune` removes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Prunable {
    /// The whole run: it ended early, without a checkpoint or exported file.
    Run,
    /// Checkpoints of a finished run other than the newest and the best.
    Checkpoints(Vec<PathBuf>),
}

/// What `prune` may remove of a run: nothing of a pinned, running or interrupted run, and no run that saved anything.
///
/// # Errors
/// When the annotations cannot be read.
pub fn prunable(run: &StoredRun) -> Result<Option<Prunable>, ReadRunError> {
    if run.annotations()?.pinned {
        return Ok(None);
    }
    match run.state() {
        RunState::Running | RunState::Interrupted => Ok(None),
        RunState::Failed | RunState::Diverged | RunState::Killed => {
            let is_empty = |folder: &str| {
                fs::read_dir(run.path().join(folder))
                    .map_or(true, |mut files| files.next().is_none())
            };
            // Whatever is there counts, whether it can be read or not.
            let nothing_saved = is_empty(CHECKPOINTS) && is_empty(RunDir::EXPORT);
            Ok(nothing_saved.then_some(Prunable::Run))
        }
        RunState::Done => {
            // Which one is the newest is unknown when one cannot be read.
            if !run.damaged_checkpoints().is_empty() {
                return Ok(None);
            }
            let best = run.best_checkpoint();
            let mut old = run.checkpoints();
            old.pop();
            let old = old.into_iter().filter(|one| Some(one.name()) != best.as_deref());
            let old: Vec<PathBuf> = old.map(|one| one.path).collect();
            Ok((!old.is_empty()).then_some(Prunable::Checkpoints(old)))
        }
    }
}

/// Locks the run at `path` and removes what [`prunable`] returns.
///
/// # Errors
/// When another process trains the run, or a file cannot be removed.
pub fn prune_run(path: &Path) -> Result<(), ChangeRunError> {
    let lock = take_lock(path)?;
    let run = StoredRun::open_locked(path)?;
    match prunable(&run)? {
        None => Ok(()),
        Some(Prunable::Run) => {
            drop(lock);
            remove_run(path)
        }
        Some(Prunable::Checkpoints(old)) => {
            old.iter().try_for_each(|one| remove_folder(one).map_err(at(one)))
        }
    }
}

/// Bytes of a file, or of all files in a folder. Unreadable files count as 0.
pub fn disk_usage(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    if !found.is_dir() {
        return found.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| disk_usage(&entry.path())).sum()
}
