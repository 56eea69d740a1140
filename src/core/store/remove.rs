//! Removing runs, and the checkpoints of finished runs that nothing needs.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Annotations, RunState, StoredRun, newest_export};
use crate::diagnostic::Diagnostic;
use crate::records::{OpenRunError, ReadRunError, dir_name, remove_checkpoint, take_lock};

/// A stored run could not be removed, packed or unpacked.
#[derive(Debug, thiserror::Error)]
pub enum ChangeRunError {
    /// Another process trains the run.
    #[error("{}: another process works on this run", path.display())]
    Busy {
        /// The run directory.
        path: PathBuf,
    },
    /// The run is pinned.
    #[error("the run `{}` is pinned", path.display())]
    Pinned {
        /// The run directory.
        path: PathBuf,
    },
    /// The target exists.
    #[error("`{}` is there already", path.display())]
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// A packed run is damaged, or the file is not a packed run.
    #[error("{}: {problem}", path.display())]
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The disk is too full to unpack the run.
    #[error("{}: has no room for {bytes} bytes", path.display())]
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
    #[error("{}: cannot be changed", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
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
        let message = |code| Diagnostic::error(code, self.to_string());
        match self {
            Self::Busy { .. } => message("ST6007")
                .help("wait until it is done, or stop it with Ctrl-C in its terminal"),
            Self::Pinned { .. } => {
                message("ST6048").help("`statetune runs pin RUN --off` lets it go")
            }
            Self::Exists { .. } => message("ST6049").note("nothing that exists is replaced"),
            Self::Archive { .. } => message("ST6050").note("nothing of it was kept"),
            Self::Room { .. } => message("ST6052").note("nothing of it was unpacked"),
            Self::Unreadable(error) => error.diagnostic(),
            Self::Io { source, .. } => message("ST6001").note(source.to_string()),
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
    // Hidden first: a half-removed directory must not pass for a run.
    let hidden = path.with_file_name(format!(".{}.removed", dir_name(path)));
    fs::rename(path, &hidden).map_err(at(path))?;
    fs::remove_dir_all(&hidden).map_err(at(&hidden))
}

/// The part of a run that `prune` removes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Prunable {
    /// The whole run: it ended early, without a checkpoint or exported file.
    Run,
    /// Checkpoints of a finished run other than the newest and the best.
    Checkpoints(Vec<PathBuf>),
}

/// What `prune` may remove of a run: nothing of a pinned, running or interrupted run, and no run with a checkpoint to
/// resume from.
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
            let is_empty = run.checkpoints().is_empty() && newest_export(run.path()).is_none();
            Ok(is_empty.then_some(Prunable::Run))
        }
        RunState::Done => {
            let best = run.best_checkpoint().map(|best| best.path);
            let mut old = run.checkpoints();
            old.pop();
            let old = old.into_iter().map(|one| one.path).filter(|one| Some(one) != best.as_ref());
            let old: Vec<PathBuf> = old.collect();
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
            old.iter().try_for_each(|one| remove_checkpoint(one).map_err(at(one)))
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
