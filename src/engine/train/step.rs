//! One optimizer step.

use std::ops::ControlFlow::{self, Break, Continue};

use statetune_core::data::Batch;

use tch::Tensor;

use super::devices::{Devices, PassSum, Single};
use super::objective::{CrossEntropy, Objective};
use super::{BatchTensors, LossScaler, NonFiniteValue, Pass, StepOptions, TrainError};
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

/// The sums over the passes of a step.
struct Sums {
    /// Mean loss over the target tokens.
    loss: f64,
    /// The last micro-batch that counts in `loss`.
    micro_batch: usize,
    /// The gradients of the parameters; absent where the loss is NaN or infinite.
    gradients: Option<Vec<Tensor>>,
}

/// The indexes of the micro-batches with target tokens; the others have no pass.
fn with_targets(batches: &[Batch]) -> impl Iterator<Item = usize> {
    batches.iter().enumerate().filter(|(_, batch)| batch.learned() > 0).map(|(i, _)| i)
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
        let sums = match self.devices.is_single() {
            true => self.all_passes(batches, step, unchanged.targets)?,
            false => self.passes_in_turn(batches, step, unchanged.targets)?,
        };
        let Sums { loss, micro_batch, gradients } = sums;
        let Some(mut gradients) = gradients else {
            let fault = Some(NonFiniteValue::Loss { micro_batch });
            return Ok(StepOutcome { loss, fault, ..unchanged });
        };
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

    /// Forward and backward of all passes on this device.
    fn all_passes(&self, batches: &[Batch], step: u64, targets: u64) -> Result<Sums, TrainError> {
        let targets = targets as f64;
        let (mut loss, mut micro_batch) = (0.0, 0);
        self.each_pass(batches, step, self.loss_scale() / targets, |i, pass| {
            micro_batch = i;
            loss += pass.backward()? / targets;
            Ok::<_, KernelError>(if loss.is_finite() { Continue(()) } else { Break(()) })
        })?;
        let gradients = loss.is_finite().then(|| self.adam.gradients());
        Ok(Sums { loss, micro_batch, gradients })
    }

    /// Forward and backward of the passes that this device takes in turn with the others. The sums are those of
    /// [`Trainer::all_passes`], to the bit, on every device.
    fn passes_in_turn(
        &self,
        batches: &[Batch],
        step: u64,
        targets: u64,
    ) -> Result<Sums, TrainError> {
        let targets = targets as f64;
        let scale = self.loss_scale() / targets;
        let mut sums = Sums { loss: 0.0, micro_batch: 0, gradients: None };
        let shapes = self.adam.parameters().iter().map(|one| one.tensor.size()).collect();
        let mut sum = PassSum::new(self.devices, shapes);
        let passes: Vec<usize> = with_targets(batches).collect();
        for round in passes.chunks(self.devices.count()) {
            let mine = round.get(self.devices.rank());
            let loss = match mine {
                Some(&i) => self.pass(batches, i, step, scale, |pass| pass.backward())?,
                None => 0.0,
            };
            for (&i, loss) in round.iter().zip(self.devices.gather_numbers(loss)?) {
                sums.micro_batch = i;
                sums.loss += loss / targets;
                if !sums.loss.is_finite() {
                    return Ok(sums);
                }
            }
            let gradient = mine.map(|_| self.adam.gradients());
            sum.add(gradient.as_deref(), round.len())?;
            self.adam.zero_gradients();
        }
        sums.gradients = Some(sum.finish()?);
        Ok(sums)
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
        for i in with_targets(batches) {
            if self.pass(batches, i, step, scale, |pass| work(i, pass))?.is_break() {
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
    ) -> T {
        let micro_step = step * batches.len() as u64 + i as u64;
        let model = &self.method.training_model(micro_step);
        let batch = &BatchTensors::new(&batches[i], model.device());
        let start = &model.start(&self.method.time_state(), batch.inputs.size()[0]);
        let Trainer { objective, options, .. } = self;
        work(Pass { model, start, batch, objective: *objective, options, scale })
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
