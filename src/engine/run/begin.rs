//! Where a run begins: at its first step, or at a checkpoint.

use std::path::{Path, PathBuf};

use statetune_core::diagnostic::{Diagnostic, Join, Text, msg};
use statetune_core::digest::sha256_of_file;
use statetune_core::objective::Preference;
use statetune_core::plan::{Change, Plan, Reach};
use statetune_core::records::{
    Chain, Checkpoint, Event, EventLine, LoadCheckpointError, Lock, LockedFile, OpenRunError,
    PastSettings, RunDir, RunRecord, SkippedSample, Status, SuiteHistory, ValLosses, check_seal,
    checkpoints, copy_sinks, dir_name as run_name, named_checkpoint, newest_checkpoint,
    read_records, rewind_records,
};
use statetune_core::shell::shell_word;
use statetune_core::store::{all_runs, find_run, runs_named};
use statetune_core::tensorfile::WeightsError;

use super::input_records::{keep_earlier, recorded_settings, setting_changes};
use super::reference;
use crate::RunError;

/// Where a run begins.
#[derive(Debug)]
pub enum Begin {
    /// At the first step, in a new directory.
    New,
    /// As [`Begin::of_plan`], unless a finished run has the same identity.
    IfNeeded {
        /// Whether to resume an unfinished run of the same identity.
        resume: bool,
    },
    /// At a checkpoint of the run, in its directory.
    Resume {
        /// The directory, locked.
        run: RunDir,
        /// The checkpoint; without one the run starts over.
        checkpoint: Option<Checkpoint>,
        /// Settings and inputs that may differ.
        accept: Vec<String>,
        /// Documents to skip from now on, as the user names them.
        drop_samples: Vec<String>,
    },
    /// At a checkpoint of another run, in a new directory with a copy of its records.
    Fork {
        /// The directory of the other run.
        run: PathBuf,
        /// The checkpoint.
        checkpoint: Checkpoint,
        /// Settings and inputs that may differ.
        accept: Vec<String>,
    },
    /// At the first step, in a new directory, with the trained values of a checkpoint of another run.
    WarmStart {
        /// The checkpoint.
        checkpoint: Checkpoint,
    },
    /// As another run began, in a new directory, to compare with it.
    Repeat {
        /// The directory of the other run.
        run: PathBuf,
        /// The folder with the lock of its first steps.
        first: PathBuf,
        /// The checkpoint with the values of its first step, if any.
        checkpoint: Option<Checkpoint>,
    },
}

/// The open directory of a run, and where its first step begins.
pub(super) struct Opened {
    pub(super) run: RunDir,
    /// The checkpoint to restore completely.
    pub(super) resume_from: Option<Checkpoint>,
    /// The checkpoint to restore only the trained values of.
    pub(super) values_from: Option<Checkpoint>,
    /// The event to emit first.
    pub(super) event: Option<Event>,
}

impl Opened {
    fn at_first_step(run: RunDir) -> Opened {
        Opened { run, resume_from: None, values_from: None, event: None }
    }

    /// Steps done.
    pub(super) fn steps(&self) -> u64 {
        self.resume_from.as_ref().map_or(0, |checkpoint| checkpoint.record.position.steps)
    }
}

/// Whether to run at all.
pub(super) enum Decision {
    /// Run.
    Run(Box<Begin>),
    /// Do not run: this finished run has the same identity.
    NotNeeded(PathBuf),
}

impl Begin {
    /// Documents to skip from now on, as the user names them.
    pub(super) fn drop_samples(&self) -> &[String] {
        match self {
            Begin::Resume { drop_samples, .. } => drop_samples,
            _ => &[],
        }
    }

    /// The folder of the checkpoint with whose trained values a new run starts, if any.
    pub(super) fn start_values(&self) -> Option<PathBuf> {
        match self {
            Begin::WarmStart { checkpoint } => Some(checkpoint.path.clone()),
            _ => None,
        }
    }

