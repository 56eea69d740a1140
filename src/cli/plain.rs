//! The commands that need no tensors, and how the others reach the program that has them.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use clap::Subcommand;
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;

use super::{
    Color, cache, check, config, ctl, diff, explain, import, init, presets, report, runs, schema,
    shell, show, watch,
};

/// The program that has libtorch, beside this one.
const TENSORS: &str = "statetune-tensors";

/// Where the commands about the program itself stand in the help.
const LAST: usize = 100;

/// A command that runs without libtorch. Nothing that it calls may use a tensor: a test looks into the
/// program.
#[derive(Debug, Subcommand)]
pub(super) enum PlainCommand {
    /// Write a first experiment from five questions.
    Init(init::InitArgs),
    /// Check an experiment file without running it.
    Check(check::CheckArgs),
    /// Explain a message code or a key of the experiment file.
    Explain(explain::ExplainArgs),
    /// Show, complete, shorten and compare the settings of experiment files.
    Config(config::ConfigArgs),
    /// List or remove prepared data.
    #[command(display_order = LAST)]
    Cache(cache::CacheArgs),
    /// See how a run is getting on, or check and plan an experiment file on every save.
    Watch(watch::WatchArgs),
    /// Ask a live run to save, sample, evaluate, stop, or become longer.
    Ctl(ctl::CtlArgs),
    /// Compare runs, down to the first step in which they part and the reason for it.
    Diff(diff::DiffArgs),
    /// Write one HTML page about a run, or about several laid over each other.
    Report(report::ReportArgs),
    /// List stored runs, look at them, mark, remove, pack them.
    Runs(runs::RunsArgs),
    /// Make an experiment file of a script of another trainer.
    Import(import::ImportArgs),
    /// List models, templates and recipes, and show what they stand for.
    Presets(presets::PresetsArgs),
    /// Print the JSON Schema of experiment files.
    Schema(schema::SchemaArgs),
    /// Print the completions of a shell.
    #[command(display_order = LAST)]
    Completions(shell::CompletionsArgs),
    /// Write manual pages.
    #[command(display_order = LAST)]
    Man(shell::ManArgs),
    /// Print the versions of the program and of its libtorch.
    #[command(display_order = LAST)]
    Version,
}

impl PlainCommand {
    /// Whether it goes on in the program with libtorch all the same.
    pub(super) fn computes(&self) -> bool {
        matches!(self, Self::Watch(args) if args.is_about_a_file())
    }

    /// Runs it.
    pub(super) fn run(self, color: Color) -> ExitCode {
        match self {
            Self::Init(args) => init::init(&args, color),
            Self::Check(args) => check::check(&args, color),
            Self::Explain(args) => explain::explain(&args, color),
            Self::Config(args) => config::config(&args, color),
            Self::Cache(args) => cache::cache(&args, color),
            Self::Watch(args) => watch::watch(&args, color),
            Self::Ctl(args) => ctl::ctl(&args, color),
            Self::Diff(args) => diff::diff(&args, color),
            Self::Report(args) => report::report(&args, color),
            Self::Runs(args) => runs::runs(&args, color),
            Self::Import(args) => import::import(&args, color),
            Self::Presets(args) => presets::presets_command(&args, color),
            Self::Schema(args) => schema::schema(&args, color),
            Self::Completions(args) => shell::completions(&args),
            Self::Man(args) => shell::man(&args, color),
            Self::Version => shell::version(),
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
    let message = msg!(CANNOT_START_TENSOR_PROGRAM, program);
    let fault =
        Diagnostic::error(message).note(Text::library(error)).help(msg!(TENSOR_PROGRAM_IS_BESIDE));
    show(&fault, color);
    ExitCode::Device
}
