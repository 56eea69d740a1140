//! `statetune check`.

use std::path::PathBuf;

use clap::Args;

use super::{Color, ExperimentArgs, say};
use crate::exit::ExitCode;
use crate::plan::Purpose;

/// Arguments of `check`.
#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Experiment files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

/// Checks every file and returns the code of the first that is not valid.
pub(super) fn check(args: &CheckArgs, color: Color) -> ExitCode {
    let mut code = ExitCode::Ok;
    for file in &args.files {
        match args.experiment.plan(file, Purpose::Check, color) {
            Ok(_) => say(format_args!("{}: valid", file.display())),
            Err(fault) if code == ExitCode::Ok => code = fault,
            Err(_) => {}
        }
    }
    code
}
