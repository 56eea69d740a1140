//! The loop over the steps of a run.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::{TrainError, Trainer};
use crate::data::{Batch, DataError, Loader, prefetch};
use crate::optim::LrCurve;

/// How long and with what a run trains.
#[derive(Clone, Copy, Debug)]
pub struct FitOptions {
    /// Samples of one forward and backward pass.
    pub micro_bsz: u64,
    /// Forward and backward passes of one step.
    pub accumulate_grad_batches: u64,
    /// Steps of one mini-epoch.
    pub epoch_steps: u64,
    /// Mini-epochs.
    pub epoch_count: u64,
    /// Learning rate.
    pub curve: LrCurve,
}

impl FitOptions {
    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.epoch_steps * self.epoch_count
    }

    /// The same with another number of mini-epochs; the learning rates that are still to come change with it.
    #[must_use]
    pub fn lasting(mut self, epoch_count: u64) -> FitOptions {
        self.epoch_count = epoch_count;
        self.curve.total_steps = self.total_steps();
        self
    }

    /// Samples of one step.
    pub fn samples_per_step(&self) -> u64 {
        self.micro_bsz * self.accumulate_grad_batches
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct Position {
    /// Optimizer steps done.
    pub steps: u64,
    /// Samples seen, in all passes.
    pub samples: u64,
    /// Summed losses of the steps since the last mini-epoch ended.
    pub epoch_loss: f64,
}

/// What is known after a step.
#[derive(Clone, Copy, Debug)]
pub struct StepRecord {
    /// The optimizer step, counted from 0.
    pub step: u64,
    /// The mini-epoch it belongs to, counted from 0.
    pub epoch: u64,
    /// Mean loss of its learned tokens, in nats.
    pub loss: f64,
    /// Its learning rate.
    pub lr: f64,
    /// Norm of its gradients before clipping; not finite when it was skipped.
    pub grad_norm: f64,
    /// Whether it changed nothing, because gradients overflowed under the loss scale of float16.
    pub skipped: bool,
    /// Its learned tokens.
    pub learned: u64,
    /// Its positions, padding included.
    pub positions: u64,
    /// How long it took.
    pub duration: Duration,
    /// How much of that it waited for its batches.
    pub data_wait: Duration,
}

/// Steps whose batches may lie ready before they are needed.
const STEPS_AHEAD: usize = 2;

/// What is there after a step.
#[derive(Debug)]
pub struct StepDone<'a> {
    /// The step.
    pub record: StepRecord,
    /// How far the run has come with it.
    pub position: Position,
    /// Mean of the steps' losses, when the step was the last of its mini-epoch.
    pub epoch_mean_loss: Option<f64>,
    /// What the step learned from.
    pub batches: &'a [Batch],
    /// What it changed.
    pub trainer: &'a Trainer<'a>,
}

/// Trains on `loader` from `start` to the last step of `options`, or until `after_step`, which gets to see
/// every step, breaks off; it says how many mini-epochs the run has from then on. Returns how far the run has
/// come. A thread of its own makes the batches of the next steps while one is computed.
///
/// # Errors
/// What [`Trainer::step`] and `after_step` return, and a batch that cannot be read, at its step.
pub fn fit<E: From<TrainError>>(
    trainer: &mut Trainer<'_>,
    loader: &mut Loader,
    options: &FitOptions,
    start: Position,
    mut after_step: impl FnMut(&StepDone<'_>) -> Result<ControlFlow<(), u64>, E>,
) -> Result<Position, E> {
    let mut position = start;
    let size = *options;
    let mut options = *options;
    // The last step is not known yet: the run may become longer.
    let batches = (start.steps..).map(|step| {
        let first = start.samples + (step - start.steps) * size.samples_per_step();
        step_batches(loader, &size, first)
    });
    prefetch(batches, STEPS_AHEAD, |batches| {
        while position.steps < options.total_steps() {
            let started = Instant::now();
            let batches = batches.recv().expect("there is no end of batches");
            let batches = batches.map_err(TrainError::from)?;
            let data_wait = started.elapsed();
            let step = position.steps;
            let lr = options.curve.at(step);
            let outcome = trainer.step(&batches, step, lr)?;
            let record = StepRecord {
                step,
                epoch: step / options.epoch_steps,
                loss: outcome.loss,
                lr,
                grad_norm: outcome.grad_norm,
                skipped: outcome.skipped,
                learned: outcome.learned,
                positions: outcome.positions,
                duration: started.elapsed(),
                data_wait,
            };
            position.steps += 1;
            position.samples += options.samples_per_step();
            position.epoch_loss += outcome.loss;
            let epoch_mean_loss = position.steps.is_multiple_of(options.epoch_steps).then(|| {
                let sum = std::mem::take(&mut position.epoch_loss);
                sum / options.epoch_steps as f64
            });
            let done = StepDone { record, position, epoch_mean_loss, batches: &batches, trainer };
            match after_step(&done)? {
                ControlFlow::Continue(epoch_count) => options = options.lasting(epoch_count),
                ControlFlow::Break(()) => break,
            }
        }
        Ok(position)
    })
}

/// The micro-batches of a step whose first sample is `first`, counted over all passes.
fn step_batches(
    loader: &mut Loader,
    options: &FitOptions,
    first: u64,
) -> Result<Vec<Batch>, DataError> {
    let batch = |i| loader.batch(first + i * options.micro_bsz, options.micro_bsz);
    (0..options.accumulate_grad_batches).map(batch).collect()
}
