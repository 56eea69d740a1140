//! One step again, block by block, with a look at every value on the way: where numbers stop being finite.
//!
//! Forward and backward are those of a step whose blocks are computed again, cut once more between the time mix
//! and the channel mix of a block, and at the WKV state that enters it.

use std::ops::ControlFlow;

use tch::{Kind, Tensor};

use super::BatchTensors;
use super::Trainer;
use super::backward::{leaf, propagate};
use super::loss::{HeadLoss, head_loss};
use super::step::micro_step;
use crate::kernels::KernelError;
use crate::model::Model;
use statetune_core::data::Batch;

/// Which way a value was computed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// It was there before the step.
    Before,
    /// From the inputs on.
    Forward,
    /// A gradient.
    Backward,
}

impl Direction {
    /// As it stands in records.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Before => "before",
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        }
    }
}

/// A look at one value of a step.
#[derive(Clone, Debug)]
pub struct Reading {
    /// What it is: `emb`, `blocks.3.att`, `blocks.3.att WKV`, `blocks.3.ffn`, `ln_out`, `head`, or the name of
    /// a parameter.
    pub place: String,
    /// Which way it was computed.
    pub direction: Direction,
    /// The micro-batch, counted from 0; absent for parameters.
    pub micro_batch: Option<usize>,
    /// Root of its mean square; not finite when a value is not, or when they are too large.
    pub rms: f64,
    /// How many of its values are not finite.
    pub not_finite: i64,
    /// The rows of the micro-batch with such values, where it has rows.
    pub rows: Vec<usize>,
    /// The heads with such values, where it has heads.
    pub heads: Vec<usize>,
}

/// Computes a step of `trainer` again without changing anything, and shows every value to `see` in the order
/// in which they are computed, until that breaks off.
///
/// `step` counts from 0. Values are those of the gradients times the loss scale.
///
/// # Errors
/// What the recurrence refuses.
pub fn trace(
    trainer: &Trainer<'_>,
    batches: &[Batch],
    step: u64,
    see: &mut dyn FnMut(Reading) -> ControlFlow<()>,
) -> Result<(), KernelError> {
    let parameters = trainer.adam.parameters();
    trainer.adam.zero_gradients();
    for parameter in parameters {
        let reading = Reading::of(&parameter.tensor, &parameter.name, Direction::Before, None);
        if see(reading).is_break() {
            return Ok(());
        }
    }
    let learned: u64 = batches.iter().map(|batch| batch.learned()).sum();
    for (i, batch) in batches.iter().enumerate().filter(|(_, batch)| batch.learned() > 0) {
        let model = trainer.method.training_model(micro_step(step, batches, i));
        let batch = BatchTensors::new(batch, model.device());
        let scale = trainer.loss_scale() / learned as f64;
        let mut pass = Pass { trainer, model: &model, batch: &batch, micro_batch: i, see };
        if pass.run(scale)?.is_break() {
            return Ok(());
        }
    }
    let gradients = trainer.adam.gradients();
    for (parameter, gradient) in parameters.iter().zip(&gradients) {
        let reading = Reading::of(gradient, &parameter.name, Direction::Backward, None);
        if see(reading).is_break() {
            return Ok(());
        }
    }
    Ok(())
}

/// Forward and backward of one micro-batch.
struct Pass<'a> {
    trainer: &'a Trainer<'a>,
    model: &'a Model,
    batch: &'a BatchTensors,
    micro_batch: usize,
    see: &'a mut dyn FnMut(Reading) -> ControlFlow<()>,
}

/// What a block gets, as tensors at which differentiation ends.
struct BlockInputs {
    /// Of the time mix: (B, T, C).
    x: Tensor,
    v_first: Option<Tensor>,
    /// Of the channel mix: (B, T, C).
    middle: Tensor,
}

/// Goes on, or breaks off where `see` does.
macro_rules! look {
    ($pass:ident, $tensor:expr, $place:expr, $direction:expr) => {
        if $pass.look($tensor, &$place, $direction).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    };
}

