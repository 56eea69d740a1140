//! Guards a run: steps with NaN or infinite values, loss spikes, the time limit; records and replays incidents.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use statetune_core::data::{Batch, PlainRow};
use statetune_core::diagnostic::{Diagnostic, Join, Text, msg};
use statetune_core::plan::Plan;
use statetune_core::records::{
    BatchRow, Checkpoint, Environment, Event, FirstNonFinite, Incident, Nonfinite, OpenRunError,
    RunDir, SkippedSample, checkpoints, incident_folders, newest_checkpoint, rewind_records,
    save_incident,
};
use tch::Kind;

use super::documents::DocumentNames;
use super::job::Job;
use super::prepare::{Datasets, load_tokenizer, load_weights, new_method};
use super::recent_steps::{RecentSteps, number};
use super::record::Events;
use super::settings::set_up_libtorch;
use super::teacher::new_objective;
use crate::RunError;
use crate::train::{
    LossScaler, NonFiniteValue, Preferences, Reading, References, StepDone, StepOptions, Trainer,
    restore_values, trace, write_values,
};

/// Documents in a message at most.
const NAMED: usize = 3;
/// Repeats of a token in a row from which a message mentions them.
const MANY_REPEATS: usize = 32;
/// A message proposes the learning rate of the run times this.
const LOWER: f64 = 0.3;

/// How a run continues after an incident.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reaction {
    /// With the next step; the incident's step changed nothing.
    Skip,
    /// From the newest checkpoint, without the batch of the incident's step.
    Rollback,
}

/// Watches the steps of a run.
pub(super) struct Guard<'a> {
    names: &'a DocumentNames,
    recent: RecentSteps,
}

impl<'a> Guard<'a> {
    pub(super) fn new(names: &'a DocumentNames) -> Guard<'a> {
        Guard { names, recent: RecentSteps::new() }
    }

    /// Records a step with a NaN or infinite value as an incident, and decides how the run continues.
    ///
    /// # Errors
    /// [`RunError::Diverged`] when the run stops, or an incident that cannot be written.
    pub(super) fn react(
        &self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        fault: NonFiniteValue,
        done: &StepDone<'_>,
    ) -> Result<Reaction, RunError> {
        let guard = &job.plan.guard;
        let rows = self.rows(done);
        let mut incident = self.incident(job, fault, done, &rows);
        let known = incident_folders(job.run.path());
        let is_new = |folder: &PathBuf| !folder.ends_with(incident.name());
        let earlier = known.iter().filter(|folder| is_new(folder)).count();
        let too_many = earlier >= guard.max_incidents;
        let reaction = match (guard.nonfinite, fault) {
            (Nonfinite::Stop, _) | (Nonfinite::Skip, NonFiniteValue::Update) => None,
            _ if too_many => None,
            (Nonfinite::Skip, _) => Some(Reaction::Skip),
            (Nonfinite::Rollback, _) => Some(Reaction::Rollback),
        };
        if reaction.is_none() {
            incident.policy = Nonfinite::Stop;
        }
        let folder = save_incident(job.run, &incident, &rows, |file| {
            write_values(file, &done.trainer.adam)
        })?;
        events.emit(Event::Incident {
            step: incident.step,
            what: incident.what.clone(),
            became: incident.became.clone(),
            first: incident.first.clone(),
            policy: incident.policy,
        })?;
        match reaction {
            Some(reaction) => {
                events.emit(Event::Warning(Box::new(warning(&incident, reaction))))?;
                Ok(reaction)
            }
            None => {
                let mut message = self.stopped(job, &incident, &folder);
                message.notes.extend(repeats(&rows, &incident));
                if guard.nonfinite != Nonfinite::Stop {
                    message.notes.push(match too_many {
                        true => msg!(TOO_MANY_INCIDENTS, earlier),
                        false => msg!(UPDATE_ALREADY_MADE),
                    });
                }
                Err(RunError::Diverged(Box::new(message)))
            }
        }
    }

    /// Whether this process reached the time limit; warns when it has.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn is_time_over(
        &self,
        job: &Job<'_>,
        events: &mut Events<'_>,
    ) -> Result<bool, RunError> {
        let hours = job.plan.guard.max_hours;
        let is_over = self.recent.is_over(hours);
        if is_over {
            let message = msg!(MAX_HOURS_OVER, hours);
            events.emit(Event::Warning(Box::new(Diagnostic::warning(message))))?;
        }
        Ok(is_over)
    }

