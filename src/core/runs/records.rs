//! What the steps of a run add up to, and how its records go back to a checkpoint.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chain::{Chain, LINK_BYTES};
use super::sinks::{Kept, rewind_sinks};
use super::{Earlier, LeftOut, Metrics, RunDir, RunDirError, StepRecord};

/// What the steps of an interval, and of the whole run, add up to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Totals {
    /// Losses of the steps since the last line of metrics.
    losses: f64,
    /// Those steps, without those that have no loss.
    steps: u64,
    /// Those of them that changed nothing.
    skipped: u64,
    /// Their positions.
    positions: u64,
    /// How long they took.
    secs: f64,
    /// How much of that they waited for batches.
    wait_secs: f64,
    /// Learned tokens of the whole run.
    learned: u64,
    /// How long all its steps took.
    pub trained_secs: f64,
}

impl Totals {
    /// Adds a step, and returns the metrics of the interval when it ends with this step: after every
    /// `every_steps` steps and after the last of `total_steps`.
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
    /// The held-out loss then, in nats; absent where nothing is held out.
    pub val_loss: Option<f64>,
    /// The share that the probe of `eval.metric` counted then, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub probe: Option<f64>,
    /// Steps done when it was measured.
    pub steps: u64,
    /// Evaluations since then.
    pub since: u32,
}

impl Best {
    /// Whether it is better than `other`: more of the probe where one decides, else less loss.
    pub fn beats(&self, other: &Best) -> bool {
        match (self.probe, other.probe) {
            (Some(now), Some(before)) => now > before,
            _ => self.val_loss.zip(other.val_loss).is_some_and(|(now, before)| now < before),
        }
    }
}

/// Removes from the records of a run what happened after a checkpoint at `steps` steps and `epochs`
/// mini-epochs, so that they go on as if the run had not been stopped.
///
/// # Errors
/// When a file cannot be written.
pub fn rewind_records(run: &RunDir, steps: u64, epochs: u64) -> Result<(), RunDirError> {
    rewind_sinks(run, Kept { steps, epochs })?;
    Earlier::rewind(run, steps)?;
    run.keep_lines(LeftOut::FILE, |line| {
        serde_json::from_str::<LeftOut>(line).is_ok_and(|one| one.from_step() <= steps)
    })?;
    let links = usize::try_from(steps).unwrap_or(usize::MAX).saturating_mul(LINK_BYTES);
    run.keep_bytes(Chain::FILE, links)
}
