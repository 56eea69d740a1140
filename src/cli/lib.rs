//! The command line: one file per command, each parsing, calling and printing.
//!
//! Standard output carries the answer, standard error progress and messages.

mod cache;
mod chat;
mod check;
mod complete;
mod config;
mod ctl;
mod data;
mod detach;
mod diff;
mod doctor;
mod eval;
mod events;
mod explain;
mod export;
mod forecast_lines;
mod generate;
mod import;
mod incident;
mod init;
mod keys;
mod merge;
mod mount;
#[cfg(test)]
mod pages;
mod plain;
mod plan;
mod presets;
mod progress_line;
mod report;
mod resume;
mod run;
mod runs;
mod schema;
mod score;
mod screen;
mod shell;
mod state;
mod stop;
mod subject;
mod sweep;
mod table;
mod verify;
mod watch;

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use statetune_core::config::{ConfigError, Loaded, Overrides, load};
use statetune_core::diagnostic::{Diagnostic, Severity, summary};
use statetune_core::exit::ExitCode;
use statetune_core::hub::{self, HubFile, is_on_hub};
use statetune_core::lang::{Lang, VARIABLE};
use statetune_core::plan::{Plan, Purpose, resolve};
use statetune_engine::kernels::{NoGpu, find_gpu, keep_memory};
use statetune_engine::silence_out_of_memory_panics;

/// Fine-tune RWKV models from one TOML file.
#[derive(Debug, Parser)]
#[command(name = "statetune", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    /// Fetch nothing: weights on a hub must be on this machine already.
    #[arg(long, global = true)]
    offline: bool,
    /// Language of messages [default: that of STATETUNE_LANG, or of the system].
    #[arg(long, global = true, value_enum, value_name = "LANG")]
    lang: Option<Lang>,
}

/// The commands. Those of [`plain::PlainCommand`] need no tensors and start at once.
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Plain(plain::PlainCommand),
    /// Run an experiment: prepare its data, train, sample, write a run directory.
    Run(run::RunArgs),
    /// Run an experiment once for each combination of some values.
    Sweep(sweep::SweepArgs),
    /// Go on with a run that was stopped, killed or made longer, bit for bit.
    Resume(resume::ResumeArgs),
    /// Run the first steps of a run again, and compare them with its record.
    Verify(verify::VerifyArgs),
    /// Say what a run would do and need: steps, documents, rates, memory, time.
    Plan(plan::PlanArgs),
    /// Let a base model, or a run's tuned model, continue a text.
    Generate(generate::GenerateArgs),
    /// Look at the documents of an experiment, prepare them, write them for other programs.
    Data(data::DataArgs),
    /// Talk with a run's tuned model, or with two side by side.
    Chat(chat::ChatArgs),
    /// Look at steps whose numbers were not finite, and compute one again.
    Incident(incident::IncidentArgs),
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
    /// Look at libtorch, devices, kernels, memory and disk of this machine.
    Doctor(doctor::DoctorArgs),
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
#[derive(Args, Clone, Debug, Default)]
struct ExperimentArgs {
    /// Lay `[profile.NAME]` over the file; repeatable, later wins.
    #[arg(short, long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    /// Override a setting; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Override a setting with a JSON value, stronger than `--set`; repeatable.
    #[arg(long, value_name = "KEY=JSON")]
    set_json: Vec<String>,
    /// Take away what file, profile and environment say about a setting; repeatable.
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Where run directories lie [default: `runs` beside the experiment file's folder].
    #[arg(long, value_name = "DIR")]
    runs_dir: Option<PathBuf>,
}

impl ExperimentArgs {
    /// What the flags and the environment lay over the file.
    fn overrides(&self) -> Overrides {
        Overrides {
            profiles: self.profiles.clone(),
            unset: self.unset.clone(),
            set_json: self.set_json.clone(),
            ..Overrides::from_process(self.set.clone())
        }
    }

    /// Reads the experiment file, plans it and prints the warnings, or prints every fault.
    fn plan(&self, file: &Path, purpose: Purpose, color: Color) -> Result<Plan, ExitCode> {
        let plan = self
            .try_plan(find_gpu, file, purpose)
            .map_err(|diagnostics| refuse(&diagnostics, file, color))?;
        for warning in &plan.warnings {
            tell(format_args!("{}\n", warning.render(color.on())));
        }
        Ok(plan)
    }

