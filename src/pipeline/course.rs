//! The course of a run: what happens after each step besides training.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use tch::Kind;

use super::moment::epoch_stem;
use super::passport::passport;
use super::{Progress, RunError};
use crate::config::ExportDtype;
use crate::data::Loader;
use crate::model::Shape;
use crate::optim::Adam;
use crate::output::{Export, Passport};
use crate::peft::Method;
use crate::plan::Plan;
use crate::runs::{
    Best, Chain, Checkpoint, Event, Lock, Metrics, Place, RunDir, StoredRun, Totals, TrainLog,
    name_best, remove_old_checkpoints, save_checkpoint,
};
use crate::tensorfile::Dtype;
use crate::train::{FitOptions, Position, StepDone, TrainError, Trainer, mean_loss};

/// Why the loop over steps came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// All steps are done.
    AllSteps,
    /// The held-out loss has not fallen for as many evaluations as `eval.patience` says.
    Patience,
    /// It was asked to stop.
    Stopped,
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
    /// Asks the run to stop after the step that it is in.
    pub(super) stop: &'a AtomicBool,
    pub(super) watch: &'a mut dyn FnMut(Progress<'_>),
    pub(super) totals: Totals,
    pub(super) chain: Chain,
    /// Held-out loss before training.
    pub(super) val_before: Option<f64>,
    /// The newest held-out loss.
    pub(super) val_now: Option<f64>,
    pub(super) best: Option<Best>,
    /// What the newest mini-epoch produced.
    pub(super) products: Vec<PathBuf>,
    pub(super) ended: Ended,
}

impl Course<'_, '_> {
    /// Takes over what an earlier process had added up.
    pub(super) fn go_on_from(&mut self, place: &Place) {
        self.totals = place.totals;
        self.chain = Chain::after(place.chain);
        self.val_before = place.val_before;
        self.val_now = place.val_before;
        self.best = place.best;
    }

    /// Writes the records of a step, and whatever is due after it: evaluation, checkpoint, the end.
    pub(super) fn after_step(&mut self, done: &StepDone<'_>) -> Result<ControlFlow<()>, RunError> {
        let config = self.plan.config();
        let position = &done.position;
        self.chain.add(self.run, done)?;
        self.record(done)?;

        let every = u64::from(config.eval.every_steps);
        let mut saved = false;
        if let Some(mean_loss) = done.epoch_mean_loss {
            let epoch = done.record.epoch;
            self.run.append(TrainLog::FILE, &TrainLog::line(epoch, mean_loss, done.record.lr))?;
            check_learned(&done.trainer.adam, position)?;
            let is_best = self.evaluate(position)?;
            let last = position.steps == self.options.total_steps();
            saved = epoch.is_multiple_of(u64::from(config.checkpoint.epoch_save)) || last;
            if saved || is_best {
                // The checkpoint comes last: what it does not know is done again after a crash.
                let passport =
                    passport(self.plan, self.run.path(), self.lock, &self.shape, epoch + 1);
                let name = epoch_stem(epoch);
                self.products = export(self.plan, self.run.path(), self.method, &name, &passport)?;
                self.save(done, is_best)?;
                saved = true;
            }
        } else if every > 0 && position.steps.is_multiple_of(every) {
            check_learned(&done.trainer.adam, position)?;
            if self.evaluate(position)? {
                self.save(done, true)?;
                saved = true;
            }
        }

        let patience = config.eval.patience;
        self.ended = if patience > 0 && self.best.is_some_and(|best| best.since >= patience) {
            Ended::Patience
        } else if position.steps == self.options.total_steps() {
            Ended::AllSteps
        } else if self.stop.load(Ordering::Relaxed) {
            Ended::Stopped
        } else {
            return Ok(ControlFlow::Continue(()));
        };
        if !saved {
            check_learned(&done.trainer.adam, position)?;
            self.save(done, false)?;
        }
        Ok(ControlFlow::Break(()))
    }

    /// Takes the loss on the held-out documents and records it; whether it is the lowest so far.
    pub(super) fn evaluate(&mut self, position: &Position) -> Result<bool, RunError> {
        let Some(val) = self.val.as_deref_mut() else { return Ok(false) };
        let train = &self.plan.config().train;
        let (model, state) = (self.method.model(), self.method.time_state());
        let (micro_bsz, head_chunk) = (train.micro_bsz.into(), train.head_chunk.into());
        let found = mean_loss(&model, &state, val, micro_bsz, head_chunk)?;
        let Some(val_loss) = found else { return Ok(false) };
        check_finite("held-out loss", val_loss, position)?;
        let (steps, epoch_steps) = (position.steps, self.options.epoch_steps);
        let epochs = steps / epoch_steps;
        self.run.event(Event::Eval { steps, epochs, val_loss })?;
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
        (self.watch)(Progress::Step { done: step.step + 1, loss: step.loss, lr: step.lr });
        if let Some(metrics) = self.totals.add(step, every_steps, self.options.total_steps()) {
            let line = serde_json::to_string(&metrics).expect("metrics are plain data");
            self.run.append(Metrics::FILE, &line)?;
            (self.watch)(Progress::Interval(&metrics));
        }
        Ok(())
    }

    /// Writes a checkpoint, and removes those that are too old.
    fn save(&mut self, done: &StepDone<'_>, is_best: bool) -> Result<(), RunError> {
        let Trainer { adam, scaler, .. } = done.trainer;
        let position = done.position;
        let epochs = position.steps / self.options.epoch_steps;
        let name = match done.epoch_mean_loss {
            Some(_) => Checkpoint::epoch_name(done.record.epoch),
            None => Checkpoint::step_name(position.steps),
        };
        let place = Place {
            position,
            epochs,
            adam_steps: adam.steps(),
            scaler: *scaler,
            totals: self.totals,
            chain: self.chain.running(),
            val_before: self.val_before,
            best: self.best,
        };
        for records in [Metrics::FILE, TrainLog::FILE, Chain::FILE] {
            self.run.sync(records)?;
        }
        save_checkpoint(self.run, &name, adam, &place)?;
        if is_best {
            name_best(self.run, &name)?;
        }
        remove_old_checkpoints(self.run, self.plan.config().checkpoint.keep_last as usize);
        self.run.event(Event::Save { checkpoint: name, steps: position.steps })?;
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

/// Refuses what a step may leave behind although its loss was finite; nothing is saved then.
fn check_learned(adam: &Adam, position: &Position) -> Result<(), TrainError> {
    for parameter in adam.parameters() {
        let sum = parameter.tensor.sum(Kind::Double).double_value(&[]);
        check_finite("what was learned", sum, position)?;
    }
    Ok(())
}

fn check_finite(what: &'static str, value: f64, position: &Position) -> Result<(), TrainError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(TrainError::NonFinite { what, value, step: position.steps.saturating_sub(1) })
}
