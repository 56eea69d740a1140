//! What can go wrong with a checkpoint file, in words.

use std::io;
use std::path::PathBuf;

use super::Dtype;

/// The file cannot be opened or read.
pub const ST4010_CANNOT_READ: &str = "ST4010";
/// The file is something else than a checkpoint, or of a kind that is not read.
pub const ST4011_NOT_A_CHECKPOINT: &str = "ST4011";
/// The file is a checkpoint, but damaged.
pub const ST4012_CORRUPTED: &str = "ST4012";
/// The file asks for Python code to be run.
pub const ST4013_REFUSED: &str = "ST4013";
/// The file cannot be written.
pub const ST4014_CANNOT_WRITE: &str = "ST4014";

/// What is to be written is beyond the numbers that the file can hold.
pub const ST4015_BEYOND_RANGE: &str = "ST4015";

/// Why a checkpoint file was not read or not written.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// The operating system would not let us read it.
    #[error("{}: cannot read the weights file", path.display())]
    Read {
        /// The file as it was asked for.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// The operating system would not let us write it, or the tensors do not make a file.
    #[error("{}: cannot write the weights file", path.display())]
    Write {
        /// The file as it was asked for.
        path: PathBuf,
        /// What the operating system says; `InvalidInput` when the tensors themselves are at fault.
        source: io::Error,
    },
    /// A number is beyond what the file's dtype can hold.
    #[error("{}: tensor `{tensor}` holds {value:e}, but {dtype} ends at {limit:e}", path.display())]
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
    #[error("{}: {problem}", path.display())]
    Contents {
        /// The file as it was asked for.
        path: PathBuf,
        /// What is wrong with them.
        problem: Problem,
    },
}

impl WeightsError {
    /// The code under which the message is shown: one of the `ST401x` constants.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Read { .. } => ST4010_CANNOT_READ,
            Self::Write { .. } => ST4014_CANNOT_WRITE,
            Self::BeyondRange { .. } => ST4015_BEYOND_RANGE,
            Self::Contents { problem, .. } => match problem {
                Problem::NotACheckpoint { .. } => ST4011_NOT_A_CHECKPOINT,
                Problem::Corrupted(_) => ST4012_CORRUPTED,
                Problem::Refused(_) => ST4013_REFUSED,
            },
        }
    }

    /// What the user can do about it, where that is known.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Contents { problem: Problem::NotACheckpoint { hint, .. }, .. } => *hint,
            Self::Contents { problem: Problem::Corrupted(_), .. } => {
                Some("download or copy the file again and compare its size with the original")
            }
            Self::Contents { problem: Problem::Refused(_), .. } => Some(
                "tensors by name need no such thing; if you trust the file, load it in Python and \
                 save only its state dict: `torch.save(model.state_dict(), ...)`",
            ),
            _ => None,
        }
    }
}

/// What is wrong with the bytes of a checkpoint file.
#[derive(Debug, thiserror::Error, Eq, PartialEq)]
pub enum Problem {
    /// Some other kind of file, or a kind of checkpoint that is not read.
    #[error("found {found}, expected tensors by name, in a .pth or .safetensors file")]
    NotACheckpoint {
        /// What it is, with its article: `an HTML page`.
        found: String,
        /// How to get from there to a checkpoint.
        hint: Option<&'static str>,
    },
    /// The parts of the file contradict each other or are missing.
    #[error("the file is corrupted: {0}")]
    Corrupted(String),
    /// The pickle names a Python class or function that state dicts have no use for.
    #[error("refusing to load: the file asks for `{0}`")]
    Refused(String),
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
        assert_eq!(refused.code(), ST4013_REFUSED);
        assert_eq!(refused.to_string(), "a.pth: refusing to load: the file asks for `os.system`");
        assert_eq!(contents(Problem::Corrupted("x".into())).code(), ST4012_CORRUPTED);
        let html = Problem::NotACheckpoint { found: "an HTML page".into(), hint: None };
        assert_eq!(contents(html).code(), ST4011_NOT_A_CHECKPOINT);
    }
}
