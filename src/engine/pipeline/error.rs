//! Why a run ended early, in one type, with its exit code.

use std::path::{Path, PathBuf};

use crate::kernels::KernelError;
use crate::model::ModelError;
use crate::output::{AlgebraError, PassportError};
use crate::train::TrainError;
use statetune_core::data::DataError;
use statetune_core::diagnostic::Diagnostic;
use statetune_core::exit::ExitCode;
use statetune_core::records::{CheckpointError, LoadCheckpointError, OpenRunError, RunDirError};
use statetune_core::tensorfile::WeightsError;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The documents or the vocabulary.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The checkpoint to start from.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The documents are not the ones that are meant.
    #[error("{}", .0.message)]
    Documents(Box<Diagnostic>),
    /// Weights, tokenizer and experiment file contradict each other.
    #[error("{}", .0.message)]
    Contradiction(Box<Diagnostic>),
    /// A product belongs to other weights.
    #[error("{}", .0.message)]
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
    #[error("{}", .0.message)]
    Resume(Box<Diagnostic>),
    /// Another process works on the run.
    #[error(transparent)]
    Busy(#[from] OpenRunError),
    /// Numbers are not finite any more.
    #[error("{}", .0.message)]
    Diverged(Box<Diagnostic>),
    /// More memory is needed than there is.
    #[error("{}", .0.message)]
    WontFit(Box<Diagnostic>),
    /// Memory ran out.
    #[error("memory ran out: {message}")]
    OutOfMemory {
        /// What libtorch says.
        message: String,
    },
    /// What ended a run that can be continued once it is mended.
    #[error("{error}")]
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
        let refusal = |code| Diagnostic::error(code, error.to_string());
        match error {
            AlgebraError::State(error) => Self::Model(error),
            AlgebraError::Passport(error) => Self::Passport(error),
            AlgebraError::Shapes { .. } => Self::Contradiction(Box::new(refusal("ST8005"))),
            AlgebraError::Bases { .. } => Self::Foreign(Box::new(
                refusal("ST8006").note("numbers of such states have nothing to do with each other"),
            )),
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
        let with_cause = |code: &'static str, error: &dyn std::error::Error| {
            let message = Diagnostic::error(code, error.to_string());
            match error.source() {
                Some(cause) => message.note(cause.to_string()),
                None => message,
            }
        };
        let with_hint = |message: Diagnostic, hint: Option<&'static str>| match hint {
            Some(hint) => message.help(hint),
            None => message,
        };
        match self {
            Self::Within { run, error } => error.diagnostic().help(format!(
                "what was saved is intact; when this is mended: `statetune resume {}`",
                run.display()
            )),
            Self::Data(error) | Self::Train(TrainError::Data(error)) => error.diagnostic(),
            Self::Model(error) => with_hint(with_cause(error.code(), error), error.hint()),
            Self::Contradiction(diagnostic)
            | Self::Foreign(diagnostic)
            | Self::Resume(diagnostic)
            | Self::Diverged(diagnostic)
            | Self::WontFit(diagnostic)
            | Self::Documents(diagnostic) => (**diagnostic).clone(),
            Self::Passport(PassportError::Product(error)) => {
                with_hint(with_cause(error.code(), error), error.hint())
            }
            Self::Passport(error) => with_cause(error.code(), error),
            Self::Train(error @ TrainError::LossScale { .. }) => Diagnostic::error(
                "ST7002",
                error.to_string(),
            )
            .note("nothing was changed by this step, and every checkpoint before it is intact")
            .help("`train.precision = \"bf16\"` has the range of float32; or lower `schedule.lr_init`"),
            Self::Train(TrainError::Kernel(error)) | Self::Kernel(error) => {
                with_cause("ST5002", error)
            }
            Self::Dir(error) => with_cause("ST6001", error),
            Self::Busy(OpenRunError::Dir(error)) => with_cause("ST6001", error).help(
                "free the disk or make the folder writable; everything that was saved before is intact",
            ),
            Self::Busy(OpenRunError::Unreadable(error)) => error.diagnostic(),
            Self::Busy(error) => with_cause("ST6007", error)
                .help("wait until it is done, or stop it with Ctrl-C in its terminal"),
            Self::Checkpoint(error) => with_cause("ST6005", error)
                .help("an older checkpoint of the run may be intact: `train.epoch_begin` goes on from it"),
            Self::OutOfMemory { .. } => Diagnostic::error("ST5005", self.to_string())
                .help("`train.grad_cp = true`, a smaller `train.micro_bsz` with more `train.accumulate_grad_batches`, or a smaller `train.head_chunk` need less"),
            Self::Output(error) => with_cause(error.code(), error),
        }
    }
}
