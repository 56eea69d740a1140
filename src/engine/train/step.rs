//! One optimizer step.

use std::ops::ControlFlow::{self, Continue};

use statetune_core::data::Batch;
use tch::{Device, Tensor};

use super::batch::with_targets;
use super::devices::{Devices, PassSum, Single};
use super::objective::{CrossEntropy, Objective};
use super::step_work::StepWork;
use super::{BatchTensors, LossScaler, NonFiniteValue, Pass, StepModel, StepOptions, TrainError};
use crate::kernels::KernelError;
use crate::kernels::flat::sum_of_squares;
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

/// The loss of each micro-batch with target tokens.
type Losses = Vec<(usize, Tensor)>;

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
    /// The devices that share a step, in passes.
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
        let loss_scale = self.loss_scale();
        self.adam.zero_gradients();
        let scale = loss_scale / unchanged.targets as f64;
        let losses = match self.devices.is_single() {
            true => self.all_passes(batches, step, scale)?,
            false => self.passes_in_turn(batches, step, scale)?,
        };
        let gradients = self.adam.all_gradients();
        if self.scaler.is_some() {
            let _ = gradients.shallow_clone().g_mul_scalar_(1.0 / loss_scale);
        }
        // The losses are read with the norm, so that a step waits for a GPU once before the update.
        let mut read: Vec<Tensor> = losses.iter().map(|(_, loss)| loss.shallow_clone()).collect();
        read.push(sum_of_squares(gradients)?);
        let mut read = Vec::<f64>::try_from(Tensor::stack(&read, 0).to_device(Device::Cpu))
            .expect("a vector of float64");
        let grad_norm = read.pop().map_or(f64::NAN, f64::sqrt);
        // The first micro-batch after which the sum is not finite, or the last one.
        let (mut loss, mut micro_batch) = (0.0, 0);
        for ((i, _), one) in losses.iter().zip(read) {
            micro_batch = *i;
            loss += one / unchanged.targets as f64;
            if !loss.is_finite() {
                break;
            }
        }
        if !loss.is_finite() {
            let fault = Some(NonFiniteValue::Loss { micro_batch });
            return Ok(StepOutcome { loss, fault, ..unchanged });
        }
        clip_gradients(gradients, grad_norm, self.options.gradient_clip_val);
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
        self.adam.step(lr)?;
        let fault = (!self.adam.is_finite()).then_some(NonFiniteValue::Update);
        Ok(StepOutcome { skipped: false, fault, ..unchanged })
    }

    /// Forward and backward of all passes on this device; their gradients come to those of the parameters. Returns the loss of
    /// each micro-batch, a float64 on the device that is not divided by the number of targets.
    fn all_passes(&self, batches: &[Batch], step: u64, scale: f64) -> Result<Losses, TrainError> {
        // Each chunk of a pass adds to the gradients, so the sum over the passes before lies elsewhere: the gradients of a
        // pass do not depend on it.
        let apart = self.options.chunks.is_some() && with_targets(batches).nth(1).is_some();
        let gradients = self.adam.all_gradients();
        let mut before: Option<Tensor> = None;
        let mut losses = Vec::new();
        let mut work = StepWork::begin(batches);
        self.each_pass(batches, step, scale, |i, pass| {
            losses.push((i, pass.backward_observed(&mut work)?));
            work.pass_done(&batches[i]);
            if apart {
                before = Some(match before.take() {
                    None => gradients.copy(),
                    Some(mut sum) => sum.g_add_(gradients),
                });
                self.adam.zero_gradients();
            }
            Ok::<_, KernelError>(Continue(()))
        })?;
        if let Some(sum) = before {
            gradients.shallow_clone().copy_(&sum);
        }
        Ok(losses)
    }

    /// Forward and backward of the passes that this device takes in turn with the others. The results are those of
    /// [`Trainer::all_passes`], to the bit, on every device.
    fn passes_in_turn(
        &self,
        batches: &[Batch],
        step: u64,
        scale: f64,
    ) -> Result<Losses, TrainError> {
        let gradients = self.adam.all_gradients();
        let (mut sum, mut losses) = (PassSum::new(self.devices), Vec::new());
        let mut work = StepWork::begin(batches);
        let passes: Vec<usize> = with_targets(batches).collect();
        for round in passes.chunks(self.devices.count()) {
            let loss = match round.get(self.devices.rank()) {
                Some(&i) => {
                    self.pass(batches, i, step, scale, |pass| pass.backward_observed(&mut work))??
                }
                None => Tensor::from(0.0),
            };
            let of_round = self.devices.gather_numbers(loss.double_value(&[]))?;
            losses.extend(round.iter().copied().zip(of_round.into_iter().map(Tensor::from)));
            round.iter().for_each(|&i| work.pass_done(&batches[i]));
            sum.add(gradients, round.len())?;
            self.adam.zero_gradients();
        }
        sum.finish(gradients)?;
        Ok(losses)
    }

    /// Calls `work` with the index and the pass of each micro-batch that has targets, until `work` breaks off. `scale`
    /// is the factor on the loss.
    pub(super) fn each_pass<E: From<KernelError>>(
        &self,
        batches: &[Batch],
        step: u64,
        scale: f64,
        mut work: impl FnMut(usize, Pass<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        for i in with_targets(batches) {
            if self.pass(batches, i, step, scale, |pass| work(i, pass))??.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Calls `work` with the pass of the micro-batch `i`.
    fn pass<T>(
        &self,
        batches: &[Batch],
        i: usize,
        step: u64,
        scale: f64,
        work: impl FnOnce(Pass<'_>) -> T,
    ) -> Result<T, KernelError> {
        let micro_step = step * batches.len() as u64 + i as u64;
        let _copies = self.adam.copies(self.method.kind())?;
        let whole = &self.method.training_model(micro_step);
        let model = StepModel::of_step(whole, self.method, micro_step);
        let batch = &BatchTensors::new(&batches[i], whole.device());
        let start = &whole.start(&self.method.time_state(), batch.inputs.size()[0]);
        let Trainer { objective, options, .. } = self;
        Ok(work(Pass { model, start, batch, objective: *objective, options, scale }))
    }

    /// The outcome of a step on `batches` that changes nothing, without computing it.
    pub fn skip(&self, batches: &[Batch]) -> StepOutcome {
        // Every device has the micro-batches of all.
        let sum = |count: fn(&Batch) -> u64| batches.iter().map(count).sum();
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
