//! Where a run begins: at its first step, or where another one stood.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::RunError;
use crate::config::{Config, Overrides, load};
use crate::diagnostic::Diagnostic;
use crate::plan::{Change, Plan, Reach, changes};
use crate::runs::{
    Chain, Checkpoint, Lock, Metrics, RunDir, TrainLog, checkpoints, find_run, rewind_records,
    runs_named,
};

/// Where a run begins.
#[derive(Debug)]
pub enum Start {
    /// At the first step, in a new directory.
    New,
    /// After a checkpoint of its own, in its own directory.
    Continue {
        /// The directory, locked.
        run: RunDir,
        /// The checkpoint; without one it begins at its first step.
        checkpoint: Option<Checkpoint>,
        /// What is accepted to differ: settings and inputs.
        accept: Vec<String>,
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
}

impl Start {
    /// The checkpoint, if it begins with one.
    pub fn checkpoint(&self) -> Option<&Checkpoint> {
        match self {
            Start::New => None,
            Start::Continue { checkpoint, .. } => checkpoint.as_ref(),
            Start::Branch { checkpoint, .. } | Start::Values { checkpoint } => Some(checkpoint),
        }
    }

    /// The run whose steps go on, and what is accepted to differ from it.
    fn continued(&self) -> Option<(&Path, &[String])> {
        match self {
            Start::Continue { run, accept, .. } => Some((run.path(), accept)),
            Start::Branch { run, accept, .. } => Some((run, accept)),
            Start::New | Start::Values { .. } => None,
        }
    }