    /// Adds a step to the recent ones, and warns when its loss is far above their median.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn watch_loss(
        &mut self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        done: &StepDone<'_>,
    ) -> Result<(), RunError> {
        let (step, loss) = (done.position.steps, done.record.loss);
        let multiple = job.plan.guard.loss_spike;
        if !loss.is_finite() {
            return Ok(());
        }
        let Some(median) = self.recent.add(loss, done.record.grad_norm, multiple) else {
            return Ok(());
        };
        let indexes = done.batches.iter().flat_map(|batch| batch.documents.concat());
        let documents: Vec<String> = indexes.map(|index| self.names.name(index)).collect();
        events.emit(Event::Spike { step, loss, median, documents: documents.clone() })?;
        let message = msg!(
            LOSS_SPIKE,
            step,
            loss = format_args!("{loss:.4}"),
            times = format_args!("{:.1}", loss / median)
        );
        let mut warning = Diagnostic::warning(message).note(msg!(
            LOSS_SPIKE_CONTINUES,
            median = format_args!("{median:.4}"),
            multiple
        ));
        if !documents.is_empty() {
            warning = warning.note(msg!(BATCH_HOLDS, documents = list(&documents)));
        }
        Ok(events.emit(Event::Warning(Box::new(warning)))?)
    }

    /// The rows of the batches of a step with the names of their documents.
    fn rows(&self, done: &StepDone<'_>) -> Vec<BatchRow> {
        let mut rows = Vec::new();
        for (micro_batch, batch) in done.batches.iter().enumerate() {
            let references = done.trainer.objective.references();
            let references =
                references.map_or_else(Vec::new, |references| references.of_rows(batch));
            let mismatched = batch.answers.iter().flat_map(|one| &one.mismatched.documents);
            let documents = batch.documents.iter().chain(mismatched);
            for (i, (row, documents)) in batch.plain().into_iter().zip(documents).enumerate() {
                let reference = references.get(i).copied().flatten();
                let documents = documents.iter().map(|&index| self.names.name(index)).collect();
                rows.push(BatchRow { micro_batch, documents, row: PlainRow { reference, ..row } });
            }
        }
        rows
    }

    /// The record of an incident, before the reaction is decided.
    fn incident(
        &self,
        job: &Job<'_>,
        fault: NonFiniteValue,
        done: &StepDone<'_>,
        rows: &[BatchRow],
    ) -> Incident {
        let became = match fault {
            NonFiniteValue::Loss { .. } => done.record.loss,
            NonFiniteValue::Gradients => done.record.grad_norm,
            NonFiniteValue::Update => {
                let sums = done.trainer.adam.parameters().iter();
                sums.map(|p| p.tensor.sum(Kind::Double).double_value(&[])).sum()
            }
        };
        let step = done.position.steps;
        let mut documents: Vec<String> =
            rows.iter().flat_map(|row| row.documents.clone()).collect();
        documents.dedup();
        let run = job.run.path().display();
        Incident {
            schema: Incident::SCHEMA.to_string(),
            step,
            epoch: done.record.epoch,
            what: fault.what().to_string(),
            became: number(became),
            first: first_bad(fault, done, rows),
            policy: job.plan.guard.nonfinite,
            loss: Some(done.record.loss).filter(|loss| loss.is_finite()),
            lr: done.record.lr,
            loss_scale: done.trainer.loss_scale(),
            grad_norms: self.recent.norms_before(done.record.grad_norm),
            documents,
            checkpoint: checkpoints(job.run.path()).last().map(|one| one.name().to_string()),
            environment: Environment {
                statetune: job.lock.statetune.clone(),
                libtorch: job.lock.libtorch.clone(),
                kernels: job.lock.kernels.clone(),
                device: job.lock.device.clone(),
                op: job.lock.op.clone(),
                threads: job.lock.threads,
                precision: job.plan.train.precision.name().to_string(),
            },
            replay: (fault != NonFiniteValue::Update)
                .then(|| format!("statetune incident replay {run}/{}", Incident::name_of(step))),
        }
    }

    /// The message that ends the run.
    fn stopped(&self, job: &Job<'_>, incident: &Incident, folder: &Path) -> Diagnostic {
        let Incident { what, became, step, epoch, first, .. } = incident;
        let what = NonFiniteValue::in_words(what);
        let message = match first.as_ref().and_then(|first| first.micro_batch) {
            Some(i) => msg!(MICRO_BATCH_NOT_FINITE, what, became, step, epoch, micro_batch = i),
            None => msg!(STEP_NOT_FINITE, what, became, step, epoch),
        };
        let norms = incident.grad_norms.iter();
        let norms =
            norms.map(|norm| norm.map_or(msg!(NOT_FINITE), |norm| Text::verbatim(number(norm))));
        let documents = first.as_ref().map_or(&[][..], |first| &first.documents);
        let documents = if documents.is_empty() { &incident.documents[..] } else { documents };
        let saved = match checkpoints(job.run.path()).last() {
            Some(last) => msg!(LAST_GOOD_CHECKPOINT, step = last.record.position.steps),
            None => msg!(NO_CHECKPOINT_YET),
        };
        let run = job.run.path().display();
        let mut message = Diagnostic::error(message)
            .note(msg!(RECORDED_IN, folder))
            .note(first.as_ref().map_or_else(
                || msg!(TRACE_IS_FINITE),
                |first| msg!(FIRST_NOT_FINITE, place = describe(first)),
            ))
            .note(msg!(GRADIENT_NORMS, norms = Text::list(Join::Comma, norms)));
        if !documents.is_empty() {
            message = message.note(msg!(BATCH_HOLDS, documents = list(documents)));
        }
        message = message.note(saved);
        if let Some(command) = &incident.replay {
            message = message.help(msg!(REPLAY_STEP, command));
        }
        let schedule = &job.plan.train.schedule;
        if let Some(usual) = schedule.usual_far_below() {
            // Neither a document nor a single step is to blame.
            return message.help(msg!(CONTINUE_WITH_USUAL_RATE, run, rate = one_digit(usual)));
        }
        let document = documents.first().filter(|_| documents.len() == 1);
        message = message.help(match (document, &incident.replay) {
            (Some(document), Some(_)) => {
                msg!(CONTINUE_WITHOUT_DOCUMENT, run, document = short_name(job, document))
            }
            (None, Some(_)) => {
                msg!(CONTINUE_WITH_SKIP, run)
            }
            (_, None) => msg!(CONTINUE_WITH_ROLLBACK, run),
        });
        message.help(msg!(
            CONTINUE_WITH_LOWER_RATE,
            run,
            rate = one_digit(schedule.lr_init * LOWER)
        ))
    }

    /// Rewinds the records to the newest checkpoint, which is returned, and skips the batch of `step`, counted from 1, from
    /// there on.
    ///
    /// # Errors
    /// No checkpoint, or a file that cannot be written.
    pub(super) fn roll_back(
        &self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        step: u64,
    ) -> Result<Checkpoint, RunError> {
        let checkpoint = newest_checkpoint(job.run.path())?.ok_or_else(|| {
            let message = msg!(RUN_HAS_NO_CHECKPOINT, run = job.run.path());
            RunError::Resume(Box::new(Diagnostic::error(message)))
        })?;
        let steps = checkpoint.record.position.steps;
        rewind_records(job.run, steps, checkpoint.record.epochs)?;
        SkippedSample::Step { from_step: steps, step }.add(job.run)?;
        let name = checkpoint.name().to_string();
        events.emit(Event::Rollback { checkpoint: name, left_out: step, steps })?;
        Ok(checkpoint)
    }
}

