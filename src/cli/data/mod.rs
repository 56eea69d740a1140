//! `statetune data`: inspects and exports the documents of an experiment.

mod check;
mod export;
mod ledger;
mod prepare;
mod sample_text;
mod show;
mod stats;

use clap::{Args, Subcommand, ValueEnum};
use statetune_core::exit::ExitCode;

use super::Color;

#[derive(Args, Debug)]
pub(super) struct DataArgs {
    #[command(subcommand)]
    command: DataCommand,
}

#[derive(Debug, Subcommand)]
enum DataCommand {
    /// Check every document for validity, length and target tokens.
    Check(check::CheckArgs),
    /// Show documents with their target tokens marked.
    Show(show::ShowArgs),
    /// Print document lengths and the share of padding.
    Stats(stats::StatsArgs),
    /// Tokenise the documents of an experiment into the cache, as `run` does.
    Prepare(prepare::PrepareArgs),
    /// Export documents as token ids or text for other programs.
    Export(export::ExportArgs),
}

/// Output format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// Text.
    Human,
    /// JSON object.
    Json,
}

/// `1 line that is not a valid document`, `2 lines that are not valid documents`.
fn skipped_lines(count: u64) -> String {
    match count {
        1 => "1 line that is not a valid document".into(),
        n => format!("{n} lines that are not valid documents"),
    }
}

impl DataArgs {
    /// Whether the command computes with a model. The others need no tensors: a test inspects the binary.
    pub(super) fn computes(&self) -> bool {
        matches!(&self.command, DataCommand::Show(args) if args.computes())
    }
}

/// Runs a command that computes with a model, or another one.
pub(super) fn data(args: &DataArgs, color: Color) -> ExitCode {
    match &args.command {
        DataCommand::Show(args) if args.computes() => show::show_worst(args, color),
        _ => data_without_model(args, color),
    }
}

/// Runs a command that does not compute with a model.
pub(super) fn data_without_model(args: &DataArgs, color: Color) -> ExitCode {
    match &args.command {
        DataCommand::Check(args) => check::check(args, color),
        DataCommand::Show(args) => show::show(args, color),
        DataCommand::Stats(args) => stats::stats(args, color),
        DataCommand::Prepare(args) => prepare::prepare(args, color),
        DataCommand::Export(args) => export::export(args, color),
    }
}
