//! One optimizer step.

use std::ops::ControlFlow::{self, Continue};

use statetune_core::data::Batch;
use statetune_core::objective::Rewards;
use statetune_core::plan::Sharing;
use tch::{Device, Tensor};

use super::batch::with_targets;
use super::devices::{Devices, Single, gather_slices, sum_of_squares_of_slices, watch_gradients};
use super::mean_loss::row_log_probs;
use super::objective::{CrossEntropy, Objective, RowLogProbs, Weighed};
use super::step_work::StepWork;
use super::{
    BatchTensors, Keep, LossScaler, NonFiniteValue, Pass, StepModel, StepOptions, TrainError,
};
use crate::kernels::KernelError;
use crate::kernels::flat::sum_of_squares;
use crate::optim::{Adam, AdamOptions, Share, clip_gradients};
use crate::peft::Method;

/// The result of a step.
#[derive(Clone, Copy, Debug)]
pub struct StepOutcome {
    /// Mean loss over what the objective counts, in nats: target tokens, pairs or answers. NaN without target tokens and in a
    /// step that was not computed.
    pub loss: f64,
    /// Norm of all gradients before clipping; NaN or infinite when the step was skipped.
    pub grad_norm: f64,
    /// How the answers are judged, by an objective that compares answers.
    pub rewards: Option<Rewards>,
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
pub(super) type Losses = Vec<(usize, Tensor)>;

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
    /// A penalty on what changes elsewhere, if any.
    pub keep: Option<&'a dyn Keep>,
    /// The devices that share a step.
    pub devices: &'a dyn Devices,
    /// How they share it.
    sharing: Sharing,
}

