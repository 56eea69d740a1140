//! `statetune runs`: list, show, annotate, remove, pack and unpack runs.

mod condition;
mod ls;
mod mark;
mod pack;
mod remove;
mod row;
mod show;
pub(super) mod validation;

use std::io::{self, BufRead, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};

pub(super) use row::Row;

use super::{Color, say, show};
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::store::{ChangeRunError, StoredRun, find_run};

#[derive(Args, Debug)]
pub(super) struct RunsArgs {
    #[command(subcommand)]
    command: RunsCommand,
    /// Folder of run directories.
    #[arg(long, value_name = "DIR", default_value = "runs", global = true)]
    runs_dir: PathBuf,
}

#[derive(Debug, Subcommand)]
enum RunsCommand {
    /// List runs, the oldest first.
    Ls(ls::LsArgs),
    /// Show a run: status, inputs, results, files and settings.
    Show(show::ShowArgs),
    /// Add or remove tags.
    Tag(mark::TagArgs),
    /// Set the note of a run.
    Note(mark::NoteArgs),
    /// Protect runs from `rm` and `prune`.
    Pin(mark::PinArgs),
    /// Remove runs.
    Rm(remove::RmArgs),
    /// Remove old checkpoints of finished runs, and failed runs without a checkpoint or exported file.
    Prune(remove::PruneArgs),
    /// Pack a run into one file.
    Pack(pack::PackArgs),
    /// Unpack a packed run.
    Unpack(pack::UnpackArgs),
    /// Print the path of a run.
    Path {
        /// The run.
        run: String,
    },
}

/// The result of a command; the exit code of an error that was shown.
type Answer = Result<(), ExitCode>;

pub(super) fn runs(args: &RunsArgs, color: Color) -> ExitCode {
    let dir = &args.runs_dir;
    let answer = match &args.command {
        RunsCommand::Ls(args) => ls::ls(args, dir, color),
        RunsCommand::Show(args) => show::show_run(args, dir, color),
        RunsCommand::Tag(args) => mark::tag(args, dir, color),
        RunsCommand::Note(args) => mark::note(args, dir, color),
        RunsCommand::Pin(args) => mark::pin(args, dir, color),
        RunsCommand::Rm(args) => remove::rm(args, dir, color),
        RunsCommand::Prune(args) => remove::prune(args, dir, color),
        RunsCommand::Pack(args) => pack::pack(args, dir, color),
        RunsCommand::Unpack(args) => pack::unpack(args, dir, color),
        RunsCommand::Path { run } => {
            find_run(dir, run).map(|path| say(path.display())).map_err(|no| refused(&no, color))
        }
    };
    answer.err().unwrap_or(ExitCode::Ok)
}

/// Shows the reason for a refusal.
fn refused(refusal: &Diagnostic, color: Color) -> ExitCode {
    show(refusal, color);
    ExitCode::Invalid
}

/// Opens the run named by `name`; shows the error.
fn open(runs_dir: &Path, name: &str, color: Color) -> Result<StoredRun, ExitCode> {
    StoredRun::find(runs_dir, name).map_err(|refusal| refused(&refusal, color))
}

/// Shows why a run was not changed.
fn not_changed(error: &ChangeRunError, color: Color) -> ExitCode {
    show(&error.diagnostic(), color);
    match error {
        ChangeRunError::Busy { .. } => ExitCode::RunBusy,
        ChangeRunError::Io { .. } | ChangeRunError::Room { .. } => ExitCode::Disk,
        _ => ExitCode::Invalid,
    }
}

/// Asks the user `question` on the terminal, unless `yes`; refuses without a terminal.
fn confirmed(question: &Text, yes: bool, color: Color) -> Result<bool, ExitCode> {
    if yes {
        return Ok(true);
    }
    if !io::stdin().is_terminal() {
        let refusal = Diagnostic::error(msg!(CANNOT_ASK_BACK, question)).help(msg!(YES_AGREES));
        return Err(refused(&refusal, color));
    }
    let _ = write!(io::stderr(), "{} [y/N] ", question.said());
    let _ = io::stderr().flush();
    let mut answer = String::new();
    let _ = io::stdin().lock().read_line(&mut answer);
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
