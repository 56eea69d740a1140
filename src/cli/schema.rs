//! `statetune schema`.

use std::path::PathBuf;

use clap::Args;

use crate::config::schema_text;
use crate::exit::ExitCode;

/// Arguments of `schema`.
#[derive(Args, Debug)]
pub(super) struct SchemaArgs {
    /// Write it to this file instead of printing it.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub(super) fn schema(args: &SchemaArgs) -> ExitCode {
    let Some(file) = &args.write else {
        print!("{}", schema_text());
        return ExitCode::Ok;
    };
    match std::fs::write(file, schema_text()) {
        Ok(()) => ExitCode::Ok,
        Err(error) => {
            eprintln!("error: cannot write `{}`: {error}", file.display());
            ExitCode::Disk
        }
    }
}
