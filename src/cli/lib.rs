//! The command line: one file per command. Each parses its arguments, calls the library and prints.
//!
//! Standard output has the answer, standard error progress and messages.

mod begin;
mod cache;
mod chat;
mod chat_input;
mod check;
mod complete;
mod config;
mod ctl;
mod data;
mod detach;
mod devices;
mod diff;
mod doctor;
mod drop_part;
mod eval;
mod events;
mod explain;
mod export;
mod forecast_lines;
mod generate;
mod help;
mod import;
mod incident;
mod init;
mod keys;
mod memory;
mod merge;
mod mount;
mod output;
#[cfg(test)]
mod pages;
mod plain;
mod plan;
mod presets;
mod progress_line;
mod replace;
mod report;
mod resume;
mod run;
mod run_options;
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
mod threads;
mod truncated;
mod verify;
mod watch;
mod working;

use std::io::{self, IsTerminal, Write as _};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::error::ErrorKind;
use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};
use statetune_core::config::{ConfigError, Loaded, Overrides, Tokenizer, load};
use statetune_core::diagnostic::{Diagnostic, Severity, Text, msg, summary};
use statetune_core::exit::ExitCode;
use statetune_core::hub::{self, HubDataset, HubFile, is_on_hub};
use statetune_core::lang::{Lang, VARIABLE};
use statetune_core::plan::{Plan, Purpose, resolve};
use statetune_core::records::{Lock, RunDir};
use statetune_core::store::{find_run, follow_moved_inputs, runs_of_experiment};
use statetune_core::work::{Stopped, observe};
use statetune_engine::kernels::{
    NoGpu, end_in_words, find_driver, follow_load, keep_memory, replace_products,
};
use statetune_engine::{error_of_panic, silence_library_panics};

use output::{say, tell};

/// Fine-tune RWKV models from one TOML file.
#[derive(Debug, Parser)]
#[command(name = "statetune", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// When to use colour.
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    color: Color,
    /// Use no network: weights of a hub must be on this machine already.
    #[arg(long, global = true)]
    offline: bool,
    /// Language of messages [default: from STATETUNE_LANG, or from the system].
    #[arg(long, global = true, value_enum, value_name = "LANG")]
    lang: Option<Lang>,
}

/// The commands. Commands of [`plain::PlainCommand`] need no tensors and start quickly, and so do most of [`data::DataArgs`].
#[derive(Debug, Subcommand)]
enum Command {
    #[command(flatten)]
    Plain(plain::PlainCommand),
    /// Run an experiment: prepare data, train, sample and write a run directory.
    Run(run::RunArgs),
    /// Run an experiment once per combination of setting values.
    Sweep(sweep::SweepArgs),
    /// Resume a stopped, killed or extended run, bit for bit.
    Resume(resume::ResumeArgs),
    /// Rerun the first steps of a run and compare them with its records.
    Verify(verify::VerifyArgs),
    /// Show what a run would do and need: steps, documents, learning rates, memory, time.
    Plan(plan::PlanArgs),
    /// Continue a text with a base model or the tuned model of a run.
    Generate(generate::GenerateArgs),
    /// Inspect, prepare and export the documents of an experiment.
    Data(data::DataArgs),
    /// Chat with the tuned model of a run, or with two side by side.
    Chat(chat::ChatArgs),
    /// Inspect steps with NaN or infinite values, and recompute one.
    Incident(incident::IncidentArgs),
    /// Print the log-likelihood of given tokens as JSON.
    Score(score::ScoreArgs),
    /// Measure loss and probes of the base and the tuned model on held-out documents.
    Eval(eval::EvalArgs),
    /// Export a state or a model to another format.
    Export(export::ExportArgs),
    /// Export a state for another program, and verify that the results match.
    Mount(mount::MountArgs),
    /// Merge the base and the trained parameters of a run into one checkpoint.
    Merge(merge::MergeArgs),
    /// Inspect, compare and combine trained states.
    State(state::StateArgs),
    /// Check libtorch, devices, kernels, memory and disk of this machine.
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

/// Output format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Format {
    /// Text.
    Human,
    /// JSON object.
    Json,
}

