//! Forward and backward of one micro-batch.
//!
//! The gradient of the head is known in closed form ([`head_loss`]), and with `grad_cp` every block is
//! differentiated on its own, from the gradient of its output.

use std::fmt::Arguments;

use tch::Tensor;

use super::loss::{HeadLoss, head_loss};
use super::objective::{Objective, weights};
use super::{BatchTensors, StepOptions};
use crate::kernels::{self, KernelError};
use crate::model::{AfterTimeMix, Hidden, Model, State};

/// Forward and backward of one micro-batch.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The model, connected to the trainable parameters.
    pub model: &'a Model,
    /// The initial states of the rows, connected to the trainable states.
    pub start: &'a State,
    /// The micro-batch.
    pub batch: &'a BatchTensors,
    /// What to minimise.
    pub objective: &'a dyn Objective,
    /// How to compute.
    pub options: &'a StepOptions,
    /// Factor on the loss before differentiation.
    pub scale: f64,
}

/// Looks at the values of a pass in the order in which they are computed.
pub(super) trait Observer {
    /// Why a pass ends early.
    type Stop: From<KernelError>;

    /// Whether differentiation stops at every value to be looked at, to yield its gradient.
    const IS_LOOKING: bool;

    /// Looks at the value of `place`: undefined for the gradient of a value that no trainable parameter influences.
    ///
    /// # Errors
    /// Ends the pass.
    fn see(
        &mut self,
        place: Arguments<'_>,
        direction: Direction,
        value: impl FnOnce() -> Tensor,
    ) -> Result<(), Self::Stop>;
}

/// When a value was computed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Direction {
    /// Before the step.
    Before,
    /// In the forward pass.
    Forward,
    /// In the backward pass: the value is a gradient.
    Backward,
}

impl Direction {
    /// The name in run records.
    pub fn name(self) -> &'static str {
        match self {
            Direction::Before => "before",
            Direction::Forward => "forward",
            Direction::Backward => "backward",
        }
    }
}

/// The observer of a training step: looks at nothing.
struct Unobserved;

impl Observer for Unobserved {
    type Stop = KernelError;
    const IS_LOOKING: bool = false;

    fn see(
        &mut self,
        _: Arguments<'_>,
        _: Direction,
        _: impl FnOnce() -> Tensor,
    ) -> Result<(), KernelError> {
        Ok(())
    }
}

/// What a block returns.
struct BlockOutput {
    /// (B, T, C)
    x: Tensor,
    /// For the blocks above, (B, T, C), in RWKV-7.
    v_first: Option<Tensor>,
    /// Values from within the block, for an observer.
    inner: Option<Inner>,
}

/// Values from within a block at which differentiation stops.
struct Inner {
    /// The WKV state after the last token.
    wkv: Tensor,
    /// The output of the time mix, (B, T, C).
    mixed: Tensor,
    /// The input of the channel mix: the values of `mixed` as a leaf.
    middle: Tensor,
}

