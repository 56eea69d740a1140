//! Errors of writing and reading run directories.

use std::io;
use std::path::PathBuf;

use super::names::{dir_name, is_checkpoint_name};
use crate::diagnostic::{Diagnostic, Text, msg};
use crate::tensorfile::WeightsError;

/// A file of a run directory could not be written.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub struct RunDirError {
    /// The file or folder.
    pub path: PathBuf,
    /// The operating system's error.
    pub source: io::Error,
}

impl RunDirError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        msg!(CANNOT_WRITE_RUN_DIRECTORY, path = self.path)
    }
}

/// A run directory could not be opened for training.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum OpenRunError {
    /// Another process trains the run.
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

impl OpenRunError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Busy { path } => msg!(RUN_IS_BUSY, path),
            Self::Unreadable(error) => error.text(),
            Self::Dir(error) => error.text(),
        }
    }
}

/// A record of a stored run could not be read.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum ReadRunError {
    /// The operating system refused.
    Read {
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// The content is not valid.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Text,
    },
    /// Another version of this program wrote the run.
    Version {
        /// The file.
        path: PathBuf,
        /// The schema that the file names.
        found: String,
        /// The schema that this version reads.
        expected: &'static str,
    },
}

impl ReadRunError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Read { path, .. } => msg!(CANNOT_READ_RUN, path),
            Self::Damaged { path, problem } => msg!(RUN_IS_DAMAGED, path, problem),
            Self::Version { path, found, expected } => msg!(RUN_SCHEMA, path, found, expected),
        }
    }

    /// The message for the user.
    pub fn diagnostic(&self) -> Diagnostic {
        let message = Diagnostic::error(self.text());
        match self {
            Self::Read { source, .. } => message.note(source),
            Self::Damaged { .. } => message,
            Self::Version { .. } => message.note(msg!(WRITTEN_BY_ANOTHER_VERSION)),
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
#[error("{}", self.text())]
pub enum LoadCheckpointError {
    /// A tensor file.
    #[error(transparent)]
    Tensors(#[from] WeightsError),
    /// The JSON record.
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: Text,
    },
}

impl LoadCheckpointError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Tensors(error) => error.text(),
            Self::Damaged { path, problem } => msg!(CHECKPOINT_IS_DAMAGED, path, problem),
        }
    }

    /// The message for the user.
    pub fn diagnostic(&self) -> Diagnostic {
        let message = Diagnostic::error(self.text());
        let path = match self {
            Self::Tensors(error) => error.path(),
            Self::Damaged { path, .. } => path,
        };
        let message = match std::error::Error::source(self) {
            Some(cause) => message.note(Text::cause(cause)),
            None => message,
        };
        match path.parent().filter(|folder| is_checkpoint_name(&dir_name(folder))) {
            Some(folder) => message.help(msg!(DAMAGED_CHECKPOINT_IN_THE_WAY, folder)),
            None => message,
        }
    }
}
