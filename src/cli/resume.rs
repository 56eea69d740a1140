//! `statetune resume`, and how `statetune run` finds the run that it is to continue.

use std::path::{Path, PathBuf};

use clap::Args;

use super::run::{RunOptions, execute};
use super::{Color, ExperimentArgs, show};
use crate::diagnostic::Diagnostic;
use crate::exit::ExitCode;
use crate::pipeline::{RunError, Start, setting_changes};
use crate::plan::{Plan, Purpose, Reach};
use crate::runs::{RunDir, Status, best_checkpoint, checkpoints, find_run, runs_named};

/// Arguments of `resume`.
#[derive(Args, Debug)]
pub(super) struct ResumeArgs {
    /// A run: `latest`, its name, its four letters, or its path.
    run: String,
    /// Where run directories lie.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    /// Override a setting of the run, such as `train.epoch_count`; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Settings, or `data`, `weights` and `tokenizer`, that may differ although later steps differ then.
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    accept: Vec<String>,
    #[command(flatten)]
    options: RunOptions,
}

pub(super) fn resume(args: &ResumeArgs, color: Color) -> ExitCode {
    let Some(run) = find_run(&args.runs_dir, &args.run) else {
        return no_run(&args.run, &args.runs_dir, color);
    };
    let runs_dir = run.parent().map_or_else(|| args.runs_dir.clone(), Path::to_path_buf);
    let experiment = ExperimentArgs { set: args.set.clone(), runs_dir: Some(runs_dir) };
    let plan = match experiment.plan(&run.join("resolved.toml"), Purpose::Run, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    match continue_run(&plan, &run, args.accept.clone()) {
        Ok(start) => execute(&plan, start, &args.options, color),
        Err(error) => fail(&error, color),
    }
}

/// What `--resume` and `--from` of `run` ask for; without them what `train.epoch_begin` does.
///
/// # Errors
/// A run that is not there, is busy, or would not be the same run.
pub(super) fn start(
    plan: &Plan,
    resume: Option<&str>,
    from: Option<&str>,
) -> Result<Start, RunError> {
    match (resume, from) {
        (Some("auto"), _) => {
            let runs = runs_named(&plan.runs_dir, &plan.config().name);
            let unfinished = |run: &&PathBuf| Status::load(run) != Some(Status::Done);
            match runs.iter().rev().find(unfinished) {
                Some(run) => continue_run(plan, run, Vec::new()),
                None => Ok(Start::New),
            }
        }
        (Some(name), _) => continue_run(plan, &found(plan, name)?, Vec::new()),
        (None, Some(name)) => {
            let (name, best) = match name.strip_suffix("@best") {
                Some(name) => (name, true),
                None => (name, false),
            };
            let run = found(plan, name)?;
            let checkpoint = if best { best_checkpoint(&run) } else { checkpoints(&run).pop() };
            match checkpoint {
                Some(checkpoint) => Ok(Start::Values { checkpoint }),
                None => {
                    let message = format!("the run `{}` has no checkpoint", run.display());
                    Err(RunError::Resume(Box::new(Diagnostic::error("ST6006", message))))
                }
            }
        }
        (None, None) => Start::of_plan(plan),
    }
}

/// The run goes on after its newest checkpoint, or from its first step when it has none.
fn continue_run(plan: &Plan, run: &Path, accept: Vec<String>) -> Result<Start, RunError> {
    let longer = || -> Result<bool, RunError> {
        Ok(setting_changes(run, plan)?.iter().any(|change| change.reach == Reach::Length))
    };
    if Status::load(run) == Some(Status::Done) && !longer()? {
        let message = format!("the run `{}` is done", run.display());
        let diagnostic = Diagnostic::error("ST6008", message)
            .help("more mini-epochs: `--set train.epoch_count=N`")
            .help("a new run that starts from what it learned: `statetune run FILE --from RUN`");
        return Err(RunError::Resume(Box::new(diagnostic)));
    }
    let checkpoint = checkpoints(run).pop();
    let start = Start::Continue { run: RunDir::open(run)?, checkpoint, accept };
    start.check_settings(plan)?;
    Ok(start)
}

fn found(plan: &Plan, name: &str) -> Result<PathBuf, RunError> {
    find_run(&plan.runs_dir, name).ok_or_else(|| {
        let message = format!("there is no run `{name}` in `{}`", plan.runs_dir.display());
        RunError::Resume(Box::new(Diagnostic::error("ST0201", message)))
    })
}

pub(super) fn no_run(name: &str, runs_dir: &Path, color: Color) -> ExitCode {
    let message = format!("there is no run `{name}` in `{}`", runs_dir.display());
    show(&Diagnostic::error("ST0201", message), color);
    ExitCode::Invalid
}

/// Shows why nothing was begun.
pub(super) fn fail(error: &RunError, color: Color) -> ExitCode {
    show(&error.diagnostic(), color);
    error.exit_code()
}
