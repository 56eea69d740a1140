//! Where a run begins: at its first step, or where another one stood.

use std::path::{Path, PathBuf};

use super::RunError;
use super::inputs::keep_earlier;
use statetune_core::diagnostic::{Diagnostic, Join, Text, msg};
use statetune_core::digest::sha256_of_file;
use statetune_core::plan::{Change, Experiment, Plan, Reach};
use statetune_core::runs::{
    Chain, Checkpoint, Earlier, Event, LeftOut, LoadCheckpointError, Lock, LockedFile, RunDir,
    RunRecord, Status, StoredRun, all_runs, checkpoints, copy_sinks, directory as run_name,
    find_run, rewind_records, runs_named,
};
use statetune_core::tensorfile::WeightsError;

/// Where a run begins.
#[derive(Debug)]
pub enum Start {
    /// At the first step, in a new directory.
    New,
    /// As [`Start::of_plan`], unless there is a run with the same identity: a finished one makes another needless.
    Needed {
        /// Whether an unfinished one goes on; else a new one begins.
        resume: bool,
    },
    /// After a checkpoint of its own, in its own directory.
    Continue {
        /// The directory, locked.
        run: RunDir,
        /// The checkpoint; without one it begins at its first step.
        checkpoint: Option<Checkpoint>,
        /// What is accepted to differ: settings and inputs.
        accept: Vec<String>,
        /// Documents to leave out from now on, as a person names them.
        drop_samples: Vec<String>,
    },
    /// After a checkpoint of another run, in a new directory that takes over its records.
    Branch {
        /// The other run's directory.
        run: PathBuf,
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// As in [`Start::Continue`].
        accept: Vec<String>,
    },
    /// At the first step, in a new directory, with what a checkpoint of another run learned.
    Values {
        /// The checkpoint.
        checkpoint: Checkpoint,
    },
    /// As another run began, in a new directory, to be compared with it.
    Again {
        /// The other run's directory.
        run: PathBuf,
        /// The folder with the lock of its first steps.
        first: PathBuf,
        /// The checkpoint whose values it began with, if any.
        checkpoint: Option<Checkpoint>,
    },
}