    /// The run that continues, and the settings and inputs that may differ.
    fn continued(&self) -> Option<(&Path, &[String])> {
        match self {
            Begin::Resume { run, accept, .. } => Some((run.path(), accept)),
            Begin::Fork { run, accept, .. } => Some((run, accept)),
            Begin::New
            | Begin::IfNeeded { .. }
            | Begin::WarmStart { .. }
            | Begin::Repeat { .. } => None,
        }
    }

    /// The trained values of another run at the first step, if any.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(super) fn values(&self) -> Result<Option<LockedFile>, RunError> {
        if let Begin::WarmStart { checkpoint } = self {
            let path = checkpoint.trainable();
            let sha256 = sha256_of_file(&path)
                .map_err(|source| WeightsError::Read { path: path.clone(), source });
            return Ok(Some(LockedFile::new(&path, sha256.map_err(LoadCheckpointError::from)?)));
        }
        let recorded = match self {
            Begin::Repeat { first, .. } => recorded_lock(first)?,
            _ => match self.continued() {
                Some((run, _)) => recorded_lock(run)?,
                None => None,
            },
        };
        Ok(recorded.and_then(|lock| lock.values))
    }

    /// Decides [`Begin::IfNeeded`]; any other begin stays as it is.
    ///
    /// # Errors
    /// An unfinished run of the same identity that cannot be opened.
    pub(super) fn decide(self, plan: &Plan, identity: &str) -> Result<Decision, RunError> {
        let Begin::IfNeeded { resume } = self else { return Ok(Decision::Run(Box::new(self))) };
        let same = |run: &PathBuf| {
            let record = RunRecord::load(run).ok()?;
            (record.identity.as_deref() == Some(identity)).then(|| (run.clone(), record.status))
        };
        let runs: Vec<_> = all_runs(&plan.records.runs_dir).iter().filter_map(same).collect();
        let newest =
            |is_done: bool| runs.iter().rfind(|(_, status)| (*status == Status::Done) == is_done);
        if let Some((run, _)) = newest(true) {
            return Ok(Decision::NotNeeded(run.clone()));
        }
        let begin = match newest(false).filter(|_| resume) {
            Some((run, _)) => Begin::resume(run, Vec::new(), Vec::new())?,
            None => Begin::of_plan(&mut plan.clone())?,
        };
        Ok(Decision::Run(Box::new(begin)))
    }

    /// Resumes the run at `path` after its newest checkpoint. A run without one begins as it began: at its first step, or at
    /// the checkpoint of another run that it was forked from.
    ///
    /// # Errors
    /// A run that is busy, or a checkpoint that cannot be read or is gone.
    pub fn resume(
        path: &Path,
        accept: Vec<String>,
        drop_samples: Vec<String>,
    ) -> Result<Begin, RunError> {
        let run = RunDir::open(path)?;
        let checkpoint = match newest_checkpoint(path)? {
            Some(newest) => Some(newest),
            None => origin(path)?,
        };
        // Before any record is cut: a damaged file changes nothing.
        for file in checkpoint.iter().flat_map(Checkpoint::tensor_files) {
            check_seal(&file)?;
        }
        Ok(Begin::Resume { run, checkpoint, accept, drop_samples })
    }

    /// The identity of the run: `whole`, that of a run with these settings and inputs in all steps, or `None` when earlier
    /// steps had others.
    pub(super) fn identity(&self, whole: String) -> Option<String> {
        let before = match self {
            Begin::Resume { run, checkpoint: Some(_), .. } => run.identity(),
            Begin::Fork { run, .. } => RunRecord::load(run).ok()?.identity,
            _ => return Some(whole),
        };
        before.filter(|before| *before == whole)
    }

    /// The begin that `train.epoch_begin` of the plan asks for. The plan takes the learning rate of the run that continues, if the
    /// experiment leaves the rate open.
    ///
    /// # Errors
    /// A missing checkpoint, or settings that would not continue the same run.
    pub fn of_plan(plan: &mut Plan) -> Result<Begin, RunError> {
        let train = &plan.train;
        let epochs = u64::from(train.epoch_begin);
        if epochs == 0 {
            return Ok(Begin::New);
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
        let at_border = |one: &Checkpoint| one.record.epochs == epochs && one.ends_epoch();
        let found = candidates.iter().rev().find_map(|run| {
            let name = Checkpoint::epoch_name(epochs - 1);
            let checkpoint = named_checkpoint(run, &name).transpose()?;
            let checkpoint = checkpoint.map(|found| Some(found).filter(at_border)).transpose()?;
            Some(checkpoint.map(|found| (run.clone(), found)))
        });
        let Some((run, checkpoint)) = found.transpose()? else {
            return Err(refused(plan, no_checkpoint(epochs, &candidates)));
        };
        plan.take_rate_of(&recorded_settings(&run)?);
        let begin = Begin::Fork { run, checkpoint, accept: Vec::new() };
        begin.check_settings(plan)?;
        Ok(begin)
    }

    /// Refuses settings that would change later steps of the run, unless accepted.
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
        let of_steps = differing.iter().filter(|change| change.reach != Reach::Nothing);
        let of_steps: Vec<Change> = of_steps.cloned().collect();
        let diagnostic = diagnostic.help(msg!(RESUME_WITH_STORED, run));
        Err(RunError::Resume(Box::new(self.help(diagnostic, plan, run, &of_steps, &keys))))
    }

    /// Refuses data, weights and a tokenizer that differ from those of the run, unless accepted. Returns the differences of
    /// the machine, which may change rounding.
    ///
    /// # Errors
    /// [`RunError::Resume`].
    pub(super) fn check_lock(&self, plan: &Plan, now: &Lock) -> Result<Vec<String>, RunError> {
        if let Begin::Repeat { run, first, .. } = self {
            return check_same_inputs(run, first, plan, now).map(|()| Vec::new());
        }
        let Some((run, accept)) = self.continued() else { return Ok(Vec::new()) };
        let Some(was) = recorded_lock(run)? else { return Ok(Vec::new()) };
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
        diagnostic =
            diagnostic.help(match inputs.iter().all(|name| still_there(name, &was, now)) {
                true => msg!(RESUME_WITH_STORED, run),
                false => msg!(RESTORE_INPUTS),
            });
        let mut changes = setting_changes(run, plan)?;
        changes.retain(|change| {
            change.reach != Reach::Nothing
                || inputs
                    .iter()
                    .any(|name| is_of_input(&change.key, name) && has_other_files(name, &was, now))
        });
        Err(RunError::Resume(Box::new(self.help(diagnostic, plan, run, &changes, &inputs))))
    }

    /// Helps that continue the run in another way; none is the command that was just refused. `changes` are the settings
    /// that are to differ from those of the run, `keys` the settings and inputs that were not accepted.
    fn help(
        &self,
        diagnostic: Diagnostic,
        plan: &Plan,
        run: &Path,
        changes: &[Change],
        keys: &[&str],
    ) -> Diagnostic {
        let (accepted, dropped): (&[String], &[String]) = match self {
            Begin::Resume { accept, drop_samples, .. } => (accept, drop_samples),
            _ => (&[], &[]),
        };
        // The options of `resume` as they were given; a file has its settings as options.
        let is_of_run = plan.experiment.is_of_run();
        let changed = changes.iter().filter(|_| !is_of_run).map(Change::option);
        let given = if is_of_run { plan.experiment.options() } else { "" };
        let options: String = changed
            .chain(dropped.iter().map(|one| format!("--drop-sample {}", shell_word(one))))
            .fold(given.to_owned(), |options, option| options + " " + &option);
        let accept: Vec<&str> = accepted.iter().map(String::as_str).chain(keys.to_vec()).collect();
        let accept = accept.join(",");
        let arguments = plan.experiment.from_run(run);
        diagnostic.help(msg!(START_FROM_THIS_RUN, arguments)).help(msg!(
            RESUME_ACCEPT,
            run,
            options,
            accept
        ))
    }

    /// Opens the directory of the run, with the records of the steps before.
    ///
    /// # Errors
    /// A directory that cannot be written.
    pub(super) fn open(self, plan: &Plan, lock: &Lock) -> Result<Opened, RunError> {
        let create = || RunDir::create(&plan.records.runs_dir, &plan.records.name);
        match self {
            Begin::New | Begin::IfNeeded { .. } => Ok(Opened::at_first_step(create()?)),
            Begin::Resume { run, checkpoint, accept, .. } => {
                run.update(|_| {})?;
                let place = checkpoint.as_ref().map(|one| one.record);
                let (steps, epochs) =
                    place.map_or((0, 0), |place| (place.position.steps, place.epochs));
                rewind_records(&run, steps, epochs)?;
                keep_earlier(&run, run.path(), plan, lock, steps)?;
                let event = Event::Resume {
                    run: None,
                    checkpoint: checkpoint.as_ref().map(|one| one.name().to_string()),
                    steps,
                    accepted: accept,
                };
                // A checkpoint replaces the values, but a reference of which something is missing is computed with them.
                let compares = plan.objective.preference().is_some_and(Preference::has_reference);
                let values_from = match &checkpoint {
                    Some(_) if !compares => None,
                    Some(_) if reference::is_there(&run) => started_with(run.path()).ok().flatten(),
                    _ => started_with(run.path())?,
                };
                let opened = Opened::at_first_step(run);
                let event = Some(event);
                Ok(Opened { resume_from: checkpoint, values_from, event, ..opened })
            }
            Begin::Fork { run: from, checkpoint, .. } => {
                let run = create()?;
                copy_sinks(&run, &from)?;
                for name in [
                    Chain::FILE,
                    SkippedSample::FILE,
                    ValLosses::FILE,
                    SuiteHistory::FILE,
                    reference::FILE,
                    "samples/base.jsonl",
                ] {
                    run.copy_from(&from, name)?;
                }
                let steps = checkpoint.record.position.steps;
                PastSettings::copy(&run, &from)?;
                rewind_records(&run, steps, checkpoint.record.epochs)?;
                keep_earlier(&run, &from, plan, lock, steps)?;
                let event = Event::Resume {
                    run: Some(run_name(&from)),
                    checkpoint: Some(checkpoint.name().to_string()),
                    steps,
                    accepted: Vec::new(),
                };
                let opened = Opened::at_first_step(run);
                Ok(Opened { resume_from: Some(checkpoint), event: Some(event), ..opened })
            }
            Begin::WarmStart { checkpoint } => Ok(with_values(create()?, checkpoint)),
            Begin::Repeat { run: other, checkpoint, .. } => {
                let run = create()?;
                let left_out = SkippedSample::load(&other).map_err(OpenRunError::from)?;
                left_out
                    .iter()
                    .filter(|one| one.is_from_start())
                    .try_for_each(|one| one.add(&run))?;
                Ok(match checkpoint {
                    Some(checkpoint) => with_values(run, checkpoint),
                    None => Opened::at_first_step(run),
                })
            }
        }
    }
}

