//! The parts of a shell that training scripts use: assignments, arrays, continued lines, quotes, comments, redirections,
//! variables and `if`. No command is run.

mod arithmetic;
mod branches;
mod reader;
#[cfg(test)]
mod tests;

/// A word of a command.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Word {
    /// First line, counted from 1.
    pub(super) line: usize,
    /// The text without quotes, with variables replaced by their values.
    pub(super) text: String,
    /// Whether the text has an unset variable or a command substitution, so that its value is unknown.
    pub(super) is_unknown: bool,
}

/// What a script runs.
#[derive(Debug, Default)]
pub(super) struct Commands {
    /// The commands in order, each as words. Assignments are applied and not listed; commands in branches that are not
    /// taken are left out.
    pub(super) commands: Vec<Vec<Word>>,
    /// What the reader made of doubtful places.
    pub(super) notes: Vec<String>,
}

/// The commands of a script. A command ends at `;`, `&`, `|`, at the end of a line that has no backslash there, and at a
/// comment even if the comment ends with a backslash.
pub(super) fn commands(script: &str) -> Commands {
    reader::Reader::new(script).read()
}
