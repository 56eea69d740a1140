//! How a run begins: new, resumed, or from the parameters of another run.

use std::path::{Path, PathBuf};

use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::{Plan, Reach};
use statetune_core::records::{Checkpoint, RunDir, Status, newest_checkpoint};
use statetune_core::store::{CheckpointRef, find_run, runs_named, split_run_ref};
use statetune_engine::RunError;
use statetune_engine::run::{Begin, recorded_settings, setting_changes};

use super::{Color, show};

/// Begins the run that `--resume`, `--from` and `--needed` ask for, or without them `train.epoch_begin`.
///
/// # Errors
/// The run to continue does not exist, is busy, or would continue with other settings or inputs.
pub(super) fn begin(
    plan: &mut Plan,
    resume: Option<&str>,
    from: Option<&str>,
    needed: bool,
) -> Result<Begin, RunError> {
    match (resume, from) {
        (Some(name), _) if needed && name != "auto" => {
            let message = msg!(NEEDED_IS_FOR_RESUME_AUTO);
            let help = msg!(NAMED_RUN_CONTINUES);
            Err(RunError::Resume(Box::new(Diagnostic::error(message).help(help))))
        }
        (None | Some("auto"), None) if needed => Ok(Begin::IfNeeded { resume: resume.is_some() }),
        (Some("auto"), _) => {
            let runs = runs_named(&plan.records.runs_dir, &plan.records.name);
            // A folder without settings is what an earlier version left when it was killed: nothing to continue.
            let unfinished = |run: &&PathBuf| {
                Status::load(run) != Some(Status::Done) && run.join(RunDir::SETTINGS).is_file()
            };
            match runs.iter().rev().find(unfinished) {
                Some(run) => continue_with_file(plan, run),
                None => Ok(Begin::New),
            }
        }
        (Some(name), _) => {
            let run = found(plan, name)?;
            continue_with_file(plan, &run)
        }
        (None, Some(name)) => {
            let (name, moment) = split_run_ref(name).map_err(RunError::Resume)?;
            let run = found(plan, name)?;
            let checkpoint = moment.unwrap_or(CheckpointRef::Last).checkpoint(&run);
            Ok(Begin::WarmStart { checkpoint: checkpoint.map_err(RunError::Resume)? })
        }
        (None, None) => Begin::of_plan(plan),
    }
}

/// Resumes the run with the settings of an experiment file.
fn continue_with_file(plan: &mut Plan, run: &Path) -> Result<Begin, RunError> {
    let recorded = recorded_settings(run)?;
    plan.take_split_of(&recorded);
    plan.take_rate_of(&recorded);
    continue_run(plan, run, Vec::new(), Vec::new())
}

/// Resumes the run after its newest checkpoint, or from its first step without one.
pub(super) fn continue_run(
    plan: &Plan,
    run: &Path,
    accept: Vec<String>,
    drop_samples: Vec<String>,
) -> Result<Begin, RunError> {
    let longer = || -> Result<bool, RunError> {
        Ok(setting_changes(run, plan)?.iter().any(|change| change.reach == Reach::Length))
    };
    if Status::load(run) == Some(Status::Done) && !longer()? {
        let message = msg!(RUN_IS_DONE, run);
        let help = msg!(SET_MORE_EPOCHS, run, n = plan.train.epoch_count + 1);
        let arguments = plan.experiment.from_run(run);
        let diagnostic = Diagnostic::error(message).help(help);
        let diagnostic = diagnostic.help(msg!(START_FROM_THIS_RUN, arguments));
        return Err(RunError::Resume(Box::new(diagnostic)));
    }
    if let Some(newest) = newest_checkpoint(run)? {
        check_length(plan, run, &newest)?;
    }
    let begin = Begin::resume(run, accept, drop_samples)?;
    begin.check_settings(plan)?;
    Ok(begin)
}

/// Refuses a plan with fewer mini-epochs than the run has begun at its newest checkpoint.
fn check_length(plan: &Plan, run: &Path, newest: &Checkpoint) -> Result<(), RunError> {
    let done = newest.record.epochs;
    let begun = if newest.ends_epoch() { done } else { done + 1 };
    let asked = plan.train.epoch_count;
    if u64::from(asked) >= begun {
        return Ok(());
    }
    let message = Diagnostic::error(msg!(FEWER_THAN_DONE, asked, run, begun));
    let message = message.help(msg!(COUNT_IS_TOTAL, run, n = done + 1));
    let arguments = plan.experiment.from_run(run);
    let message = message.help(msg!(START_FROM_THIS_RUN, arguments));
    Err(RunError::Resume(Box::new(message)))
}

fn found(plan: &Plan, name: &str) -> Result<PathBuf, RunError> {
    find_run(&plan.records.runs_dir, name).map_err(RunError::Resume)
}

/// Shows why the run did not start.
pub(super) fn fail(error: &RunError, color: Color) -> ExitCode {
    show(&error.diagnostic(), color);
    error.exit_code()
}
