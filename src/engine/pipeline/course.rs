//! The course of a run: what happens after each step besides training.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use super::ending::{Ended, export};
use super::guard::Reaction;
use super::moment::epoch_stem;
use super::origins::Origins;
use super::passport::passport;
use super::sample::{Interview, moment_of};
use super::watchdog::Watchdog;
use super::{Counted, Progress, RunError};
use crate::model::Shape;
use crate::peft::Method;
use crate::sample::{Probe, rate, rates};
use crate::train::{
    FitOptions, Position, StepDone, Trainer, digest_values, mean_loss, save_checkpoint,
};
use statetune_core::data::Loader;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::plan::{Metric, ModelSource, Plan};
use statetune_core::runs::{
    Best, Chain, Checkpoint, Entry, Event, Lock, Place, RunDir, Sinks, Totals, name_best,
    remove_old_checkpoints,
};
use xxhash_rust::xxh3::Xxh3;

/// What an evaluation found.
pub(super) struct Measured {
    /// In nats; absent where nothing is held out.
    pub(super) val_loss: Option<f64>,
    /// The share of answers that show what each probe counts.
    pub(super) probes: Vec<(String, f64)>,
}

impl fmt::Display for Measured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = self.val_loss.map(|loss| format!("held-out loss {loss:.4}"));
        let probes = self.probes.iter().map(|(name, rate)| format!("{name} {:.0} %", rate * 100.0));
        formatter.write_str(&loss.into_iter().chain(probes).collect::<Vec<_>>().join(", "))
    }
}

/// What a run adds up and writes while it trains.
pub(super) struct Course<'a, 'data> {
    /// What is done; the number of mini-epochs changes when the run is asked to grow.
    pub(super) plan: Cow<'a, Plan>,
    pub(super) run: &'a RunDir,
    pub(super) lock: &'a Lock,
    pub(super) shape: Shape,
    pub(super) method: &'a dyn Method,
    pub(super) options: FitOptions,
    pub(super) val: Option<&'a mut Loader<'data>>,
    /// Where the documents that are trained on come from.
    pub(super) origins: &'a Origins,
    /// The last steps.
    pub(super) watchdog: Watchdog,
    /// Asks the run to stop after the step that it is in.
    pub(super) stop: &'a AtomicBool,
    pub(super) watch: &'a mut dyn FnMut(Progress<'_>),
    pub(super) sinks: Sinks,
    pub(super) interview: Interview<'a>,
    /// The answers of the untouched model.
    pub(super) base: Option<Vec<String>>,
    /// The newest answers, with the steps that were done then.
    pub(super) newest: Option<(u64, Vec<String>)>,
    pub(super) totals: Totals,
    pub(super) chain: Chain,
    /// Held-out loss before training.
    pub(super) val_before: Option<f64>,
    /// The newest held-out loss.
    pub(super) val_now: Option<f64>,
    pub(super) best: Option<Best>,
    /// What the newest export wrote.
    pub(super) products: Vec<PathBuf>,
    /// Steps done at the newest export.
    pub(super) exported_at: Option<u64>,
    /// Whether the newest evaluation found every goal reached that ends the run.
    pub(super) goal_reached: bool,
    pub(super) ended: Ended,
}

impl Course<'_, '_> {
    /// Takes over what an earlier process had added up.
    pub(super) fn go_on_from(&mut self, place: &Place) {
        self.totals = place.totals;
        self.chain = Chain::after(place.chain);
        self.val_before = place.val_before;
        self.val_now = place.val_now;
        self.best = place.best;
        // The goals may be others now.
        self.goal_reached =
            place.goal_reached && self.plan.sample.probes.iter().any(|probe| probe.stop);
        self.newest = None;
    }