/// The checkpoint of another run at which the run at `path`, which has no checkpoint, began; `None` for the first step.
///
/// # Errors
/// A checkpoint of the run or of the other run that is gone, or that cannot be read.
fn origin(path: &Path) -> Result<Option<Checkpoint>, RunError> {
    let events = read_records::<EventLine>(&path.join(EventLine::FILE))
        .map_err(|error| RunError::Resume(Box::new(error.diagnostic())))?;
    let saved = events.iter().rev().find_map(|line| match &line.event {
        Event::Save { checkpoint, .. } => Some(checkpoint),
        _ => None,
    });
    if let Some(name) = saved {
        let gone = Diagnostic::error(msg!(CHECKPOINTS_ARE_GONE, run = path, name));
        let help = msg!(RUN_WITH_ITS_SETTINGS, run = path.display());
        return Err(RunError::Resume(Box::new(gone.help(help))));
    }
    let forked = events.into_iter().find_map(|line| match line.event {
        Event::Resume { run: Some(run), checkpoint: Some(name), .. } => Some((run, name)),
        _ => None,
    });
    let Some((run, name)) = forked else { return Ok(None) };
    let folder = path.with_file_name(run).join("ckpt").join(name);
    Ok(Some(Checkpoint::open(&folder)?))
}

/// The checkpoint of another run with whose trained values the run at `path` began, if any.
///
/// # Errors
/// A checkpoint that is gone or another one now.
fn started_with(path: &Path) -> Result<Option<Checkpoint>, RunError> {
    let Some(values) = recorded_lock(path)?.and_then(|lock| lock.values) else { return Ok(None) };
    let checkpoint = Checkpoint::open(values.path.parent().unwrap_or(Path::new("")))?;
    match sha256_of_file(&values.path) {
        Ok(found) if found == values.sha256 => Ok(Some(checkpoint)),
        Ok(_) => Err(LoadCheckpointError::Damaged {
            problem: msg!(DIGEST_DIFFERS, seal = path.join(Lock::FILE).display()),
            path: values.path,
        }
        .into()),
        Err(source) => {
            let error = WeightsError::Read { path: values.path, source };
            Err(LoadCheckpointError::from(error).into())
        }
    }
}

