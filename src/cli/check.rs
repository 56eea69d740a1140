//! `statetune check`.

use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use serde_json::Value;
use statetune_core::diagnostic::{Diagnostic, Severity, Text, apply, msg, summary_with_fixes};
use statetune_core::exit::ExitCode;
use statetune_core::look::files::look_into_files;
use statetune_core::plan::Purpose;

use super::replace::rewrite;
use super::{Color, ExperimentArgs, Format, driver_of_gpus, exit_code, say, show, tell};

/// Most rounds of fixes: a fix can uncover another error, and two overlapping fixes need two rounds.
const ROUNDS: usize = 20;

/// Codes of the warnings about missing files that a run needs.
const MISSING: [&str; 3] = ["ST3005", "ST3010", "ST4001"];

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// Experiment files.
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// Fix the errors with exactly one possible fix in the files; comments stay.
    #[arg(long)]
    fix: bool,
    /// Exit with code 1 if a file has warnings.
    #[arg(long, value_enum, value_name = "WHAT")]
    deny: Option<Deny>,
    /// Show only warnings whose code starts with one of these: `ST12,ST2301`. Errors are always shown.
    #[arg(long, value_delimiter = ',', value_name = "CODES", value_parser = code)]
    select: Vec<String>,
    /// Hide warnings whose code starts with one of these.
    #[arg(long, value_delimiter = ',', value_name = "CODES", value_parser = code)]
    ignore: Vec<String>,
    /// Check the experiment files alone: do not look into weights, vocabulary and documents.
    #[arg(long)]
    no_files: bool,
    /// Output format; `json` prints a list of `statetune.diagnostic/1` to standard output.
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Deny {
    /// Warnings.
    Warnings,
}

/// Parses a code or the start of one.
fn code(text: &str) -> Result<String, String> {
    let digits = text.strip_prefix("ST").filter(|digits| digits.len() <= 4);
    let is_code = digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    is_code.then(|| text.to_owned()).ok_or_else(|| "a code is ST and up to four digits".to_owned())
}

/// Checks every file. A CUDA driver counts as a usable GPU, since only libtorch can check one and loading libtorch
/// takes long. The exit code is that of the first file with errors, otherwise that of denied warnings.
pub(super) fn check(args: &CheckArgs, color: Color) -> ExitCode {
    let mut found: Vec<Value> = Vec::new();
    let mut codes = Vec::new();
    for file in &args.files {
        let diagnostics = match args.fixed(file) {
            Ok(diagnostics) => diagnostics,
            Err(fault) => {
                show(&fault, color);
                codes.push(ExitCode::Disk);
                continue;
            }
        };
        match args.format {
            Format::Human => print(&diagnostics, file, color),
            Format::Json => found.extend(diagnostics.iter().map(Diagnostic::to_json)),
        }
        codes.push(args.code_of(&diagnostics));
    }
    if args.format == Format::Json {
        say(format_args!("{:#}", Value::from(found)));
    }
    let refused = codes.iter().find(|code| ![ExitCode::Ok, ExitCode::AnswerNo].contains(code));
    let denied = codes.iter().find(|code| **code == ExitCode::AnswerNo);
    refused.or(denied).copied().unwrap_or(ExitCode::Ok)
}

impl CheckArgs {
    /// The messages for a file, after its fixes were applied if `--fix` is given.
    fn fixed(&self, file: &Path) -> Result<Vec<Diagnostic>, Box<Diagnostic>> {
        let mut fixed = 0;
        let mut diagnostics = self.diagnostics(file);
        for _ in 0..if self.fix { ROUNDS } else { 0 } {
            let Some((text, count)) = fixes(&diagnostics, file) else { break };
            rewrite(file, &text).map_err(|error| {
                let message = msg!(CANNOT_WRITE, file);
                Box::new(Diagnostic::error(message).note(Text::library(error)))
            })?;
            fixed += count;
            diagnostics = self.diagnostics(file);
        }
        if fixed > 0 {
            tell(msg!(FAULTS_FIXED, file, fixed).said());
        }
        Ok(diagnostics)
    }

    fn diagnostics(&self, file: &Path) -> Vec<Diagnostic> {
        let planned = self.experiment.try_plan(driver_of_gpus, file, Purpose::Check);
        let mut found = match planned {
            Ok(plan) if self.no_files => plan.warnings,
            Ok(plan) => {
                let in_files = look_into_files(&plan);
                plan.warnings.into_iter().chain(in_files).collect()
            }
            Err(faults) => faults,
        };
        let is_in =
            |codes: &[String], code: &str| codes.iter().any(|start| code.starts_with(start));
        found.retain(|one| {
            let is_wanted = self.select.is_empty() || is_in(&self.select, one.code);
            one.severity == Severity::Error || is_wanted && !is_in(&self.ignore, one.code)
        });
        found
    }

    fn code_of(&self, diagnostics: &[Diagnostic]) -> ExitCode {
        if diagnostics.iter().any(|one| one.severity == Severity::Error) {
            return exit_code(diagnostics);
        }
        match self.deny {
            Some(Deny::Warnings) if !diagnostics.is_empty() => ExitCode::AnswerNo,
            _ => ExitCode::Ok,
        }
    }
}

/// The text of the file with all fixes that do not overlap, and their number; `None` without fixes.
fn fixes(diagnostics: &[Diagnostic], file: &Path) -> Option<(String, usize)> {
    let fixable = diagnostics.iter().filter(|one| !one.fix.is_empty());
    let here = fixable.filter_map(|one| Some((one.span.as_ref()?, &*one.fix)));
    let here: Vec<_> = here.filter(|(span, _)| span.file == file).collect();
    let (span, _) = here.first()?;
    Some(apply(&span.text, here.iter().map(|(_, fix)| *fix)))
}

fn print(diagnostics: &[Diagnostic], file: &Path, color: Color) {
    for diagnostic in diagnostics {
        tell(format_args!("{}\n", diagnostic.render(color.on())));
    }
    if diagnostics.len() > 1 {
        tell(summary_with_fixes(diagnostics, file).said());
    }
    if diagnostics.iter().all(|one| one.severity == Severity::Warning) {
        let is_missing = |one: &&Diagnostic| MISSING.contains(&one.code);
        say(match diagnostics.iter().filter(is_missing).count() {
            0 => msg!(FILE_IS_VALID, file).said(),
            n => msg!(FILE_IS_VALID_WITHOUT, file, n).said(),
        });
    }
}