    /// Writes the records of a step, and whatever is due after it: evaluation, checkpoint, what the run was
    /// asked for, the end. Returns the mini-epochs that the run has.
    pub(super) fn after_step(
        &mut self,
        done: &StepDone<'_>,
    ) -> Result<ControlFlow<(), u64>, RunError> {
        let position = &done.position;
        if let Some(fault) = done.record.fault
            && self.meet(fault, done)? == Reaction::Rollback
        {
            self.ended = Ended::Rollback(position.steps);
            return Ok(ControlFlow::Break(()));
        }
        let values = |digest: &mut Xxh3| digest_values(digest, &done.trainer.adam);
        self.chain.add(self.run, done.batches, &done.record, values)?;
        self.record(done)?;

        let every = self.plan.eval.every_steps.as_u64();
        let mut saved = false;
        if let Some(mean_loss) = done.epoch_mean_loss {
            let epoch = done.record.epoch;
            let lr = done.record.lr;
            self.sinks.add(self.run, &Entry::Epoch { epoch, mean_loss, lr })?;
            let is_best = self.evaluate(position)?;
            let last = position.steps == self.options.total_steps();
            let epoch_save = u64::from(self.plan.records.checkpoint.epoch_save);
            saved = epoch.is_multiple_of(epoch_save) || last;
            if saved || is_best {
                // The checkpoint comes last: what it does not know is done again after a crash.
                self.export(position)?;
                self.save(done, is_best)?;
                saved = true;
            }
        } else if every > 0 && position.steps.is_multiple_of(every) && self.evaluate(position)? {
            self.save(done, true)?;
            saved = true;
        }
        self.obey(done, &mut saved)?;

        self.ended = if self.goal_reached {
            Ended::Goal
        } else if self.has_lost_patience() {
            Ended::Patience
        } else if position.steps == self.options.total_steps() {
            Ended::AllSteps
        } else if self.stop.load(Ordering::Relaxed) || self.is_time_over() {
            Ended::Stopped
        } else {
            return Ok(ControlFlow::Continue(self.options.epoch_count));
        };
        self.save_once(done, &mut saved)?;
        Ok(ControlFlow::Break(()))
    }

    /// Whether no evaluation was the best for as long as `eval.patience` allows.
    pub(super) fn has_lost_patience(&self) -> bool {
        let patience = self.plan.eval.patience;
        patience > 0 && self.best.is_some_and(|best| best.since >= patience)
    }

    /// Writes what was learned as the product of the mini-epoch of the last step, unless that was done.
    pub(super) fn export(&mut self, position: &Position) -> Result<(), RunError> {
        if self.exported_at == Some(position.steps) {
            return Ok(());
        }
        let epoch = position.steps.saturating_sub(1) / self.options.epoch_steps;
        let run = self.run.path();
        let passport = passport(&self.plan, run, self.lock, &self.shape, epoch + 1);
        self.products = export(&self.plan, run, self.method, &epoch_stem(epoch), &passport)?;
        self.exported_at = Some(position.steps);
        Ok(())
    }

    /// Evaluates, and remembers the best evaluation; whether it is to be kept as such.
    pub(super) fn evaluate(&mut self, position: &Position) -> Result<bool, RunError> {
        let Some(measured) = self.measure(position)? else { return Ok(false) };
        // What the untouched model shows ends nothing.
        self.goal_reached = position.steps > 0 && self.reaches_goals(&measured.probes);
        let is_best = self.compare(&measured, position.steps);
        self.note_progress(position.steps)?;
        Ok(is_best && self.plan.records.checkpoint.keep_best)
    }

    /// Compares an evaluation after `steps` steps with the best one so far; whether it is better.
    fn compare(&mut self, measured: &Measured, steps: u64) -> bool {
        let probe = match &self.plan.eval.metric {
            Metric::ValLoss if measured.val_loss.is_some() => None,
            Metric::Probe(name) if rate_of(&measured.probes, name).is_some() => {
                rate_of(&measured.probes, name)
            }
            _ => return false,
        };
        let now = Best { val_loss: measured.val_loss, probe, steps, since: 0 };
        let is_best = self.best.is_none_or(|best| now.beats(&best));
        self.best = Some(match self.best {
            Some(best) if !is_best => Best { since: best.since + 1, ..best },
            _ => now,
        });
        is_best
    }