/// The shortest name of a document that `--drop-sample` understands.
fn short_name<'a>(job: &Job<'_>, name: &'a str) -> &'a str {
    match name.rsplit_once(':') {
        Some((_, number)) if job.lock.data.len() == 1 => number,
        _ => name,
    }
}

/// What no batch of a run contains.
#[derive(Default)]
pub(super) struct Skipped {
    /// Steps, counted from 0.
    pub(super) steps: BTreeSet<u64>,
    /// Documents of the training pair.
    pub(super) documents: Vec<usize>,
}

/// Removes the skipped documents of the run from `data`, and returns what the run skips.
///
/// # Errors
/// A record or a cache that cannot be read.
pub(super) fn skip_recorded(run: &RunDir, data: &mut Datasets<'_>) -> Result<Skipped, RunError> {
    let mut skipped = Skipped::default();
    let mut documents = HashSet::new();
    for one in SkippedSample::load(run.path()).map_err(OpenRunError::from)? {
        match one {
            SkippedSample::Step { step, .. } => {
                skipped.steps.insert(step.saturating_sub(1));
            }
            SkippedSample::Document { document, .. } => {
                documents.insert(document);
            }
        }
    }
    if !documents.is_empty() {
        skipped.documents = data.names.copies(&documents)?;
        data.train.skip(skipped.documents.iter().copied());
    }
    Ok(skipped)
}

