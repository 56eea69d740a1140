//! One optimizer step.

use std::ops::ControlFlow::{self, Break, Continue};

use statetune_core::data::Batch;

use super::devices::{Devices, Single};
use super::objective::{CrossEntropy, Objective};
use super::{BatchTensors, LossScaler, NonFiniteValue, Pass, StepModel, StepOptions, TrainError};
use crate::kernels::KernelError;
use crate::optim::{Adam, AdamOptions, clip_gradients};
use crate::peft::Method;

/// The result of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepOutcome {
    /// Mean loss over the step's target tokens, in nats; NaN without target tokens and in a step that was not
    /// computed.
    pub loss: f64,
    /// Norm of all gradients before clipping; NaN or infinite when the step was skipped.
    pub grad_norm: f64,
    /// Target tokens of the step.
    pub targets: u64,
    /// Positions computed, padding included.
    pub positions: u64,
    /// Whether the step changed nothing: gradients overflowed under the loss scale, a value was NaN or infinite,
    /// there were no target tokens, or the step was not computed.
    pub skipped: bool,
    /// The first of loss, gradients and update that was NaN or infinite; an overflow under the loss scale is no
    /// fault.
    pub fault: Option<NonFiniteValue>,
}

/// Everything that an optimizer step changes, and how.
#[derive(Debug)]
pub struct Trainer<'a> {
    /// The model and its trainable parameters.
    pub method: &'a dyn Method,
    /// The optimizer over the method's parameters.
    pub adam: Adam,
    /// The loss scale of float16; absent in other dtypes.
    pub scaler: Option<LossScaler>,
    /// How a step computes.
    pub options: StepOptions,
    /// What a step minimises.
    pub objective: &'a dyn Objective,
    /// The devices that share a step.
    pub devices: &'a dyn Devices,
}

impl<'a> Trainer<'a> {
    /// A trainer before its first step, for [`CrossEntropy`] on a [`Single`] device.
    pub fn new(
        method: &'a dyn Method,
        adam: AdamOptions,
        scaler: Option<LossScaler>,
        options: StepOptions,
    ) -> Trainer<'a> {
        let adam = Adam::new(method.parameters(), adam);
        Trainer { method, adam, scaler, options, objective: &CrossEntropy, devices: &Single }
    }

    /// Forward and backward over the micro-batches of one step, then one optimizer step.
    ///
    /// The loss is the sum over the target tokens of the whole step divided by their number, so that accumulated
    /// micro-batches weigh their tokens as one large batch would.
    ///
    /// # Errors
    /// Errors of the recurrence, and a loss scale that cannot shrink further: the parameters are unchanged
    /// then. NaN and infinite values are not errors, see [`StepOutcome::fault`].
    pub fn step(
        &mut self,
        batches: &[Batch],
        step: u64,
        lr: f64,
    ) -> Result<StepOutcome, TrainError> {
        let unchanged = self.skip(batches);
        if unchanged.targets == 0 {
            return Ok(unchanged);
        }
        let targets = unchanged.targets as f64;
        let loss_scale = self.loss_scale();
        self.adam.zero_gradients();
        let (mut loss, mut micro_batch) = (0.0, 0);
        self.each_pass(batches, step, loss_scale / targets, |i, pass| {
            micro_batch = i;
            loss += pass.backward()? / targets;
            Ok::<_, KernelError>(if loss.is_finite() { Continue(()) } else { Break(()) })
        })?;
        let loss = self.devices.sum_loss(loss);
        if !loss.is_finite() {
            let fault = Some(NonFiniteValue::Loss { micro_batch });
            return Ok(StepOutcome { loss, fault, ..unchanged });
        }
        let mut gradients = self.adam.gradients();
        self.devices.sum_gradients(&gradients);
        if self.scaler.is_some() {
            for g in &mut gradients {
                let _ = g.g_mul_scalar_(1.0 / loss_scale);
            }
        }
        let grad_norm = clip_gradients(&mut gradients, self.options.gradient_clip_val);
        let unchanged = StepOutcome { loss, grad_norm, ..unchanged };
        if let Some(scaler) = &mut self.scaler {
            if !grad_norm.is_finite() {
                if !scaler.shrink() {
                    return Err(TrainError::LossScale { step });
                }
                return Ok(unchanged);
            }
            scaler.grow();
        }
        if !grad_norm.is_finite() {
            return Ok(StepOutcome { fault: Some(NonFiniteValue::Gradients), ..unchanged });
        }
        self.adam.step(&gradients, lr);
        let fault = (!self.adam.is_finite()).then_some(NonFiniteValue::Update);
        Ok(StepOutcome { skipped: false, fault, ..unchanged })
    }

    /// Calls `work` with the index and the pass of each micro-batch that has targets, until `work` breaks off. `scale`
    /// is the factor on the loss.
    pub(super) fn each_pass<E>(
        &self,
        batches: &[Batch],
        step: u64,
        scale: f64,
        mut work: impl FnMut(usize, Pass<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        for (i, batch) in batches.iter().enumerate().filter(|(_, batch)| batch.learned() > 0) {
            let micro_step = step * batches.len() as u64 + i as u64;
            let whole = &self.method.training_model(micro_step);
            let model = StepModel::of_step(whole, self.method, micro_step);
            let batch = &BatchTensors::new(batch, whole.device());
            let start = &whole.start(&self.method.time_state(), batch.inputs.size()[0]);
            let Trainer { objective, options, .. } = self;
            let pass = Pass { model, start, batch, objective: *objective, options, scale };
            if work(i, pass)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// The outcome of a step on `batches` that changes nothing, without computing it.
    pub fn skip(&self, batches: &[Batch]) -> StepOutcome {
        let sum =
            |count: fn(&Batch) -> u64| self.devices.sum_count(batches.iter().map(count).sum());
        StepOutcome {
            loss: f64::NAN,
            grad_norm: f64::NAN,
            targets: sum(Batch::learned),
            positions: sum(|batch| batch.inputs.len() as u64),
            skipped: true,
            fault: None,
        }
    }

    /// The factor on the loss of the next step.
    pub fn loss_scale(&self) -> f64 {
        self.scaler.map_or(1.0, |scaler| scaler.scale())
    }
}