impl Pass<'_> {
    fn run(&mut self, scale: f64) -> Result<ControlFlow<()>, KernelError> {
        use Direction::{Backward, Forward};
        let Pass { model, batch, .. } = *self;
        let start = model.start(&self.trainer.method.time_state(), batch.inputs.size()[0]);
        let restarts = batch.restarts.as_ref();
        let embedded = model.embed(&batch.inputs);
        look!(self, &embedded, "emb", Forward);

        let mut inputs: Vec<BlockInputs> = Vec::new();
        let (mut x, mut v_first) = (embedded.detach(), None);
        for (i, before) in start.layers.iter().enumerate() {
            let needs = i > 0 || embedded.requires_grad();
            let (x_in, v_in) = (leaf(&x, needs), v_first.as_ref().map(|v| leaf(v, true)));
            let after = tch::no_grad(|| {
                model.time_mix(i, &x_in, v_in.as_ref(), &before.att_x, &before.wkv, restarts)
            })?;
            look!(self, &after.wkv, format!("blocks.{i}.att WKV"), Forward);
            look!(self, &after.x, format!("blocks.{i}.att"), Forward);
            let middle = leaf(&after.x, true);
            (x, _) = tch::no_grad(|| model.channel_mix(i, &middle, &before.ffn_x, restarts));
            look!(self, &x, format!("blocks.{i}.ffn"), Forward);
            v_first = after.v_first;
            inputs.push(BlockInputs { x: x_in, v_first: v_in, middle });
        }

        let x = leaf(&x, true);
        let (hidden, _) = model.finish(&x, &batch.inputs, None, restarts);
        look!(self, &hidden.x, "ln_out", Forward);
        let learned = hidden.at(&batch.learned_at);
        let HeadLoss { sum, d_hidden, d_scores, d_head } =
            head_loss(model, &learned, &batch.targets, &self.trainer.options, scale);
        look!(self, &Tensor::from_slice(&[sum]), "head", Forward);
        look!(self, &d_hidden, "head", Backward);
        let scores = learned.copies.as_ref().map(|copies| &copies.scores);
        let of_head = d_head.as_ref().map(|d| (model.head(), d));
        propagate([Some((&learned.x, &d_hidden)), scores.zip(d_scores.as_ref()), of_head])?;
        let mut dx = x.grad();
        look!(self, &dx, "ln_out", Backward);

        let mut dv_first: Option<Tensor> = None;
        for (i, before) in start.layers.iter().enumerate().rev() {
            let BlockInputs { x, v_first, middle } = inputs.pop().expect("one a block");
            let (out, _) = model.channel_mix(i, &middle, &before.ffn_x, restarts);
            propagate([Some((&out, &dx))])?;
            dx = middle.grad();
            look!(self, &dx, format!("blocks.{i}.ffn"), Backward);
            let wkv = leaf(&before.wkv, true);
            let after = model.time_mix(i, &x, v_first.as_ref(), &before.att_x, &wkv, restarts)?;
            // Only the first block makes `v_first`; the others hand it on.
            let of_v = after.v_first.as_ref().zip(dv_first.as_ref()).filter(|_| i == 0);
            propagate([Some((&after.x, &dx)), of_v])?;
            let d_wkv = wkv.grad();
            look!(self, &d_wkv, format!("blocks.{i}.att WKV"), Backward);
            if d_wkv.defined() {
                propagate([Some((&before.wkv, &d_wkv))])?;
            }
            dx = x.grad();
            look!(self, &dx, format!("blocks.{i}.att"), Backward);
            if let Some(dv) = v_first.map(|v| v.grad()) {
                dv_first = Some(dv_first.map_or(dv.shallow_clone(), |sum| sum + dv));
            }
        }
        if embedded.requires_grad() {
            propagate([Some((&embedded, &dx))])?;
        }
        Ok(ControlFlow::Continue(()))
    }

    /// Shows a value, unless there is none: nothing that learns depends on it.
    fn look(&mut self, tensor: &Tensor, place: &str, direction: Direction) -> ControlFlow<()> {
        if !tensor.defined() {
            return ControlFlow::Continue(());
        }
        (self.see)(Reading::of(tensor, place, direction, Some(self.micro_batch)))
    }
}

impl Reading {
    /// Looks at `tensor`; that of a micro-batch has rows where it has three axes (B, T, C), and rows and heads
    /// where it has four (B, H, N, N).
    fn of(
        tensor: &Tensor,
        place: &str,
        direction: Direction,
        micro_batch: Option<usize>,
    ) -> Reading {
        let _guard = tch::no_grad_guard();
        let bad = tensor.isfinite().logical_not();
        let axes = tensor.dim();
        let along = |axis: usize| -> Vec<usize> {
            let others: Vec<i64> = (0..axes as i64).filter(|&a| a != axis as i64).collect();
            let counts = bad.to_kind(Kind::Int64).sum_dim_intlist(&others[..], false, Kind::Int64);
            let counts = Vec::<i64>::try_from(counts.to_device(tch::Device::Cpu));
            let counts = counts.expect("one axis is left").into_iter().enumerate();
            counts.filter(|(_, count)| *count > 0).map(|(at, _)| at).collect()
        };
        let of_batch = micro_batch.is_some() && axes >= 3;
        Reading {
            place: place.to_string(),
            direction,
            micro_batch,
            rms: tensor.to_kind(Kind::Double).square().mean(Kind::Double).sqrt().double_value(&[]),
            not_finite: bad.sum(Kind::Int64).int64_value(&[]),
            rows: if of_batch { along(0) } else { Vec::new() },
            heads: if micro_batch.is_some() && axes == 4 { along(1) } else { Vec::new() },
        }
    }
}
