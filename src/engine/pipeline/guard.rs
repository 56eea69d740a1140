//! What a run does when numbers are not finite: it takes down the step, and stops, goes on or goes back.

use std::collections::{BTreeSet, HashSet};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use tch::Kind;

use super::course::Course;
use super::data::Datasets;
use super::watchdog::number;
use super::{Progress, RunError};
use crate::train::write_values;
use crate::train::{Fault, Reading, StepDone, trace};
use statetune_core::config::Nonfinite;
use statetune_core::data::Batch;
use statetune_core::diagnostic::{Diagnostic, Join, Text, msg};
use statetune_core::runs::{
    BatchRow, Checkpoint, Environment, Event, FirstBad, Incident, LeftOut, RunDir, checkpoints,
    incident_folders, rewind_records, save_incident,
};

/// Documents that a message names.
const NAMED: usize = 3;
/// A document in which one token comes so many times in a row is worth a remark.
const MANY_REPEATS: usize = 32;
/// The rate that a message proposes is that of the run times this.
const LOWER: f64 = 0.3;

/// How a run goes on after an incident.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Reaction {
    /// With the next step; this one has changed nothing.
    Skip,
    /// From its newest checkpoint on, without the batch of this step.
    Rollback,
}

impl Course<'_, '_> {
    /// Takes down a step with numbers that are not finite, and says how the run goes on.
    ///
    /// # Errors
    /// [`RunError::Diverged`] when it does not, and an incident that cannot be written.
    pub(super) fn meet(&mut self, fault: Fault, done: &StepDone<'_>) -> Result<Reaction, RunError> {
        let guard = &self.plan.guard;
        let rows = self.rows(done.batches);
        let mut incident = self.incident(fault, done, &rows);
        let known = incident_folders(self.run.path());
        let is_new = |folder: &PathBuf| !folder.ends_with(incident.name());
        let earlier = known.iter().filter(|folder| is_new(folder)).count();
        let too_many = earlier >= guard.max_incidents;
        let reaction = match (guard.nonfinite, fault) {
            (Nonfinite::Stop, _) | (Nonfinite::Skip, Fault::Update) => None,
            _ if too_many => None,
            (Nonfinite::Skip, _) => Some(Reaction::Skip),
            (Nonfinite::Rollback, _) => Some(Reaction::Rollback),
        };
        if reaction.is_none() {
            incident.policy = Nonfinite::Stop;
        }
        let folder = save_incident(self.run, &incident, &rows, |file| {
            write_values(file, &done.trainer.adam)
        })?;
        self.run.event(Event::Incident {
            step: incident.step,
            what: incident.what.clone(),
            became: incident.became.clone(),
            first: incident.first.clone(),
            policy: incident.policy,
        })?;
        match reaction {
            Some(reaction) => {
                (self.watch)(Progress::Warning(&warning(&incident, reaction)));
                Ok(reaction)
            }
            None => {
                let mut message = self.stopped(&incident, &folder);
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

    /// Whether this process has trained as long as it may; says so when it has.
    pub(super) fn is_time_over(&mut self) -> bool {
        let hours = self.plan.guard.max_hours;
        let is_over = self.watchdog.is_over(hours);
        if is_over {
            let message = msg!(MAX_HOURS_OVER, hours);
            (self.watch)(Progress::Warning(&Diagnostic::warning(message)));
        }
        is_over
    }

    /// Says that the loss of a step is far above the `median` of those before.
    pub(super) fn tell_spike(&mut self, done: &StepDone<'_>, median: f64) -> Result<(), RunError> {
        let (step, loss) = (done.position.steps, done.record.loss);
        let indexes = done.batches.iter().flat_map(|batch| batch.documents.concat());
        let documents: Vec<String> = indexes.map(|index| self.origins.name(index)).collect();
        self.run.event(Event::Spike { step, loss, median, documents: documents.clone() })?;
        let message = msg!(
            LOSS_SPIKE,
            step,
            loss = format_args!("{loss:.4}"),
            times = format_args!("{:.1}", loss / median)
        );
        let mut warning = Diagnostic::warning(message).note(msg!(
            LOSS_SPIKE_CONTINUES,
            median = format_args!("{median:.4}"),
            multiple = self.plan.guard.loss_spike
        ));
        if !documents.is_empty() {
            warning = warning.note(msg!(BATCH_HOLDS, documents = list(&documents)));
        }
        (self.watch)(Progress::Warning(&warning));
        Ok(())
    }

    /// The rows of a step's batches with the names of their documents.
    fn rows(&self, batches: &[Batch]) -> Vec<BatchRow> {
        let rows = batches.iter().enumerate().flat_map(|(micro_batch, batch)| {
            let documents = batch.documents.iter();
            batch.plain().into_iter().zip(documents).map(move |(row, documents)| BatchRow {
                micro_batch,
                documents: documents.iter().map(|&index| self.origins.name(index)).collect(),
                row,
            })
        });
        rows.collect()
    }

    /// What there is to say about a step, before it is decided what to do.
    fn incident(&self, fault: Fault, done: &StepDone<'_>, rows: &[BatchRow]) -> Incident {
        let became = match fault {
            Fault::Loss { .. } => done.record.loss,
            Fault::Gradients => done.record.grad_norm,
            Fault::Update => {
                let sums = done.trainer.adam.parameters().iter();
                sums.map(|p| p.tensor.sum(Kind::Double).double_value(&[])).sum()
            }
        };
        let step = done.position.steps;
        let mut documents: Vec<String> =
            rows.iter().flat_map(|row| row.documents.clone()).collect();
        documents.dedup();
        let run = self.run.path().display();
        Incident {
            schema: Incident::SCHEMA.to_string(),
            step,
            epoch: done.record.epoch,
            what: fault.what().to_string(),
            became: number(became),
            first: first_bad(fault, done, rows),
            policy: self.plan.guard.nonfinite,
            lr: done.record.lr,
            loss_scale: done.trainer.loss_scale(),
            grad_norms: self.watchdog.norms_before(done.record.grad_norm),
            documents,
            checkpoint: checkpoints(self.run.path()).last().map(|one| one.name().to_string()),
            environment: Environment {
                statetune: self.lock.statetune.clone(),
                libtorch: self.lock.libtorch.clone(),
                kernels: self.lock.kernels.clone(),
                device: self.lock.device.clone(),
                op: self.lock.op.clone(),
                threads: self.lock.threads,
                precision: self.plan.train.precision.name().to_string(),
            },
            replay: (fault != Fault::Update)
                .then(|| format!("statetune incident replay {run}/{}", Incident::name_of(step))),
        }
    }

    /// The message with which a run stops.
    fn stopped(&self, incident: &Incident, folder: &Path) -> Diagnostic {
        let Incident { what, became, step, epoch, first, .. } = incident;
        let what = Fault::in_words(what);
        let message = match first.as_ref().and_then(|first| first.micro_batch) {
            Some(i) => msg!(MICRO_BATCH_NOT_FINITE, what, became, step, epoch, micro_batch = i),
            None => msg!(STEP_NOT_FINITE, what, became, step, epoch),
        };
        let norms = incident.grad_norms.iter();
        let norms =
            norms.map(|norm| norm.map_or(msg!(NOT_FINITE), |norm| Text::verbatim(number(norm))));
        let documents = first.as_ref().map_or(&[][..], |first| &first.documents);
        let documents = if documents.is_empty() { &incident.documents[..] } else { documents };
        let saved = match checkpoints(self.run.path()).last() {
            Some(last) => msg!(LAST_GOOD_CHECKPOINT, step = last.place.position.steps),
            None => msg!(NO_CHECKPOINT_YET),
        };
        let run = self.run.path().display();
        let lr = self.plan.train.schedule.lr_init * LOWER;
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
        let document = documents.first().filter(|_| documents.len() == 1);
        message = message.help(match (document, &incident.replay) {
            (Some(document), Some(_)) => {
                msg!(CONTINUE_WITHOUT_DOCUMENT, run, document = self.short_name(document))
            }
            (None, Some(_)) => {
                msg!(CONTINUE_WITH_SKIP, run)
            }
            (_, None) => msg!(CONTINUE_WITH_ROLLBACK, run),
        });
        message.help(msg!(CONTINUE_WITH_LOWER_RATE, run, rate = one_digit(lr)))
    }

    /// The shortest name that says which document is meant.
    fn short_name<'a>(&self, name: &'a str) -> &'a str {
        match name.rsplit_once(':') {
            Some((_, number)) if self.lock.data.len() == 1 => number,
            _ => name,
        }
    }

    /// Goes back to the newest checkpoint of the run, which leaves out the batch of `step`, counted from 1, from
    /// there on; returns the checkpoint.
    ///
    /// # Errors
    /// When nothing can be written or there is no checkpoint.
    pub(super) fn go_back(&mut self, step: u64) -> Result<Checkpoint, RunError> {
        let checkpoint = checkpoints(self.run.path()).pop().ok_or_else(|| {
            let message = msg!(RUN_HAS_NO_CHECKPOINT, run = self.run.path());
            RunError::Resume(Box::new(Diagnostic::error(message)))
        })?;
        let from_step = checkpoint.place.position.steps;
        rewind_records(self.run, from_step, checkpoint.place.epochs)?;
        LeftOut::Step { from_step, step }.add(self.run)?;
        let name = checkpoint.name().to_string();
        self.run.event(Event::Rollback { checkpoint: name, left_out: step })?;
        self.go_on_from(&checkpoint.place);
        (self.watch)(Progress::Resumed { steps: from_step });
        Ok(checkpoint)
    }
}

/// Leaves out of `data` what the run leaves out, and returns the steps, counted from 0, that are.
///
/// # Errors
/// A record or a cache that cannot be read.
pub(super) fn leave_out(run: &RunDir, data: &mut Datasets<'_>) -> Result<BTreeSet<u64>, RunError> {
    let mut steps = BTreeSet::new();
    let mut documents = HashSet::new();
    for one in LeftOut::load(run.path())? {
        match one {
            LeftOut::Step { step, .. } => {
                steps.insert(step.saturating_sub(1));
            }
            LeftOut::Document { document, .. } => {
                documents.insert(document);
            }
        }
    }
    if !documents.is_empty() {
        data.train.leave_out(data.origins.copies(&documents)?);
    }
    Ok(steps)
}

/// Where the numbers of a step stop being finite.
fn first_bad(fault: Fault, done: &StepDone<'_>, rows: &[BatchRow]) -> Option<FirstBad> {
    if fault == Fault::Update {
        let parameter = done.trainer.adam.first_not_finite()?;
        let bad = parameter.tensor.isfinite().logical_not().sum(Kind::Int64);
        return Some(FirstBad {
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
    // That the step cannot be computed again must not hide what happened to it.
    let _ = trace(done.trainer, done.batches, done.record.step, see);
    let Reading { place, direction, micro_batch, not_finite, rows: bad_rows, heads, .. } = first?;
    let of_batch: Vec<&BatchRow> =
        rows.iter().filter(|row| Some(row.micro_batch) == micro_batch).collect();
    let documents = bad_rows.iter().filter_map(|&row| of_batch.get(row));
    let documents = documents.flat_map(|row| row.documents.clone()).collect();
    let direction = direction.name().to_string();
    Some(FirstBad { place, direction, micro_batch, not_finite, rows: bad_rows, heads, documents })
}

/// `blocks.17.att WKV backward, head 9; forward was finite`.
pub fn describe(first: &FirstBad) -> Text {
    let FirstBad { place, direction, heads, .. } = first;
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

/// What is told when the run goes on.
fn warning(incident: &Incident, reaction: Reaction) -> Diagnostic {
    let Incident { what, became, step, epoch, first, .. } = incident;
    let what = Fault::in_words(what);
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

/// A remark about a row, of those that the incident is about, that repeats one token.
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

/// The first few, and how many more.
fn list(names: &[String]) -> Text {
    let shown = Text::list(Join::Comma, names.iter().take(NAMED));
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => msg!(AND_MORE, place = shown, more),
    }
}

/// A rate with one digit: 0.3 of it is a proposal, no more.
fn one_digit(lr: f64) -> String {
    format!("{lr:.0e}").parse::<f64>().map_or_else(|_| lr.to_string(), |lr| format!("{lr:?}"))
}