    /// Takes the loss on the held-out documents, counts what the probes count, and records both; `None` where
    /// there is neither.
    pub(super) fn measure(&mut self, position: &Position) -> Result<Option<Measured>, RunError> {
        let steps = position.steps;
        let val_loss = self.held_out_loss(position)?;
        // A new model has nothing to say yet.
        let is_mute = steps == 0 && matches!(self.plan.model.source, ModelSource::Scratch { .. });
        let probes = match self.plan.sample.probes.is_empty() || is_mute {
            true => Vec::new(),
            false => rates(&self.interview.plan.sample.probes, self.answers(steps)?),
        };
        if val_loss.is_none() && probes.is_empty() {
            return Ok(None);
        }
        let epochs = steps / self.options.epoch_steps;
        let by_name = probes.iter().cloned().collect();
        self.run.event(Event::Eval { steps, epochs, val_loss, probes: by_name })?;
        self.sinks.add(self.run, &Entry::Evaluated { steps, val_loss, probes: &probes })?;
        self.val_now = val_loss;
        if steps == 0 {
            self.val_before = val_loss;
        }
        let counted = self.counted(&probes);
        (self.watch)(Progress::Evaluated {
            steps,
            epochs: steps.is_multiple_of(self.options.epoch_steps).then_some(epochs),
            val_loss,
            probes: &counted,
        });
        Ok(Some(Measured { val_loss, probes }))
    }

    fn held_out_loss(&mut self, position: &Position) -> Result<Option<f64>, RunError> {
        let Some(val) = self.val.as_deref_mut() else { return Ok(None) };
        let train = &self.plan.train;
        let (model, state) = (self.method.model(), self.method.time_state());
        let (micro_bsz, head_chunk) = (train.micro_bsz.as_u64(), train.head_chunk.as_i64());
        let found = mean_loss(&model, &state, val, micro_bsz, head_chunk)?;
        if let Some(val_loss) = found.filter(|val_loss| !val_loss.is_finite()) {
            return Err(held_out_diverged(val_loss, position));
        }
        Ok(found)
    }

    /// The answers of the model as it is after `steps` steps; none where nothing is asked.
    pub(super) fn answers(&mut self, steps: u64) -> Result<&[String], RunError> {
        let known = self.newest.take().filter(|(known, _)| *known == steps);
        let newest = match known {
            Some(known) => known,
            None => {
                let moment = moment_of(steps);
                (self.watch)(Progress::Sampling { moment: &moment });
                (steps, self.interview.hold(&moment, steps)?)
            }
        };
        Ok(&self.newest.insert(newest).1)
    }

    /// Whether there are probes with `stop`, and all of them have reached their goals.
    fn reaches_goals(&self, rates: &[(String, f64)]) -> bool {
        let mut stops = self.plan.sample.probes.iter().filter(|probe| probe.stop).peekable();
        let reached =
            |probe: &Probe| rate_of(rates, &probe.name).is_some_and(|r| probe.is_reached_by(r));
        stops.peek().is_some() && stops.all(reached)
    }

    /// Rates beside those of the untouched model and what is aimed at.
    pub(super) fn counted(&self, rates: &[(String, f64)]) -> Vec<Counted> {
        let base = self.base.as_deref();
        let probe = |(name, now): &(String, f64)| {
            let probe = self.plan.sample.probes.iter().find(|probe| probe.name == *name)?;
            let base = base.and_then(|answers| rate(probe, answers));
            Some(Counted { name: name.clone(), rate: *now, base, goal: probe.goal })
        };
        rates.iter().filter_map(probe).collect()
    }

