//! Options of the commands that train a run.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// How a run behaves towards its terminal and signals.
#[derive(Args, Debug)]
pub(super) struct RunOptions {
    /// Seconds that a step may still take after SIGTERM.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(super) grace: u64,
    /// Start the run even if it is predicted not to fit into memory.
    #[arg(long)]
    pub(super) allow_oom: bool,
    /// Write the path of the run directory to this file as soon as the directory exists.
    #[arg(long, value_name = "FILE")]
    pub(super) run_file: Option<PathBuf>,
    /// Progress display.
    #[arg(long, value_enum, default_value_t = ProgressStyle::Auto, value_name = "STYLE")]
    pub(super) progress: ProgressStyle,
    /// Output format on standard output.
    #[arg(long, value_enum, default_value_t = RunFormat::Human)]
    pub(super) format: RunFormat,
    /// Run in the background: leave the terminal once the run has its directory, and print how to follow the run.
    /// Output goes to `output.txt` in the run directory.
    #[arg(long)]
    pub(super) detach: bool,
    /// File to which the process started by `--detach` writes the name of its run.
    #[arg(long, value_name = "FILE", hide = true)]
    pub(super) detached: Option<PathBuf>,
}

/// Output format of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum RunFormat {
    /// Text.
    Human,
    /// One JSON object at the end.
    Json,
    /// One JSON object per event, and one at the end.
    Jsonl,
}

/// Progress display.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ProgressStyle {
    /// `bar` on a terminal, `plain` elsewhere.
    Auto,
    /// A progress bar with keys: `?` lists them.
    Bar,
    /// One line per interval.
    Plain,
    /// One JSON object per event.
    Json,
    /// No progress.
    None,
}