/// A step that was computed again.
#[derive(Debug)]
pub struct Replayed {
    /// Every value on the way.
    pub readings: Vec<Reading>,
    /// The loss, in nats.
    pub loss: f64,
}

/// Computes the recorded step in `folder` again with the settings of `plan` and the recorded parameters; writes nothing.
///
/// # Errors
/// Weights or records that cannot be read or do not match, or a forward pass that fails.
pub fn replay(plan: &Plan, incident: &Incident, folder: &Path) -> Result<Replayed, RunError> {
    set_up_libtorch(plan);
    let tokenizer = load_tokenizer(plan)?;
    let weights = load_weights(plan, &tokenizer)?;
    let shape = *weights.shape();
    let method = new_method(plan, weights, &tokenizer)?;
    let scaler =
        LossScaler::for_dtype(plan.train.dtype).map(|scaler| scaler.at(incident.loss_scale));
    let options = StepOptions::of_plan(plan, &shape);
    let mut trainer = Trainer::new(method.as_ref(), plan.train.adam, scaler, options);
    restore_values(folder, &mut trainer.adam)?;
    let rows = Incident::load_batches(folder, shape.vocab_size)?;
    let objective = new_objective(plan, method.as_ref(), &tokenizer)?;
    let preferences = plan.objective.preference().map(Preferences::new);
    if let Some(preferences) = preferences.as_ref().filter(|one| one.has_reference()) {
        preferences.start_from(References::from_plain(&rows));
    }
    trainer.objective = preferences.as_ref().map_or(objective.as_ref(), |preferences| preferences);
    let batches: Vec<Batch> = rows.iter().map(|rows| Batch::from_plain(rows)).collect();
    let mut readings = Vec::new();
    let loss = trace(&trainer, &batches, incident.step - 1, &mut |reading| {
        readings.push(reading);
        ControlFlow::Continue(())
    })?;
    Ok(Replayed { readings, loss: loss.expect("nothing breaks off") })
}

