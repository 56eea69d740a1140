//! `statetune completions`, `statetune man` and `statetune version`.

use std::path::PathBuf;
use std::{fs, io};

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;
use clap_complete::env::Shells;
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::records::Lock;

use super::complete::VARIABLE;
use super::{Cli, Color, say, show};

#[derive(Args, Debug)]
pub(super) struct CompletionsArgs {
    /// Shell to complete commands, flags, runs, keys and profiles in.
    #[arg(value_enum)]
    shell: Shell,
}

#[derive(Args, Debug)]
pub(super) struct ManArgs {
    /// Folder to write manual pages to; created if missing.
    dir: PathBuf,
}

/// Prints the script that makes the shell ask this program for completions.
///
/// # Panics
/// Never: formatting into memory cannot fail.
pub(super) fn completions(args: &CompletionsArgs) -> ExitCode {
    let shells = Shells::builtins();
    let shell = shells.completer(&args.shell.to_string()).expect("both lists have the same shells");
    let mut script = Vec::new();
    let name = "statetune";
    shell.write_registration(VARIABLE, name, name, name, &mut script).expect("memory is writable");
    say(String::from_utf8_lossy(&script).trim());
    ExitCode::Ok
}

pub(super) fn man(args: &ManArgs, color: Color) -> ExitCode {
    let write = || -> io::Result<()> {
        fs::create_dir_all(&args.dir)?;
        // No page is there before it is whole.
        let whole = tempfile::Builder::new().prefix(".statetune-").tempdir_in(&args.dir)?;
        clap_mangen::generate_to(Cli::command(), whole.path())?;
        for page in fs::read_dir(whole.path())? {
            let page = page?;
            fs::rename(page.path(), args.dir.join(page.file_name()))?;
        }
        Ok(())
    };
    match write() {
        Ok(()) => ExitCode::Ok,
        Err(error) => {
            let message = msg!(CANNOT_WRITE_MAN_PAGES, folder = args.dir);
            show(&Diagnostic::error(message).note(Text::library(error)), color);
            ExitCode::Disk
        }
    }
}

pub(super) fn version() -> ExitCode {
    let commit = Lock::commit_of_program().map(|commit| format!(" ({commit})"));
    say(format_args!("statetune {}{}", env!("CARGO_PKG_VERSION"), commit.unwrap_or_default()));
    say(format_args!("libtorch {}", statetune_engine::LIBTORCH_VERSION));
    ExitCode::Ok
}
