//! The commands that need no tensors, and how the others reach the program that has them.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use clap::Subcommand;

use super::{Color, cache, check, diff, import, schema, show};
use crate::diagnostic::Diagnostic;
use crate::exit::ExitCode;

/// The program that has libtorch, beside this one.
const TENSORS: &str = "statetune-tensors";

/// A command that runs without libtorch. Nothing that it calls may use a tensor: a test looks into the
/// program.
#[derive(Debug, Subcommand)]
pub(super) enum PlainCommand {
    /// Check an experiment file without running it.
    Check(check::CheckArgs),
    /// List or remove prepared data.
    Cache(cache::CacheArgs),
    /// Compare runs, down to the first step in which they part and the reason for it.
    Diff(diff::DiffArgs),
    /// Make an experiment file of a script of another trainer.
    Import(import::ImportArgs),
    /// Print the JSON Schema of experiment files.
    Schema(schema::SchemaArgs),
}

impl PlainCommand {
    /// Runs it.
    pub(super) fn run(self, color: Color) -> ExitCode {
        match self {
            Self::Check(args) => check::check(&args, color),
            Self::Cache(args) => cache::cache(&args, color),
            Self::Diff(args) => diff::diff(&args, color),
            Self::Import(args) => import::import(&args, color),
            Self::Schema(args) => schema::schema(&args, color),
        }
    }
}

/// Puts the program that has libtorch in the place of this one: the process, its arguments, files and
/// signals stay. Returns only when that fails.
pub(super) fn hand_over(color: Color) -> ExitCode {
    let program = match env::current_exe() {
        Ok(own) => own.parent().unwrap_or(Path::new("")).join(TENSORS),
        Err(_) => TENSORS.into(),
    };
    let error = Command::new(&program).arg0("statetune").args(env::args_os().skip(1)).exec();
    let message = format!("cannot start `{}`, which computes with tensors", program.display());
    let fault = Diagnostic::error("ST0120", message)
        .note(error.to_string())
        .help("it is installed together with `statetune` and lies in the same folder");
    show(&fault, color);
    ExitCode::Device
}
