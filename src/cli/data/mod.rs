//! `statetune data`: the documents of an experiment, without a run.

mod export;
mod prepare;

use clap::{Args, Subcommand};

use super::Color;
use crate::exit::ExitCode;

/// Arguments of `data`.
#[derive(Args, Debug)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Tokenise the documents of an experiment into the cache, as a run does by itself.
    Prepare(prepare::PrepareArgs),
    /// Write documents as token ids or as text for other programs.
    Export(export::ExportArgs),
}

/// `1 line that is no document`, `2 lines that are no documents`.
fn skipped_lines(count: u64) -> String {
    match count {
        1 => "1 line that is no document".into(),
        n => format!("{n} lines that are no documents"),
    }
}

pub(super) fn data(args: &DataArgs, color: Color) -> ExitCode {
    match &args.command {
        DataCommand::Prepare(args) => prepare::prepare(args, color),
        DataCommand::Export(args) => export::export(args, color),
    }
}
