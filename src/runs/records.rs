//! The lines that a run writes while it trains.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::chain::{Chain, LINK_BYTES};
use super::sinks::{Kept, rewind_sinks};
use super::{LeftOut, RunDir, RunDirError};
use crate::train::StepRecord;

/// A line of `metrics.jsonl`: what happened since the line before.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(title = "statetune metrics")]
pub struct Metrics {
    /// Optimizer steps done.
    pub step: u64,
    /// The mini-epoch of the last of them, counted from 0.
    pub epoch: u64,
    /// Mean loss of the steps, in nats; `null` when all of them were left out.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Norm of the last step's gradients before clipping; `null` when that step was skipped.
    #[serde(deserialize_with = "null_is_nan")]
    #[schemars(with = "Option<f64>")]
    pub grad_norm: f64,
    /// Steps that changed nothing: gradients overflowed under the loss scale of float16, numbers were not
    /// finite, or the step was left out.
    pub skipped_steps: u64,
    /// Learned tokens of all steps so far.
    pub learned_tokens: u64,
    /// Positions computed per second, padding included.
    pub positions_per_s: f64,
    /// The share of the time that the steps waited for their batches, from 0 to 1.
    pub data_wait: f64,
}

impl Metrics {
    /// Name of the file.
    pub const FILE: &str = "metrics.jsonl";
}

fn null_is_nan<'de, D: serde::Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f64::NAN))
}

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
    run.keep_lines(LeftOut::FILE, |line| {
        serde_json::from_str::<LeftOut>(line).is_ok_and(|one| one.from_step() <= steps)
    })?;
    let links = usize::try_from(steps).unwrap_or(usize::MAX).saturating_mul(LINK_BYTES);
    run.keep_bytes(Chain::FILE, links)
}