    /// What `train.epoch_begin` of the plan asks for.
    ///
    /// # Errors
    /// When there is no such checkpoint, or the settings would not give the same run.
    pub fn of_plan(plan: &Plan) -> Result<Start, RunError> {
        let train = &plan.config().train;
        let epochs = u64::from(train.epoch_begin);
        if epochs == 0 {
            return Ok(Start::New);
        }
        let candidates: Vec<PathBuf> = match &train.resume_from {
            Some(name) => find_run(&plan.runs_dir, name).into_iter().collect(),
            None => runs_named(&plan.runs_dir, &plan.config().name),
        };
        let at_border = |one: &Checkpoint| one.place.epochs == epochs && one.is_border();
        let found = candidates.iter().rev().find_map(|run| {
            let checkpoint = checkpoints(run).into_iter().find(at_border)?;
            Some((run.clone(), checkpoint))
        });
        let Some((run, checkpoint)) = found else {
            return Err(refused(plan, no_checkpoint(plan, epochs, &candidates)));
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
        let message = match breaking.len() {
            1 => format!("run `{id}` cannot continue exactly: 1 setting changed"),
            n => format!("run `{id}` cannot continue exactly: {n} settings changed"),
        };
        let mut diagnostic = Diagnostic::error("ST6003", message);
        if let Some(place) = plan.loaded.place(&first.key) {
            diagnostic = diagnostic.at(place).label(format!("was {}", first.was));
        }
        for change in &breaking {
            let Change { key, was, now, .. } = change;
            diagnostic = diagnostic
                .note(format!("`{key}` was {was} and is {now} now: every later step would differ"));
        }
        for Change { key, was, now, .. } in
            differing.iter().filter(|change| change.reach == Reach::Length)
        {
            diagnostic = diagnostic.note(format!("`{key}` {was} -> {now} would be no hindrance"));
        }
        let keys: Vec<&str> = breaking.iter().map(|change| change.key.as_str()).collect();
        Err(RunError::Resume(Box::new(help(diagnostic, run, &keys.join(",")))))
    }

    /// Refuses data, weights and a tokenizer with another content than those of the run, unless they are
    /// accepted. Returns what else of the machine differs, by which numbers may differ in rounding.
    ///
    /// # Errors
    /// [`RunError::Resume`].
    pub(super) fn check_lock(&self, now: &Lock) -> Result<Vec<String>, RunError> {
        let Some((run, accept)) = self.continued() else { return Ok(Vec::new()) };
        let Some(was) = Lock::load(run) else { return Ok(Vec::new()) };
        let differences = was.differences(now);
        let is_accepted = |name: &&str| accept.iter().any(|one| one == name);
        let inputs: Vec<&str> =
            differences.inputs.into_iter().filter(|name| !is_accepted(name)).collect();
        if inputs.is_empty() {
            return Ok(differences.machine);
        }
        let message = format!(
            "run `{}` cannot continue exactly: other {}",
            run_name(run),
            inputs.join(" and ")
        );
        let mut diagnostic = Diagnostic::error("ST6004", message);
        for &name in &inputs {
            let text = |lock: &Lock| {
                let files = lock.input(name).into_iter();
                let files =
                    files.map(|file| format!("{} ({:.8})", file.path.display(), file.sha256));
                files.collect::<Vec<_>>().join(", ")
            };
            diagnostic = diagnostic.note(format!("{name}: {} then, {} now", text(&was), text(now)));
        }
        Err(RunError::Resume(Box::new(help(diagnostic, run, &inputs.join(",")))))
    }

    /// The directory of the run, with the records of the steps before it, and the checkpoint that it begins
    /// with, if any.
    ///
    /// # Errors
    /// When it cannot be written to.
    pub(super) fn open(self, plan: &Plan) -> Result<(RunDir, Beginning), RunError> {
        let create = || RunDir::create(&plan.runs_dir, &plan.config().name);
        match self {
            Start::New => Ok((create()?, Beginning::New)),
            Start::Continue { run, checkpoint, accept } => {
                let (steps, epochs) = checkpoint
                    .as_ref()
                    .map_or((0, 0), |one| (one.place.position.steps, one.place.epochs));
                rewind_records(&run, steps, epochs)?;
                let name = checkpoint.as_ref().map(Checkpoint::name);
                run.event("resume", json!({ "checkpoint": name, "accepted": accept }))?;
                Ok((run, checkpoint.map_or(Beginning::New, Beginning::After)))
            }
            Start::Branch { run: from, checkpoint, .. } => {
                let run = create()?;
                for name in [Metrics::FILE, TrainLog::FILE, Chain::FILE, "samples/base.jsonl"] {
                    run.copy_from(&from, name)?;
                }
                rewind_records(&run, checkpoint.place.position.steps, checkpoint.place.epochs)?;
                let (from, name) = (run_name(&from), checkpoint.name());
                run.event("resume", json!({ "run": from, "checkpoint": name }))?;
                Ok((run, Beginning::After(checkpoint)))
            }
            Start::Values { checkpoint } => {
                let run = create()?;
                run.event("values", json!({ "checkpoint": checkpoint.path }))?;
                Ok((run, Beginning::Values(checkpoint)))
            }
        }
    }
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
    /// Steps that are done before.
    pub(super) fn steps(&self) -> u64 {
        match self {
            Beginning::New | Beginning::Values(_) => 0,
            Beginning::After(checkpoint) => checkpoint.place.position.steps,
        }
    }
}

/// The settings of the run at `path`, as it recorded them.
///
/// # Errors
/// [`RunError::Resume`] when they cannot be read.
pub fn recorded_settings(path: &Path) -> Result<Config, RunError> {
    match load(&path.join("resolved.toml"), &Overrides::default()) {
        Ok(loaded) => Ok(loaded.config),
        Err(error) => {
            let first = error.diagnostics.into_iter().next();
            let unknown = || Diagnostic::error("ST6005", "the settings of the run cannot be read");
            Err(RunError::Resume(Box::new(first.unwrap_or_else(unknown))))
        }
    }
}

/// The settings that differ between the run at `path` and the plan.
///
/// # Errors
/// As [`recorded_settings`].
pub fn setting_changes(path: &Path, plan: &Plan) -> Result<Vec<Change>, RunError> {
    Ok(changes(&recorded_settings(path)?, plan.config()))
}

fn run_name(run: &Path) -> String {
    run.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

fn help(diagnostic: Diagnostic, run: &Path, accept: &str) -> Diagnostic {
    let run = run.display();
    diagnostic
        .help(format!("exact continuation with the stored settings: `statetune resume {run}`"))
        .help(format!(
            "a new run that starts from what it learned: `statetune run FILE --from {run}`"
        ))
        .help(format!(
            "continue anyway and record the break: `statetune resume {run} --accept {accept}`"
        ))
}

fn refused(plan: &Plan, diagnostic: Diagnostic) -> RunError {
    RunError::Resume(Box::new(plan.loaded.at("train.epoch_begin", diagnostic)))
}

fn no_checkpoint(plan: &Plan, epochs: u64, candidates: &[PathBuf]) -> Diagnostic {
    let train = &plan.config().train;
    let message = match &train.resume_from {
        Some(name) if candidates.is_empty() => {
            format!("there is no run `{name}` in `{}`", plan.runs_dir.display())
        }
        _ => format!("no run has a checkpoint after mini-epoch {epochs}"),
    };
    let mut diagnostic = Diagnostic::error("ST6006", message).note(format!(
        "`epoch_begin = {epochs}` goes on from `ckpt/epoch-{:04}` of an earlier run",
        epochs - 1
    ));
    for run in candidates.iter().rev().take(3) {
        let found = checkpoints(run);
        let names: Vec<&str> = found.iter().map(Checkpoint::name).collect();
        let names = if names.is_empty() { "none".to_string() } else { names.join(", ") };
        diagnostic = diagnostic.note(format!("checkpoints of `{}`: {names}", run_name(run)));
    }
    diagnostic
        .help("`epoch_begin = 0` starts anew; `checkpoint.keep_last = 0` keeps all checkpoints")
}
