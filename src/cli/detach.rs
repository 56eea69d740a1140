//! `--detach`: a run that goes on when its terminal is closed.
//!
//! The program starts itself once more. Until the run has its directory, both stand in the terminal, where Ctrl-C ends
//! both and messages are seen. Then the second one leaves the terminal, and the first one says how to follow it.

use std::fs::{self, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;
use std::{env, io};

use serde_json::json;
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::records::RunDir;

use super::run::RunFormat;
use super::{Color, say, show};

/// Name and version of what is printed for programs.
const SCHEMA: &str = "statetune.detached/1";
/// The flag of the user, and the one that takes its place.
const FLAG: &str = "--detach";
const INNER: &str = "--detached";
/// From one look at the started process to the next.
const LOOK: Duration = Duration::from_millis(20);

/// Starts the same command once more and returns when its run has left the terminal, or has ended before.
pub(super) fn start(format: RunFormat, color: Color) -> ExitCode {
    match try_start(format) {
        Ok(code) => code,
        Err(error) => {
            let message = msg!(CANNOT_DETACH_RUN);
            show(&Diagnostic::error(message).note(Text::library(error)), color);
            ExitCode::Disk
        }
    }
}

fn try_start(format: RunFormat) -> io::Result<ExitCode> {
    let folder = tempfile::tempdir()?;
    let told = folder.path().join("run");
    let inner = format!("{INNER}={}", told.display());
    let arguments = env::args_os().skip(1);
    let arguments = arguments.map(|one| if one == FLAG { inner.clone().into() } else { one });
    let mut child = Command::new(env::current_exe()?)
        .arg0("statetune")
        .args(arguments)
        .stdin(Stdio::null())
        .spawn()?;
    loop {
        // Looked at before what it tells, as it may tell it and end.
        let ended = child.try_wait()?;
        if let Some(run) = fs::read_to_string(&told).ok().and_then(whole_line) {
            tell_how_to_follow(&run, child.id(), format);
            return Ok(ExitCode::Ok);
        }
        if let Some(status) = ended {
            return Ok(status.code().map_or(ExitCode::Interrupted, ExitCode::of_number));
        }
        sleep(LOOK);
    }
}

fn whole_line(text: String) -> Option<PathBuf> {
    text.strip_suffix('\n').map(PathBuf::from)
}

fn tell_how_to_follow(run: &Path, pid: u32, format: RunFormat) {
    let output = run.join(RunDir::OUTPUT);
    if format != RunFormat::Human {
        say(json!({ "schema": SCHEMA, "run": run, "output": output, "pid": pid }));
        return;
    }
    let run = run.display();
    say(format_args!("run      {run}"));
    say(format_args!("output   {}", output.display()));
    say(format_args!("follow   statetune watch {run}"));
    say(format_args!("stop     statetune ctl {run} stop"));
}

/// Takes this process out of its terminal: what it prints from now on goes into the run's folder. Then `told` says so,
/// for the process that waits.
///
/// # Errors
/// When the operating system refuses.
pub(super) fn leave_terminal(run: &Path, told: &Path) -> io::Result<()> {
    let output = OpenOptions::new().create(true).append(true).open(run.join(RunDir::OUTPUT))?;
    rustix::process::setsid()?;
    rustix::stdio::dup2_stdout(&output)?;
    rustix::stdio::dup2_stderr(&output)?;
    fs::write(told, format!("{}\n", run.display()))
}
