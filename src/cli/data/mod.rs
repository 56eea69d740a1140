//! `statetune data`: the documents of an experiment, without a run.

mod check;
mod export;
mod ledger;
mod prepare;
mod show;
mod stats;

use clap::{Args, Subcommand, ValueEnum};
use statetune_core::exit::ExitCode;

use super::Color;

/// Arguments of `data`.
#[derive(Args, Debug)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Look at every document: is it sound, does it fit, is anything in it learned?
    Check(check::CheckArgs),
    /// Show documents with what is learned of them.
    Show(show::ShowArgs),
    /// Say how long documents are and how much is padded.
    Stats(stats::StatsArgs),
    /// Tokenise the documents of an experiment into the cache, as a run does by itself.
    Prepare(prepare::PrepareArgs),
    /// Write documents as token ids or as text for other programs.
    Export(export::ExportArgs),
}

/// Form of an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// One JSON object.
    Json,
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
        DataCommand::Check(args) => check::check(args, color),
        DataCommand::Show(args) => show::show(args, color),
        DataCommand::Stats(args) => stats::stats(args, color),
        DataCommand::Prepare(args) => prepare::prepare(args, color),
        DataCommand::Export(args) => export::export(args, color),
    }
}
