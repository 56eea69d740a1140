//! Standard output and standard error: the only place that writes to them.
//!
//! A closed pipe, as with `| head`, is not an error. Any other failure of standard output, such as a full disk, is kept
//! until the command has ended, and then is its message and exit code.

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::OnceLock;

use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::words::{printable, without_controls};

/// The first failure of standard output.
static FAILED: OnceLock<io::Error> = OnceLock::new();

/// Prints a line to standard output.
pub(crate) fn say(line: impl Display) {
    let line = format!("{line}\n");
    let stdout = io::stdout();
    write(if stdout.is_terminal() { without_controls(&line) } else { line });
}

/// Prints text of a model or a document to standard output: as it is into a file, without control characters to a
/// terminal.
pub(crate) fn say_piece(piece: &str) {
    let stdout = io::stdout();
    write(if stdout.is_terminal() { printable(piece) } else { piece.to_owned() });
}

fn write(text: String) {
    let mut stdout = io::stdout().lock();
    noted(stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()));
}

/// Notes a failure of standard output.
pub(crate) fn noted(result: io::Result<()>) {
    if let Err(error) = result
        && error.kind() != ErrorKind::BrokenPipe
    {
        let _ = FAILED.set(error); // the first one counts
    }
}

/// Prints a line to standard error; a closed terminal does not stop a run.
pub(crate) fn tell(line: impl Display) {
    let line = format!("{line}\n");
    let mut stderr = io::stderr().lock();
    let line = if stderr.is_terminal() { without_controls(&line) } else { line };
    let _ = stderr.write_all(line.as_bytes());
}

/// The exit code of a command that ended with `code`; `show` gets the failure of standard output, if any.
pub(crate) fn end(code: ExitCode, show: impl FnOnce(&Diagnostic)) -> ExitCode {
    noted(io::stdout().flush());
    let Some(error) = FAILED.get() else { return code };
    let message = Diagnostic::error(msg!(CANNOT_WRITE_OUTPUT)).note(Text::from(error));
    show(&message);
    match code {
        ExitCode::Ok | ExitCode::AnswerNo => ExitCode::Disk,
        other => other,
    }
}