impl Start {
    /// The checkpoint, if it begins with one.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            Start::New | Start::Needed { .. } => None,
            Start::Continue { checkpoint, .. } | Start::Again { checkpoint, .. } => {
                checkpoint.as_ref()
            }
            Start::Branch { checkpoint, .. } | Start::Values { checkpoint } => Some(checkpoint),
        }
    }

    /// Documents to leave out from now on, as a person names them.
    pub(super) fn drop_samples(&self) -> &[String] {
        match self {
            Start::Continue { drop_samples, .. } => drop_samples,
            _ => &[],
        }
    }

    /// The run whose steps go on, and what is accepted to differ from it.
    fn continued(&self) -> Option<(&Path, &[String])> {
        match self {
            Start::Continue { run, accept, .. } => Some((run.path(), accept)),
            Start::Branch { run, accept, .. } => Some((run, accept)),
            Start::New | Start::Needed { .. } | Start::Values { .. } | Start::Again { .. } => None,
        }
    }

    /// What another run had learned, when the run began with it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn values(&self) -> Result<Option<LockedFile>, RunError> {
        if let Start::Values { checkpoint } = self {
            let path = checkpoint.learned();
            let sha256 = sha256_of_file(&path)
                .map_err(|source| WeightsError::Read { path: path.clone(), source });
            return Ok(Some(LockedFile::new(&path, sha256.map_err(LoadCheckpointError::from)?)));
        }
        let recorded = match self {
            Start::Again { first, .. } => Lock::load(first),
            _ => self.continued().and_then(|(run, _)| Lock::load(run)),
        };
        Ok(recorded.and_then(|lock| lock.values))
    }

    /// Finds out whether a run that is only made where it is needed is needed, and how it begins. Any other
    /// start is what it is.
    ///
    /// # Errors
    /// When an unfinished run of the same identity cannot be opened.
    pub(super) fn settle(self, plan: &Plan, identity: &str) -> Result<Settled, RunError> {
        let Start::Needed { resume } = self else { return Ok(Settled::Start(Box::new(self))) };
        let same = |run: &PathBuf| {
            let record = RunRecord::load(run).ok()?;
            (record.identity.as_deref() == Some(identity)).then(|| (run.clone(), record.status))
        };
        let runs: Vec<_> = all_runs(&plan.records.runs_dir).iter().filter_map(same).collect();
        let newest =
            |is_done: bool| runs.iter().rfind(|(_, status)| (*status == Status::Done) == is_done);
        if let Some((run, _)) = newest(true) {
            return Ok(Settled::Needless(run.clone()));
        }
        match newest(false).filter(|_| resume) {
            Some((run, _)) => {
                let checkpoint = checkpoints(run).pop();
                let run = RunDir::open(run)?;
                Ok(Settled::Start(Box::new(Start::Continue {
                    run,
                    checkpoint,
                    accept: Vec::new(),
                    drop_samples: Vec::new(),
                })))
            }
            None => Ok(Settled::Start(Box::new(Start::of_plan(plan)?))),
        }
    }

    /// The identity of the run, when one that does all its steps with these settings and inputs has `whole`.
    /// None where steps were done under others.
    pub(super) fn identity(&self, whole: String) -> Option<String> {
        let before = match self {
            Start::Continue { run, checkpoint: Some(_), .. } => run.identity(),
            Start::Branch { run, .. } => RunRecord::load(run).ok()?.identity,
            _ => return Some(whole),
        };
        before.filter(|before| *before == whole)
    }

    /// What `train.epoch_begin` of the plan asks for.
    ///
    /// # Errors
    /// When there is no such checkpoint, or the settings would not give the same run.
    pub fn of_plan(plan: &Plan) -> Result<Start, RunError> {
        let train = &plan.train;
        let epochs = u64::from(train.epoch_begin);
        if epochs == 0 {
            return Ok(Start::New);
        }
        let candidates: Vec<PathBuf> = match &train.resume_from {
            Some(name) => {
                vec![
                    find_run(&plan.records.runs_dir, name)
                        .map_err(|refusal| refused(plan, *refusal))?,
                ]
            }
            None => runs_named(&plan.records.runs_dir, &plan.records.name),
        };
        let at_border = |one: &Checkpoint| one.place.epochs == epochs && one.is_border();
        let found = candidates.iter().rev().find_map(|run| {
            let checkpoint = checkpoints(run).into_iter().find(at_border)?;
            Some((run.clone(), checkpoint))
        });
        let Some((run, checkpoint)) = found else {
            return Err(refused(plan, no_checkpoint(epochs, &candidates)));
        };
        let start = Start::Branch { run, checkpoint, accept: Vec::new() };
        start.check_settings(plan)?;
        Ok(start)
    }

    /// Refuses settings under which the steps to come would not be those of the run, unless they are
    /// accepted.
    ///
    /// # Errors
    /// [`RunError::Resume`].
    pub fn check_settings(&self, plan: &Plan) -> Result<(), RunError> {
        let Some((run, accept)) = self.continued() else { return Ok(()) };
        let differing = setting_changes(run, plan)?;
        let breaking: Vec<&Change> = differing
            .iter()
            .filter(|change| change.reach == Reach::Everything && !accept.contains(&change.key))
            .collect();
        let Some(first) = breaking.first() else { return Ok(()) };
        let id = run_name(run);
        let mut diagnostic = Diagnostic::error(msg!(SETTINGS_CHANGED, id, n = breaking.len()));
        if let Some(place) = plan.experiment.place(&first.key) {
            diagnostic = diagnostic.at(place).label(msg!(VALUE_WAS, value = first.was));
        }
        for change in &breaking {
            let Change { key, was, now, .. } = change;
            diagnostic = diagnostic.note(msg!(LATER_STEPS_DIFFER, key, was, now));
        }
        for Change { key, was, now, .. } in
            differing.iter().filter(|change| change.reach == Reach::Length)
        {
            diagnostic = diagnostic.note(msg!(CHANGE_IS_ALLOWED, key, was, now));
        }
        let keys: Vec<&str> = breaking.iter().map(|change| change.key.as_str()).collect();
        Err(RunError::Resume(Box::new(help(diagnostic, run, &keys.join(",")))))
    }

    /// Refuses data, weights and a tokenizer with another content than those of the run, unless they are
    /// accepted. Returns what else of the machine differs, by which numbers may differ in rounding.
    ///
    /// # Errors
    /// [`RunError::Resume`].
    pub(super) fn check_lock(&self, plan: &Plan, now: &Lock) -> Result<Vec<String>, RunError> {
        if let Start::Again { run, first, .. } = self {
            return check_same_inputs(run, first, plan, now).map(|()| Vec::new());
        }
        let Some((run, accept)) = self.continued() else { return Ok(Vec::new()) };
        let Some(was) = Lock::load(run) else { return Ok(Vec::new()) };
        let differences = was.differences(now);
        let is_accepted = |name: &&str| accept.iter().any(|one| one == name);
        let inputs: Vec<&str> =
            differences.inputs.into_iter().filter(|name| !is_accepted(name)).collect();
        if inputs.is_empty() {
            return Ok(differences.machine);
        }
        let names = Text::list(Join::And, inputs.iter().map(|name| input(name)));
        let message = msg!(INPUTS_CHANGED, run = run_name(run), inputs = names);
        let mut diagnostic = Diagnostic::error(message);
        for &name in &inputs {
            diagnostic = diagnostic.note(then_and_now(name, &was, now));
        }
        Err(RunError::Resume(Box::new(help(diagnostic, run, &inputs.join(",")))))
    }

    /// The directory of the run, with the records of the steps before it, and the checkpoint that it begins
    /// with, if any.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(super) fn open(self, plan: &Plan, lock: &Lock) -> Result<(RunDir, Beginning), RunError> {
        let create = || RunDir::create(&plan.records.runs_dir, &plan.records.name);
        match self {
            Start::New | Start::Needed { .. } => Ok((create()?, Beginning::New)),
            Start::Continue { run, checkpoint, accept, .. } => {
                let (steps, epochs) = checkpoint
                    .as_ref()
                    .map_or((0, 0), |one| (one.place.position.steps, one.place.epochs));
                rewind_records(&run, steps, epochs)?;
                keep_earlier(&run, run.path(), plan, lock, steps)?;
                run.event(Event::Resume {
                    run: None,
                    checkpoint: checkpoint.as_ref().map(|one| one.name().to_string()),
                    steps,
                    accepted: accept,
                })?;
                Ok((run, checkpoint.map_or(Beginning::New, Beginning::After)))
            }
            Start::Branch { run: from, checkpoint, .. } => {
                let run = create()?;
                copy_sinks(&run, &from)?;
                for name in [Chain::FILE, LeftOut::FILE, "samples/base.jsonl"] {
                    run.copy_from(&from, name)?;
                }
                let steps = checkpoint.place.position.steps;
                Earlier::copy(&run, &from)?;
                rewind_records(&run, steps, checkpoint.place.epochs)?;
                keep_earlier(&run, &from, plan, lock, steps)?;
                run.event(Event::Resume {
                    run: Some(run_name(&from)),
                    checkpoint: Some(checkpoint.name().to_string()),
                    steps,
                    accepted: Vec::new(),
                })?;
                Ok((run, Beginning::After(checkpoint)))
            }
            Start::Values { checkpoint } => with_values(create()?, checkpoint),
            Start::Again { run: other, checkpoint, .. } => {
                let run = create()?;
                let left_out = LeftOut::load(&other)?;
                left_out.iter().filter(|one| one.never_came()).try_for_each(|one| one.add(&run))?;
                match checkpoint {
                    Some(checkpoint) => with_values(run, checkpoint),
                    None => Ok((run, Beginning::New)),
                }
            }
        }
    }
}

