//! `statetune schema`.

use std::path::PathBuf;

use clap::Args;
use statetune_core::config::schema_text;
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;

use super::{Color, say, show};

#[derive(Args, Debug)]
pub(super) struct SchemaArgs {
    /// Write the schema to this file instead of standard output.
    #[arg(long, value_name = "FILE")]
    write: Option<PathBuf>,
}

pub(super) fn schema(args: &SchemaArgs, color: Color) -> ExitCode {
    let Some(file) = &args.write else {
        say(schema_text().trim_end());
        return ExitCode::Ok;
    };
    match std::fs::write(file, schema_text()) {
        Ok(()) => ExitCode::Ok,
        Err(error) => {
            let message = msg!(CANNOT_WRITE, file);
            show(&Diagnostic::error(message).note(Text::library(error)), color);
            ExitCode::Disk
        }
    }
}
