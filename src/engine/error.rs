//! The error of everything that uses tensors, with its message and exit code, and out-of-memory panics of libtorch.

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
use crate::model::ModelError;
use crate::train::TrainError;

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
    /// The error as the end of the run at `run`. Adds the command that resumes the run when a full disk, memory or
    /// documents were the cause.
    pub(crate) fn within(self, run: &Path) -> RunError {
        if !run.join(RunDir::SETTINGS).exists() {
            return self; // moved or removed meanwhile
        }
        match self.exit_code() {
            ExitCode::Disk | ExitCode::OutOfMemory | ExitCode::Data => {
                RunError::Within { run: run.to_path_buf(), error: Box::new(self) }
            }
            _ => self,
        }
    }

    /// What says that memory ran out, when that is the cause, whatever failed for lack of it.
    fn memory_cause(&self) -> Option<String> {
        match self {
            Self::OutOfMemory { message } => return Some(message.clone()),
            Self::Within { error, .. } => return error.memory_cause(),
            Self::Kernel(error) | Self::Train(TrainError::Kernel(error)) => {
                return useful_part(&error.to_string());
            }
            _ => {}
        }
        let mut error: &dyn std::error::Error = self;
        while let Some(cause) = error.source() {
            let found = cause.downcast_ref::<io::Error>();
            if found.is_some_and(|found| found.kind() == io::ErrorKind::OutOfMemory) {
                return Some(cause.to_string());
            }
            error = cause;
        }
        None
    }

    /// The exit code of the process.
    pub fn exit_code(&self) -> ExitCode {
        if self.memory_cause().is_some() {
            return ExitCode::OutOfMemory;
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
            Self::Data(DataError::Exists { .. }) => ExitCode::Invalid,
            Self::Data(_) | Self::Documents(_) | Self::Train(TrainError::Data(_)) => ExitCode::Data,
            Self::Model(_) | Self::Contradiction(_) | Self::Passport(_) => ExitCode::Model,
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
        if let (Some(message), false) = (self.memory_cause(), matches!(self, Self::Within { .. })) {
            return memory_ran_out(&message);
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
            Self::OutOfMemory { message } => memory_ran_out(message),
            Self::Output(error) => with_cause(error.text(), error),
            Self::Stopped => Diagnostic::error(self.text()),
        }
    }
}

/// Phrases of libtorch, the CUDA driver, the C++ library and the standard library for exhausted memory.
const OUT_OF_MEMORY: [&str; 5] = [
    "can't allocate memory",
    "not enough memory",
    "out of memory",
    "std::bad_alloc",
    "failed to spawn thread",
];
/// What follows the useful part: stack frames, escaped line breaks of a panic message, error codes.
const ENDS: [&str; 6] = ["\n", "\\n", "\"", ". Error code", "; ", ": Os {"];

fn memory_ran_out(message: &str) -> Diagnostic {
    Diagnostic::error(msg!(MEMORY_RAN_OUT, message = Text::library(message)))
        .help(msg!(NEED_LESS_MEMORY))
}

/// The message for the user when a panic means exhausted memory; `None` for any other panic.
pub fn memory_fault(panic: &(dyn Any + Send)) -> Option<Diagnostic> {
    out_of_memory(panic).map(|message| memory_ran_out(&message))
}

/// The useful part of the message when a panic of libtorch means exhausted memory; `None` for any other panic.
pub(crate) fn out_of_memory(panic: &(dyn Any + Send)) -> Option<String> {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    useful_part(text.or_else(|| panic.downcast_ref::<&str>().copied())?)
}

/// The part of `text` about exhausted memory, with the amount requested.
fn useful_part(text: &str) -> Option<String> {
    let text = &text[OUT_OF_MEMORY.iter().filter_map(|phrase| text.find(phrase)).min()?..];
    let end = ENDS.iter().filter_map(|end| text.find(end)).min().unwrap_or(text.len());
    Some(text[..end].trim().to_string())
}

/// Silences the panic message for exhausted memory: [`RunError::OutOfMemory`] is shown instead.
pub fn silence_out_of_memory_panics() {
    let show = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        if info.payload_as_str().and_then(useful_part).is_none() {
            show(info);
        }
    }));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_end_before_the_stack() {
        for (text, expected) in [
            (
                "called `Result::unwrap()` on an `Err` value: Torch(\"[enforce fail at alloc_cpu.cpp:127] err == 0. \
                 DefaultCPUAllocator: can't allocate memory: you tried to allocate 307200000 bytes. Error code 12 \
                 (Cannot allocate memory)\\nframe #0: c10\")",
                Some("can't allocate memory: you tried to allocate 307200000 bytes"),
            ),
            (
                "CUDA out of memory. Tried to allocate 2.00 GiB\nframe",
                Some("out of memory. Tried to allocate 2.00 GiB"),
            ),
            ("std::bad_alloc", Some("std::bad_alloc")),
            (
                "failed to spawn thread: Os { code: 11, kind: WouldBlock, message: \"Resource\" }",
                Some("failed to spawn thread"),
            ),
            ("index out of range", None),
        ] {
            assert_eq!(useful_part(text).as_deref(), expected);
            assert_eq!(out_of_memory(&text.to_string()).as_deref(), expected);
        }
    }
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
}
