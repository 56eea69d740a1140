//! `statetune diff`.

mod sheet;

pub(super) use sheet::divergence_text;

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::{Value, json};
use statetune_core::exit::ExitCode;
use statetune_core::look::diff::{Align, Diff, Recorded};
use statetune_core::store::StoredRun;
use statetune_core::words::printable;

use super::table::table;
use super::{Color, say, show};

/// Name and version of what `--format json` prints.
const SCHEMA: &str = "statetune.diff/1";
/// Decimals of losses and rates.
const DECIMALS: usize = 4;

#[derive(Args, Debug)]
pub(super) struct DiffArgs {
    /// Two or more runs: `latest`, names, ids or paths; the others are compared with the first.
    #[arg(value_name = "RUN", required = true, num_args = 2..)]
    runs: Vec<String>,
    /// Folder of run directories.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Form::Human)]
    format: Form,
    /// Exit with 1 when the runs differ.
    #[arg(long)]
    exit_code: bool,
    /// Decimals of losses and rates; JSON has all digits.
    #[arg(long, value_name = "N", default_value_t = DECIMALS, value_parser = decimals)]
    precision: usize,
    /// Compare losses after an equal number of samples or target tokens.
    #[arg(long, value_enum, default_value_t = By::Samples)]
    align: By,
    /// Show differing answers side by side.
    #[arg(long)]
    samples: bool,
}

/// Output format.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum Form {
    /// Text.
    Human,
    /// A JSON object.
    Json,
    /// Markdown.
    Md,
}

/// Unit of the amount of training.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum By {
    /// Samples.
    Samples,
    /// Target tokens.
    Tokens,
}

/// Parses a number of decimals that a float64 can have.
fn decimals(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| *n <= 17).ok_or("a number from 0 to 17 is expected".to_string())
}

pub(super) fn diff(args: &DiffArgs, color: Color) -> ExitCode {
    let mut runs = Vec::new();
    for name in &args.runs {
        let read = StoredRun::find(&args.runs_dir, name)
            .and_then(|run| Recorded::read(&run).map_err(|error| Box::new(error.diagnostic())));
        match read {
            Ok(run) => runs.push(run),
            Err(refusal) => {
                show(&refusal, color);
                return ExitCode::of_message(refusal.code);
            }
        }
    }
    let align = match args.align {
        By::Samples => Align::Samples,
        By::Tokens => Align::Tokens,
    };
    let diff = Diff::of(&runs, align);
    match args.format {
        Form::Json => say(as_json(&diff)),
        Form::Human => {
            say(sheet::human(&diff, args.precision, args.samples));
            if args.samples {
                say_samples(&diff);
            }
        }
        Form::Md => say(sheet::markdown(&diff, args.precision, args.samples)),
    }
    if args.exit_code && !diff.is_same() { ExitCode::AnswerNo } else { ExitCode::Ok }
}

fn as_json(diff: &Diff) -> Value {
    let mut object = json!({ "schema": SCHEMA, "same": diff.is_same() });
    let fields = serde_json::to_value(diff).expect("a comparison is plain data");
    if let (Some(object), Value::Object(mut fields)) = (object.as_object_mut(), fields) {
        object.append(&mut fields);
    }
    object
}

/// The differing answers, one column per run.
fn say_samples(diff: &Diff) {
    if diff.samples.is_empty() {
        return;
    }
    let ids = diff.runs.iter().map(|run| run.id.as_str());
    let mut samples = table(&["prompt"].into_iter().chain(ids).collect::<Vec<_>>());
    for row in &diff.samples {
        let answers = row.answers.iter().map(|answer| printable(answer.trim()));
        samples.add_row([printable(row.prompt.trim())].into_iter().chain(answers));
    }
    say(samples);
}