/// The first NaN or infinite value of a step, computed again block by block.
fn first_bad(
    fault: NonFiniteValue,
    done: &StepDone<'_>,
    rows: &[BatchRow],
) -> Option<FirstNonFinite> {
    if fault == NonFiniteValue::Update {
        let parameter = done.trainer.adam.first_not_finite()?;
        let bad = parameter.tensor.isfinite().logical_not().sum(Kind::Int64);
        return Some(FirstNonFinite {
            place: parameter.name.clone(),
            direction: "update".to_string(),
            micro_batch: None,
            not_finite: bad.int64_value(&[]),
            rows: Vec::new(),
            heads: Vec::new(),
            documents: Vec::new(),
        });
    }
    let mut first = None;
    let see = &mut |reading: Reading| match reading.not_finite {
        0 => ControlFlow::Continue(()),
        _ => {
            first = Some(reading);
            ControlFlow::Break(())
        }
    };
    // A failure of the second computation must not hide the incident.
    let _ = trace(done.trainer, done.batches, done.record.step, see);
    let Reading { place, direction, micro_batch, not_finite, rows: bad_rows, heads, .. } = first?;
    let of_batch: Vec<&BatchRow> =
        rows.iter().filter(|row| Some(row.micro_batch) == micro_batch).collect();
    let documents = bad_rows.iter().filter_map(|&row| of_batch.get(row));
    let documents = documents.flat_map(|row| row.documents.clone()).collect();
    let direction = direction.name().to_string();
    Some(FirstNonFinite {
        place,
        direction,
        micro_batch,
        not_finite,
        rows: bad_rows,
        heads,
        documents,
    })
}

/// `blocks.17.att WKV backward, head 9; forward was finite`.
pub fn describe(first: &FirstNonFinite) -> Text {
    let FirstNonFinite { place, direction, heads, .. } = first;
    let n = heads.len();
    let names: Vec<String> = heads.iter().map(usize::to_string).collect();
    let heads = list(&names);
    match (direction.as_str(), n) {
        ("before", 0) => msg!(BEFORE_STEP, place),
        ("before", _) => msg!(BEFORE_STEP_IN_HEADS, place, n, heads),
        ("update", 0) => msg!(AFTER_UPDATE, place),
        ("update", _) => msg!(AFTER_UPDATE_IN_HEADS, place, n, heads),
        ("backward", 0) => msg!(IN_BACKWARD, place),
        ("backward", _) => msg!(IN_BACKWARD_IN_HEADS, place, n, heads),
        (_, 0) => msg!(IN_FORWARD, place, direction),
        _ => msg!(IN_FORWARD_IN_HEADS, place, direction, n, heads),
    }
}

/// The warning when the run continues.
fn warning(incident: &Incident, reaction: Reaction) -> Diagnostic {
    let Incident { what, became, step, epoch, first, .. } = incident;
    let what = NonFiniteValue::in_words(what);
    let message = msg!(STEP_LEFT_OUT, what, became, step, epoch);
    let mut warning = Diagnostic::warning(message);
    if let Some(first) = first {
        warning = warning.note(msg!(FIRST_NOT_FINITE, place = describe(first)));
    }
    warning.note(match reaction {
        Reaction::Skip => msg!(GUARD_SKIPS),
        Reaction::Rollback => {
            msg!(GUARD_ROLLS_BACK)
        }
    })
}

/// A note about the row of the incident that repeats one token most often in a row.
fn repeats(rows: &[BatchRow], incident: &Incident) -> Option<Text> {
    let suspects = incident.first.as_ref().map_or(&[][..], |first| &first.documents);
    let is_suspect = |row: &&BatchRow| {
        suspects.is_empty() || row.documents.iter().any(|name| suspects.contains(name))
    };
    let longest = |row: &BatchRow| {
        let learned_to = row.row.learned_at.last().map_or(0, |at| at + 1);
        let runs = row.row.inputs[..learned_to].chunk_by(|a, b| a == b);
        runs.map(<[i64]>::len).max().unwrap_or(0)
    };
    let rows = rows.iter().filter(is_suspect).map(|row| (longest(row), row));
    let (repeats, row) = rows.max_by_key(|(repeats, _)| *repeats)?;
    (repeats >= MANY_REPEATS)
        .then(|| msg!(TOKEN_REPEATS, documents = list(&row.documents), repeats))
}

/// The first few names and the number of the others.
fn list(names: &[String]) -> Text {
    let shown = Text::list(Join::Comma, names.iter().take(NAMED));
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => msg!(AND_MORE, place = shown, more),
    }
}

/// A learning rate rounded to one digit.
fn one_digit(lr: f64) -> String {
    format!("{lr:.0e}").parse::<f64>().map_or_else(|_| lr.to_string(), |lr| format!("{lr:?}"))
}
