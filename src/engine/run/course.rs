//! A run while it trains: its parts, and what is done with several of them.

use statetune_core::plan::CheckpointPlan;
use statetune_core::records::{Checkpoint, CheckpointRecord, settle_checkpoints};

use super::evaluate::{Evaluator, Measured};
use super::forgetting::Forgetting;
use super::guard::Guard;
use super::job::Job;
use super::record::{Events, Recorder};
use super::save::Saver;
use crate::RunError;
use crate::train::{Position, Preferences, Trainer};

/// Why the loop over steps ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// All steps are done.
    AllSteps,
    /// `eval.patience` evaluations in a row were not the best.
    Patience,
    /// Every probe with `stop` reached its goal.
    Goal,
    /// The distance from the base is above `eval.max_forgetting`.
    Forgotten,
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
    /// The objective, where it compares answers, and the number of records.
    pub(super) preferences: Option<(&'a Preferences<'a>, usize)>,
    /// The position after the last step that is recorded.
    pub(super) position: Position,
    pub(super) ended: Ended,
    /// Measures the distance from the base, if any.
    pub(super) forgetting: Option<Forgetting<'a>>,
    /// Tokens of the prompt of a distillation.
    pub(super) saved_tokens: Option<u64>,
}

impl Course<'_, '_> {
    /// Continues from a checkpoint.
    pub(super) fn restore(&mut self, place: &CheckpointRecord) {
        self.recorder.restore(place);
        self.evaluator.restore(place, &self.job.plan);
        if let Some(forgetting) = &mut self.forgetting {
            forgetting.restore(&self.job, place.position.steps);
        }
    }

    /// Evaluates and remembers the best evaluation; whether to keep a checkpoint as the best one. `None` when a stop breaks
    /// the evaluation off. Then, and after an error, the evaluation is due.
    ///
    /// # Errors
    /// A validation loss that is NaN or infinite, a forward pass that fails, or a file that cannot be written.
    pub(super) fn evaluate(&mut self, steps: u64) -> Result<Option<bool>, RunError> {
        self.evaluator.is_due = true;
        let measured = match self.measure(steps) {
            Err(RunError::Stopped) => return Ok(None),
            measured => measured?,
        };
        self.evaluator.is_due = false;
        let Some(measured) = measured else { return Ok(Some(false)) };
        let is_best = self.evaluator.judge(&self.job.plan, &measured, steps);
        self.note_progress(steps)?;
        Ok(Some(is_best && self.job.plan.records.checkpoint.keep_best))
    }

    /// Measures everything that an evaluation measures.
    fn measure(&mut self, steps: u64) -> Result<Option<Measured>, RunError> {
        let measured = self.evaluator.measure(&self.job, self.events, steps)?;
        if let Some(forgetting) = &mut self.forgetting {
            forgetting.measure(&self.job, self.events, steps)?;
        }
        Ok(measured)
    }

    /// Whether a mini-epoch ends after `steps` steps.
    pub(super) fn ends_epoch(&self, steps: u64) -> bool {
        steps > 0 && steps.is_multiple_of(self.job.options.epoch_steps)
    }

    /// The name of a checkpoint after `steps` steps.
    pub(super) fn checkpoint_name(&self, steps: u64) -> String {
        match self.ends_epoch(steps) {
            true => Checkpoint::epoch_name(steps / self.job.options.epoch_steps - 1),
            false => Checkpoint::step_name(steps),
        }
    }

    /// Saves a checkpoint at this position, unless there is one.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn save_once(
        &mut self,
        trainer: &Trainer<'_>,
        position: Position,
    ) -> Result<(), RunError> {
        if self.saver.has_saved(position.steps) {
            return Ok(());
        }
        self.save(trainer, position)
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

    /// Saves a checkpoint at this position, names the best one and removes old ones.
    ///
    /// # Errors
    /// A file that cannot be written.
    pub(super) fn save(
        &mut self,
        trainer: &Trainer<'_>,
        position: Position,
    ) -> Result<(), RunError> {
        let name = self.checkpoint_name(position.steps);
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
            rewards_before: self.evaluator.rewards_before,
            rewards_now: self.evaluator.rewards_now,
            best: self.evaluator.best,
            goal_reached: self.evaluator.goal_reached,
            evaluation_due: self.evaluator.is_due,
        };
        self.saver.save(&self.job, self.events, &name, trainer, &place)?;
        self.note_progress(position.steps)?;
        self.settle(&name)
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
