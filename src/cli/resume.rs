//! `statetune resume`, and how `statetune run` finds the run that it is to continue.

use std::path::{Path, PathBuf};

use clap::Args;

use super::run::{RunOptions, execute};
use super::{Color, ExperimentArgs, show};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::{Plan, Purpose, Reach};
use statetune_core::runs::{
    Moment, RunDir, Status, checkpoints, find_run, runs_named, split_moment,
};
use statetune_engine::pipeline::{RunError, Start, setting_changes};

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
    /// Override a setting of the run with a JSON value, stronger than `--set`; repeatable.
    #[arg(long, value_name = "KEY=JSON")]
    set_json: Vec<String>,
    /// Let the default of a setting hold in the place of the run's value; repeatable.
    #[arg(long, value_name = "KEY")]
    unset: Vec<String>,
    /// Settings, or `data`, `weights` and `tokenizer`, that may differ although later steps differ then.
    #[arg(long, value_name = "KEYS", value_delimiter = ',')]
    accept: Vec<String>,
    /// Leave this document out of all steps to come: its line, `27`, `FILE:27`, or its number in a pair;
    /// repeatable.
    #[arg(long, value_name = "DOCUMENT")]
    drop_sample: Vec<String>,
    #[command(flatten)]
    options: RunOptions,
}

pub(super) fn resume(args: &ResumeArgs, color: Color) -> ExitCode {
    if args.options.detaches() {
        return args.options.start_detached(color);
    }
    let run = match find_run(&args.runs_dir, &args.run) {
        Ok(run) => run,
        Err(refusal) => {
            show(&refusal, color);
            return ExitCode::Invalid;
        }
    };
    let runs_dir = run.parent().map_or_else(|| args.runs_dir.clone(), Path::to_path_buf);
    let experiment = ExperimentArgs {
        set: args.set.clone(),
        set_json: args.set_json.clone(),
        unset: args.unset.clone(),
        runs_dir: Some(runs_dir),
        ..ExperimentArgs::default()
    };
    let plan = match experiment.plan(&run.join("resolved.toml"), Purpose::Run, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    match continue_run(&plan, &run, args.accept.clone(), args.drop_sample.clone()) {
        Ok(start) => execute(&plan, start, &args.options, color),
        Err(error) => fail(&error, color),
    }
}

/// What `--resume`, `--from` and `--needed` of `run` ask for; without them what `train.epoch_begin` does.
///
/// # Errors
/// A run that is not there, is busy, or would not be the same run.
pub(super) fn start(
    plan: &Plan,
    resume: Option<&str>,
    from: Option<&str>,
    needed: bool,
) -> Result<Start, RunError> {
    match (resume, from) {
        (Some(name), _) if needed && name != "auto" => {
            let message = msg!(NEEDED_IS_FOR_RESUME_AUTO);
            let help = msg!(NAMED_RUN_CONTINUES);
            Err(RunError::Resume(Box::new(Diagnostic::error(message).help(help))))
        }
        (None | Some("auto"), None) if needed => Ok(Start::Needed { resume: resume.is_some() }),
        (Some("auto"), _) => {
            let runs = runs_named(&plan.records.runs_dir, &plan.records.name);
            let unfinished = |run: &&PathBuf| Status::load(run) != Some(Status::Done);
            match runs.iter().rev().find(unfinished) {
                Some(run) => continue_run(plan, run, Vec::new(), Vec::new()),
                None => Ok(Start::New),
            }
        }
        (Some(name), _) => continue_run(plan, &found(plan, name)?, Vec::new(), Vec::new()),
        (None, Some(name)) => {
            let (name, moment) = split_moment(name).map_err(RunError::Resume)?;
            let run = found(plan, name)?;
            let checkpoint = moment.unwrap_or(Moment::Last).checkpoint(&run);
            Ok(Start::Values { checkpoint: checkpoint.map_err(RunError::Resume)? })
        }
        (None, None) => Start::of_plan(plan),
    }
}

/// The run goes on after its newest checkpoint, or from its first step when it has none.
fn continue_run(
    plan: &Plan,
    run: &Path,
    accept: Vec<String>,
    drop_samples: Vec<String>,
) -> Result<Start, RunError> {
    let longer = || -> Result<bool, RunError> {
        Ok(setting_changes(run, plan)?.iter().any(|change| change.reach == Reach::Length))
    };
    if Status::load(run) == Some(Status::Done) && !longer()? {
        let message = msg!(RUN_IS_DONE, run);
        let diagnostic =
            Diagnostic::error(message).help(msg!(SET_MORE_EPOCHS)).help(msg!(START_FROM_RUN));
        return Err(RunError::Resume(Box::new(diagnostic)));
    }
    let checkpoint = checkpoints(run).pop();
    let start = Start::Continue { run: RunDir::open(run)?, checkpoint, accept, drop_samples };
    start.check_settings(plan)?;
    Ok(start)
}

fn found(plan: &Plan, name: &str) -> Result<PathBuf, RunError> {
    find_run(&plan.records.runs_dir, name).map_err(RunError::Resume)
}

/// Shows why nothing was begun.
pub(super) fn fail(error: &RunError, color: Color) -> ExitCode {
    show(&error.diagnostic(), color);
    error.exit_code()
}