/// A new run with the trained values of a checkpoint of another one.
fn with_values(run: RunDir, checkpoint: Checkpoint) -> Opened {
    let event = Some(Event::values(&checkpoint.path, run.path()));
    Opened { values_from: Some(checkpoint), event, ..Opened::at_first_step(run) }
}

/// The lock of a run, whose inputs are compared; `None` without one.
///
/// # Errors
/// A lock that cannot be read: it never counts as none.
fn recorded_lock(folder: &Path) -> Result<Option<Lock>, RunError> {
    Lock::read(folder).map_err(|error| RunError::Resume(Box::new(error.diagnostic())))
}

/// Refuses to repeat a run with other inputs.
fn check_same_inputs(run: &Path, first: &Path, plan: &Plan, now: &Lock) -> Result<(), RunError> {
    let Some(was) = recorded_lock(first)? else { return Ok(()) };
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

/// The name of an input for messages.
fn input(name: &str) -> Text {
    match name {
        "data" => msg!(INPUT_DATA),
        Lock::TOKENIZER => msg!(INPUT_TOKENIZER),
        Lock::WEIGHTS => msg!(INPUT_WEIGHTS),
        Lock::INIT => msg!(INPUT_INIT),
        Lock::TEACHER => msg!(INPUT_TEACHER),
        other => Text::verbatim(other.to_owned()),
    }
}

/// The files of an input then and now, each with the first digits of its digest.
fn then_and_now(name: &str, was: &Lock, now: &Lock) -> Text {
    let text = |lock: &Lock| {
        let files = lock.input(name).into_iter();
        let files = files.map(|file| format!("{} ({:.8})", file.path.display(), file.sha256));
        files.collect::<Vec<_>>().join(", ")
    };
    msg!(INPUT_WAS_AND_IS, name = input(name), was = text(was), now = text(now))
}

/// Whether the files of an input of the run are unchanged where they were, so that the stored settings find them; the
/// settings of now name other files.
fn still_there(name: &str, was: &Lock, now: &Lock) -> bool {
    let is_unchanged =
        |file: &LockedFile| sha256_of_file(&file.path).is_ok_and(|sha256| sha256 == file.sha256);
    has_other_files(name, was, now) && was.input(name).into_iter().all(is_unchanged)
}

/// Whether an input has other paths now.
fn has_other_files(name: &str, was: &Lock, now: &Lock) -> bool {
    let paths = |lock: &Lock| -> Vec<PathBuf> {
        lock.input(name).into_iter().map(|file| file.path.clone()).collect()
    };
    paths(was) != paths(now)
}

/// Whether a setting names the files of an input.
fn is_of_input(key: &str, name: &str) -> bool {
    match name {
        Lock::WEIGHTS => key == "model.load_model",
        Lock::TOKENIZER => key == "model.tokenizer",
        Lock::INIT => key == "peft.init_file",
        Lock::TEACHER => key.starts_with("objective."),
        _ => key == "data.data_file" || key.starts_with("data.source"),
    }
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
