//! What the process exits with: a public contract for scripts.

use clap::ValueEnum;

/// An exit code and what it means.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub enum ExitCode {
    /// Done.
    Ok = 0,
    /// It worked, and the answer is no.
    AnswerNo = 1,
    /// The command line or the experiment file is not valid.
    Invalid = 2,
    /// Data is missing, malformed, or nothing is left to learn from.
    Data = 20,
    /// Weights are unreadable, or of the wrong architecture or shape.
    Model = 21,
    /// More memory is needed than there is; nothing was started.
    WontFit = 22,
    /// Memory ran out while running; the last checkpoint is intact.
    OutOfMemory = 23,
    /// The loss is no number any more.
    Diverged = 24,
    /// A kernel or the device failed.
    Device = 25,
    /// Another process works on the run.
    RunBusy = 26,
    /// To continue would not give the same run.
    ResumeRefused = 27,
    /// A product belongs to other weights.
    MountRefused = 28,
    /// No space or not writable; nothing is half-written.
    Disk = 29,
    /// A defect of this program.
    Bug = 70,
    /// Stopped on request, with everything saved: the same can be continued.
    Interrupted = 75,
}

impl ExitCode {
    /// The code that a fault of the plan stands for: by the family of its message code.
    pub fn of_message(code: &str) -> ExitCode {
        match code.get(..3) {
            _ if code == "ST4024" => ExitCode::Disk,
            Some("ST3") => ExitCode::Data,
            Some("ST4") => ExitCode::Model,
            Some("ST5") => ExitCode::Device,
            _ => ExitCode::Invalid,
        }
    }

    /// What a process of this program exited with; a number that none of them has is a defect.
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
