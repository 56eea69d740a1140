//! The exit codes of the program: a public contract for scripts.

use clap::ValueEnum;

/// An exit code. The doc comments become `docs/exit-codes.md`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ExitCode {
    /// Success.
    Ok = 0,
    /// The command worked and its answer is no: files differ, a requirement is not met, a watched run failed.
    AnswerNo = 1,
    /// The command line or the experiment file is invalid.
    Invalid = 2,
    /// Data is missing or malformed, or no target tokens are left.
    Data = 20,
    /// Weights are missing or unreadable, or have the wrong architecture or shape.
    Model = 21,
    /// The run needs more memory than is free; nothing was started.
    WontFit = 22,
    /// The run ran out of memory; the last checkpoint is intact.
    OutOfMemory = 23,
    /// The loss became NaN or infinite.
    Diverged = 24,
    /// A kernel or a device failed, or the devices of a run have lost each other.
    Device = 25,
    /// Another process is using the run directory.
    RunBusy = 26,
    /// Resuming would not continue the same run: settings, data or weights have changed.
    ResumeRefused = 27,
    /// A state or adapter was trained on other weights.
    MountRefused = 28,
    /// The disk is full or a file cannot be written; no partial file is left.
    Disk = 29,
    /// An internal error: a bug in statetune.
    Bug = 70,
    /// Stopped on request after saving a checkpoint; the run can be resumed.
    Interrupted = 75,
}

impl ExitCode {
    /// The exit code of an error in planning, by the family of its message code.
    pub fn of_message(code: &str) -> ExitCode {
        match code.get(..3) {
            _ if code == "ST4024" => ExitCode::Disk,
            Some("ST3") => ExitCode::Data,
            Some("ST4") => ExitCode::Model,
            Some("ST5") => ExitCode::Device,
            _ => ExitCode::Invalid,
        }
    }

    /// The exit code of a process of this program; [`Self::Bug`] for an unknown number.
    pub fn of_number(number: i32) -> ExitCode {
        let mut all = Self::value_variants().iter();
        all.find(|code| **code as i32 == number).copied().unwrap_or(Self::Bug)
    }
}

impl From<ExitCode> for std::process::ExitCode {
    fn from(code: ExitCode) -> Self {
        Self::from(code as u8)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_known_by_its_number() {
        for &code in ExitCode::value_variants() {
            assert_eq!(ExitCode::of_number(code as i32), code);
        }
        assert_eq!(ExitCode::of_number(22), ExitCode::WontFit);
        assert_eq!(ExitCode::of_number(3), ExitCode::Bug);
    }
}
