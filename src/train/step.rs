//! One optimizer step.

use super::backward::backward;
use super::{LossScaler, TrainError};
use crate::data::Batch;
use crate::optim::{Adam, clip_gradients};
use crate::peft::Method;

/// How a step computes.
#[derive(Clone, Copy, Debug)]
pub struct StepOptions {
    /// Positions whose logits exist at a time, at least 1. Changes results by rounding alone.
    pub head_chunk: i64,
    /// Whether blocks are computed again in the backward pass instead of kept.
    pub grad_cp: bool,
    /// Strength f of the pull on the largest logit m of each learned position: its gradient is
    /// `f m / learned`, with the learned positions of the whole step. 0: no pull.
    pub l2wrap: f64,
    /// Largest norm of all gradients together; 0: not clipped.
    pub gradient_clip_val: f64,
}

/// What a step saw and did.
#[derive(Clone, Copy, Debug)]
pub struct StepOutcome {
    /// Mean loss of the step's learned tokens, in nats.
    pub loss: f64,
    /// Norm of all gradients before clipping; not finite when the step was skipped.
    pub grad_norm: f64,
    /// Learned tokens.
    pub learned: u64,
    /// Positions computed, padding included.
    pub positions: u64,
    /// Whether nothing was changed, because gradients overflowed under the loss scale.
    pub skipped: bool,
}

/// Everything that optimizer steps change, and how.
#[derive(Debug)]
pub struct Trainer<'a> {
    /// What learns, in which model.
    pub method: &'a dyn Method,
    /// The optimizer over the method's parameters.
    pub adam: Adam,
    /// The loss scale of float16; absent elsewhere.
    pub scaler: Option<LossScaler>,
    /// How a step computes.
    pub options: StepOptions,
}

impl Trainer<'_> {
    /// Forward and backward over the micro-batches of one step, then one optimizer step.
    ///
    /// The loss is the sum over the learned tokens of the whole step divided by their count, so that
    /// accumulated micro-batches weigh their tokens as one large batch would.
    ///
    /// # Errors
    /// A loss that is not finite, a gradient that is not finite without a loss scale, and a loss scale that
    /// cannot shrink any more: no parameter was changed then.
    pub fn step(
        &mut self,
        batches: &[Batch],
        step: u64,
        lr: f64,
    ) -> Result<StepOutcome, TrainError> {
        let learned: u64 = batches.iter().map(|batch| batch.learned).sum();
        let positions = batches.iter().map(|batch| batch.inputs.numel() as u64).sum();
        let loss_scale = self.scaler.map_or(1.0, |scaler| scaler.scale());
        let finite = |what, value: f64| {
            if value.is_finite() {
                Ok(())
            } else {
                Err(TrainError::NonFinite { what, value, step })
            }
        };
        self.adam.zero_gradients();
        let mut loss = 0.0;
        let micro_steps = step * batches.len() as u64..;
        for (batch, micro_step) in batches.iter().zip(micro_steps) {
            if batch.learned == 0 {
                continue;
            }
            let model = self.method.training_model(micro_step);
            let start = model.start(&self.method.time_state(), batch.inputs.size()[0]);
            let scale = loss_scale / learned as f64;
            loss += backward(&model, &start, batch, &self.options, scale)? / learned as f64;
            finite("loss", loss)?;
        }
        let mut gradients = self.adam.gradients();
        if self.scaler.is_some() {
            for g in &mut gradients {
                let _ = g.g_mul_scalar_(1.0 / loss_scale);
            }
        }
        let grad_norm = clip_gradients(&mut gradients, self.options.gradient_clip_val);
        let outcome = StepOutcome { loss, grad_norm, learned, positions, skipped: false };
        if let Some(scaler) = &mut self.scaler {
            if !grad_norm.is_finite() {
                if !scaler.shrink() {
                    return Err(TrainError::LossScale { step });
                }
                return Ok(StepOutcome { skipped: true, ..outcome });
            }
            scaler.grow();
        }
        finite("gradient norm", grad_norm)?;
        self.adam.step(&gradients, lr);
        Ok(outcome)
    }
}