    fn record(&mut self, done: &StepDone<'_>) -> Result<(), RunError> {
        let step = &done.record;
        let every_steps = self.plan.records.log.every_steps.as_u64();
        let micro_steps = self.options.accumulate_grad_batches;
        self.sinks.add(self.run, &Entry::Step { record: step, micro_steps })?;
        (self.watch)(Progress::Step { done: step.step + 1, loss: step.loss, lr: step.lr });
        if let Some(metrics) = self.totals.add(step, every_steps, self.options.total_steps()) {
            self.sinks.add(self.run, &Entry::Interval(&metrics))?;
            (self.watch)(Progress::Interval(&metrics));
        }
        if step.loss.is_finite() {
            let multiple = self.plan.guard.loss_spike;
            if let Some(median) = self.watchdog.add(step.loss, step.grad_norm, multiple) {
                self.tell_spike(done, median)?;
            }
        }
        Ok(())
    }

    /// Writes a checkpoint of this step unless one lies there.
    pub(super) fn save_once(
        &mut self,
        done: &StepDone<'_>,
        saved: &mut bool,
    ) -> Result<(), RunError> {
        if !*saved {
            self.save(done, false)?;
            *saved = true;
        }
        Ok(())
    }

    /// The name of a checkpoint of this step.
    pub(super) fn checkpoint_name(&self, done: &StepDone<'_>) -> String {
        match done.epoch_mean_loss {
            Some(_) => Checkpoint::epoch_name(done.record.epoch),
            None => Checkpoint::step_name(done.position.steps),
        }
    }

    /// Writes a checkpoint, and removes those that are too old.
    fn save(&mut self, done: &StepDone<'_>, is_best: bool) -> Result<(), RunError> {
        let name = self.checkpoint_name(done);
        self.save_as(&name, done.trainer, done.position)?;
        if is_best {
            name_best(self.run, &name)?;
        }
        remove_old_checkpoints(self.run, self.plan.records.checkpoint.keep_last);
        Ok(())
    }

    /// Writes a checkpoint of this name.
    pub(super) fn save_as(
        &mut self,
        name: &str,
        trainer: &Trainer<'_>,
        position: Position,
    ) -> Result<(), RunError> {
        let Trainer { adam, scaler, .. } = trainer;
        let epochs = position.steps / self.options.epoch_steps;
        let place = Place {
            position,
            epochs,
            adam_steps: adam.steps(),
            scaler: *scaler,
            totals: self.totals,
            chain: self.chain.running(),
            val_before: self.val_before,
            val_now: self.val_now,
            best: self.best,
            goal_reached: self.goal_reached,
        };
        self.sinks.sync(self.run)?;
        self.run.sync(Chain::FILE)?;
        save_checkpoint(self.run, name, adam, &place)?;
        let (checkpoint, steps) = (name.to_string(), position.steps);
        self.run.event(Event::Save { checkpoint, steps })?;
        self.note_progress(position.steps)
    }

    /// Writes what the run has come to after `steps` steps.
    pub(super) fn note_progress(&self, steps: u64) -> Result<(), RunError> {
        self.run.update(|record| {
            record.steps = steps;
            record.total_steps = Some(self.options.total_steps());
            record.val_before = self.val_before;
            record.val_loss = self.val_now;
            record.best = self.best;
        })?;
        Ok(())
    }
}

fn rate_of(rates: &[(String, f64)], name: &str) -> Option<f64> {
    rates.iter().find(|(other, _)| other == name).map(|(_, rate)| *rate)
}

/// Why a run stops whose numbers are finite on what it learns from, and on nothing else.
fn held_out_diverged(val_loss: f64, position: &Position) -> RunError {
    let message = msg!(VAL_LOSS_NOT_FINITE, val_loss, step = position.steps);
    let refusal = Diagnostic::error(message)
        .note(msg!(EARLIER_CHECKPOINTS_INTACT))
        .help(msg!(LOWER_LR_OR_CHECK_VALIDATION));
    RunError::Diverged(Box::new(refusal))
}
