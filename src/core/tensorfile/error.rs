//! What can go wrong with a checkpoint file, in words.

use std::io;
use std::path::{Path, PathBuf};

use super::Dtype;
use crate::diagnostic::{Text, msg};

/// Why a checkpoint file was not read or not written.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum WeightsError {
    /// The operating system would not let us read it.
    Read {
        /// The file as it was asked for.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The operating system would not let us write it, or the tensors do not make a file.
    Write {
        /// The file as it was asked for.
        path: PathBuf,
        /// What the operating system says; `InvalidInput` when the tensors themselves are at fault.
        source: io::Error,
    },
    /// A number is beyond what the file's dtype can hold.
    BeyondRange {
        /// The file that was to be written.
        path: PathBuf,
        /// The tensor that holds the number.
        tensor: String,
        /// The number.
        value: f64,
        /// The dtype of the file.
        dtype: Dtype,
        /// The largest number of that dtype.
        limit: f64,
    },
    /// The bytes of the file are not what they should be.
    Contents {
        /// The file as it was asked for.
        path: PathBuf,
        /// What is wrong with them.
        problem: Problem,
    },
}

impl WeightsError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Read { path, .. } => msg!(CANNOT_READ_WEIGHTS, path),
            Self::Write { path, .. } => msg!(CANNOT_WRITE_WEIGHTS, path),
            Self::BeyondRange { path, tensor, value, dtype, limit } => msg!(
                BEYOND_DTYPE,
                path,
                tensor,
                value = format_args!("{value:e}"),
                dtype = dtype.to_string(),
                limit = format_args!("{limit:e}")
            ),
            Self::Contents { path, problem } => msg!(PATH_PROBLEM, path, problem = problem.text()),
        }
    }
}

impl WeightsError {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        let (Self::Read { path, .. }
        | Self::Write { path, .. }
        | Self::BeyondRange { path, .. }
        | Self::Contents { path, .. }) = self;
        path
    }

    /// The code under which the message is shown: one of the `ST401x` constants.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.text().code().unwrap_or_default()
    }

    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<Text> {
        match self {
            Self::Contents { problem: Problem::NotACheckpoint { hint, .. }, .. } => hint.clone(),
            Self::Contents { problem: Problem::Corrupted(_), .. } => {
                Some(msg!(COPY_AGAIN_AND_COMPARE))
            }
            Self::Contents { problem: Problem::Refused(_), .. } => {
                Some(msg!(SAVE_STATE_DICT_IF_TRUSTED))
            }
            _ => None,
        }
    }
}

/// What is wrong with the bytes of a checkpoint file.
#[derive(Debug, thiserror::Error, Eq, PartialEq)]
#[error("{}", self.text())]
pub enum Problem {
    /// Some other kind of file, or a kind of checkpoint that is not read.
    NotACheckpoint {
        /// What it is, with its article: `an HTML page`.
        found: Text,
        /// How to get from there to a checkpoint.
        hint: Option<Text>,
    },
    /// The parts of the file contradict each other or are missing.
    Corrupted(Text),
    /// The pickle names a Python class or function that state dicts have no use for.
    Refused(String),
}

impl Problem {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::NotACheckpoint { found, .. } => msg!(NOT_A_CHECKPOINT, found),
            Self::Corrupted(problem) => msg!(FILE_CORRUPTED, problem),
            Self::Refused(name) => msg!(REFUSED_TO_LOAD, name),
        }
    }
}

/// Makes text from an untrusted file fit for a message: one line, no control characters, short.
pub(super) fn quoted(text: &str) -> String {
    const MAX_CHARS: usize = 120;
    let mut quoted: String = text.chars().take(MAX_CHARS).flat_map(char::escape_debug).collect();
    if text.chars().nth(MAX_CHARS).is_some() {
        quoted.push_str("...");
    }
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_cannot_break_out_of_a_message() {
        assert_eq!(quoted("emb.weight"), "emb.weight");
        assert_eq!(quoted("a\nerror: b\x1b[31m"), "a\\nerror: b\\u{1b}[31m");
        assert_eq!(quoted(&"x".repeat(500)), format!("{}...", "x".repeat(120)));
    }

    #[test]
    fn each_kind_has_its_code() {
        let contents = |problem| WeightsError::Contents { path: "a.pth".into(), problem };
        let refused = contents(Problem::Refused("os.system".into()));
        assert_eq!(refused.code(), "ST4013");
        assert_eq!(refused.to_string(), "a.pth: refused to load the file: it calls `os.system`");
        assert_eq!(contents(Problem::Corrupted(Text::verbatim("x"))).code(), "ST4012");
        let html = Problem::NotACheckpoint { found: Text::verbatim("an HTML page"), hint: None };
        assert_eq!(contents(html).code(), "ST4011");
    }
}
