//! The error of everything that uses tensors, with its message and exit code, and panics of libtorch.

use std::any::Any;
use std::io;
use std::panic;
use std::path::{Path, PathBuf};

use statetune_core::data::DataError;
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::records::{
    CheckpointError, LoadCheckpointError, OpenRunError, RunDir, RunDirError, holder_note,
};
use statetune_core::tensorfile::WeightsError;

use crate::exports::{AlgebraError, PassportError};
use crate::kernels::KernelError;
use crate::library_fault::LibraryFault;
use crate::model::ModelError;
use crate::train::{DevicesError, SaveError, TrainError};

/// Why a run or another command failed.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum RunError {
    /// The documents or the vocabulary.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The checkpoint to start from.
    #[error(transparent)]
    Model(#[from] ModelError),
    /// The documents are not those of the run or of the command line.
    Documents(Box<Diagnostic>),
    /// Weights, tokenizer or adapter contradict the settings or each other.
    Contradiction(Box<Diagnostic>),
    /// An exported file fits other weights.
    Foreign(Box<Diagnostic>),
    /// The passport of an exported file.
    #[error(transparent)]
    Passport(#[from] PassportError),
    /// Training.
    #[error(transparent)]
    Train(#[from] TrainError),
    /// Another device of the run.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// Generation.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The run directory.
    #[error(transparent)]
    Dir(#[from] RunDirError),
    /// A checkpoint to resume from.
    #[error(transparent)]
    Checkpoint(#[from] LoadCheckpointError),
    /// Resuming would not give the same run.
    Resume(Box<Diagnostic>),
    /// Another process works on the run.
    #[error(transparent)]
    Busy(#[from] OpenRunError),
    /// The run was asked to stop while it evaluated or answered; within a run only.
    Stopped,
    /// A value became NaN or infinite.
    Diverged(Box<Diagnostic>),
    /// The run needs more memory than is free.
    WontFit(Box<Diagnostic>),
    /// Memory ran out.
    OutOfMemory {
        /// What libtorch says.
        message: String,
    },
    /// The GPU failed.
    GpuFailed {
        /// What the GPU reports.
        message: String,
    },
    /// A failure that ended a run; the run can be resumed once the cause is fixed.
    Within {
        /// The run directory.
        run: PathBuf,
        /// The failure.
        error: Box<RunError>,
    },
    /// An exported file.
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
            Self::Stopped => msg!(RUN_IS_STOPPING),
            Self::Data(error) => error.text(),
            Self::Model(error) => error.text(),
            Self::Passport(error) => error.text(),
            Self::Train(error) => error.text(),
            Self::Devices(error) => error.text(),
            Self::Kernel(error) => error.text(),
            Self::Dir(error) => error.text(),
            Self::Checkpoint(error) => error.text(),
            Self::Busy(error) => error.text(),
            Self::OutOfMemory { message } => msg!(MEMORY_RAN_OUT, message = Text::library(message)),
            Self::GpuFailed { message } => msg!(GPU_FAILED, message = Text::library(message)),
            Self::Within { error, .. } => error.text(),
            Self::Output(error) => error.text(),
        }
    }
}

impl From<SaveError> for RunError {
    fn from(error: SaveError) -> Self {
        match error {
            SaveError::Checkpoint(error) => error.into(),
            SaveError::Devices(error) => error.into(),
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

impl From<LibraryFault> for RunError {
    fn from(fault: LibraryFault) -> Self {
        match fault {
            LibraryFault::Memory(message) => Self::OutOfMemory { message },
            LibraryFault::Gpu(message) => Self::GpuFailed { message },
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
    /// The error as the end of the run at `run`. Adds the command that resumes the run when a full disk, memory, a device
    /// or documents were the cause.
    pub(crate) fn within(self, run: &Path) -> RunError {
        if !run.join(RunDir::SETTINGS).exists() {
            return self; // moved or removed meanwhile
        }
        match self.exit_code() {
            _ if self.is_of_devices() => {
                RunError::Within { run: run.to_path_buf(), error: Box::new(self) }
            }
            ExitCode::Disk | ExitCode::OutOfMemory | ExitCode::Device | ExitCode::Data => {
                RunError::Within { run: run.to_path_buf(), error: Box::new(self) }
            }
            _ => self,
        }
    }

    /// What a library says, when memory that ran out or a failed GPU is the cause, whatever failed for it.
    fn library_fault(&self) -> Option<LibraryFault> {
        match self {
            Self::OutOfMemory { message } => return Some(LibraryFault::Memory(message.clone())),
            Self::GpuFailed { message } => return Some(LibraryFault::Gpu(message.clone())),
            Self::Within { error, .. } => return error.library_fault(),
            Self::Kernel(error) | Self::Train(TrainError::Kernel(error)) => {
                return LibraryFault::of_text(&error.to_string());
            }
            _ => {}
        }
        let mut error: &dyn std::error::Error = self;
        while let Some(cause) = error.source() {
            let found = cause.downcast_ref::<io::Error>();
            if found.is_some_and(|found| found.kind() == io::ErrorKind::OutOfMemory) {
                return Some(LibraryFault::Memory(cause.to_string()));
            }
            error = cause;
        }
        None
    }

    /// Whether another device of the run failed or is gone.
    pub fn is_of_devices(&self) -> bool {
        match self {
            Self::Within { error, .. } => error.is_of_devices(),
            Self::Devices(_) | Self::Train(TrainError::Devices(_)) => true,
            _ => false,
        }
    }

    /// Whether device 0 shows the error too, or the device that it is about.
    pub fn is_told_by_first_device(&self) -> bool {
        match self {
            Self::Devices(error) | Self::Train(TrainError::Devices(error)) => {
                error.is_told_by_first_device()
            }
            _ => false,
        }
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> ExitCode {
        match self.library_fault() {
            Some(LibraryFault::Memory(_)) => return ExitCode::OutOfMemory,
            Some(LibraryFault::Gpu(_)) => return ExitCode::Device,
            None => {}
        }
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
            Self::Stopped => ExitCode::Interrupted,
            Self::OutOfMemory { .. } => ExitCode::OutOfMemory,
            Self::GpuFailed { .. } => ExitCode::Device,
            Self::Data(DataError::Exists { .. }) => ExitCode::Invalid,
            Self::Data(_) | Self::Documents(_) | Self::Train(TrainError::Data(_)) => ExitCode::Data,
            // What is wrong with the command line alone.
            Self::Contradiction(fault) if fault.code.starts_with("ST0") => ExitCode::Invalid,
            Self::Model(_) | Self::Contradiction(_) | Self::Passport(_) => ExitCode::Model,
            Self::Devices(error) | Self::Train(TrainError::Devices(error)) => error.exit_code(),
            Self::Diverged(_) | Self::Train(TrainError::LossScale { .. }) => ExitCode::Diverged,
            Self::Train(TrainError::Kernel(_)) | Self::Kernel(_) => ExitCode::Device,
        }
    }

    /// The message for the user.
    pub fn diagnostic(&self) -> Diagnostic {
        let with_cause = |message: Text, error: &dyn std::error::Error| {
            let message = Diagnostic::error(message);
            match error.source() {
                Some(cause) => message.note(Text::cause(cause)),
                None => message,
            }
        };
        if let (Some(fault), false) = (self.library_fault(), matches!(self, Self::Within { .. })) {
            return failed_library(&fault);
        }
        match self {
            Self::Within { run, error } => error.diagnostic().help(msg!(SAVED_IS_INTACT, run)),
            Self::Data(error) | Self::Train(TrainError::Data(error)) => error.diagnostic(),
            Self::Model(error) => error.diagnostic(),
            Self::Contradiction(diagnostic)
            | Self::Foreign(diagnostic)
            | Self::Resume(diagnostic)
            | Self::Diverged(diagnostic)
            | Self::WontFit(diagnostic)
            | Self::Documents(diagnostic) => (**diagnostic).clone(),
            Self::Passport(PassportError::Product(error)) => {
                error.hint().into_iter().fold(with_cause(error.text(), error), Diagnostic::help)
            }
            Self::Passport(error) => with_cause(error.text(), error),
            Self::Train(error @ TrainError::LossScale { .. }) => Diagnostic::error(error.text())
                .note(msg!(STEP_CHANGED_NOTHING))
                .help(msg!(USE_BF16)),
            Self::Devices(error) | Self::Train(TrainError::Devices(error)) => error.diagnostic(),
            Self::Train(TrainError::Kernel(error)) | Self::Kernel(error) => {
                with_cause(error.text(), error)
            }
            Self::Dir(error) => with_cause(error.text(), error),
            Self::Busy(OpenRunError::Dir(error)) => {
                with_cause(error.text(), error).help(msg!(FREE_DISK))
            }
            Self::Busy(OpenRunError::Unreadable(error)) => error.diagnostic(),
            Self::Busy(OpenRunError::Busy { path }) => {
                let message = Diagnostic::error(self.text());
                let message = holder_note(path).into_iter().fold(message, Diagnostic::note);
                message.help(msg!(WAIT_OR_STOP, run = path))
            }
            Self::Checkpoint(error) => error.diagnostic(),
            Self::Output(error) => with_cause(error.text(), error),
            Self::Stopped | Self::OutOfMemory { .. } | Self::GpuFailed { .. } => {
                Diagnostic::error(self.text())
            }
        }
    }
}

/// The message about a failure of a library.
fn failed_library(fault: &LibraryFault) -> Diagnostic {
    match fault {
        LibraryFault::Memory(message) => {
            Diagnostic::error(msg!(MEMORY_RAN_OUT, message = Text::library(message)))
                .help(msg!(NEED_LESS_MEMORY))
        }
        LibraryFault::Gpu(message) => {
            Diagnostic::error(msg!(GPU_FAILED, message = Text::library(message)))
                .note(msg!(GPU_REPORTS_LATE))
                .help(msg!(TRY_GPU_AGAIN))
        }
    }
}

/// The error that a panic tells of: memory that ran out, or a GPU that failed; `None` for any other panic.
pub fn error_of_panic(panic: &(dyn Any + Send)) -> Option<RunError> {
    LibraryFault::of_panic(panic).map(RunError::from)
}

/// Silences the panic messages of failures that [`error_of_panic`] knows: their errors are shown instead.
pub fn silence_library_panics() {
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload_as_str().and_then(LibraryFault::of_text).is_none() {
            show(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_ends_is_one_fault_wherever_it_ends() {
        let no_memory = || io::Error::from_raw_os_error(12);
        let native = KernelError::Native(Text::verbatim("can't allocate memory: 12 bytes"));
        let path = PathBuf::from("out of memory.pth");
        for error in [
            RunError::Kernel(native),
            RunError::Model(WeightsError::Read { path: path.clone(), source: no_memory() }.into()),
            RunError::Dir(RunDirError { path: path.clone(), source: no_memory() }),
        ] {
            assert_eq!(error.exit_code(), ExitCode::OutOfMemory, "{error:?}");
            assert_eq!(error.diagnostic().code, "ST5005");
        }
        // The name of a file does not count.
        let source = io::Error::from(io::ErrorKind::NotFound);
        let missing = RunError::Model(WeightsError::Read { path, source }.into());
        assert_eq!(missing.exit_code(), ExitCode::Model);
    }

    #[test]
    fn a_gpu_that_fails_is_one_fault_whoever_reports_it() {
        let native = KernelError::Native(Text::verbatim("CUDA error: unspecified launch failure"));
        let panic = "CUDA error: unspecified launch failure\nSearch".to_string();
        for error in
            [RunError::Kernel(native), error_of_panic(&panic).expect("a failure of the GPU")]
        {
            assert_eq!(error.exit_code(), ExitCode::Device, "{error:?}");
            let shown = error.diagnostic();
            assert_eq!(shown.code, "ST5006");
            assert_eq!(shown.message.to_string(), "the GPU failed: unspecified launch failure");
        }
    }
}
