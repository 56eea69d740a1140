//! The programs that state files are written for, and which parts of a state each of them reads.

use crate::diagnostic::{Diagnostic, Join, Text, msg};

/// A program that reads trained states.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StateReader {
    /// The Python package `rwkv`, by the program that `statetune mount` prints.
    RwkvPip,
    /// llama.cpp, by a prompt cache.
    LlamaCpp,
    /// RWKV Runner with its Python backend.
    RwkvRunner,
    /// Ai00, and web-rwkv in general.
    Ai00,
    /// A program that reads states behind the weights of a model file.
    ModelFile,
}

impl StateReader {
    /// Every program.
    pub const ALL: [StateReader; 5] =
        [Self::RwkvPip, Self::LlamaCpp, Self::RwkvRunner, Self::Ai00, Self::ModelFile];

    /// The name and the commands that write for the program, as messages have them.
    fn name(self) -> Text {
        Text::verbatim(match self {
            Self::RwkvPip => "rwkv-pip (`mount --for rwkv-pip`)",
            Self::LlamaCpp => "llama.cpp (`export --to gguf`)",
            Self::RwkvRunner => "RWKV Runner (`mount --for rwkv-runner`)",
            Self::Ai00 => "Ai00/web-rwkv (`mount --for ai00`, `export --to st`)",
            Self::ModelFile => return msg!(READERS_OF_MODEL_FILES),
        })
    }

    /// Why the program cannot take shift states; `None`: it takes them.
    pub fn without_shift(self) -> Option<Text> {
        match self {
            Self::RwkvPip | Self::LlamaCpp => None,
            Self::RwkvRunner => Some(msg!(READER_COUNTS_TENSORS)),
            Self::Ai00 | Self::ModelFile => Some(msg!(READER_READS_TIME_STATE)),
        }
    }

    /// The refusal of a state with shift states for the program; `None`: the program takes them.
    pub fn refusal(self) -> Option<Diagnostic> {
        let reason = self.without_shift()?;
        let refusal = Diagnostic::error(msg!(SHIFT_NOT_READ, program = self.name())).note(reason);
        Some(refusal)
    }
}

/// The warning about shift states before a training: which programs read them, and which do not.
pub fn shift_warning() -> Diagnostic {
    let names = |reads: bool| {
        let some = StateReader::ALL.into_iter();
        let some = some.filter(|one| one.without_shift().is_none() == reads);
        Text::list(Join::And, some.map(StateReader::name))
    };
    Diagnostic::warning(msg!(SHIFT_FOR_FEW_PROGRAMS))
        .note(msg!(SHIFT_READ_BY, programs = names(true)))
        .note(msg!(SHIFT_NOT_READ_BY, programs = names(false)))
        .note(msg!(SHIFT_IS_MOUNTED_WITHOUT))
}
