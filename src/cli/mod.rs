//! The command line: one file per command, each parsing, calling and printing.
//!
//! Standard output carries the answer, standard error progress and messages.

mod cache;
mod chat;
mod check;
mod ctl;
mod data;
mod eval;
mod events;
mod export;
mod generate;
mod keys;
mod merge;
mod mount;
mod resume;
mod run;
mod schema;
mod score;
mod screen;
mod standing;
mod state;
mod stop;
mod subject;
mod table;
mod watch;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{ConfigError, Overrides, load};
use crate::diagnostic::{Diagnostic, Severity, summary};
use crate::exit::ExitCode;
use crate::kernels::keep_memory;
use crate::plan::{Plan, Purpose, resolve};

/// Fine-tune RWKV models from one TOML file.
#[derive(Debug, Parser)]
#[command(name = "statetune", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run an experiment: prepare its data, train, sample, write a run directory.
    Run(run::RunArgs),
    /// Go on with a run that was stopped, killed or made longer, bit for bit.
    Resume(resume::ResumeArgs),
    /// See how a run is getting on, or check an experiment file on every save.
    Watch(watch::WatchArgs),
    /// Ask a live run to save, sample, evaluate, stop, or become longer.
    Ctl(ctl::CtlArgs),
    /// Check an experiment file without running it.
    Check(check::CheckArgs),
    /// Let a base model, or a run's tuned model, continue a text.
    Generate(generate::GenerateArgs),
    /// Look at the documents of an experiment, prepare them, write them for other programs.
    Data(data::DataArgs),
    /// List or remove prepared data.
    Cache(cache::CacheArgs),
    /// Talk with a run's tuned model, or with two side by side.
    Chat(chat::ChatArgs),
    /// Print how likely a model finds given tokens, as JSON.
    Score(score::ScoreArgs),
    /// Measure loss and behaviour on held-out documents, of the base and of what was tuned.
    Eval(eval::EvalArgs),
    /// Write a state or a model in another form.
    Export(export::ExportArgs),
    /// Write a state for another program, and prove that it computes the same with it.
    Mount(mount::MountArgs),
    /// Write the base of a run and what it learned as one checkpoint.
    Merge(merge::MergeArgs),
    /// Look at trained states, compare them, make new ones of them.
    State(state::StateArgs),
    /// Print the JSON Schema of experiment files.
    Schema(schema::SchemaArgs),
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Color {
    Auto,
    Always,
    Never,
}

impl Color {
    /// Whether messages on standard error are coloured.
    fn on(self) -> bool {
        self.on_terminal(io::stderr().is_terminal())
    }

    /// Whether answers on standard output are coloured.
    fn for_stdout(self) -> bool {
        self.on_terminal(io::stdout().is_terminal())
    }

    fn on_terminal(self, is_terminal: bool) -> bool {
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => is_terminal && std::env::var_os("NO_COLOR").is_none(),
        }
    }
}

/// Form of what a command prints.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// For people.
    Human,
    /// A JSON object.
    Json,
}

/// What every command that takes an experiment file knows.
#[derive(Args, Clone, Debug)]
struct ExperimentArgs {
    /// Override a setting; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Where run directories lie [default: `runs` beside the experiment file's folder].
    #[arg(long, value_name = "DIR")]
    runs_dir: Option<PathBuf>,
}

impl ExperimentArgs {
    /// Reads the experiment file, plans it and prints the warnings, or prints every fault.
    fn plan(&self, file: &Path, purpose: Purpose, color: Color) -> Result<Plan, ExitCode> {
        let loaded = load(file, &Overrides::from_process(self.set.clone()))
            .map_err(|ConfigError { file, diagnostics }| refuse(&diagnostics, &file, color))?;
        let plan = resolve(loaded, purpose, runs_dir(self.runs_dir.as_deref(), file))
            .map_err(|diagnostics| refuse(&diagnostics, file, color))?;
        for warning in &plan.warnings {
            tell(format_args!("{}\n", warning.render(color.on())));
        }
        Ok(plan)
    }
}

/// `runs` beside the folder `configs` of an experiment file, or beside the file itself when it lies in
/// another folder.
fn runs_dir(asked: Option<&Path>, file: &Path) -> PathBuf {
    if let Some(dir) = asked {
        return dir.to_path_buf();
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let is_configs = |folder: &Path| folder.file_name().is_some_and(|name| name == "configs");
    if is_configs(folder) {
        return folder.with_file_name("runs");
    }
    // The path may not name the folder, as in `statetune run emoji.toml`.
    if std::path::absolute(file).is_ok_and(|file| file.parent().is_some_and(is_configs)) {
        return folder.join("../runs");
    }
    folder.join("runs")
}

/// Prints a line to standard output. That nobody reads it any more is no fault, as with `| head`.
fn say(line: impl Display) {
    let _ = writeln!(io::stdout(), "{line}");
}

/// Prints a line to standard error. A run goes on when its terminal is closed.
fn tell(line: impl Display) {
    let _ = writeln!(io::stderr(), "{line}");
}

/// Prints a message.
fn show(diagnostic: &Diagnostic, color: Color) {
    tell(diagnostic.render(color.on()));
}

/// Prints faults of an experiment file.
fn refuse(diagnostics: &[Diagnostic], file: &Path, color: Color) -> ExitCode {
    for diagnostic in diagnostics {
        tell(format_args!("{}\n", diagnostic.render(color.on())));
    }
    if diagnostics.len() > 1 {
        tell(summary(diagnostics, file));
    }
    let first_error = diagnostics.iter().find(|one| one.severity == Severity::Error);
    first_error.map_or(ExitCode::Invalid, |first| ExitCode::of_message(first.code))
}

/// Runs the command that the arguments of this process ask for.
pub fn main() -> ExitCode {
    keep_memory();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` arrive here too, and are no errors.
            let code = if error.use_stderr() { ExitCode::Invalid } else { ExitCode::Ok };
            let _ = error.print();
            return code;
        }
    };
    let color = cli.color;
    let command = AssertUnwindSafe(|| match cli.command {
        Command::Run(args) => run::run(&args, color),
        Command::Resume(args) => resume::resume(&args, color),
        Command::Watch(args) => watch::watch(&args, color),
        Command::Ctl(args) => ctl::ctl(&args, color),
        Command::Check(args) => check::check(&args, color),
        Command::Generate(args) => generate::generate(&args, color),
        Command::Data(args) => data::data(&args, color),
        Command::Cache(args) => cache::cache(&args, color),
        Command::Chat(args) => chat::chat(&args, color),
        Command::Score(args) => score::score(&args, color),
        Command::Eval(args) => eval::eval(&args, color),
        Command::Export(args) => export::export(&args, color),
        Command::Mount(args) => mount::mount(&args, color),
        Command::Merge(args) => merge::merge(&args, color),
        Command::State(args) => state::state(&args, color),
        Command::Schema(args) => schema::schema(&args, color),
    });
    catch_unwind(command).unwrap_or_else(|_| {
        tell("error[ST9000]: this is a defect of statetune; the lines above say where it happened");
        ExitCode::Bug
    })
}
