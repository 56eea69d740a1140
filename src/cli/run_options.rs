//! The options of every command that trains a run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How a run behaves towards its terminal and whoever stops it.
#[derive(Args, Debug)]
pub(super) struct RunOptions {
    /// Seconds that a step may still take after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) grace: u64,
    /// Try to run what is predicted not to fit into memory.
    #[arg(long)]
    pub(super) allow_oom: bool,
    /// Write the path of the run directory into this file, as soon as it is known.
    #[arg(long, value_name = "FILE")]
    pub(super) run_file: Option<PathBuf>,
    /// How to show progress.
    #[arg(long, value_enum, default_value_t = ProgressStyle::Auto, value_name = "STYLE")]
    pub(super) progress: ProgressStyle,
    /// Form of the answer on standard output.
    #[arg(long, value_enum, default_value_t = RunFormat::Human)]
    pub(super) format: RunFormat,
    /// Leave the terminal once the run has its directory, and say how to follow it: the run goes on when the terminal
    /// is closed, and what it prints goes into its `output.txt`.
    #[arg(long)]
    pub(super) detach: bool,
    /// Where the process that `--detach` starts names its run.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(super) detached: Option<PathBuf>,
}

/// Form of what a run answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum RunFormat {
    /// For people.
    Human,
    /// One JSON object at the end.
    Json,
    /// A JSON object an event, and the one at the end.
    Jsonl,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ProgressStyle {
    /// `bar` on a terminal, `plain` elsewhere.
    Auto,
    /// A line that is drawn anew, and keys: `?` lists them.
    Bar,
    /// A line an interval.
    Plain,
    /// A JSON object an event.
    Json,
    /// Nothing.
    None,
}