impl<'a> Trainer<'a> {
    /// A trainer before its first step, for [`CrossEntropy`] on a [`Single`] device.
    pub fn new(
        method: &'a dyn Method,
        adam: AdamOptions,
        scaler: Option<LossScaler>,
        options: StepOptions,
    ) -> Trainer<'a> {
        Trainer::shared(method, adam, scaler, options, (&Single, Sharing::Ddp))
    }

    /// [`Trainer::new`] on one of several `devices`. [`Sharing::Context`] is for objectives without a teacher, and for models without
    /// `head_qk`.
    pub fn shared(
        method: &'a dyn Method,
        adam: AdamOptions,
        scaler: Option<LossScaler>,
        options: StepOptions,
        (devices, sharing): (&'a dyn Devices, Sharing),
    ) -> Trainer<'a> {
        let share = Share {
            rank: devices.rank(),
            count: devices.count(),
            gradients: sharing == Sharing::Zero2,
        };
        let is_whole = matches!(sharing, Sharing::Ddp | Sharing::Context) || devices.is_single();
        let adam = Adam::shared(method.parameters(), adam, (!is_whole).then_some(share));
        if !devices.is_single() && adam.all_values().device() == Device::Cpu {
            watch_gradients(&adam).expect("trainable parameters are leaves");
        }
        let objective = &CrossEntropy;
        let keep = None;
        Trainer { method, adam, scaler, options, objective, keep, devices, sharing }
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
        let (weighed, micro_batch) = self.weigh(batches, step)?;
        let unchanged = StepOutcome { rewards: weighed.rewards, ..unchanged };
        if let Some(loss) = weighed.loss.filter(|loss| !loss.is_finite()) {
            let fault = Some(NonFiniteValue::Loss { micro_batch });
            return Ok(StepOutcome { loss, fault, ..unchanged });
        }
        let loss_scale = self.loss_scale();
        let (losses, gradients) = match self.devices.is_single() {
            true => self.all_passes(batches, step, &weighed)?,
            false if self.sharing == Sharing::Context => {
                self.chunks_in_turn(batches, step, &weighed)?
            }
            false => self.passes_in_turn(batches, step, &weighed)?,
        };
        if let Some(keep) = self.keep {
            self.keep_pass(keep, step, loss_scale, &gradients)?;
        }
        if self.scaler.is_some() {
            let _ = gradients.shallow_clone().g_mul_scalar_(1.0 / loss_scale);
        }
        // The losses are read with the norm, so that a step waits for a GPU once before the update.
        let norm = match self.adam.slices() {
            None => sum_of_squares(&gradients)?,
            Some(slices) => sum_of_squares_of_slices(self.devices, slices, &gradients)?,
        };
        // Those of other devices come through the CPU.
        let losses_there = losses.iter().map(|(_, loss)| loss.to_device(norm.device()));
        let read: Vec<Tensor> = losses_there.chain([norm.shallow_clone()]).collect();
        let mut read = Vec::<f64>::try_from(Tensor::stack(&read, 0).to_device(Device::Cpu))
            .expect("a vector of float64");
        let grad_norm = read.pop().map_or(f64::NAN, f64::sqrt);
        // The first micro-batch after which the sum is not finite, or the last one.
        let (mut loss, mut micro_batch) = (0.0, 0);
        for ((i, _), one) in losses.iter().zip(read) {
            micro_batch = *i;
            loss += one / weighed.count as f64;
            if !loss.is_finite() {
                break;
            }
        }
        if loss.is_finite() {
            loss = weighed.loss.unwrap_or(loss);
        }
        if !loss.is_finite() {
            let fault = Some(NonFiniteValue::Loss { micro_batch });
            return Ok(StepOutcome { loss, fault, ..unchanged });
        }
        clip_gradients(&gradients, grad_norm, self.options.gradient_clip_val);
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
        self.adam.step_with(lr, &gradients)?;
        if let Some(slices) = self.adam.slices() {
            gather_slices(self.devices, slices, self.adam.all_values())?;
        }
        let fault = (!self.adam.is_finite()).then_some(NonFiniteValue::Update);
        Ok(StepOutcome { skipped: false, fault, ..unchanged })
    }

    /// Forward and backward of all passes on this device; their gradients come to those of the parameters. Returns the loss of
    /// each micro-batch, a float64 on the device that is not divided by the number of targets, and the gradients.
    fn all_passes(
        &self,
        batches: &[Batch],
        step: u64,
        weighed: &Weighed,
    ) -> Result<(Losses, Tensor), TrainError> {
        self.adam.zero_gradients();
        // Each chunk of a pass adds to the gradients, so the sum over the passes before lies elsewhere: the gradients of a
        // pass do not depend on it.
        let apart = self.options.chunks.is_some() && with_targets(batches).nth(1).is_some();
        let gradients = self.adam.all_gradients();
        let mut before: Option<Tensor> = None;
        let mut losses = Vec::new();
        let mut work = StepWork::begin(batches);
        self.each_pass(batches, step, weighed, |i, pass| {
            losses.push((i, pass.backward_observed(&mut work)?));
            work.pass_done(&batches[i]);
            if apart {
                before = Some(match before.take() {
                    None => gradients.copy(),
                    Some(mut sum) => sum.g_add_(&gradients),
                });
                self.adam.zero_gradients();
            }
            Ok::<_, KernelError>(Continue(()))
        })?;
        if let Some(sum) = before {
            gradients.shallow_clone().copy_(&sum);
        }
        Ok((losses, gradients))
    }

    /// Calls `work` with the index and the pass of each micro-batch that has targets, until `work` breaks off.
    pub(super) fn each_pass<E: From<KernelError>>(
        &self,
        batches: &[Batch],
        step: u64,
        weighed: &Weighed,
        mut work: impl FnMut(usize, Pass<'_>) -> Result<ControlFlow<()>, E>,
    ) -> Result<(), E> {
        for i in with_targets(batches) {
            if self.pass(batches, i, step, weighed, |pass| work(i, pass))??.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Adds the gradient of the penalty, which every device computes, to `gradients`.
    fn keep_pass(
        &self,
        keep: &dyn Keep,
        step: u64,
        loss_scale: f64,
        gradients: &Tensor,
    ) -> Result<(), TrainError> {
        let batch = keep.batch(step)?;
        if batch.learned() == 0 {
            return Ok(());
        }
        let is_slice = self.adam.slices().is_some();
        if is_slice {
            // The pass adds to the sum, in the order of one device.
            self.adam.zero_gradients();
            self.adam.copy_gradients(gradients, true);
        }
        let _copies = self.adam.copies(self.method.kind())?;
        let model = &self.method.model();
        let batch_tensors = &BatchTensors::new(&batch, model.device());
        let start = &model.start(&self.method.time_state(), batch_tensors.inputs.size()[0]);
        let pass = Pass {
            model: StepModel::without_dropout(model),
            start,
            batch: batch_tensors,
            weights: None,
            teacher: keep.base().teacher(),
            options: &StepOptions { l2wrap: 0.0, ..self.options },
            scale: loss_scale * keep.strength() / batch.learned() as f64,
        };
        let _loss = pass.backward()?;
        if is_slice {
            self.adam.copy_gradients(gradients, false);
            self.adam.free_gradients();
        }
        Ok(())
    }

    /// Calls `work` with the pass of the micro-batch `i`.
    pub(super) fn pass<T>(
        &self,
        batches: &[Batch],
        i: usize,
        step: u64,
        weighed: &Weighed,
        work: impl FnOnce(Pass<'_>) -> T,
    ) -> Result<T, KernelError> {
        let of_rows = weighed.rows.as_ref().map(|rows| &rows[i]);
        let scale = self.loss_scale() / weighed.count as f64;
        self.with_model(batches, i, step, |model| {
            let batch = &BatchTensors::new(&batches[i], model.whole.device());
            let start = &model.whole.start(&self.method.time_state(), batch.inputs.size()[0]);
            let weights = of_rows.map(|of_rows| batch.weights(of_rows));
            let (weights, options) = (weights.as_ref(), &self.options);
            let teacher = self.objective.teacher();
            work(Pass { model, start, batch, weights, teacher, options, scale })
        })
    }

    /// Calls `work` with the model of the micro-batch `i`.
    fn with_model<T>(
        &self,
        batches: &[Batch],
        i: usize,
        step: u64,
        work: impl FnOnce(StepModel<'_>) -> T,
    ) -> Result<T, KernelError> {
        let micro_step = step * batches.len() as u64 + i as u64;
        let _copies = self.adam.copies(self.method.kind())?;
        let whole = &self.method.training_model(micro_step);
        Ok(work(StepModel::of_step(whole, self.method, micro_step)))
    }

    /// What the step minimises, the same on all devices, and the first micro-batch with a log-probability that is not finite.
    fn weigh(&self, batches: &[Batch], step: u64) -> Result<(Weighed, usize), TrainError> {
        if self.devices.is_single() || !self.objective.needs_log_probs() {
            let log_probs = self.log_probs_alone(batches, step)?;
            return Ok(self.weigh_by(batches, log_probs));
        }
        let log_probs = self.log_probs_in_turn(batches, step)?;
        Ok(self.weigh_by(batches, log_probs))
    }

    /// What a step minimises, computed without other devices.
    ///
    /// # Errors
    /// Errors of the recurrence.
    pub fn weigh_alone(&self, batches: &[Batch], step: u64) -> Result<Weighed, KernelError> {
        Ok(self.weigh_by(batches, self.log_probs_alone(batches, step)?).0)
    }

    /// The log-probabilities of the rows of each micro-batch, if the objective needs them.
    fn log_probs_alone(
        &self,
        batches: &[Batch],
        step: u64,
    ) -> Result<Vec<RowLogProbs>, KernelError> {
        if !self.objective.needs_log_probs() {
            return Ok(Vec::new());
        }
        let mut log_probs = vec![RowLogProbs::default(); batches.len()];
        for i in with_targets(batches) {
            log_probs[i] = self.log_probs(batches, i, step)?;
        }
        Ok(log_probs)
    }

    fn weigh_by(&self, batches: &[Batch], mut log_probs: Vec<RowLogProbs>) -> (Weighed, usize) {
        // Micro-batches without targets have no pass.
        for (of_batch, batch) in log_probs.iter_mut().zip(batches) {
            of_batch.rows.resize(batch.rows, 0.0);
        }
        let is_bad = |one: &RowLogProbs| {
            one.rows.iter().chain(&one.mismatched).any(|log_prob| !log_prob.is_finite())
        };
        let bad = log_probs.iter().position(is_bad).unwrap_or(0);
        (self.objective.weigh(batches, &log_probs), bad)
    }

    /// The log-probabilities of the rows of the micro-batch `i`: the first pass.
    pub(super) fn log_probs(
        &self,
        batches: &[Batch],
        i: usize,
        step: u64,
    ) -> Result<RowLogProbs, KernelError> {
        let others = batches[i].answers.as_ref().map(|answers| &answers.mismatched);
        self.with_model(batches, i, step, |model| {
            let of = |batch: &Batch| {
                let tensors = BatchTensors::new(batch, model.whole.device());
                let start = model.whole.start(&self.method.time_state(), batch.rows as i64);
                row_log_probs(model, &start, &tensors, self.options.loss())
            };
            let mismatched = match others.filter(|others| others.learned() > 0) {
                Some(others) => of(others)?,
                None => Vec::new(),
            };
            Ok(RowLogProbs { rows: of(&batches[i])?, mismatched })
        })?
    }

    /// The outcome of a step on `batches` that changes nothing, without computing it.
    pub fn skip(&self, batches: &[Batch]) -> StepOutcome {
        // Every device has the micro-batches of all.
        let sum = |count: fn(&Batch) -> u64| batches.iter().map(count).sum();
        StepOutcome {
            loss: f64::NAN,
            grad_norm: f64::NAN,
            rewards: None,
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