/// Options of all commands that take an experiment file.
#[derive(Args, Clone, Debug, Default)]
struct ExperimentArgs {
    /// Apply `[profile.NAME]` of the file; repeatable, the last one wins.
    #[arg(short, long = "profile", value_name = "NAME")]
    profiles: Vec<String>,
    /// Override a setting; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Override a setting with a JSON value, after `--set`; repeatable.
    #[arg(long, value_name = "KEY=JSON")]
    set_json: Vec<String>,
    /// Ignore the value of a setting in file, profile and environment; repeatable.
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Folder of run directories [default: `runs` next to the experiment file's folder].
    #[arg(long, value_name = "DIR")]
    runs_dir: Option<PathBuf>,
    /// New paths of files that were moved since the run whose settings are read.
    #[arg(skip)]
    moved: MovedFiles,
    /// Whether another process shows the warnings.
    #[arg(skip)]
    is_follower: bool,
}

/// Files of a run that were moved.
#[derive(Args, Clone, Debug, Default)]
struct MovedFiles {
    /// Weights, if they were moved since the run.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Vocabulary, if it was moved since the run.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
}

impl MovedFiles {
    /// Puts the paths in place of those of the run. A new model has no weights to replace.
    fn replace_in(&self, loaded: &mut Loaded) {
        let model = &mut loaded.config.model;
        if let (Some(path), Some(now)) = (&mut model.load_model, &self.model) {
            path.clone_from(now);
        }
        if let (Tokenizer::File(_), Some(now)) = (&model.tokenizer, &self.tokenizer) {
            model.tokenizer = Tokenizer::from(now.clone());
        }
    }
}

impl ExperimentArgs {
    /// The overrides by flags and environment.
    fn overrides(&self) -> Overrides {
        Overrides {
            profiles: self.profiles.clone(),
            unset: self.unset.clone(),
            set_json: self.set_json.clone(),
            ..Overrides::from_process(self.set.clone())
        }
    }

    /// Reads and plans the experiment file. Prints warnings and errors.
    fn plan(&self, file: &Path, purpose: Purpose, color: Color) -> Result<Plan, ExitCode> {
        self.plan_finding(devices::find_gpus, file, purpose, color)
    }

    /// As `plan`, for a command that reads data, and computes on no device.
    fn plan_data(&self, file: &Path, color: Color) -> Result<Plan, ExitCode> {
        self.plan_finding(driver_of_gpus, file, Purpose::Data, color)
    }

    fn plan_finding(
        &self,
        find_gpu: impl FnOnce() -> Result<Option<usize>, NoGpu>,
        file: &Path,
        purpose: Purpose,
        color: Color,
    ) -> Result<Plan, ExitCode> {
        let plan = self
            .try_plan(find_gpu, file, purpose)
            .map_err(|diagnostics| refuse(&diagnostics, file, color))?;
        for warning in plan.warnings.iter().filter(|_| !self.is_follower) {
            tell(format_args!("{}\n", warning.render(color.on())));
        }
        Ok(plan)
    }

    /// Reads and plans the experiment file without printing. Only `find_gpu` looks for a GPU.
    fn try_plan(
        &self,
        find_gpu: impl FnOnce() -> Result<Option<usize>, NoGpu>,
        file: &Path,
        purpose: Purpose,
    ) -> Result<Plan, Vec<Diagnostic>> {
        let overrides = self.overrides();
        let options = overrides.options();
        let helped = |messages: Vec<Diagnostic>| -> Vec<Diagnostic> {
            messages.into_iter().map(|one| one.with_options(file, &options)).collect()
        };
        let mut plan = self.plan_with(&overrides, find_gpu, file, purpose).map_err(helped)?;
        plan.warnings = helped(plan.warnings);
        Ok(plan)
    }

