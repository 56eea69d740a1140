//! Sums over the steps of a run, the best evaluation, and rewinding records to a checkpoint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chain::{Chain, LINK_BYTES};
use super::sinks::{Kept, rewind_sinks};
use super::{Earlier, LeftOut, Metrics, RunDir, RunDirError, StepRecord};

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
            positions_per_s: self.positions as f64 / self.secs,
            data_wait: self.wait_secs / self.secs,
        };
        let Totals { learned, trained_secs, .. } = *self;
        *self = Totals { learned, trained_secs, ..Totals::default() };
        Some(metrics)
    }
}

/// The best evaluation of a run.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct Best {
    /// Validation loss in nats; absent without validation documents.
    pub val_loss: Option<f64>,
    /// The rate of the probe in `eval.metric`, when the metric is a probe.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<f64>,
    /// Steps done then.
    pub steps: u64,
    /// Evaluations since then.
    pub since: u32,
}

impl Best {
    /// Whether the evaluation is better than `other`: by the probe when the metric is one, else by the loss.
    pub fn beats(&self, other: &Best) -> bool {
        match (self.probe, other.probe) {
            (Some(now), Some(before)) => now > before,
            _ => self.val_loss.zip(other.val_loss).is_some_and(|(now, before)| now < before),
        }
    }
}

/// Removes from the records of a run what was written after a checkpoint at `steps` steps and `epochs` mini-epochs, so
/// that they continue as if the run had not stopped.
///
/// # Errors
/// A file that cannot be written.
pub fn rewind_records(run: &RunDir, steps: u64, epochs: u64) -> Result<(), RunDirError> {
    rewind_sinks(run, Kept { steps, epochs })?;
    Earlier::rewind(run, steps)?;
    run.keep_lines(LeftOut::FILE, |line| {
        serde_json::from_str::<LeftOut>(line).is_ok_and(|one| one.from_step() <= steps)
    })?;
    let links = usize::try_from(steps).unwrap_or(usize::MAX).saturating_mul(LINK_BYTES);
    run.keep_bytes(Chain::FILE, links)
}
