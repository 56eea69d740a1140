//! `statetune verify`.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use clap::Args;
use serde_json::{Value, json};
use statetune_core::diagnostic::{Diagnostic, Text, msg};
use statetune_core::exit::ExitCode;
use statetune_core::look::diff::{Align, Diff, Divergence, Part, Recorded};
use statetune_core::plan::{Plan, Purpose};
use statetune_core::records::{Checkpoint, Event, ReadRunError, RunDir};
use statetune_core::store::StoredRun;
use statetune_core::work::Work;
use statetune_engine::RunError;
use statetune_engine::run::{Begin, Outcome};
use statetune_engine::train::Single;

use super::begin::fail;
use super::diff::divergence_text;
use super::{Color, ExperimentArgs, Format, MovedFiles, say, show};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.verify/1";
/// Minimum number of steps to run, if the run has that many.
const STEPS: u64 = 10;

#[derive(Args, Debug)]
pub(super) struct VerifyArgs {
    /// The run: `latest`, a name, an id or a path.
    run: String,
    /// Folder of run directories.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    #[command(flatten)]
    moved: MovedFiles,
    /// Steps to rerun [default: 10 or more, up to a line of metrics; all steps of a shorter run].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    steps: Option<u64>,
    /// Relative difference of losses that is allowed if the bits differ.
    #[arg(long, value_name = "SHARE", default_value_t = 1e-3)]
    tolerance: f64,
    /// Override a setting, such as `train.op`, to see its effect; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// The result of the comparison.
struct RequestOutcome {
    diff: Diff,
    steps: u64,
    /// Largest relative difference of a reported loss; `None` without reported losses.
    largest: Option<f64>,
    word: &'static str,
    /// The step after which another process resumed the run.
    went_on: Option<u64>,
    /// The step after which settings or inputs of the run changed, if later steps were requested.
    changed_after: Option<u64>,
}

const EQUAL: &str = "equal";
const WITHIN: &str = "within tolerance";
const DIFFERS: &str = "differs";

pub(super) fn verify(args: &VerifyArgs, color: Color) -> ExitCode {
    let refuse = |refusal: &Diagnostic| {
        show(refusal, color);
        ExitCode::of_message(refusal.code)
    };
    let stored = match StoredRun::find(&args.runs_dir, &args.run) {
        Ok(stored) => stored,
        Err(refusal) => return refuse(&refusal),
    };
    let read = || {
        let (first, until) = stored.first_steps()?;
        Ok((Recorded::read_with(&stored, &first)?, first, until))
    };
    let (recorded, first, until) = match read() {
        Ok(read) => read,
        Err(error) => {
            let error: ReadRunError = error;
            return refuse(&error.diagnostic());
        }
    };
    if recorded.chain.is_empty() {
        let message = msg!(NO_STEPS_TO_COMPARE, run = stored.directory());
        return refuse(&Diagnostic::error(message));
    }
    let runs_dir = stored.path().parent().map(Path::to_path_buf);
    let experiment = ExperimentArgs {
        set: args.set.clone(),
        runs_dir,
        moved: args.moved.clone(),
        ..ExperimentArgs::default()
    };
    let plan = match experiment.plan(&first.join(RunDir::SETTINGS), Purpose::Run, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let asked = args.steps.unwrap_or_else(|| default_steps(&recorded));
    let steps = until.map_or(asked, |until| asked.min(until));
    match again(plan, &stored, first, steps) {
        Ok(again) => {
            let verdict = judge(&stored, recorded, again, steps, args.tolerance);
            let verdict =
                RequestOutcome { changed_after: until.filter(|_| asked > steps), ..verdict };
            match args.format {
                Format::Human => print(&verdict),
                Format::Json => say(as_json(&verdict)),
            }
            if verdict.word == DIFFERS { ExitCode::AnswerNo } else { ExitCode::Ok }
        }
        Err(Fault::Run(error)) => fail(&error, color),
        Err(Fault::Folder(fault)) => {
            show(&fault, color);
            ExitCode::Disk
        }
    }
}

/// The reason why the steps could not be rerun.
enum Fault {
    Run(Box<RunError>),
    /// The temporary folder, or its records.
    Folder(Box<Diagnostic>),
}

impl From<RunError> for Fault {
    fn from(error: RunError) -> Self {
        Self::Run(Box::new(error))
    }
}

impl From<ReadRunError> for Fault {
    fn from(error: ReadRunError) -> Self {
        Self::Folder(Box::new(error.diagnostic()))
    }
}

/// Enough steps to end with a line of metrics, so that losses can be compared where bits differ.
fn default_steps(recorded: &Recorded) -> u64 {
    let mut reported = recorded.course.metrics.iter().map(|line| line.step);
    reported.find(|step| *step >= STEPS).unwrap_or(recorded.chain.len() as u64)
}

/// Reruns the first `steps` steps of a run, in a folder that is removed afterwards. Prepared data is shared with the
/// run, and sampling is off.
fn again(
    mut plan: Plan,
    stored: &StoredRun,
    first: PathBuf,
    steps: u64,
) -> Result<Recorded, Fault> {
    let folder = tempfile::tempdir().map_err(|error| {
        let message = msg!(CANNOT_MAKE_TEMPORARY_FOLDER);
        Fault::Folder(Box::new(Diagnostic::error(message).note(Text::library(error))))
    })?;
    plan.records.runs_dir = folder.path().to_path_buf();
    plan.sample.held_out = 0;
    plan.sample.prompts.clear();
    let values = stored.events()?.into_iter().find_map(|line| match line.event {
        Event::Values { checkpoint } => Some(checkpoint),
        _ => None,
    });
    let checkpoint = values.map(|path| Checkpoint::open(&path)).transpose();
    let checkpoint = checkpoint.map_err(RunError::from)?;
    let begin = Begin::Repeat { run: stored.path().to_path_buf(), first, checkpoint };
    let stop = AtomicBool::new(false);
    let mut work = Work::begin("running the steps again", steps);
    let outcome = statetune_engine::run::run(&plan, begin, &Single, true, &stop, &mut |event| {
        if let Event::Step { record, .. } = event {
            work.set(record.step + 1);
            stop.fetch_or(record.step + 1 >= steps, Ordering::Relaxed);
        }
    })?;
    let path = match outcome {
        Outcome::Done(summary) => summary.run,
        Outcome::Interrupted { run, .. } | Outcome::NotNeeded { run } => run,
    };
    Ok(Recorded::read(&StoredRun::open(&path)?)?)
}

/// Compares the first steps of a run with the rerun steps.
fn judge(
    stored: &StoredRun,
    mut recorded: Recorded,
    mut again: Recorded,
    steps: u64,
    tolerance: f64,
) -> RequestOutcome {
    for run in [&mut recorded, &mut again] {
        run.chain.truncate(usize::try_from(steps).unwrap_or(usize::MAX));
        run.course.metrics.retain(|line| line.step <= steps);
    }
    let steps = recorded.chain.len() as u64;
    let lines = recorded.course.metrics.iter().zip(&again.course.metrics);
    let shares = lines.map(|(one, other)| (one.loss - other.loss).abs() / one.loss.abs());
    let largest = shares.max_by(f64::total_cmp);
    let diff = Diff::of(&[recorded, again], Align::Samples);
    let word = match diff.pairs[0].divergence {
        Divergence::Same { .. } => EQUAL,
        Divergence::Parted { part: Part::Loss | Part::Update, .. }
            if largest.is_some_and(|largest| largest <= tolerance) =>
        {
            WITHIN
        }
        _ => DIFFERS,
    };
    let events = stored.events().unwrap_or_default();
    let went_on = events.iter().find_map(|line| match line.event {
        Event::Resume { run: None, steps, .. } if steps > 0 => Some(steps),
        _ => None,
    });
    RequestOutcome { diff, steps, largest, word, went_on, changed_after: None }
}

fn print(verdict: &RequestOutcome) {
    let RequestOutcome { diff, steps, largest, word, changed_after, .. } = verdict;
    let name = &diff.runs[0];
    say(format_args!("verify {} {}, its first {steps} steps", name.id, name.name));
    let (line, end) = divergence_text(&diff.pairs[0]);
    say(format_args!("{word:<18}{line}"));
    if let Some(end) = end {
        say(format_args!("{:18}{end}", ""));
    }
    if let Some(largest) = largest.filter(|_| *word != EQUAL) {
        say(format_args!("{:<18}largest relative difference {largest:.1e}", "losses"));
    }
    for row in &diff.environment {
        let value = |run: usize| row.values[run].as_deref().unwrap_or("-");
        say(format_args!("{:<18}{} -> {}", row.name, value(0), value(1)));
    }
    if let Some(step) = changed_after {
        let end = "after which settings, inputs or the machine changed";
        say(format_args!("{:<18}to step {step}, {end}", "compared"));
    }
}

fn as_json(verdict: &RequestOutcome) -> Value {
    let RequestOutcome { diff, steps, largest, word, went_on, changed_after } = verdict;
    json!({
        "schema": SCHEMA,
        "run": diff.runs[0],
        "verdict": word,
        "steps": steps,
        "divergence": diff.pairs[0].divergence,
        "causes": diff.pairs[0].causes,
        "environment": diff.environment,
        "largest_loss_difference": largest,
        "went_on_after": went_on,
        "changed_after": changed_after,
    })
}