/// A new run that begins with what a checkpoint of another one learned.
fn with_values(run: RunDir, checkpoint: Checkpoint) -> Result<(RunDir, Beginning), RunError> {
    let path = std::path::absolute(&checkpoint.path);
    let path = path.unwrap_or_else(|_| checkpoint.path.clone());
    run.event(Event::Values { checkpoint: path })?;
    Ok((run, Beginning::Values(checkpoint)))
}

/// Refuses to compare with a run whose inputs are not there any more.
fn check_same_inputs(run: &Path, first: &Path, plan: &Plan, now: &Lock) -> Result<(), RunError> {
    let Some(was) = Lock::load(first) else { return Ok(()) };
    let Some(&name) = was.differences(now).inputs.first() else { return Ok(()) };
    let message = msg!(CANNOT_VERIFY_INPUT_CHANGED, run = run_name(run), name = input(name));
    let key = match name {
        Lock::WEIGHTS => "model.load_model",
        Lock::TOKENIZER => "model.tokenizer",
        _ => "data.data_file",
    };
    let fault = Diagnostic::error(message)
        .note(then_and_now(name, &was, now))
        .help(msg!(BRING_BACK_INPUTS));
    let fault = Box::new(plan.experiment.at(key, fault));
    Err(if name == Lock::WEIGHTS {
        RunError::Contradiction(fault)
    } else {
        RunError::Documents(fault)
    })
}

