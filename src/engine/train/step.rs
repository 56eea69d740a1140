//! One optimizer step.

use super::backward::backward;
use super::{BatchTensors, Fault, LossScaler, TrainError};
use crate::optim::{Adam, clip_gradients};
use crate::peft::Method;
use statetune_core::data::Batch;
use statetune_core::plan::Plan;

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

impl StepOptions {
    /// Those of a plan.
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

/// What a step saw and did.
#[derive(Clone, Copy, Debug)]
pub struct StepOutcome {
    /// Mean loss of the step's learned tokens, in nats; NaN when there are none or the step was left out.
    pub loss: f64,
    /// Norm of all gradients before clipping; not finite when the step was skipped.
    pub grad_norm: f64,
    /// Learned tokens.
    pub learned: u64,
    /// Positions computed, padding included.
    pub positions: u64,
    /// Whether nothing was changed: gradients overflowed under the loss scale, something was not finite,
    /// nothing was to be learned, or the step was left out.
    pub skipped: bool,
    /// What was not finite, an overflow under the loss scale apart.
    pub fault: Option<Fault>,
}

impl StepOutcome {
    /// That of a step that changes nothing, before anything is computed.
    pub(super) fn left_out(batches: &[Batch]) -> StepOutcome {
        StepOutcome {
            loss: f64::NAN,
            grad_norm: f64::NAN,
            learned: batches.iter().map(|batch| batch.learned()).sum(),
            positions: batches.iter().map(|batch| batch.inputs.len() as u64).sum(),
            skipped: true,
            fault: None,
        }
    }
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
    /// What the recurrence refuses, and a loss scale that cannot shrink any more: no parameter was changed
    /// then. Numbers that are not finite are no error, see [`StepOutcome::fault`].
    pub fn step(
        &mut self,
        batches: &[Batch],
        step: u64,
        lr: f64,
    ) -> Result<StepOutcome, TrainError> {
        let nothing = StepOutcome::left_out(batches);
        let learned = nothing.learned;
        if learned == 0 {
            return Ok(nothing);
        }
        let loss_scale = self.loss_scale();
        self.adam.zero_gradients();
        let mut loss = 0.0;
        for (i, batch) in batches.iter().enumerate().filter(|(_, batch)| batch.learned() > 0) {
            let model = self.method.training_model(micro_step(step, batches, i));
            let batch = BatchTensors::new(batch, model.device());
            let start = model.start(&self.method.time_state(), batch.inputs.size()[0]);
            let scale = loss_scale / learned as f64;
            loss += backward(&model, &start, &batch, &self.options, scale)? / learned as f64;
            if !loss.is_finite() {
                let fault = Some(Fault::Loss { micro_batch: i });
                return Ok(StepOutcome { loss, fault, ..nothing });
            }
        }
        let mut gradients = self.adam.gradients();
        if self.scaler.is_some() {
            for g in &mut gradients {
                let _ = g.g_mul_scalar_(1.0 / loss_scale);
            }
        }
        let grad_norm = clip_gradients(&mut gradients, self.options.gradient_clip_val);
        let nothing = StepOutcome { loss, grad_norm, ..nothing };
        if let Some(scaler) = &mut self.scaler {
            if !grad_norm.is_finite() {
                if !scaler.shrink() {
                    return Err(TrainError::LossScale { step });
                }
                return Ok(nothing);
            }
            scaler.grow();
        }
        if !grad_norm.is_finite() {
            return Ok(StepOutcome { fault: Some(Fault::Gradients), ..nothing });
        }
        self.adam.step(&gradients, lr);
        let fault = (!self.adam.is_finite()).then_some(Fault::Update);
        Ok(StepOutcome { skipped: false, fault, ..nothing })
    }

    /// The factor on the loss of the next step.
    pub fn loss_scale(&self) -> f64 {
        self.scaler.map_or(1.0, |scaler| scaler.scale())
    }
}

/// The number of micro-batch `i` of a step among those of the whole run, all of whose steps have as many.
pub(super) fn micro_step(step: u64, batches: &[Batch], i: usize) -> u64 {
    step * batches.len() as u64 + i as u64
}