impl Pass<'_> {
    /// Accumulates into each trainable parameter's gradient the gradient of `scale * loss`, and returns the loss:
    /// the weighted sum of the target tokens' cross-entropies, in nats: a float64 on the device, for which nothing waits.
    ///
    /// # Errors
    /// Errors of the model's recurrence.
    pub fn backward(&self) -> Result<Tensor, KernelError> {
        if self.options.grad_cp {
            return self.backward_by_blocks(&mut Unobserved);
        }
        let weights = self.weights()?;
        let Pass { model, start, batch, .. } = *self;
        let (hidden, _) = model.forward(&batch.inputs, start, batch.restarts.as_ref())?;
        self.backward_from_hidden(&hidden, weights.as_ref(), &mut Unobserved)
    }

    /// [`Pass::backward`] with activation checkpointing: the forward pass keeps only the input of each block, and
    /// the backward pass recomputes one block at a time, the last one first.
    pub(super) fn backward_by_blocks<O: Observer>(
        &self,
        observer: &mut O,
    ) -> Result<Tensor, O::Stop> {
        use Direction::{Backward, Forward};
        let weights = self.weights()?;
        let Pass { model, start, batch, .. } = *self;
        let embedded = model.embed(&batch.inputs);
        observer.see(format_args!("emb"), Forward, || embedded.shallow_clone())?;
        let mut inputs = vec![embedded.detach()]; // of the blocks, (B, T, C) each
        let mut v_first = None;
        let last = start.layers.len() - 1;
        // The backward pass of the last block comes next and computes it, so it is not run here.
        for (i, before) in start.layers[..last].iter().enumerate() {
            // Gradients are recorded, and dropped with the block, because without them a model with trained parameters
            // computes with other kernels, and other bits, than in the backward pass.
            let output = self.block::<O>(i, &inputs[i], v_first.as_ref(), &before.wkv)?;
            output.show(i, observer)?;
            inputs.push(output.x.detach());
            v_first = output.v_first.map(|v| v.detach());
        }

        let mut loss = Tensor::new();
        let mut dx = Tensor::new(); // of the input of the block above
        let mut dv_first: Option<Tensor> = None; // summed over the blocks that mix `v_first` in
        for (i, before) in start.layers.iter().enumerate().rev() {
            let x = inputs.pop().expect("one input a block");
            let x = leaf(&x, i > 0 || embedded.requires_grad());
            let v_in = v_first.as_ref().filter(|_| i > 0).map(|v| leaf(v, true));
            let wkv = cut::<O>(&before.wkv);
            let output = self.block::<O>(i, &x, v_in.as_ref(), &wkv)?;
            if i == last {
                output.show(i, observer)?;
                let top = cut::<O>(&output.x);
                let (hidden, _) = model.finish(&top, &batch.inputs, None, batch.restarts.as_ref());
                observer.see(format_args!("ln_out"), Forward, || hidden.x.shallow_clone())?;
                loss = self.backward_from_hidden(&hidden, weights.as_ref(), observer)?;
                if O::IS_LOOKING {
                    dx = top.grad();
                }
                observer.see(format_args!("ln_out"), Backward, || dx.shallow_clone())?;
            }
            // Only the first block makes `v_first`; the others pass it on.
            let of_v = output.v_first.as_ref().zip(dv_first.as_ref()).filter(|_| i == 0);
            if let Some(Inner { mixed, middle, .. }) = &output.inner {
                propagate([Some((&output.x, &dx))])?;
                dx = middle.grad();
                observer.see(format_args!("blocks.{i}.ffn"), Backward, || dx.shallow_clone())?;
                propagate([Some((mixed, &dx)), of_v])?;
                let d_wkv = wkv.grad();
                let place = format_args!("blocks.{i}.att WKV");
                observer.see(place, Backward, || d_wkv.shallow_clone())?;
                propagate([d_wkv.defined().then_some((&before.wkv, &d_wkv))])?;
            } else if i < last {
                propagate([Some((&output.x, &dx)), of_v])?;
            }
            dx = x.grad();
            observer.see(format_args!("blocks.{i}.att"), Backward, || dx.shallow_clone())?;
            if let Some(dv) = v_in.map(|v| v.grad()) {
                dv_first = Some(dv_first.map_or(dv.shallow_clone(), |sum| sum + dv));
            }
        }
        propagate([Some((&embedded, &dx))])?;
        Ok(loss)
    }

    /// [`Model::block`] on `x`, from the WKV state `wkv`.
    fn block<O: Observer>(
        &self,
        i: usize,
        x: &Tensor,
        v_first: Option<&Tensor>,
        wkv: &Tensor,
    ) -> Result<BlockOutput, KernelError> {
        let (before, restarts) = (&self.start.layers[i], self.batch.restarts.as_ref());
        let AfterTimeMix { x: mixed, v_first, wkv, .. } =
            self.model.time_mix(i, x, v_first, &before.att_x, wkv, restarts)?;
        let middle = cut::<O>(&mixed);
        let (x, _) = self.model.channel_mix(i, &middle, &before.ffn_x, restarts)?;
        let inner = O::IS_LOOKING.then_some(Inner { wkv, mixed, middle });
        Ok(BlockOutput { x, v_first, inner })
    }

    /// The part of [`Pass::backward`] after the model's forward pass. The head runs on target positions only.
    fn backward_from_hidden<O: Observer>(
        &self,
        hidden: &Hidden,
        weights: Option<&Tensor>,
        observer: &mut O,
    ) -> Result<Tensor, O::Stop> {
        use Direction::{Backward, Forward};
        let Pass { model, batch, options, scale, .. } = *self;
        let hidden = hidden.at(&batch.target_positions);
        let HeadLoss { sum, d_hidden, d_scores, d_head } =
            head_loss(model, &hidden, &batch.targets, weights, options, scale)?;
        observer.see(format_args!("head"), Forward, || sum.shallow_clone())?;
        observer.see(format_args!("head"), Backward, || d_hidden.shallow_clone())?;
        let scores = hidden.copies.as_ref().map(|copies| &copies.scores);
        let of_scores = scores.zip(d_scores.as_ref());
        let of_head = d_head.as_ref().map(|d| (model.head(), d));
        propagate([Some((&hidden.x, &d_hidden)), of_scores, of_head])?;
        Ok(sum)
    }

    fn weights(&self) -> Result<Option<Tensor>, KernelError> {
        weights(self.objective, self.model, self.start, self.batch, self.options.head_chunk)
    }
}

impl BlockOutput {
    /// Shows an observer the values of the block's forward pass.
    fn show<O: Observer>(&self, i: usize, observer: &mut O) -> Result<(), O::Stop> {
        let Some(Inner { wkv, mixed, .. }) = &self.inner else { return Ok(()) };
        let values = [("att WKV", wkv), ("att", mixed), ("ffn", &self.x)];
        values.into_iter().try_for_each(|(part, value)| {
            let place = format_args!("blocks.{i}.{part}");
            observer.see(place, Direction::Forward, || value.shallow_clone())
        })
    }
}

/// The values of `x` as a tensor at which differentiation ends.
fn leaf(x: &Tensor, requires_grad: bool) -> Tensor {
    x.detach().set_requires_grad(requires_grad)
}

/// `x` itself, or for an observer a leaf with its values.
fn cut<O: Observer>(x: &Tensor) -> Tensor {
    if O::IS_LOOKING { leaf(x, true) } else { x.shallow_clone() }
}

/// [`kernels::backward`] from those of the values that are present.
fn propagate<const N: usize>(known: [Option<(&Tensor, &Tensor)>; N]) -> Result<(), KernelError> {
    kernels::backward(&known.into_iter().flatten().collect::<Vec<_>>())
}
