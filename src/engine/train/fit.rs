//! The loop over the steps of a run.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use super::{Position, StepOutcome, StepRecord, TrainError, Trainer};
use crate::optim::LrCurve;
use statetune_core::data::{Batch, DataError, Loader, prefetch};

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
/// come. The steps in `left_out` come by without changing anything. A thread of its own makes the batches of
/// the next steps while one is computed.
///
/// # Errors
/// What [`Trainer::step`] and `after_step` return, and a batch that cannot be read, at its step.
pub fn fit<E: From<TrainError>>(
    trainer: &mut Trainer<'_>,
    loader: &mut Loader,
    options: &FitOptions,
    start: Position,
    left_out: &BTreeSet<u64>,
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
            let outcome = match left_out.contains(&step) {
                true => StepOutcome::left_out(&batches),
                false => trainer.step(&batches, step, lr)?,
            };
            let record = StepRecord {
                step,
                epoch: step / options.epoch_steps,
                loss: outcome.loss,
                lr,
                grad_norm: outcome.grad_norm,
                skipped: outcome.skipped,
                non_finite: outcome.fault,
                learned: outcome.learned,
                positions: outcome.positions,
                duration: started.elapsed(),
                data_wait,
            };
            let epoch_mean_loss =
                position.advance(options.samples_per_step(), outcome.loss, options.epoch_steps);
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
