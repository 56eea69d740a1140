//! The loop over the steps of a run.

use std::time::{Duration, Instant};

use super::{TrainError, Trainer};
use crate::data::{Batch, DataError, Loader, prefetch};
use crate::optim::{Adam, LrCurve};

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
    /// Samples of one optimizer step.
    pub fn samples_per_step(&self) -> u64 {
        self.micro_bsz * self.accumulate_grad_batches
    }
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Position {
    /// Mini-epochs done.
    pub epochs: u64,
    /// Optimizer steps done.
    pub steps: u64,
    /// Samples seen, in all passes.
    pub samples: u64,
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

/// Something that happened in the loop.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step is done.
    Step(StepRecord),
    /// A mini-epoch, counted from 0, is done.
    EpochEnd {
        /// Which one.
        epoch: u64,
        /// Mean of its steps' losses.
        mean_loss: f64,
        /// Learning rate of its last step.
        lr: f64,
        /// How far the run has come.
        position: Position,
        /// The optimizer, for its moments.
        adam: &'a Adam,
    },
}

/// Trains on `loader` and reports every event to `on_event`, whose failure ends the loop. A thread of its
/// own makes the batches of the next steps while one is computed.
///
/// # Errors
/// What [`Trainer::step`] and `on_event` return, and a batch that cannot be read, at its step.
pub fn fit<E: From<TrainError>>(
    trainer: &mut Trainer<'_>,
    loader: &mut Loader,
    options: &FitOptions,
    mut on_event: impl FnMut(Event<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let steps = 0..options.epoch_count * options.epoch_steps;
    let batches = steps.map(|step| step_batches(loader, options, step));
    prefetch(batches, STEPS_AHEAD, |batches| {
        for epoch in 0..options.epoch_count {
            let mut losses = 0.0;
            let mut lr = 0.0;
            for step in epoch * options.epoch_steps..(epoch + 1) * options.epoch_steps {
                let started = Instant::now();
                let batches = batches.recv().expect("as many batches are made as there are steps");
                let batches = batches.map_err(TrainError::from)?;
                let data_wait = started.elapsed();
                lr = options.curve.at(step);
                let outcome = trainer.step(&batches, step, lr)?;
                losses += outcome.loss;
                on_event(Event::Step(StepRecord {
                    step,
                    epoch,
                    loss: outcome.loss,
                    lr,
                    grad_norm: outcome.grad_norm,
                    skipped: outcome.skipped,
                    learned: outcome.learned,
                    positions: outcome.positions,
                    duration: started.elapsed(),
                    data_wait,
                }))?;
            }
            let mean_loss = losses / options.epoch_steps as f64;
            let steps = (epoch + 1) * options.epoch_steps;
            let samples = steps * options.samples_per_step();
            let position = Position { epochs: epoch + 1, steps, samples };
            on_event(Event::EpochEnd { epoch, mean_loss, lr, position, adam: &trainer.adam })?;
        }
        Ok(())
    })
}

/// The micro-batches of a step, counted from 0.
fn step_batches(
    loader: &mut Loader,
    options: &FitOptions,
    step: u64,
) -> Result<Vec<Batch>, DataError> {
    let first = step * options.samples_per_step();
    let batch = |i| loader.batch(first + i * options.micro_bsz, options.micro_bsz);
    (0..options.accumulate_grad_batches).map(batch).collect()
}
