//! `statetune check`.

use std::path::PathBuf;

use clap::Args;

use super::{Color, ExperimentArgs, say};
use crate::exit::ExitCode;
use crate::kernels::find_driver;
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

/// Checks every file and returns the code of the first that is not valid. Where there is a CUDA driver it
/// takes a GPU for granted: only libtorch can tell, and it takes long to load.
pub(super) fn check(args: &CheckArgs, color: Color) -> ExitCode {
    let mut code = ExitCode::Ok;
    for file in &args.files {
        match args.experiment.plan_with(find_driver, file, Purpose::Check, color) {
            Ok(_) => say(format_args!("{}: valid", file.display())),
            Err(fault) if code == ExitCode::Ok => code = fault,
            Err(_) => {}
        }
    }
    code
}
