//! A run while it trains: its parts, and what is done with several of them.

use statetune_core::plan::CheckpointPlan;
use statetune_core::records::{Checkpoint, CheckpointRecord, settle_checkpoints};

use super::evaluate::Evaluator;
use super::guard::Guard;
use super::job::Job;
use super::record::{Events, Recorder};
use super::save::Saver;
use crate::RunError;
use crate::train::{Position, StepDone, Trainer};

/// Why the loop over steps ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// All steps are done.
    AllSteps,
    /// `eval.patience` evaluations in a row were not the best.
    Patience,
    /// Every probe with `stop` reached its goal.
    Goal,
    /// A stop was requested, or the time limit reached.
    Stopped,
    /// Go back to the newest checkpoint and skip the batch of this step, counted from 1.
    Rollback(u64),
}

/// A run while it trains.
pub(super) struct Course<'a, 'e> {
    pub(super) job: Job<'a>,
    pub(super) events: &'a mut Events<'e>,
    pub(super) recorder: Recorder,
    pub(super) evaluator: Evaluator<'a>,
    pub(super) saver: Saver,
    pub(super) guard: Guard<'a>,
    pub(super) ended: Ended,
}

impl Course<'_, '_> {
    /// Continues from a checkpoint.
    pub(super) fn restore(&mut self, place: &CheckpointRecord) {
        self.recorder.restore(place);
        self.evaluator.restore(place, &self.job.plan);
    }

    /// Evaluates and remembers the best evaluation; whether to keep a checkpoint as the best one.
    ///
    /// # Errors
    /// A validation loss that is NaN or infinite, a forward pass that fails, or a file that cannot be written.
    pub(super) fn evaluate(&mut self, steps: u64) -> Result<bool, RunError> {
        let Some(measured) = self.evaluator.measure(&self.job, self.events, steps)? else {
            return Ok(false);
        };
        let is_best = self.evaluator.judge(&self.job.plan, &measured, steps);
        self.note_progress(steps)?;
        Ok(is_best && self.job.plan.records.checkpoint.keep_best)
    }

    /// The name of a checkpoint after this step.
    pub(super) fn checkpoint_name(&self, done: &StepDone<'_>) -> String {
        match done.epoch_mean_loss {
            Some(_) => Checkpoint::epoch_name(done.record.epoch),
            None => Checkpoint::step_name(done.position.steps),
        }
    }

    /// Saves a checkpoint of this step, unless there is one.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn save_once(&mut self, done: &StepDone<'_>) -> Result<(), RunError> {
        if self.saver.has_saved(done.position.steps) {
            return Ok(());
        }
        self.save(done)
    }

    /// Saves a checkpoint of this step, names the best one and removes old ones.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn save(&mut self, done: &StepDone<'_>) -> Result<(), RunError> {
        let name = self.checkpoint_name(done);
        self.save_as(&name, done.trainer, done.position)?;
        self.settle(&name)
    }

    /// Does what is due after the newest checkpoint, and was perhaps not done when an earlier process was killed.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn settle(&self, newest: &str) -> Result<(), RunError> {
        let Job { run, plan, .. } = &self.job;
        let CheckpointPlan { keep_best, keep_last, .. } = plan.records.checkpoint;
        Ok(settle_checkpoints(run, newest, self.evaluator.best, keep_best, keep_last)?)
    }

    /// Saves a checkpoint with this name.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn save_as(
        &mut self,
        name: &str,
        trainer: &Trainer<'_>,
        position: Position,
    ) -> Result<(), RunError> {
        let Trainer { adam, scaler, .. } = trainer;
        let place = CheckpointRecord {
            position,
            epochs: position.steps / self.job.options.epoch_steps,
            adam_steps: adam.steps(),
            scaler: *scaler,
            totals: self.recorder.totals,
            chain: self.recorder.chain.running(),
            val_before: self.evaluator.val_before,
            val_now: self.evaluator.val_now,
            best: self.evaluator.best,
            goal_reached: self.evaluator.goal_reached,
        };
        self.saver.save(&self.job, self.events, name, adam, &place)?;
        self.note_progress(position.steps)
    }

    /// Writes the progress after `steps` steps to `status.json`.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn note_progress(&self, steps: u64) -> Result<(), RunError> {
        self.job.run.update(|record| {
            record.steps = steps;
            record.total_steps = Some(self.job.options.total_steps());
            record.val_before = self.evaluator.val_before;
            record.val_loss = self.evaluator.val_now;
            record.best = self.evaluator.best;
        })?;
        Ok(())
    }
}
