//! Why a run ended early, in one type, with its exit code.

use std::path::{Path, PathBuf};

use crate::kernels::KernelError;
use crate::model::ModelError;
use crate::output::{AlgebraError, PassportError};
use crate::train::TrainError;
use statetune_core::data::DataError;
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::records::{CheckpointError, LoadCheckpointError, OpenRunError, RunDirError};
use statetune_core::tensorfile::WeightsError;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum RunError {
    /// The documents or the vocabulary.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The checkpoint to start from.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The documents are not the ones that are meant.
    Documents(Box<Diagnostic>),
    /// Weights, tokenizer and experiment file contradict each other.
    Contradiction(Box<Diagnostic>),
    /// A product belongs to other weights.
    Foreign(Box<Diagnostic>),
    /// The passport of a product.
    #[error(transparent)]
    Passport(#[from] PassportError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Generation.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The run directory.
    #[error(transparent)]
    Dir(#[from] RunDirError),
    /// A checkpoint to go on from.
    #[error(transparent)]
    Checkpoint(#[from] LoadCheckpointError),
    /// To continue would not give the same run.
    Resume(Box<Diagnostic>),
    /// Another process works on the run.
    #[error(transparent)]
    Busy(#[from] OpenRunError),
    /// Numbers are not finite any more.
    Diverged(Box<Diagnostic>),
    /// More memory is needed than there is.
    WontFit(Box<Diagnostic>),
    /// Memory ran out.
    OutOfMemory {
        /// What libtorch says.
        message: String,
    },
    /// What ended a run that can be continued once it is mended.
    Within {
        /// The run directory.
        run: PathBuf,
        /// What ended it.
        error: Box<RunError>,
    },
    /// A product.
    #[error(transparent)]
    Output(#[from] WeightsError),
}

impl RunError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Documents(diagnostic)
            | Self::Contradiction(diagnostic)
            | Self::Foreign(diagnostic)
            | Self::Resume(diagnostic)
            | Self::Diverged(diagnostic)
            | Self::WontFit(diagnostic) => diagnostic.message.clone(),
            Self::Data(error) => error.text(),
            Self::Model(error) => error.text(),
            Self::Passport(error) => error.text(),
            Self::Train(error) => error.text(),
            Self::Kernel(error) => error.text(),
            Self::Dir(error) => error.text(),
            Self::Checkpoint(error) => error.text(),
            Self::Busy(error) => error.text(),
            Self::OutOfMemory { message } => msg!(MEMORY_RAN_OUT, message = Text::library(message)),
            Self::Within { error, .. } => error.text(),
            Self::Output(error) => error.text(),
        }
    }
}

impl From<CheckpointError> for RunError {
    fn from(error: CheckpointError) -> Self {
        match error {
            CheckpointError::Tensors(error) => Self::Output(error),
            CheckpointError::Dir(error) => Self::Dir(error),
        }
    }
}

impl From<AlgebraError> for RunError {
    fn from(error: AlgebraError) -> Self {
        let refusal = Diagnostic::error(error.text());
        match error {
            AlgebraError::State(error) => Self::Model(error),
            AlgebraError::Passport(error) => Self::Passport(error),
            AlgebraError::Shapes { .. } => Self::Contradiction(Box::new(refusal)),
            AlgebraError::Bases { .. } => {
                Self::Foreign(Box::new(refusal.note(msg!(STATES_UNRELATED))))
            }
        }
    }
}

impl RunError {
    /// The same as what ended the run in `run`; whoever mends the disk, the memory or the data can continue it.
    pub(super) fn within(self, run: &Path) -> RunError {
        match self.exit_code() {
            ExitCode::Disk | ExitCode::OutOfMemory | ExitCode::Data => {
                RunError::Within { run: run.to_path_buf(), error: Box::new(self) }
            }
            _ => self,
        }
    }

    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Within { error, .. } => error.exit_code(),
            Self::Data(DataError::Io { .. }) | Self::Dir(_) => ExitCode::Disk,
            Self::Output(WeightsError::Write { .. }) => ExitCode::Disk,
            Self::Output(_) => ExitCode::Model,
            Self::Foreign(_) => ExitCode::MountRefused,
            Self::Busy(OpenRunError::Busy { .. }) => ExitCode::RunBusy,
            Self::Busy(OpenRunError::Dir(_)) => ExitCode::Disk,
            Self::Busy(OpenRunError::Unreadable(_)) => ExitCode::ResumeRefused,
            Self::Checkpoint(_) | Self::Resume(_) => ExitCode::ResumeRefused,
            Self::WontFit(_) => ExitCode::WontFit,
            Self::OutOfMemory { .. } => ExitCode::OutOfMemory,
            Self::Data(DataError::Exists { .. }) => ExitCode::Invalid,
            Self::Data(_) | Self::Documents(_) | Self::Train(TrainError::Data(_)) => ExitCode::Data,
            Self::Model(_) | Self::Contradiction(_) | Self::Passport(_) => ExitCode::Model,
            Self::Diverged(_) | Self::Train(TrainError::LossScale { .. }) => ExitCode::Diverged,
            Self::Train(TrainError::Kernel(_)) | Self::Kernel(_) => ExitCode::Device,
        }
    }

    /// The message as the user sees it.
    pub fn diagnostic(&self) -> Diagnostic {
        let with_cause = |message: Text, error: &dyn std::error::Error| {
            let message = Diagnostic::error(message);
            match error.source() {
                Some(cause) => message.note(Text::cause(cause)),
                None => message,
            }
        };
        let with_hint = |message: Diagnostic, hint: Option<Text>| match hint {
            Some(hint) => message.help(hint),
            None => message,
        };
        match self {
            Self::Within { run, error } => error.diagnostic().help(msg!(SAVED_IS_INTACT, run)),
            Self::Data(error) | Self::Train(TrainError::Data(error)) => error.diagnostic(),
            Self::Model(error) => with_hint(with_cause(error.text(), error), error.hint()),
            Self::Contradiction(diagnostic)
            | Self::Foreign(diagnostic)
            | Self::Resume(diagnostic)
            | Self::Diverged(diagnostic)
            | Self::WontFit(diagnostic)
            | Self::Documents(diagnostic) => (**diagnostic).clone(),
            Self::Passport(PassportError::Product(error)) => {
                with_hint(with_cause(error.text(), error), error.hint())
            }
            Self::Passport(error) => with_cause(error.text(), error),
            Self::Train(error @ TrainError::LossScale { .. }) => Diagnostic::error(error.text())
                .note(msg!(STEP_CHANGED_NOTHING))
                .help(msg!(USE_BF16)),
            Self::Train(TrainError::Kernel(error)) | Self::Kernel(error) => {
                with_cause(error.text(), error)
            }
            Self::Dir(error) => with_cause(error.text(), error),
            Self::Busy(OpenRunError::Dir(error)) => {
                with_cause(error.text(), error).help(msg!(FREE_DISK))
            }
            Self::Busy(OpenRunError::Unreadable(error)) => error.diagnostic(),
            Self::Busy(error) => with_cause(error.text(), error).help(msg!(WAIT_OR_STOP)),
            Self::Checkpoint(error) => with_cause(error.text(), error).help(msg!(OLDER_CHECKPOINT)),
            Self::OutOfMemory { .. } => Diagnostic::error(self.text()).help(msg!(NEED_LESS_MEMORY)),
            Self::Output(error) => with_cause(error.text(), error),
        }
    }
}
