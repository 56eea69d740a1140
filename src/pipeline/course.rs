//! The course of a run: what happens after each step besides training.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use super::guard::Reaction;
use super::moment::epoch_stem;
use super::origins::Origins;
use super::passport::passport;
use super::watchdog::Watchdog;
use super::{Progress, RunError};
use crate::config::ExportDtype;
use crate::data::Loader;
use crate::diagnostic::Diagnostic;
use crate::model::Shape;
use crate::output::{Export, Passport};
use crate::peft::Method;
use crate::plan::Plan;
use crate::runs::{
    Best, Chain, Checkpoint, Entry, Event, Lock, Place, RunDir, Sinks, StoredRun, Totals,
    name_best, remove_old_checkpoints, save_checkpoint,
};
use crate::tensorfile::Dtype;
use crate::train::{FitOptions, Position, StepDone, Trainer, mean_loss};

/// Why the loop over steps came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// All steps are done.
    AllSteps,
    /// The held-out loss has not fallen for as many evaluations as `eval.patience` says.
    Patience,
    /// It was asked to stop, or its time is over.
    Stopped,
    /// The newest checkpoint is to be gone back to, and the batch of this step, counted from 1, left out.
    Rollback(u64),
}

/// What a run adds up and writes while it trains.
pub(super) struct Course<'a, 'data> {
    pub(super) plan: &'a Plan,
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
    }

    /// Writes the records of a step, and whatever is due after it: evaluation, checkpoint, the end.
    pub(super) fn after_step(&mut self, done: &StepDone<'_>) -> Result<ControlFlow<()>, RunError> {
        let config = self.plan.config();
        let position = &done.position;
        if let Some(fault) = done.record.fault
            && self.meet(fault, done)? == Reaction::Rollback
        {
            self.ended = Ended::Rollback(position.steps);
            return Ok(ControlFlow::Break(()));
        }
        self.chain.add(self.run, done)?;
        self.record(done)?;

        let every = u64::from(config.eval.every_steps);
        let mut saved = false;
        if let Some(mean_loss) = done.epoch_mean_loss {
            let epoch = done.record.epoch;
            let lr = done.record.lr;
            self.sinks.add(self.run, &Entry::Epoch { epoch, mean_loss, lr })?;
            let is_best = self.evaluate(position)?;
            let last = position.steps == self.options.total_steps();
            saved = epoch.is_multiple_of(u64::from(config.checkpoint.epoch_save)) || last;
            if saved || is_best {
                // The checkpoint comes last: what it does not know is done again after a crash.
                self.export(position)?;
                self.save(done, is_best)?;
                saved = true;
            }
        } else if every > 0 && position.steps.is_multiple_of(every) {
            if self.evaluate(position)? {
                self.save(done, true)?;
                saved = true;
            }
        }

        self.ended = if self.has_lost_patience() {
            Ended::Patience
        } else if position.steps == self.options.total_steps() {
            Ended::AllSteps
        } else if self.stop.load(Ordering::Relaxed) || self.is_time_over() {
            Ended::Stopped
        } else {
            return Ok(ControlFlow::Continue(()));
        };
        if !saved {
            if self.ended == Ended::Patience {
                self.export(position)?;
            }
            self.save(done, false)?;
        }
        Ok(ControlFlow::Break(()))
    }

    /// Whether the held-out loss has not fallen for as many evaluations as `eval.patience` allows.
    pub(super) fn has_lost_patience(&self) -> bool {
        let patience = self.plan.config().eval.patience;
        patience > 0 && self.best.is_some_and(|best| best.since >= patience)
    }

    /// Writes what was learned as the product of the mini-epoch of the last step, unless that was done.
    pub(super) fn export(&mut self, position: &Position) -> Result<(), RunError> {
        if self.exported_at == Some(position.steps) {
            return Ok(());
        }
        let epoch = position.steps.saturating_sub(1) / self.options.epoch_steps;
        let run = self.run.path();
        let passport = passport(self.plan, run, self.lock, &self.shape, epoch + 1);
        self.products = export(self.plan, run, self.method, &epoch_stem(epoch), &passport)?;
        self.exported_at = Some(position.steps);
        Ok(())
    }

    /// Takes the loss on the held-out documents and records it; whether it is the lowest so far.
    pub(super) fn evaluate(&mut self, position: &Position) -> Result<bool, RunError> {
        let Some(val) = self.val.as_deref_mut() else { return Ok(false) };
        let train = &self.plan.config().train;
        let (model, state) = (self.method.model(), self.method.time_state());
        let (micro_bsz, head_chunk) = (train.micro_bsz.into(), train.head_chunk.into());
        let found = mean_loss(&model, &state, val, micro_bsz, head_chunk)?;
        let Some(val_loss) = found else { return Ok(false) };
        if !val_loss.is_finite() {
            return Err(held_out_diverged(val_loss, position));
        }
        let (steps, epoch_steps) = (position.steps, self.options.epoch_steps);
        let epochs = steps / epoch_steps;
        self.run.event(Event::Eval { steps, epochs, val_loss })?;
        self.sinks.add(self.run, &Entry::Evaluated { steps, val_loss })?;
        (self.watch)(Progress::Evaluated {
            steps,
            epochs: steps.is_multiple_of(epoch_steps).then_some(epochs),
            val_loss,
        });
        self.val_now = Some(val_loss);
        if steps == 0 {
            self.val_before = Some(val_loss);
        }
        let is_best = self.best.is_none_or(|best| val_loss < best.val_loss);
        self.best = Some(match self.best {
            Some(best) if !is_best => Best { since: best.since + 1, ..best },
            _ => Best { val_loss, steps, since: 0 },
        });
        self.note_progress(steps)?;
        Ok(is_best && self.plan.config().checkpoint.keep_best)
    }

    fn record(&mut self, done: &StepDone<'_>) -> Result<(), RunError> {
        let step = &done.record;
        let every_steps = u64::from(self.plan.config().log.every_steps);
        let micro_steps = self.options.accumulate_grad_batches;
        self.sinks.add(self.run, &Entry::Step { record: step, micro_steps })?;
        (self.watch)(Progress::Step { done: step.step + 1, loss: step.loss, lr: step.lr });
        if let Some(metrics) = self.totals.add(step, every_steps, self.options.total_steps()) {
            self.sinks.add(self.run, &Entry::Interval(&metrics))?;
            (self.watch)(Progress::Interval(&metrics));
        }
        if step.loss.is_finite() {
            let multiple = self.plan.config().guard.loss_spike;
            if let Some(median) = self.watchdog.add(step.loss, step.grad_norm, multiple) {
                self.tell_spike(done, median)?;
            }
        }
        Ok(())
    }

    /// Writes a checkpoint, and removes those that are too old.
    fn save(&mut self, done: &StepDone<'_>, is_best: bool) -> Result<(), RunError> {
        let name = match done.epoch_mean_loss {
            Some(_) => Checkpoint::epoch_name(done.record.epoch),
            None => Checkpoint::step_name(done.position.steps),
        };
        self.save_as(&name, done.trainer, done.position)?;
        if is_best {
            name_best(self.run, &name)?;
        }
        remove_old_checkpoints(self.run, self.plan.config().checkpoint.keep_last as usize);
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

/// Writes what was learned as `export/NAME` in the forms that other programs read.
pub(super) fn export(
    plan: &Plan,
    run: &Path,
    method: &dyn Method,
    name: &str,
    passport: &Passport,
) -> Result<Vec<PathBuf>, RunError> {
    let dtype = match plan.config().export.dtype {
        ExportDtype::Bf16 => Dtype::BF16,
        ExportDtype::Fp32 => Dtype::F32,
    };
    let export = Export { dtype, passport };
    Ok(method.export(&run.join(StoredRun::EXPORT).join(name), &export)?)
}

/// Why a run stops whose numbers are finite on what it learns from, and on nothing else.
fn held_out_diverged(val_loss: f64, position: &Position) -> RunError {
    let message = format!("held-out loss became {val_loss} after step {}", position.steps);
    let refusal = Diagnostic::error("ST7012", message)
        .note("nothing was saved after that; the checkpoints before are intact")
        .help("lower `schedule.lr_init`, or look for broken documents in what is held out");
    RunError::Diverged(Box::new(refusal))
}