    fn plan_with(
        &self,
        overrides: &Overrides,
        find_gpu: impl FnOnce() -> Result<Option<usize>, NoGpu>,
        file: &Path,
        purpose: Purpose,
    ) -> Result<Plan, Vec<Diagnostic>> {
        let runs_dir = runs_dir(self.runs_dir.as_deref(), file);
        let mut loaded = load(file, overrides).map_err(|ConfigError { diagnostics, .. }| {
            diagnostics
                .into_iter()
                .map(|fault| about_a_run(fault, file, &runs_dir))
                .collect::<Vec<_>>()
        })?;
        self.moved.replace_in(&mut loaded);
        if let Some(run) = file.parent().filter(|_| file.ends_with(RunDir::SETTINGS)) {
            follow_moved_inputs(&mut loaded, run);
        }
        if matches!(purpose, Purpose::Run | Purpose::Generate) {
            fetch_weights(&loaded).map_err(|fault| vec![*fault])?;
        }
        if matches!(purpose, Purpose::Run | Purpose::Data) {
            fetch_data(&loaded)?;
        }
        resolve(loaded, purpose, runs_dir, find_gpu)
    }
}

/// Looks for the driver of GPUs, for a command that does not load libtorch; how many GPUs there are stays unknown.
///
/// # Errors
/// What is missing for any GPU.
fn driver_of_gpus() -> Result<Option<usize>, NoGpu> {
    find_driver().map(|()| None)
}

/// The fault of an experiment file that does not exist, with what to do where its name is that of a run.
fn about_a_run(fault: Diagnostic, file: &Path, runs_dir: &Path) -> Diagnostic {
    let is_run = |name: &str| find_run(runs_dir, name).is_ok();
    if file.exists() || !file.to_str().is_some_and(is_run) {
        return fault;
    }
    let path = file;
    let helps = vec![msg!(RESUME_RUN_DIRECTORY, path), msg!(RUN_LIKE_DIRECTORY, path)];
    Diagnostic { helps, ..fault }
}

/// Downloads the weights of an experiment from a hub, unless they are on this machine.
fn fetch_weights(loaded: &Loaded) -> Result<(), Box<Diagnostic>> {
    let Some(path) = loaded.config.model.load_model.as_deref().filter(|path| is_on_hub(path))
    else {
        return Ok(());
    };
    let placed = |fault: Box<Diagnostic>| Box::new(loaded.at("model.load_model", *fault));
    fetched(path).map(drop).map_err(placed)
}

/// The path on this machine of weights that may be on a hub, from which they are downloaded.
fn fetched(path: &Path) -> Result<PathBuf, Box<Diagnostic>> {
    if !is_on_hub(path) {
        return Ok(path.to_path_buf());
    }
    let file = HubFile::parse(path)?;
    file.fetch(|| tell(format_args!("fetching {file}")))
}

/// Downloads the data sets of an experiment from a hub, unless they are on this machine, and tells which of their files
/// are not read.
fn fetch_data(loaded: &Loaded) -> Result<(), Vec<Diagnostic>> {
    let data = &loaded.config.data;
    let single = data.data_file.iter().map(|path| ("data.data_file".to_owned(), path));
    let sources = data.source.iter().enumerate().filter_map(|(index, source)| {
        Some((format!("data.source[{index}].data_file"), source.data_file.as_ref()?))
    });
    for (key, path) in single.chain(sources).filter(|(_, path)| is_on_hub(path)) {
        let placed = |fault: Box<Diagnostic>| vec![loaded.at(&key, *fault)];
        let data = HubDataset::parse(path).map_err(placed)?;
        let begins = || tell(format_args!("fetching {data}"));
        let found = data.fetch(begins).map_err(placed)?;
        if let Some(left_out) = found.left_out_text() {
            tell(format_args!("{data}: {}", left_out.said()));
        }
    }
    Ok(())
}

/// The folder of runs: `asked`, else the folder around a run, or the one of an experiment file.
fn runs_dir(asked: Option<&Path>, file: &Path) -> PathBuf {
    if let Some(dir) = asked {
        return dir.to_path_buf();
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    if file.ends_with(RunDir::SETTINGS) && folder.join(Lock::FILE).is_file() {
        // The settings of a run: beside the run, not in it.
        return match folder.parent() {
            None => "..".into(),
            Some(_) if folder == Path::new(".") => "..".into(),
            Some(parent) if parent.as_os_str().is_empty() => ".".into(),
            Some(parent) => parent.to_path_buf(),
        };
    }
    runs_of_experiment(file)
}

/// Prints a message.
fn show(diagnostic: &Diagnostic, color: Color) {
    tell(diagnostic.render(color.on()));
}

/// Prints the errors of an experiment file.
fn refuse(diagnostics: &[Diagnostic], file: &Path, color: Color) -> ExitCode {
    for diagnostic in diagnostics {
        tell(format_args!("{}\n", diagnostic.render(color.on())));
    }
    if diagnostics.len() > 1 {
        tell(summary(diagnostics, file).said());
    }
    exit_code(diagnostics)
}

/// The exit code for the errors of an experiment file: that of the first error.
fn exit_code(diagnostics: &[Diagnostic]) -> ExitCode {
    let first_error = diagnostics.iter().find(|one| one.severity == Severity::Error);
    first_error.map_or(ExitCode::Invalid, |first| ExitCode::of_message(first.code))
}

/// The program `statetune`: runs the command on the command line. Linked without libtorch, which takes a fifth of a
/// second to load; commands that need tensors continue in the program of [`main_with_tensors`]. `commit` is the git commit
/// that the program was built from.
pub fn main(commit: Option<&'static str>) -> ExitCode {
    commit.into_iter().for_each(Lock::built_from);
    complete::complete();
    start(|command, color| match command {
        Command::Plain(command) if !command.computes() => command.run(color),
        Command::Data(args) if !args.computes() => {
            attend(color, || data::data_without_model(&args, color))
        }
        _ => plain::hand_over(color),
    })
}

/// Runs a command that may take long: shows its progress, and ends it when the process is asked to end.
fn attend(color: Color, command: impl FnOnce() -> ExitCode) -> ExitCode {
    if let Err(error) = stop::listen() {
        show(&Diagnostic::error(msg!(NO_SIGNALS)).note(Text::library(error)), color);
        return ExitCode::Bug;
    }
    let _observed = observe(Rc::new(working::Working::default()));
    command()
}

/// The program `statetune-tensors`: linked with libtorch, runs every command. `commit` is as for [`main`].
pub fn main_with_tensors(commit: Option<&'static str>) -> ExitCode {
    commit.into_iter().for_each(Lock::built_from);
    keep_memory();
    replace_products();
    follow_load();
    end_in_words();
    attend(Color::Auto, || start(run_command))
}

/// Runs any command.
fn run_command(command: Command, color: Color) -> ExitCode {
    match command {
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
    }
}

/// Parses the arguments of this process and sets the language.
fn arguments() -> Result<Cli, clap::Error> {
    let cli = help::parse(std::env::args_os())?;
    let variable = |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into());
    let lang = Lang::resolve(cli.lang, variable).map_err(|unknown| {
        let message =
            format!("invalid value '{unknown}' for '{VARIABLE}'\n  [possible values: en, zh]");
        Cli::command().error(ErrorKind::InvalidValue, message)
    })?;
    lang.speak();
    Ok(cli)
}

/// Parses the arguments of this process and runs the command.
fn start(command: impl FnOnce(Command, Color) -> ExitCode) -> ExitCode {
    if let Some(refusal) = plain::refusal_of_stack() {
        show(&refusal, Color::Auto);
        return ExitCode::OutOfMemory;
    }
    let cli = match arguments() {
        Ok(cli) => cli,
        Err(error) => {
            // `--help` and `--version` end up here too; neither is an error.
            let printed = error.print().and_then(|()| io::stdout().flush());
            if error.use_stderr() {
                return ExitCode::Invalid;
            }
            output::noted(printed);
            return output::end(ExitCode::Ok, |fault| show(fault, Color::Auto));
        }
    };
    silence_library_panics();
    if cli.offline {
        hub::stay_offline();
    }
    // Without the handlers the signals end the process anyway.
    let _ = truncated::watch_mapped_files();
    let _ = stop::outlive_file_limit();
    let code = catch_unwind(AssertUnwindSafe(|| command(cli.command, cli.color)));
    let code = code.unwrap_or_else(|panic| match error_of_panic(&*panic) {
        _ if panic.is::<Stopped>() => stop::end_as_asked(),
        Some(error) => {
            show(&error.diagnostic(), cli.color);
            error.exit_code()
        }
        None => {
            // A constant text: rendering or translating a message may be what failed.
            tell(match Lang::spoken() {
                Lang::En => {
                    "error[ST9000]: this is a bug in statetune; the lines above say where it happened"
                }
                Lang::Zh => "错误[ST9000]: 这是 statetune 的缺陷；上面几行说明出错位置",
            });
            ExitCode::Bug
        }
    });
    output::end(code, |fault| show(fault, cli.color))
}
