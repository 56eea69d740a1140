//! Commands that need no tensors, and the hand-over of other commands to the program with libtorch.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use clap::Subcommand;
use rustix::process::{Resource, getrlimit};
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::words::size;

use super::{
    Color, cache, check, config, ctl, diff, explain, import, init, presets, report, runs, schema,
    shell, show, threads, watch,
};

/// The program with libtorch, in the same folder as this program.
const TENSORS: &str = "statetune-tensors";

/// Position in the help of commands about the program itself.
const LAST: usize = 100;

/// A command that runs without libtorch. No code on its path may use a tensor: a test inspects the binary.
#[derive(Debug, Subcommand)]
pub(super) enum PlainCommand {
    /// Create an experiment file from five questions.
    Init(init::InitArgs),
    /// Check experiment files without running them.
    Check(check::CheckArgs),
    /// Explain a message code or a key of the experiment file.
    Explain(explain::ExplainArgs),
    /// Show, fill, shorten or compare the settings of experiment files.
    Config(config::ConfigArgs),
    /// List or remove prepared data.
    #[command(display_order = LAST)]
    Cache(cache::CacheArgs),
    /// Follow a run, or check and plan an experiment file on every save.
    Watch(watch::WatchArgs),
    /// Ask a live run to save, sample, evaluate, stop or train longer.
    Ctl(ctl::CtlArgs),
    /// Compare runs and find the first step that differs, with the cause.
    Diff(diff::DiffArgs),
    /// Write an HTML report about one or more runs.
    Report(report::ReportArgs),
    /// List, show, annotate, remove and pack runs.
    Runs(runs::RunsArgs),
    /// Convert a script of another trainer into an experiment file.
    Import(import::ImportArgs),
    /// List and show models, templates and recipes.
    Presets(presets::PresetsArgs),
    /// Print the JSON Schema of experiment files.
    Schema(schema::SchemaArgs),
    /// Print shell completions.
    #[command(display_order = LAST)]
    Completions(shell::CompletionsArgs),
    /// Write manual pages.
    #[command(display_order = LAST)]
    Man(shell::ManArgs),
    /// Print the versions of the program and of libtorch.
    #[command(display_order = LAST)]
    Version,
}

impl PlainCommand {
    /// Whether the command continues in the program with libtorch.
    pub(super) fn computes(&self) -> bool {
        matches!(self, Self::Watch(args) if args.is_about_a_file())
    }

    /// Runs the command.
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

/// Address space in which libtorch can be loaded. With less, the loader or libtorch's own start would abort without a word
/// of ours.
const LIBTORCH_NEEDS: u64 = 600 << 20;

/// The message when `ulimit -v` leaves too little for libtorch.
fn refusal_of_limit() -> Option<Diagnostic> {
    let limit = getrlimit(Resource::As).current.filter(|limit| *limit < LIBTORCH_NEEDS)?;
    let message = msg!(ADDRESS_SPACE_LIMIT, limit = size(limit), needed = size(LIBTORCH_NEEDS));
    Some(Diagnostic::error(message).help(msg!(RAISE_LIMIT)))
}

/// Stack of the main thread, and the default of other threads, with which every command works.
const STACK_NEEDS: u64 = 1 << 20;

/// The message when `ulimit -s` leaves too little, with which the system would end the process without a word of ours.
pub(super) fn refusal_of_stack() -> Option<Diagnostic> {
    let limit = getrlimit(Resource::Stack).current.filter(|limit| *limit < STACK_NEEDS)?;
    let message = msg!(STACK_LIMIT, limit = size(limit), needed = size(STACK_NEEDS));
    Some(Diagnostic::error(message).help(msg!(RAISE_STACK_LIMIT)))
}

/// Replaces this process by the program with libtorch, with the same arguments, files and signals. Returns only on
/// failure.
pub(super) fn hand_over(color: Color) -> ExitCode {
    if let Some(refusal) = refusal_of_limit() {
        show(&refusal, color);
        return ExitCode::OutOfMemory;
    }
    let program = match env::current_exe() {
        Ok(own) => own.parent().unwrap_or(Path::new("")).join(TENSORS),
        Err(_) => TENSORS.into(),
    };
    let mut command = Command::new(&program);
    let error =
        command.arg0("statetune").args(env::args_os().skip(1)).envs(threads::environment()).exec();
    let message = msg!(CANNOT_START_TENSOR_PROGRAM, program);
    let fault =
        Diagnostic::error(message).note(Text::library(error)).help(msg!(TENSOR_PROGRAM_IS_BESIDE));
    show(&fault, color);
    ExitCode::Device
}
