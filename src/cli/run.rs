//! `statetune run`.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::screen::Screen;
use super::table::table;
use super::{Color, ExperimentArgs, say, show};
use crate::exit::ExitCode;
use crate::pipeline::{self, Summary};
use crate::plan::Purpose;

/// Questions that the closing table shows.
const SAMPLES_SHOWN: usize = 4;
/// Characters of an answer in the closing table.
const ANSWER_CHARS: usize = 120;

/// Arguments of `run`.
#[derive(Args, Debug)]
pub(super) struct RunArgs {
    /// The experiment file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    experiment: ExperimentArgs,
    /// How to show progress.
    #[arg(long, value_enum, default_value_t = ProgressStyle::Auto, value_name = "STYLE")]
    progress: ProgressStyle,
}

/// How progress is shown.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
pub(super) enum ProgressStyle {
    /// A bar on a terminal, lines elsewhere.
    Auto,
    /// A bar.
    Bar,
    /// A line an interval.
    Plain,
    /// Nothing.
    None,
}

pub(super) fn run(args: &RunArgs, color: Color) -> ExitCode {
    let plan = match args.experiment.plan(&args.file, Purpose::Run, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let mut screen = Screen::new(args.progress);
    let result = pipeline::run(&plan, &mut |progress| screen.show(progress));
    screen.close();
    match result {
        Ok(summary) => {
            print_summary(&summary);
            ExitCode::Ok
        }
        Err(error) => {
            show(&error.diagnostic(), color);
            error.exit_code()
        }
    }
}

/// What came of the run: losses, rates, examples, files, and what to type next.
fn print_summary(summary: &Summary) {
    let mut results = table(&["", "base", "tuned"]);
    if let Some((before, after)) = summary.val_loss {
        results.add_row([
            "held-out loss".to_string(),
            format!("{before:.4}"),
            format!("{after:.4}"),
        ]);
    }
    let percent =
        |rate: Option<f64>| rate.map_or("-".to_string(), |rate| format!("{:.0} %", rate * 100.0));
    for (name, before, after) in &summary.probes {
        results.add_row([format!("answers with {name}"), percent(*before), percent(*after)]);
    }
    if results.row_count() > 0 {
        say(results);
    }
    if !summary.samples.is_empty() {
        let mut samples = table(&["question", "base", "tuned"]);
        for sampled in summary.samples.iter().take(SAMPLES_SHOWN) {
            let base = sampled.base.as_deref().unwrap_or("-");
            samples.add_row([question(&sampled.prompt), short(base), short(&sampled.tuned)]);
        }
        say(samples);
    }
    say(format_args!("trained for {:.0} s", summary.train_secs));
    say(format_args!("run      {}", summary.run.display()));
    for product in &summary.products {
        say(format_args!("product  {}", product.display()));
    }
    let run = summary.run.display();
    say(format_args!("next     statetune generate {run} --prompt \"How was your weekend?\""));
}

/// A prompt without its role words, on one line.
fn question(prompt: &str) -> String {
    let last = prompt.trim_end_matches(crate::data::ASSISTANT).trim();
    let last = last.rsplit("\n\n").next().unwrap_or(last);
    short(last.trim_start_matches(crate::data::USER).trim())
}

fn short(text: &str) -> String {
    let line = text.replace('\n', " ");
    match line.char_indices().nth(ANSWER_CHARS) {
        Some((cut, _)) => format!("{}...", &line[..cut]),
        None => line,
    }
}
