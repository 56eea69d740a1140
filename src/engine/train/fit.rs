//! The loop over the steps of a run.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::time::Instant;

use statetune_core::data::{Batch, DataError, Loader, prefetch};

use super::{FitOptions, Position, StepRecord, TrainError, Trainer};

/// Steps whose batches may be loaded ahead.
const STEPS_AHEAD: usize = 2;

/// A finished step.
#[derive(Debug)]
pub struct StepDone<'a> {
    /// What is recorded about the step.
    pub record: StepRecord,
    /// The run's position after the step.
    pub position: Position,
    /// Mean of the steps' losses, when the step was the last of its mini-epoch.
    pub epoch_mean_loss: Option<f64>,
    /// The micro-batches of the step.
    pub batches: &'a [Batch],
    /// The trainer after the step.
    pub trainer: &'a Trainer<'a>,
}

/// Trains on `loader` from `start` to the last step of `options` and returns the position reached.
///
/// `after_step` sees every step; it returns the number of mini-epochs the run has from then on, or breaks off. Steps
/// in `skipped` change nothing. A thread of its own loads the next batches while a step is computed.
///
/// # Errors
/// Errors of [`Trainer::step`] and `after_step`, and a batch that cannot be read, at its step.
pub fn fit<E: From<TrainError>>(
    trainer: &mut Trainer<'_>,
    loader: &mut Loader,
    options: &FitOptions,
    start: Position,
    skipped: &BTreeSet<u64>,
    mut after_step: impl FnMut(&StepDone<'_>) -> Result<ControlFlow<(), u64>, E>,
) -> Result<Position, E> {
    let mut position = start;
    let size = *options;
    let mut options = *options;
    // Without an end, because `after_step` may lengthen the run.
    let batches = (start.steps..).map(|step| {
        let first = start.samples + (step - start.steps) * size.samples_per_step();
        step_batches(loader, &size, first)
    });
    prefetch(batches, STEPS_AHEAD, |batches| {
        while position.steps < options.total_steps() {
            let started = Instant::now();
            let batches = batches.recv().expect("batches have no end");
            let batches = batches.map_err(TrainError::from)?;
            let data_wait = started.elapsed();
            let step = position.steps;
            let lr = options.curve.at(step);
            let outcome = match skipped.contains(&step) {
                true => trainer.skip(&batches),
                false => trainer.step(&batches, step, lr)?,
            };
            let record = StepRecord {
                step,
                epoch: step / options.epoch_steps,
                loss: outcome.loss,
                lr,
                grad_norm: outcome.grad_norm,
                rewards: outcome.rewards,
                skipped: outcome.skipped,
                non_finite: outcome.fault,
                learned: outcome.targets,
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
