//! Sums over the steps of an interval and of the whole run.

use serde::{Deserialize, Serialize};

use super::{Metrics, StepRecord};
use crate::objective::MeanRewards;

/// Sums over the steps of the current interval and of the whole run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Totals {
    /// Summed losses since the last line of metrics.
    losses: f64,
    /// Steps with a loss.
    steps: u64,
    /// Steps without an update.
    skipped: u64,
    /// Computed positions.
    positions: u64,
    /// Seconds.
    secs: f64,
    /// Seconds spent waiting for batches.
    wait_secs: f64,
    /// Target tokens of the whole run.
    learned: u64,
    /// How answers were judged, by an objective that compares answers.
    #[serde(default, skip_serializing_if = "MeanRewards::is_empty")]
    rewards: MeanRewards,
    /// Seconds of all steps of the run.
    pub trained_secs: f64,
}

impl Totals {
    /// Adds a step. Returns the metrics of the interval after every `every_steps` steps and after the last of `total_steps`.
    pub fn add(
        &mut self,
        step: &StepRecord,
        every_steps: u64,
        total_steps: u64,
    ) -> Option<Metrics> {
        let done = step.step + 1;
        if step.loss.is_finite() {
            self.losses += step.loss;
            self.steps += 1;
        }
        if let Some(rewards) = &step.rewards {
            self.rewards.add(rewards);
        }
        self.skipped += u64::from(step.skipped);
        self.positions += step.positions;
        self.secs += step.duration.as_secs_f64();
        self.wait_secs += step.data_wait.as_secs_f64();
        self.learned += step.learned;
        self.trained_secs += step.duration.as_secs_f64();
        if !done.is_multiple_of(every_steps) && done != total_steps {
            return None;
        }
        let metrics = Metrics {
            step: done,
            epoch: step.epoch,
            loss: self.losses / self.steps as f64,
            lr: step.lr,
            grad_norm: step.grad_norm,
            skipped_steps: self.skipped,
            learned_tokens: self.learned,
            rewards: self.rewards.means(),
            positions_per_s: self.positions as f64 / self.secs,
            data_wait: self.wait_secs / self.secs,
        };
        let Totals { learned, trained_secs, .. } = *self;
        *self = Totals { learned, trained_secs, ..Totals::default() };
        Some(metrics)
    }
}
