//! The loop over the steps of a run, and everything due after a step.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use statetune_core::data::Loader;
use statetune_core::records::{Event, Nonfinite, checkpoint_folders};

use super::begin::Opened;
use super::course::{Course, Ended};
use super::guard::Reaction;
use super::reference::references;
use super::share::{begin_steps, go_on, restore_all, share_values};
use crate::RunError;
use crate::optim::Adam;
use crate::train::{Position, StepDone, Trainer, fit, restore_values};

impl Course<'_, '_> {
    /// Trains until the run ends, without the batches of the steps in `skipped`, counted from 0. Returns the position of
    /// the last step.
    ///
    /// # Errors
    /// A step, an evaluation or a file that fails.
    pub(super) fn train(
        &mut self,
        opened: &Opened,
        trainer: &mut Trainer<'_>,
        loader: &mut Loader<'_>,
        mut skipped: BTreeSet<u64>,
    ) -> Result<Position, RunError> {
        let mut position = self.start(opened, trainer, loader)?;
        if self.ended == Ended::Stopped {
            return Ok(position);
        }
        // An earlier process may have been killed between its last step and its end.
        if let Some(ended) = self.ended_by_evaluation() {
            self.ended = ended;
            return Ok(position);
        }
        self.events.emit(Event::FirstStep)?;
        loop {
            let options = self.job.options;
            let devices = trainer.devices;
            self.position = position;
            let preferences = self.preferences.map(|(preferences, _)| preferences);
            begin_steps(trainer, preferences, position, options.epoch_count, &skipped)?;
            let after_step = |done: &StepDone<'_>| {
                let next = self.after_step(done)?;
                go_on(devices, next)?;
                Ok(next)
            };
            let done = fit(trainer, loader, &options, position, &skipped, after_step);
            position = done.inspect_err(|error| self.save_without(error, trainer))?;
            let Ended::Rollback(step) = self.ended else { return Ok(position) };
            let checkpoint = self.guard.roll_back(&self.job, self.events, step)?;
            self.restore(&checkpoint.record);
            restore_all(&checkpoint, trainer)?;
            share_values(devices, &trainer.adam)?;
            position = checkpoint.record.position;
            skipped.insert(step - 1);
        }
    }

    /// Saves a checkpoint where another device is gone: a step that it leaves unfinished has changed nothing. Moments of that device
    /// are lost.
    fn save_without(&mut self, error: &RunError, trainer: &Trainer<'_>) {
        let is_complete = trainer.adam.slices().is_none();
        if is_complete && error.is_of_devices() && self.position.steps > 0 {
            let _ = self.save_once(trainer, self.position);
        }
    }

    /// Restores the checkpoint that the run resumes from, if any, and evaluates a run whose evaluation is due.
    fn start(
        &mut self,
        opened: &Opened,
        trainer: &mut Trainer<'_>,
        loader: &mut Loader<'_>,
    ) -> Result<Position, RunError> {
        // With the initial values, before others are restored.
        let answered = self.evaluator.answer_with_base(&self.job, self.events, opened.steps());
        let stopped = matches!(answered, Err(RunError::Stopped));
        if !stopped {
            answered?;
        }
        let mut position = Position::default();
        if let Some(checkpoint) = &opened.values_from {
            restore_values(&checkpoint.path, &mut trainer.adam)?;
            self.evaluator.forget_answers();
        }
        let stopped = stopped || self.find_reference(loader, &trainer.adam)?;
        if let Some(checkpoint) = &opened.resume_from {
            restore_all(checkpoint, trainer)?;
            position = checkpoint.record.position;
            self.restore(&checkpoint.record);
            if checkpoint.path.starts_with(self.job.run.path()) {
                self.settle(checkpoint.name())?;
            }
        }
        share_values(trainer.devices, &trainer.adam)?;
        let Position { steps, .. } = position;
        self.note_progress(steps)?;
        if stopped {
            self.evaluator.is_due |= steps == 0;
        } else if steps > 0 && self.evaluator.is_due {
            let _ = self.evaluate_if_due(trainer, position)?;
        } else if steps == 0 && self.evaluator.val_now.is_none() && self.evaluator.best.is_none() {
            self.evaluate(steps)?;
        }
        if stopped || self.evaluator.is_due {
            return self.stop_before_step(trainer, position);
        }
        let rolls_back = self.job.plan.guard.nonfinite == Nonfinite::Rollback;
        if rolls_back && checkpoint_folders(self.job.run.path()).is_empty() {
            self.save(trainer, position)?;
        }
        Ok(position)
    }

    /// Computes the reference of an objective that has one, with the values that the run starts from; whether a stop breaks it
    /// off.
    fn find_reference(&mut self, loader: &mut Loader<'_>, adam: &Adam) -> Result<bool, RunError> {
        let Some((preferences, records)) = self.preferences else { return Ok(false) };
        if !preferences.needs_references() {
            return Ok(false);
        }
        let validation = self.evaluator.validation.as_mut();
        match references(&self.job, adam, loader, validation, records) {
            Ok(references) => preferences.start_from(references),
            Err(RunError::Stopped) => return Ok(true),
            Err(error) => return Err(error),
        }
        Ok(false)
    }

    /// Ends a run that was asked to stop before its first step in this process; everything is saved.
    fn stop_before_step(
        &mut self,
        trainer: &Trainer<'_>,
        position: Position,
    ) -> Result<Position, RunError> {
        self.save_once(trainer, position)?;
        self.obey(trainer, position)?;
        self.ended = Ended::Stopped;
        Ok(position)
    }

    /// Evaluates if an evaluation is due after the last step, and exports and saves what follows from it. Breaks when a
    /// stop breaks the evaluation off.
    fn evaluate_if_due(
        &mut self,
        trainer: &Trainer<'_>,
        position: Position,
    ) -> Result<ControlFlow<()>, RunError> {
        let steps = position.steps;
        let every = self.job.plan.eval.every_steps.as_u64();
        let ends_epoch = self.ends_epoch(steps);
        if !ends_epoch && (every == 0 || !steps.is_multiple_of(every)) {
            self.evaluator.is_due = false;
            return Ok(ControlFlow::Continue(()));
        }
        let Some(is_best) = self.evaluate(steps)? else { return Ok(ControlFlow::Break(())) };
        if ends_epoch {
            let epoch = steps / self.job.options.epoch_steps - 1;
            let is_last = steps == self.job.options.total_steps();
            let epoch_save = u64::from(self.job.plan.records.checkpoint.epoch_save);
            if epoch.is_multiple_of(epoch_save) || is_last || is_best {
                // The checkpoint comes last: a crash before it repeats the export.
                self.saver.export(&self.job, steps)?;
                self.save(trainer, position)?;
            }
        } else if is_best {
            self.save(trainer, position)?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Records a step, does what is due after it, and returns the mini-epochs of the run, or breaks at its end.
    fn after_step(&mut self, done: &StepDone<'_>) -> Result<ControlFlow<(), u64>, RunError> {
        let steps = done.position.steps;
        if let Some(fault) = done.record.non_finite
            && self.guard.react(&self.job, self.events, fault, done)? == Reaction::Rollback
        {
            self.ended = Ended::Rollback(steps);
            return Ok(ControlFlow::Break(()));
        }
        self.recorder.step(&self.job, self.events, done)?;
        self.position = done.position;
        self.guard.watch_loss(&self.job, self.events, done)?;

        if let Some(mean_loss) = done.epoch_mean_loss {
            let (epoch, lr) = (done.record.epoch, done.record.lr);
            self.events.emit(Event::Epoch { epoch, mean_loss, lr })?;
        }
        let evaluated = self.evaluate_if_due(done.trainer, done.position)?;
        self.obey(done.trainer, done.position)?;

        let by_evaluation = self.ended_by_evaluation();
        self.ended = if evaluated.is_break() {
            Ended::Stopped
        } else if let Some(ended) = by_evaluation {
            ended
        } else if steps == self.job.options.total_steps() {
            Ended::AllSteps
        } else if self.job.stop.load(Ordering::Relaxed)
            || self.guard.is_time_over(&self.job, self.events)?
        {
            Ended::Stopped
        } else {
            return Ok(ControlFlow::Continue(self.job.options.epoch_count));
        };
        self.save_once(done.trainer, done.position)?;
        Ok(ControlFlow::Break(()))
    }

    /// Whether evaluations end the run.
    fn ended_by_evaluation(&self) -> Option<Ended> {
        if self.evaluator.goal_reached {
            Some(Ended::Goal)
        } else if self.forgetting.as_ref().is_some_and(|one| one.is_too_much) {
            Some(Ended::Forgotten)
        } else if self.evaluator.has_lost_patience(&self.job.plan) {
            Some(Ended::Patience)
        } else {
            None
        }
    }
}
