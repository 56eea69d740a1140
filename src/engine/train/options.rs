//! Settings of a step and of the loop over steps.

use statetune_core::plan::Plan;

use crate::optim::LrCurve;

/// How a step computes its loss and gradients.
#[derive(Clone, Copy, Debug)]
pub struct StepOptions {
    /// Positions whose logits exist at a time, at least 1. Changes results by rounding only.
    pub head_chunk: i64,
    /// Whether the backward pass recomputes each block instead of keeping its intermediate values.
    pub grad_cp: bool,
    /// Strength f of the pull of the largest logit m of each target position towards 0: adds `f m / targets`
    /// to the gradient of m, with the target positions of the whole step. 0 turns it off.
    pub l2wrap: f64,
    /// Largest norm of all gradients together; 0 turns clipping off.
    pub gradient_clip_val: f64,
}

impl StepOptions {
    /// The step options of a plan.
    pub fn of_plan(plan: &Plan) -> StepOptions {
        let train = &plan.train;
        StepOptions {
            head_chunk: train.head_chunk.as_i64(),
            grad_cp: train.grad_cp,
            l2wrap: train.l2wrap,
            gradient_clip_val: train.gradient_clip_val,
        }
    }
}

/// Length of a run, size of its steps, and learning rates.
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
    /// Learning rate of each step.
    pub curve: LrCurve,
}

impl FitOptions {
    /// Steps of the whole run.
    pub fn total_steps(&self) -> u64 {
        self.epoch_steps * self.epoch_count
    }

    /// The same options with another number of mini-epochs. Changes the learning rates of later steps too.
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