/// The files of an input that differs, each with the start of its digest.
fn input(name: &str) -> Text {
    match name {
        "data" => msg!(INPUT_DATA),
        Lock::TOKENIZER => msg!(INPUT_TOKENIZER),
        Lock::WEIGHTS => msg!(INPUT_WEIGHTS),
        Lock::INIT => msg!(INPUT_INIT),
        other => Text::verbatim(other.to_owned()),
    }
}

fn then_and_now(name: &str, was: &Lock, now: &Lock) -> Text {
    let text = |lock: &Lock| {
        let files = lock.input(name).into_iter();
        let files = files.map(|file| format!("{} ({:.8})", file.path.display(), file.sha256));
        files.collect::<Vec<_>>().join(", ")
    };
    msg!(INPUT_WAS_AND_IS, name = input(name), was = text(was), now = text(now))
}

/// What came of the question whether a run is needed.
pub(super) enum Settled {
    /// It begins, or goes on.
    Start(Box<Start>),
    /// This finished run has computed the same.
    Needless(PathBuf),
}

/// What the first step of a process finds.
#[derive(Debug)]
pub(super) enum Beginning {
    /// Nothing.
    New,
    /// Everything of a checkpoint.
    After(Checkpoint),
    /// What a checkpoint learned, and nothing else of it.
    Values(Checkpoint),
}

impl Beginning {
    /// Steps that the run has done.
    pub(super) fn steps(&self) -> u64 {
        match self {
            Beginning::After(checkpoint) => checkpoint.place.position.steps,
            Beginning::New | Beginning::Values(_) => 0,
        }
    }

    /// Whether no step of the run was done before.
    pub(super) fn is_new(&self) -> bool {
        !matches!(self, Beginning::After(_))
    }
}

/// The settings of the run at `path`, as it recorded them.
///
/// # Errors
/// [`RunError::Resume`] when they cannot be read.
pub fn recorded_settings(path: &Path) -> Result<Experiment, RunError> {
    Experiment::recorded(&path.join(StoredRun::SETTINGS)).map_err(|found| {
        let first = found.into_iter().next();
        let unknown = || Diagnostic::error(msg!(CANNOT_READ_SETTINGS));
        RunError::Resume(Box::new(first.unwrap_or_else(unknown)))
    })
}

/// The settings that differ between the run at `path` and the plan.
///
/// # Errors
/// As [`recorded_settings`].
pub fn setting_changes(path: &Path, plan: &Plan) -> Result<Vec<Change>, RunError> {
    Ok(recorded_settings(path)?.changes_to(&plan.experiment))
}

fn help(diagnostic: Diagnostic, run: &Path, accept: &str) -> Diagnostic {
    let run = run.display();
    diagnostic.help(msg!(RESUME_WITH_STORED, run)).help(msg!(START_FROM_THIS_RUN, run)).help(msg!(
        RESUME_ACCEPT,
        run,
        accept
    ))
}

fn refused(plan: &Plan, diagnostic: Diagnostic) -> RunError {
    RunError::Resume(Box::new(plan.experiment.at("train.epoch_begin", diagnostic)))
}

fn no_checkpoint(epochs: u64, candidates: &[PathBuf]) -> Diagnostic {
    let message = msg!(NO_CHECKPOINT_AFTER_EPOCH, epochs);
    let mut diagnostic = Diagnostic::error(message).note(msg!(
        EPOCH_BEGIN_CONTINUES,
        epochs,
        epoch = format_args!("{:04}", epochs - 1)
    ));
    for run in candidates.iter().rev().take(3) {
        let found = checkpoints(run);
        let names = match found.is_empty() {
            true => msg!(NO_CHECKPOINTS),
            false => Text::list(Join::Comma, found.iter().map(Checkpoint::name)),
        };
        diagnostic = diagnostic.note(msg!(CHECKPOINTS_OF_RUN, run = run_name(run), names));
    }
    diagnostic.help(msg!(EPOCH_BEGIN_ZERO))
}
