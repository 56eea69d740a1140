//! The loop over the steps of a run, and everything due after a step.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::atomic::Ordering;

use statetune_core::data::Loader;
use statetune_core::records::{Checkpoint, Event, Nonfinite, checkpoint_folders};

use super::begin::Opened;
use super::course::{Course, Ended};
use super::guard::Reaction;
use crate::RunError;
use crate::train::{Position, StepDone, Trainer, fit, restore, restore_values};

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
        let mut position = self.start(opened, trainer)?;
        // An earlier process may have been killed between its last step and its end.
        if let Some(ended) = self.ended_by_evaluation() {
            self.ended = ended;
            return Ok(position);
        }
        self.events.emit(Event::FirstStep)?;
        loop {
            let options = self.job.options;
            let after_step = |done: &StepDone<'_>| self.after_step(done);
            position = fit(trainer, loader, &options, position, &skipped, after_step)?;
            let Ended::Rollback(step) = self.ended else { return Ok(position) };
            let checkpoint = self.guard.roll_back(&self.job, self.events, step)?;
            self.restore(&checkpoint.record);
            restore(&checkpoint, trainer)?;
            position = checkpoint.record.position;
            skipped.insert(step - 1);
        }
    }

    /// Restores the checkpoint that the run resumes from, if any, and evaluates a run without evaluation.
    fn start(&mut self, opened: &Opened, trainer: &mut Trainer<'_>) -> Result<Position, RunError> {
        let mut position = Position::default();
        if let Some(checkpoint) = &opened.values_from {
            restore_values(&checkpoint.path, &mut trainer.adam)?;
            self.evaluator.forget_answers();
        }
        if let Some(checkpoint) = &opened.resume_from {
            restore(checkpoint, trainer)?;
            position = checkpoint.record.position;
            self.restore(&checkpoint.record);
            if checkpoint.path.starts_with(self.job.run.path()) {
                self.settle(checkpoint.name())?;
            }
        }
        let Position { steps, .. } = position;
        self.note_progress(steps)?;
        if steps == 0 && self.evaluator.val_now.is_none() && self.evaluator.best.is_none() {
            self.evaluate(steps)?;
        }
        let rolls_back = self.job.plan.guard.nonfinite == Nonfinite::Rollback;
        if rolls_back && checkpoint_folders(self.job.run.path()).is_empty() {
            self.save_as(&Checkpoint::step_name(steps), trainer, position)?;
        }
        Ok(position)
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
        self.guard.watch_loss(&self.job, self.events, done)?;

        let every = self.job.plan.eval.every_steps.as_u64();
        if let Some(mean_loss) = done.epoch_mean_loss {
            let (epoch, lr) = (done.record.epoch, done.record.lr);
            self.events.emit(Event::Epoch { epoch, mean_loss, lr })?;
            let is_best = self.evaluate(steps)?;
            let is_last = steps == self.job.options.total_steps();
            let epoch_save = u64::from(self.job.plan.records.checkpoint.epoch_save);
            if epoch.is_multiple_of(epoch_save) || is_last || is_best {
                // The checkpoint comes last: a crash before it repeats the export.
                self.saver.export(&self.job, steps)?;
                self.save(done)?;
            }
        } else if every > 0 && steps.is_multiple_of(every) && self.evaluate(steps)? {
            self.save(done)?;
        }
        self.obey(done)?;

        let by_evaluation = self.ended_by_evaluation();
        self.ended = if let Some(ended) = by_evaluation {
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
        self.save_once(done)?;
        Ok(ControlFlow::Break(()))
    }

    /// Whether evaluations end the run.
    fn ended_by_evaluation(&self) -> Option<Ended> {
        if self.evaluator.goal_reached {
            Some(Ended::Goal)
        } else if self.evaluator.has_lost_patience(&self.job.plan) {
            Some(Ended::Patience)
        } else {
            None
        }
    }
}
