//! What may be done to stored runs: removing them, or what of them nobody needs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::dir::take_lock;
use super::{
    Marks, OpenRunError, ReadRunError, Standing, StoredRun, checkpoint, directory, newest_product,
};
use crate::diagnostic::{Diagnostic, Text, msg};

/// Why a stored run was left as it is.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum ChangeRunError {
    /// A process works on it.
    Busy {
        /// The run directory.
        path: PathBuf,
    },
    /// Somebody wants to keep it.
    Pinned {
        /// The run directory.
        path: PathBuf,
    },
    /// Something stands where it would go.
    Exists {
        /// The file or folder.
        path: PathBuf,
    },
    /// A packed run is not whole, or not one at all.
    Archive {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Text,
    },
    /// A packed run needs more room than there is.
    Room {
        /// Where it was to go.
        path: PathBuf,
        /// Bytes of its files.
        bytes: u64,
    },
    /// What it says about itself cannot be read.
    #[error(transparent)]
    Unreadable(#[from] ReadRunError),
    /// The operating system does not let us.
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What it says.
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
    /// The message as the user sees it.
    pub fn diagnostic(&self) -> Diagnostic {
        let message = Diagnostic::error(self.text());
        match self {
            Self::Busy { .. } => message.help(msg!(WAIT_OR_STOP)),
            Self::Pinned { .. } => message.help(msg!(PIN_OFF)),
            Self::Exists { .. } => message.note(msg!(NOTHING_REPLACED)),
            Self::Archive { .. } => message.note(msg!(NOTHING_KEPT)),
            Self::Room { .. } => message.note(msg!(NOTHING_UNPACKED)),
            Self::Unreadable(error) => error.diagnostic(),
            Self::Io { source, .. } => message.note(source),
        }
    }
}

/// Makes an error of the operating system one about `path`.
pub(super) fn at(path: &Path) -> impl FnOnce(io::Error) -> ChangeRunError {
    let path = path.to_path_buf();
    move |source| ChangeRunError::Io { path, source }
}

/// Removes the run at `path` with everything in it.
///
/// # Errors
/// When it is pinned, a process works on it, or it cannot be removed.
pub fn remove_run(path: &Path) -> Result<(), ChangeRunError> {
    let _lock = unpinned(path)?;
    // Out of sight first, so that no half of it is ever taken for a run.
    let hidden = path.with_file_name(format!(".{}.removed", directory(path)));
    fs::rename(path, &hidden).map_err(at(path))?;
    fs::remove_dir_all(&hidden).map_err(at(&hidden))
}

/// The lock of a run that nobody wants to keep.
fn unpinned(path: &Path) -> Result<File, ChangeRunError> {
    if Marks::load(path)?.pinned {
        return Err(ChangeRunError::Pinned { path: path.to_path_buf() });
    }
    Ok(take_lock(path)?)
}

/// What nobody needs of a run.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Waste {
    /// All of it: it ended early, before anything was saved.
    Run,
    /// These checkpoints of a finished run: neither the newest nor the best.
    Checkpoints(Vec<PathBuf>),
}

/// What nobody needs of a run. Nothing of a pinned or a running one, and nothing that the run can go on from.
///
/// # Errors
/// When its marks cannot be read.
pub fn waste(run: &StoredRun) -> Result<Option<Waste>, ReadRunError> {
    if run.marks()?.pinned {
        return Ok(None);
    }
    match run.standing() {
        Standing::Running | Standing::Interrupted => Ok(None),
        Standing::Failed | Standing::Diverged | Standing::Killed => {
            let is_empty = run.checkpoints().is_empty() && newest_product(run.path()).is_none();
            Ok(is_empty.then_some(Waste::Run))
        }
        Standing::Done => {
            let best = run.best_checkpoint().map(|best| best.path);
            let mut old = run.checkpoints();
            old.pop();
            let old = old.into_iter().map(|one| one.path).filter(|one| Some(one) != best.as_ref());
            let old: Vec<PathBuf> = old.collect();
            Ok((!old.is_empty()).then_some(Waste::Checkpoints(old)))
        }
    }
}

/// Removes what nobody needs of the run at `path`, as [`waste`] finds it once no other process can begin to
/// work on the run.
///
/// # Errors
/// When a process works on it, or something cannot be removed.
pub fn remove_waste(path: &Path) -> Result<(), ChangeRunError> {
    let lock = take_lock(path)?;
    let run = StoredRun::open_locked(path)?;
    match waste(&run)? {
        None => Ok(()),
        Some(Waste::Run) => {
            drop(lock);
            remove_run(path)
        }
        Some(Waste::Checkpoints(old)) => {
            old.iter().try_for_each(|one| checkpoint::remove(one).map_err(at(one)))
        }
    }
}

/// Bytes of all files in a folder, or of a file. What cannot be read counts nothing.
pub fn bytes_in(path: &Path) -> u64 {
    let Ok(found) = fs::symlink_metadata(path) else { return 0 };
    if !found.is_dir() {
        return found.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| bytes_in(&entry.path())).sum()
}
