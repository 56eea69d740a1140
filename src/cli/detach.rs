//! `--detach`: runs that continue when the terminal is closed.
//!
//! The program starts itself a second time. Until the run has its directory, both processes are in the terminal, so
//! that Ctrl-C ends both and messages are visible. Then the second process leaves the terminal, and the first prints
//! how to follow the run.

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
use statetune_core::shell::shell_path;

use super::run_options::RunFormat;
use super::{Color, say, show};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.detached/1";
/// The flag of the user, and the flag that replaces it.
const FLAG: &str = "--detach";
const INNER: &str = "--detached";
/// Interval between two looks at the started process.
const LOOK: Duration = Duration::from_millis(20);

/// Starts the same command a second time; returns when the new run has left the terminal or has ended.
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
        // Checked before the file is read: the process may write the file and then end.
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
    say(format_args!("run      {}", run.display()));
    let run = shell_path(run);
    say(format_args!("output   {}", output.display()));
    say(format_args!("follow   statetune watch {run}"));
    say(format_args!("stop     statetune ctl {run} stop"));
}

/// Detaches this process from its terminal and redirects its output to the run's folder. Then writes `told` for the
/// waiting process.
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
