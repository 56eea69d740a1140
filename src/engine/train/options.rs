//! Settings of a step and of the loop over steps.

use statetune_core::forecast::Workload;
use statetune_core::plan::{Plan, Stream, TrainPlan};

use crate::model::Shape;
use crate::optim::LrCurve;

/// How a step computes its loss and gradients.
#[derive(Clone, Copy, Debug)]
pub struct StepOptions {
    /// Positions whose logits exist at a time, at least 1. Changes results by rounding only.
    pub head_chunk: i64,
    /// Whether the backward pass recomputes each block instead of keeping its intermediate values.
    pub grad_cp: bool,
    /// How long rows are computed in chunks; absent: at once. Changes results by rounding only.
    pub chunks: Option<Chunks>,
    /// Strength f of the pull of the largest logit m of each target position towards 0: adds `f m / targets`
    /// to the gradient of m, with the target positions of the whole step. 0 turns it off.
    pub l2wrap: f64,
    /// Largest norm of all gradients together; 0 turns clipping off.
    pub gradient_clip_val: f64,
}

/// How rows are computed in chunks of tokens.
#[derive(Clone, Copy, Debug)]
pub struct Chunks {
    /// Tokens of a chunk, at least 1.
    pub tokens: i64,
    /// Bytes that the states between the chunks may take before only some of them are kept.
    pub room: u64,
}

/// How losses are computed without gradients.
#[derive(Clone, Copy, Debug)]
pub struct LossOptions {
    /// Positions whose logits exist at a time, at least 1.
    pub head_chunk: i64,
    /// Tokens of a row that are computed at a time; absent: all.
    pub chunk_ctx: Option<i64>,
}

impl LossOptions {
    /// Tokens of a row at a time where no setting says how many.
    pub const CHUNK_CTX: i64 = 4096;

    /// Those of a plan.
    pub fn of_plan(train: &TrainPlan) -> LossOptions {
        let chunk_ctx = train.chunk_ctx.map(|tokens| tokens.as_i64());
        LossOptions { head_chunk: train.head_chunk.as_i64(), chunk_ctx }
    }
}

impl StepOptions {
    /// The step options of a plan for a model of this shape.
    pub fn of_plan(plan: &Plan, shape: &Shape) -> StepOptions {
        let train = &plan.train;
        let room = || Workload::of_plan(plan, shape, train.ctx_len.as_u64()).boundary_room();
        StepOptions {
            head_chunk: train.head_chunk.as_i64(),
            // Autograd's own backward pass reads the weights of blocks when it likes.
            grad_cp: train.grad_cp || train.stream == Stream::On,
            chunks: train.chunk_ctx.map(|chunk| Chunks { tokens: chunk.as_i64(), room: room() }),
            l2wrap: train.l2wrap,
            gradient_clip_val: train.gradient_clip_val,
        }
    }

    /// How the loss is computed without gradients.
    pub fn loss(&self) -> LossOptions {
        let chunk_ctx = self.chunks.map(|chunks| chunks.tokens);
        LossOptions { head_chunk: self.head_chunk, chunk_ctx }
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
