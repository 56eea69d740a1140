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
use statetune_core::diagnostic::Diagnostic;
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
        let guard = &self.plan.config().guard;
        let rows = self.rows(done.batches);
        let mut incident = self.incident(fault, done, &rows);
        let known = incident_folders(self.run.path());
        let is_new = |folder: &PathBuf| !folder.ends_with(incident.name());
        let earlier = known.iter().filter(|folder| is_new(folder)).count();
        let too_many = earlier >= guard.max_incidents as usize;
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
                        true => format!(
                            "{earlier} incidents before this one are as many as `guard.max_incidents` allows"
                        ),
                        false => "an update that was made cannot be left out any more".to_string(),
                    });
                }
                Err(RunError::Diverged(Box::new(message)))
            }
        }
    }

    /// Whether this process has trained as long as it may; says so when it has.
    pub(super) fn is_time_over(&mut self) -> bool {
        let hours = self.plan.config().guard.max_hours;
        let is_over = self.watchdog.is_over(hours);
        if is_over {
            let message = format!("`guard.max_hours = {hours}` are over, everything is saved");
            (self.watch)(Progress::Warning(&Diagnostic::warning("ST7015", message)));
        }
        is_over
    }

    /// Says that the loss of a step is far above the `median` of those before.
    pub(super) fn tell_spike(&mut self, done: &StepDone<'_>, median: f64) -> Result<(), RunError> {
        let (step, loss) = (done.position.steps, done.record.loss);
        let indexes = done.batches.iter().flat_map(|batch| batch.documents.concat());
        let documents: Vec<String> = indexes.map(|index| self.origins.name(index)).collect();
        self.run.event(Event::Spike { step, loss, median, documents: documents.clone() })?;
        let message = format!(
            "the loss of step {step}, {loss:.4}, is {:.1} times the usual one",
            loss / median
        );
        let mut warning = Diagnostic::warning("ST7011", message).note(format!(
            "nothing is done about it; the median of the steps before is {median:.4}, `guard.loss_spike = {}`",
            self.plan.config().guard.loss_spike
        ));
        if !documents.is_empty() {
            warning = warning.note(format!("batch holds {}", list(&documents)));
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
            policy: self.plan.config().guard.nonfinite,
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
                precision: self.plan.config().train.precision.name().to_string(),
            },
            replay: (fault != Fault::Update)
                .then(|| format!("statetune incident replay {run}/{}", Incident::name_of(step))),
        }
    }

    /// The message with which a run stops.
    fn stopped(&self, incident: &Incident, folder: &Path) -> Diagnostic {
        let Incident { what, became, step, epoch, first, .. } = incident;
        let micro_batch = first.as_ref().and_then(|first| first.micro_batch);
        let micro_batch = micro_batch.map_or(String::new(), |i| format!(", micro-batch {i}"));
        let message = format!("{what} became {became} at step {step} (epoch {epoch}{micro_batch})");
        let norms = incident.grad_norms.iter();
        let norms: Vec<String> =
            norms.map(|norm| norm.map_or("not finite".to_string(), number)).collect();
        let documents = first.as_ref().map_or(&[][..], |first| &first.documents);
        let documents = if documents.is_empty() { &incident.documents[..] } else { documents };
        let saved = match checkpoints(self.run.path()).last() {
            Some(last) => format!(
                "last good checkpoint is step {}; nothing after it was overwritten",
                last.place.position.steps
            ),
            None => "there is no checkpoint yet, nothing was saved".to_string(),
        };
        let run = self.run.path().display();
        let lr = self.plan.config().schedule.lr_init * LOWER;
        let mut message = Diagnostic::error("ST7001", message)
            .note(format!("recorded in {}", folder.display()))
            .note(first.as_ref().map_or_else(
                || "computed again block by block, the step is finite".to_string(),
                |first| format!("first value that is not finite: {}", describe(first)),
            ))
            .note(format!("gradient norm over the last steps: {}", norms.join(", ")));
        if !documents.is_empty() {
            message = message.note(format!("batch holds {}", list(documents)));
        }
        message = message.note(saved);
        if let Some(command) = &incident.replay {
            message = message.help(format!("replay only this step in fp32: `{command}`"));
        }
        let document = documents.first().filter(|_| documents.len() == 1);
        message = message.help(match (document, &incident.replay) {
            (Some(document), Some(_)) => format!(
                "go on without this document: `statetune resume {run} --drop-sample {}`",
                self.short_name(document)
            ),
            (None, Some(_)) => {
                format!(
                    "go on without this step: `statetune resume {run} --set guard.nonfinite=skip`"
                )
            }
            (_, None) => format!(
                "go on without this step: `statetune resume {run} --set guard.nonfinite=rollback`"
            ),
        });
        message.help(format!(
            "go on with a lower rate: `statetune resume {run} --set schedule.lr_init={} --accept schedule.lr_init`",
            one_digit(lr)
        ))
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
            let message = format!("the run `{}` has no checkpoint", self.run.path().display());
            RunError::Resume(Box::new(Diagnostic::error("ST6006", message)))
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
        data.train.skip(data.origins.copies(&documents)?);
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
pub fn describe(first: &FirstBad) -> String {
    let FirstBad { place, direction, heads, .. } = first;
    let mut text = match direction.as_str() {
        "before" => format!("{place} before the step"),
        "update" => format!("{place} after the update"),
        _ => format!("{place} {direction}"),
    };
    if !heads.is_empty() {
        let plural = if heads.len() == 1 { "" } else { "s" };
        let heads: Vec<String> = heads.iter().map(usize::to_string).collect();
        text += &format!(", head{plural} {}", list(&heads));
    }
    if direction == "backward" {
        text += "; forward was finite";
    }
    text
}

/// What is told when the run goes on.
fn warning(incident: &Incident, reaction: Reaction) -> Diagnostic {
    let Incident { what, became, step, epoch, first, .. } = incident;
    let message = format!("{what} became {became} at step {step} (epoch {epoch})");
    let mut warning = Diagnostic::warning("ST7016", message);
    if let Some(first) = first {
        warning = warning.note(format!("first value that is not finite: {}", describe(first)));
    }
    warning.note(match reaction {
        Reaction::Skip => "`guard.nonfinite = \"skip\"`: the step changes nothing",
        Reaction::Rollback => {
            "`guard.nonfinite = \"rollback\"`: back to the newest checkpoint, and on without this batch"
        }
    })
}

/// A remark about a row, of those that the incident is about, that repeats one token.
fn repeats(rows: &[BatchRow], incident: &Incident) -> Option<String> {
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
        .then(|| format!("{} has one token {repeats} times in a row", list(&row.documents)))
}

/// The first few, and how many more.
fn list(names: &[String]) -> String {
    let shown = names.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(NAMED) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

/// A rate with one digit: 0.3 of it is a proposal, no more.
fn one_digit(lr: f64) -> String {
    format!("{lr:.0e}").parse::<f64>().map_or_else(|_| lr.to_string(), |lr| format!("{lr:?}"))
}