    /// Reads the experiment file and plans it; nothing is printed. Only `find_gpu` finds out about a GPU.
    fn try_plan(
        &self,
        find_gpu: impl FnOnce() -> Result<(), NoGpu>,
        file: &Path,
        purpose: Purpose,
    ) -> Result<Plan, Vec<Diagnostic>> {
        let loaded =
            load(file, &self.overrides()).map_err(|ConfigError { diagnostics, .. }| diagnostics)?;
        if matches!(purpose, Purpose::Run | Purpose::Generate) {
            fetch_weights(&loaded).map_err(|fault| vec![*fault])?;
        }
        resolve(loaded, purpose, runs_dir(self.runs_dir.as_deref(), file), find_gpu)
    }
}

/// Fetches the weights of an experiment where they lie on a hub and not on this machine.
fn fetch_weights(loaded: &Loaded) -> Result<(), Box<Diagnostic>> {
    let Some(path) = loaded.config.model.load_model.as_deref().filter(|path| is_on_hub(path))
    else {
        return Ok(());
    };
    let key = "model.load_model";
    let placed = |fault: Box<Diagnostic>| Box::new(loaded.at(key, *fault));
    let file = HubFile::parse(path).map_err(placed)?;
    let begins = || tell(format_args!("fetching {file}"));
    file.fetch(io::stderr().is_terminal(), begins).map_err(placed)?;
    Ok(())
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
        tell(summary(diagnostics, file).said());
    }
    exit_code(diagnostics)
}

/// The code that faults of an experiment file stand for: that of the first error.
fn exit_code(diagnostics: &[Diagnostic]) -> ExitCode {
    let first_error = diagnostics.iter().find(|one| one.severity == Severity::Error);
    first_error.map_or(ExitCode::Invalid, |first| ExitCode::of_message(first.code))
}

/// The program `statetune`: runs the command that the arguments of this process ask for. It is linked without
/// libtorch, whose loading takes a fifth of a second: a command that computes with tensors goes on in
/// the program of [`main_with_tensors`].
pub fn main() -> ExitCode {
    complete::complete();
    start(|command, color| match command {
        Command::Plain(command) if !command.computes() => command.run(color),
        _ => plain::hand_over(color),
    })
}

/// The program `statetune-tensors`, which has libtorch and runs every command.
pub fn main_with_tensors() -> ExitCode {
    keep_memory();
    silence_out_of_memory_panics();
    start(|command, color| match command {
        Command::Run(args) => run::run(&args, color),
        Command::Sweep(args) => sweep::sweep(&args, color),
        Command::Resume(args) => resume::resume(&args, color),
        Command::Verify(args) => verify::verify(&args, color),
        Command::Plan(args) => plan::plan(&args, color),
        Command::Generate(args) => generate::generate(&args, color),
        Command::Data(args) => data::data(&args, color),
        Command::Chat(args) => chat::chat(&args, color),
        Command::Incident(args) => incident::incident(&args, color),
        Command::Score(args) => score::score(&args, color),
        Command::Eval(args) => eval::eval(&args, color),
        Command::Export(args) => export::export(&args, color),
        Command::Mount(args) => mount::mount(&args, color),
        Command::Merge(args) => merge::merge(&args, color),
        Command::State(args) => state::state(&args, color),
        Command::Doctor(args) => doctor::doctor(&args, color),
        Command::Plain(plain::PlainCommand::Watch(args)) if args.is_about_a_file() => {
            watch::watch_file(&args, color)
        }
        Command::Plain(command) => command.run(color),
    })
}

/// The arguments of this process, whose language is then known.
fn arguments() -> Result<Cli, clap::Error> {
    let cli = Cli::try_parse()?;
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into());
    let lang = Lang::resolve(cli.lang, variable).map_err(|unknown| {
        let message =
            format!("invalid value '{unknown}' for '{VARIABLE}'\n  [possible values: en, zh]");
        Cli::command().error(ErrorKind::InvalidValue, message)
    })?;
    lang.speak();
    Ok(cli)
}

/// Reads the arguments of this process and runs their command.
fn start(command: impl FnOnce(Command, Color) -> ExitCode) -> ExitCode {
    let cli = match arguments() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` arrive here too, and are no errors.
            let code = if error.use_stderr() { ExitCode::Invalid } else { ExitCode::Ok };
            let _ = error.print();
            return code;
        }
    };
    if cli.offline {
        hub::stay_offline();
    }
    catch_unwind(AssertUnwindSafe(|| command(cli.command, cli.color))).unwrap_or_else(|_| {
        // No message is laid out or translated: that may be what is broken.
        tell(match Lang::spoken() {
            Lang::En => "error[ST9000]: this is a defect of statetune; the lines above say where it happened",
            Lang::Zh => "错误[ST9000]: 这是 statetune 的缺陷；上面几行说明出错位置",
        });
        ExitCode::Bug
    })
}
