//! Errors of writing and reading run directories.

use std::io;
use std::path::PathBuf;

use crate::diagnostic::Diagnostic;
use crate::tensorfile::WeightsError;

use super::RunRecord;

/// A file of a run directory could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}: cannot write to the run directory", path.display())]
pub struct RunDirError {
    /// The file or folder.
    pub path: PathBuf,
    /// The operating system's error.
    pub source: io::Error,
}

/// A run directory could not be opened for training.
#[derive(Debug, thiserror::Error)]
pub enum OpenRunError {
    /// Another process trains the run.
    #[error("{}: another process works on this run", path.display())]
    Busy {
        /// The run directory.
        path: PathBuf,
    },
    /// `status.json` could not be read.
    #[error(transparent)]
    Unreadable(#[from] ReadRunError),
    /// The directory is not writable.
    #[error(transparent)]
    Dir(#[from] RunDirError),
}

/// A record of a stored run could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadRunError {
    /// The operating system refused.
    #[error("{}: cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The content is not valid.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// Another version of this program wrote the run.
    #[error("{}: has schema `{found}`, expected `{}`", path.display(), RunRecord::SCHEMA)]
    Version {
        /// The file.
        path: PathBuf,
        /// The schema that the file names.
        found: String,
    },
}

impl ReadRunError {
    /// The message for the user.
    pub fn diagnostic(&self) -> Diagnostic {
        let message = Diagnostic::error("ST6042", self.to_string());
        match self {
            Self::Read { source, .. } => message.note(source.to_string()),
            Self::Damaged { .. } => message,
            Self::Version { .. } => message.note("another version of statetune wrote this run"),
        }
    }
}

/// A checkpoint could not be written.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// A tensor file.
    #[error(transparent)]
    Tensors(#[from] WeightsError),
    /// Another file of the run directory.
    #[error(transparent)]
    Dir(#[from] RunDirError),
}

/// A checkpoint or an incident could not be read.
#[derive(Debug, thiserror::Error)]
pub enum LoadCheckpointError {
    /// A tensor file.
    #[error(transparent)]
    Tensors(#[from] WeightsError),
    /// The JSON record.
    #[error("{}: {problem}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
}
