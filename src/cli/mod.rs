//! The command line: one file per command, each parsing, calling and printing.
//!
//! Standard output carries the answer, standard error progress and messages.

mod check;
mod generate;
mod run;
mod schema;
mod screen;

use std::io::IsTerminal;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::{ConfigError, Overrides, load};
use crate::diagnostic::{Diagnostic, Severity, summary};
use crate::exit::ExitCode;
use crate::plan::{Plan, resolve};

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
    /// Check an experiment file without running it.
    Check(check::CheckArgs),
    /// Let a base model, or a run's tuned model, continue a text.
    Generate(generate::GenerateArgs),
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
        match self {
            Color::Always => true,
            Color::Never => false,
            Color::Auto => {
                std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none()
            }
        }
    }
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
    fn plan(&self, file: &Path, color: Color) -> Result<Plan, ExitCode> {
        let loaded = load(file, &Overrides::from_process(self.set.clone()))
            .map_err(|ConfigError { file, diagnostics }| refuse(&diagnostics, &file, color))?;
        let plan = resolve(loaded, runs_dir(self.runs_dir.as_deref(), file))
            .map_err(|diagnostics| refuse(&diagnostics, file, color))?;
        for warning in &plan.warnings {
            eprintln!("{}\n", warning.render(color.on()));
        }
        Ok(plan)
    }
}

/// `runs` beside the folder `configs` of an experiment file, or beside the file itself when it lies in
/// the current folder.
fn runs_dir(asked: Option<&Path>, file: &Path) -> PathBuf {
    if let Some(dir) = asked {
        return dir.to_path_buf();
    }
    let folder =
        file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    if folder.file_name().is_some_and(|name| name == "configs") {
        return folder.parent().unwrap_or(Path::new("")).join("runs");
    }
    folder.join("runs")
}

/// Prints faults of an experiment file.
fn refuse(diagnostics: &[Diagnostic], file: &Path, color: Color) -> ExitCode {
    for diagnostic in diagnostics {
        eprintln!("{}\n", diagnostic.render(color.on()));
    }
    if diagnostics.len() > 1 {
        eprintln!("{}", summary(diagnostics, file));
    }
    let first_error = diagnostics.iter().find(|one| one.severity == Severity::Error);
    first_error.map_or(ExitCode::Invalid, |first| ExitCode::of_message(first.code))
}

/// Runs the command that the arguments of this process ask for.
pub fn main() -> ExitCode {
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
        Command::Check(args) => check::check(&args, color),
        Command::Generate(args) => generate::generate(&args, color),
        Command::Schema(args) => schema::schema(&args),
    });
    catch_unwind(command).unwrap_or_else(|_| {
        eprintln!(
            "error[ST9000]: this is a defect of statetune; the lines above say where it happened"
        );
        ExitCode::Bug
    })
}
