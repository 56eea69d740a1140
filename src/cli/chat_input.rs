//! The questions of `statetune chat`: lines of standard input, edited on a terminal and kept in a history.

use std::env;
use std::fs::{self, DirBuilder};
use std::io::{self, IsTerminal as _, Lines, StdinLock};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use rustyline::error::ReadlineError;
use rustyline::{Config, DefaultEditor};

use super::{stop, tell};

const PROMPT: &str = "> ";
/// The most questions that the history keeps.
const KEPT: usize = 1000;

/// Where questions come from.
pub(super) enum Input {
    /// A person at a terminal.
    Terminal(Box<Typed>),
    /// A pipe or a file.
    Lines(Lines<StdinLock<'static>>),
}

/// Lines that are edited, and the file of earlier ones.
pub(super) struct Typed {
    editor: DefaultEditor,
    /// Absent where the user has no home folder, or none that can be written.
    history: Option<PathBuf>,
}

impl Input {
    /// Standard input; a terminal that cannot be set up is read line by line.
    pub(super) fn new() -> Input {
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        match is_terminal.then(Typed::new).flatten() {
            Some(typed) => Input::Terminal(Box::new(typed)),
            None => Input::Lines(io::stdin().lines()),
        }
    }

    /// The next line; `None` at the end of input, which Ctrl-D is on a terminal. Input that is not valid UTF-8 counts as
    /// the end.
    pub(super) fn next(&mut self) -> Option<String> {
        match self {
            Input::Terminal(typed) => typed.next(),
            Input::Lines(lines) => lines.next()?.ok(),
        }
    }
}

impl Typed {
    fn new() -> Option<Typed> {
        let config = Config::builder().max_history_size(KEPT).ok()?.auto_add_history(false).build();
        let mut editor = DefaultEditor::with_config(config).ok()?;
        let history = history();
        if let Some(history) = &history {
            let _ = editor.load_history(history); // there is none yet
        }
        stop::restores_terminal();
        Some(Typed { editor, history })
    }

    fn next(&mut self) -> Option<String> {
        loop {
            match self.editor.readline(PROMPT) {
                Ok(line) => {
                    self.keep(&line);
                    return Some(line);
                }
                Err(ReadlineError::Interrupted) => tell("Ctrl-D or /quit ends the chat"),
                Err(_) => return None,
            }
        }
    }

    /// Adds a line to the history, at once, so that no end of the process loses it.
    fn keep(&mut self, line: &str) {
        if line.trim().is_empty() || !matches!(self.editor.add_history_entry(line), Ok(true)) {
            return;
        }
        if let Some(history) = &self.history
            && self.editor.append_history(history).is_err()
        {
            self.history = None;
        }
    }
}

/// The file of earlier questions, which only the user can read, in a folder that exists; `None` without a home folder.
fn history() -> Option<PathBuf> {
    let absolute = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let states =
        absolute("XDG_STATE_HOME").or_else(|| Some(absolute("HOME")?.join(".local/state")))?;
    let folder = states.join("statetune");
    make_private(&folder).ok()?;
    Some(folder.join("chat_history"))
}

fn make_private(folder: &Path) -> io::Result<()> {
    if fs::exists(folder)? {
        return Ok(());
    }
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}
