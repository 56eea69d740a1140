//! `statetune watch`: shows a run from another terminal, or checks and plans an experiment file on every save.

mod changes;
mod experiment;
mod plain;
mod screen;
mod view;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};

use changes::Changes;
use clap::Args;
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::records::Status;
use statetune_core::store::{RunState, find_run, run_state, runs_here};
pub(super) use view::Watched;

use super::{Color, ExperimentArgs, Format, say, show};

/// Arguments of `watch`.
#[derive(Args, Debug)]
pub(super) struct WatchArgs {
    /// A run (`latest`, a name, an id or a path), or an experiment file to check and plan on
    /// every save.
    /// [default: the newest run that is running, otherwise `latest`].
    #[arg(value_name = "RUN|FILE")]
    name: Option<String>,
    /// Print the current state and exit.
    #[arg(long)]
    once: bool,
    /// Output format for a run.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

impl WatchArgs {
    /// Whether the argument is an experiment file, not a run.
    pub(super) fn is_about_a_file(&self) -> bool {
        let ending = self.name.as_ref().and_then(|name| Path::new(name).extension());
        ending.is_some_and(|ending| ending == "toml")
    }

    /// The run to watch.
    fn run(&self, runs_dir: &Path) -> Result<PathBuf, Box<Diagnostic>> {
        let is_running = |run: &PathBuf| run_state(run).0 == RunState::Running;
        match &self.name {
            Some(name) => find_run(runs_dir, name),
            None => match runs_here(runs_dir).into_iter().rfind(is_running) {
                Some(run) => Ok(run),
                None => find_run(runs_dir, "latest"),
            },
        }
    }
}

/// Watches an experiment file. The forecast of its run needs libtorch.
pub(super) fn watch_file(args: &WatchArgs, color: Color) -> ExitCode {
    let file = Path::new(args.name.as_deref().unwrap_or_default());
    experiment::watch(file, &args.experiment, args.once, color)
}

/// Watches a run.
pub(super) fn watch(args: &WatchArgs, color: Color) -> ExitCode {
    let default = PathBuf::from("runs");
    let runs_dir = args.experiment.runs_dir.as_ref().unwrap_or(&default);
    let run = match args.run(runs_dir) {
        Ok(run) => run,
        Err(refusal) => {
            show(&refusal, color);
            return ExitCode::Invalid;
        }
    };
    let mut watched = Watched::new(&run);
    if args.once {
        watched.look();
        plain::tell(&watched, args.format);
        return ExitCode::Ok;
    }
    let changes = match Changes::of(&run) {
        Ok(changes) => changes,
        Err(error) => return cannot_watch(&run, &error, color),
    };
    let on_screen = args.format == Format::Human && io::stdout().is_terminal();
    if on_screen {
        if let Err(error) = screen::watch(&mut watched, &changes) {
            show(&no_screen(&run, &error), color);
            return ExitCode::Disk;
        }
        plain::tell(&watched, args.format);
    } else {
        plain::watch(&mut watched, &changes, args.format);
    }
    end(&watched, args.format, color)
}

/// Reports how the run ended, if it has.
fn end(watched: &Watched, format: Format, color: Color) -> ExitCode {
    let run = watched.run.display();
    match watched.state {
        RunState::Running => ExitCode::Ok,
        RunState::Done | RunState::Interrupted => {
            if format == Format::Human {
                say(format_args!("the run is {}", watched.word()));
            }
            ExitCode::Ok
        }
        RunState::Failed | RunState::Diverged => {
            let failed = Diagnostic::error(msg!(RUN_ENDED, run, state = watched.word()));
            let failure = watched.status.as_ref().and_then(Status::failure);
            let message = failure.map_or("", |(message, _)| message);
            show(&failed.note(Text::verbatim(message.to_owned())), color);
            ExitCode::AnswerNo
        }
        RunState::Killed => {
            let message = msg!(RUN_WAS_KILLED, run);
            let killed = Diagnostic::error(message)
                .note(msg!(LOCK_IS_FREE))
                .help(msg!(RESUME_AFTER_CHECKPOINT, run));
            show(&killed, color);
            ExitCode::AnswerNo
        }
    }
}

fn cannot_watch(path: &Path, error: &notify::Error, color: Color) -> ExitCode {
    let message = msg!(CANNOT_WATCH, path);
    show(&Diagnostic::error(message).note(Text::library(error)), color);
    ExitCode::Disk
}

fn no_screen(run: &Path, error: &io::Error) -> Diagnostic {
    let message = Diagnostic::error(msg!(CANNOT_DRAW)).note(Text::library(error));
    message.help(msg!(WATCH_IN_LINES, run))
}
