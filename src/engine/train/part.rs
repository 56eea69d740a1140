//! Forward and backward of tokens that are computed at once: of whole rows, or of a chunk of them with what is carried
//! in and out.
//!
//! The gradient of the head is known in closed form ([`head_loss`]), and with `grad_cp` every block is
//! differentiated on its own, from the gradient of its output.

use std::fmt::Arguments;
use std::ops::Range;

use tch::{Kind, Tensor};

use super::kl::kl_loss;
use super::loss::{HeadLoss, head_loss};
use super::{BatchTensors, Lesson, StepOptions};
use crate::kernels::{self, KernelError};
use crate::model::{AfterTimeMix, Hidden, LayerState, Model, Seen, State};

/// Tokens that are computed at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Part<'a> {
    /// The model, connected to the trainable parameters.
    pub(super) model: &'a Model,
    /// The states before the first token.
    pub(super) before: &'a State,
    /// The tokens, and the targets among them.
    pub(super) batch: &'a BatchTensors,
    /// The weight of each target; absent: 1.
    pub(super) weights: Option<&'a Tensor>,
    /// What a teacher makes of the targets, from which the student's distance takes the place of the cross-entropy.
    pub(super) lesson: Option<&'a Lesson>,
    /// The gradients of the states after the last token, undefined where there is none; absent: nothing is carried on.
    pub(super) d_after: Option<&'a State>,
    /// How to compute.
    pub(super) options: &'a StepOptions,
    /// Factor on the loss before differentiation.
    pub(super) scale: f64,
}

/// Looks at the values of a pass in the order in which they are computed. Where the chunks of a row lie on several devices, hands
/// the states of each block on, and their gradients back.
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

    /// What comes next are values of these tokens of some rows, of which the first is `first_row`.
    fn enter(&mut self, first_row: i64, tokens: Range<i64>) {
        let _ = (first_row, tokens);
    }

    /// The number of positions that come next, and their direction.
    fn begin(&mut self, positions: u64, direction: Direction) {
        let _ = (positions, direction);
    }

    /// The block `i` comes next in the forward pass: waits until the states before it are there.
    ///
    /// # Errors
    /// Ends the pass, as in the three calls below.
    fn await_states(&mut self, i: usize) -> Result<(), Self::Stop> {
        let _ = i;
        Ok(())
    }

    /// Takes the states `after` the last token of the part, those of block `i`.
    fn take_states(&mut self, i: usize, after: &LayerState) -> Result<(), Self::Stop> {
        let _ = (i, after);
        Ok(())
    }

    /// Waits for the gradients of the states of block `i` after the last token; absent: they are those of [`Part::d_after`].
    fn await_gradients(&mut self, i: usize) -> Result<Option<LayerState>, Self::Stop> {
        let _ = i;
        Ok(None)
    }

    /// The gradients of the states of block `i` before the first token are final.
    fn take_gradients(&mut self, i: usize) -> Result<(), Self::Stop> {
        let _ = i;
        Ok(())
    }
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
pub(super) struct Unobserved;

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
    /// What is carried on.
    after: LayerState,
    /// Values from within the block, for an observer.
    inner: Option<Inner>,
}

/// Values from within a block at which differentiation stops.
struct Inner {
    /// The output of the time mix, (B, T, C).
    mixed: Tensor,
    /// The input of the channel mix: the values of `mixed` as a leaf.
    middle: Tensor,
}

impl Part<'_> {
    /// Accumulates into each trainable parameter, and into the states before the first token where those are leaves, the
    /// gradient of `scale * loss` and of what is carried on. Returns the loss: the weighted sum of the target tokens'
    /// cross-entropies, in nats: a float64 on the device, for which nothing waits.
    ///
    /// # Errors
    /// Errors of the model's recurrence.
    pub(super) fn backward(&self) -> Result<Tensor, KernelError> {
        if self.options.grad_cp {
            return self.backward_by_blocks(&mut Unobserved, true);
        }
        let Part { model, before, batch, .. } = *self;
        let (hidden, after) = model.forward(&batch.inputs, before, batch.restarts.as_ref())?;
        let carried = self.d_after.into_iter().flat_map(|d| {
            let layers = after.layers.iter().zip(&d.layers);
            layers.flat_map(|(layer, d)| pairs(layer, d))
        });
        let carried: Vec<_> = carried.collect();
        self.backward_from_hidden(&hidden, after.seen.as_ref(), &carried, &mut Unobserved)
    }

    /// The states after the last token, as leaves where a gradient reaches them. Keeps one block at a time.
    ///
    /// # Errors
    /// Those of [`Part::backward`], and of the observer.
    pub(super) fn forward<O: Observer>(&self, observer: &mut O) -> Result<State, O::Stop> {
        let Part { model, before, batch, .. } = *self;
        let embedded = model.embed(&batch.inputs);
        observer.see(format_args!("emb"), Direction::Forward, || embedded.shallow_clone())?;
        let detached = |x: &Tensor| leaf(x, x.requires_grad());
        let (mut x, mut v_first) = (detached(&embedded), None);
        let mut layers = Vec::with_capacity(before.layers.len());
        for (i, before) in before.layers.iter().enumerate() {
            observer.await_states(i)?;
            // Gradients are recorded, and dropped with the block, see `Part::backward_by_blocks`.
            let output = self.block::<O>(i, &x, v_first.as_ref(), &before.wkv)?;
            output.show(i, observer)?;
            let after = output.after.map(kept);
            observer.take_states(i, &after)?;
            layers.push(after);
            x = detached(&output.x);
            v_first = output.v_first.as_ref().map(detached);
        }
        let mut seen = None;
        if O::IS_LOOKING || model.copies() {
            let restarts = batch.restarts.as_ref();
            let (hidden, after) = model.finish(&x, &batch.inputs, before.seen.as_ref(), restarts);
            observer
                .see(format_args!("ln_out"), Direction::Forward, || hidden.x.shallow_clone())?;
            seen = after.map(|seen| seen.map(kept));
        }
        Ok(State { layers, seen })
    }

    /// [`Part::backward`] with activation checkpointing: the forward pass keeps only the input of each block, and
    /// the backward pass recomputes one block at a time, the last one first. The observer sees the forward pass if it is
    /// `new`.
    pub(super) fn backward_by_blocks<O: Observer>(
        &self,
        observer: &mut O,
        new: bool,
    ) -> Result<Tensor, O::Stop> {
        use Direction::{Backward, Forward};
        let Part { model, before: start, batch, .. } = *self;
        let embedded = model.embed(&batch.inputs);
        if new {
            observer.see(format_args!("emb"), Forward, || embedded.shallow_clone())?;
        }
        let mut inputs = vec![embedded.detach()]; // of the blocks, (B, T, C) each
        // Whether something that trains lies before each block. Below the first such block nothing needs a gradient.
        let mut needs = vec![embedded.requires_grad()];
        let mut v_first = None;
        let last = start.layers.len() - 1;
        // The backward pass of the last block comes next and computes it, so it is not run here.
        for (i, before) in start.layers[..last].iter().enumerate() {
            observer.await_states(i)?;
            // Gradients are recorded, and dropped with the block, because without them a model with trained parameters
            // computes with other kernels, and other bits, than in the backward pass.
            let output = self.block::<O>(i, &inputs[i], v_first.as_ref(), &before.wkv)?;
            if new {
                output.show(i, observer)?;
            }
            needs.push(needs[i] || output.x.requires_grad());
            inputs.push(output.x.detach());
            v_first = output.v_first.map(|v| v.detach());
        }

        observer.await_states(last)?;
        let mut loss = Tensor::new();
        let mut dx = Tensor::new(); // of the input of the block above
        let mut dv_first: Option<Tensor> = None; // summed over the blocks that mix `v_first` in
        for (i, before) in start.layers.iter().enumerate().rev() {
            let x = leaf(&inputs.pop().expect("one input a block"), needs[i]);
            let v_in = v_first.as_ref().filter(|_| i > 0).map(|v| leaf(v, needs[i]));
            let wkv = cut::<O>(&before.wkv);
            let output = self.block::<O>(i, &x, v_in.as_ref(), &wkv)?;
            let handed_back = observer.await_gradients(i)?;
            let d_after = handed_back.as_ref().or(self.d_after.map(|d| &d.layers[i]));
            if i == last {
                if new {
                    output.show(i, observer)?;
                }
                (loss, dx) = self.backward_of_head(&output, d_after, new, observer)?;
            }
            // Only the first block makes `v_first`; the others pass it on.
            let of_v = output.v_first.as_ref().zip(dv_first.as_ref()).filter(|_| i == 0);
            if let Some(Inner { mixed, middle }) = &output.inner {
                let [att_x, of_wkv, ffn_x] = d_after
                    .map(|d| {
                        let LayerState { att_x, wkv, ffn_x } = &output.after;
                        [(att_x, &d.att_x), (wkv, &d.wkv), (ffn_x, &d.ffn_x)].map(Some)
                    })
                    .unwrap_or_default();
                propagate([Some((&output.x, &dx)), ffn_x])?;
                dx = middle.grad();
                observer.see(format_args!("blocks.{i}.ffn"), Backward, || dx.shallow_clone())?;
                propagate([Some((mixed, &dx)), of_v, att_x, of_wkv])?;
                let d_wkv = wkv.grad();
                let place = format_args!("blocks.{i}.att WKV");
                observer.see(place, Backward, || d_wkv.shallow_clone())?;
                propagate([Some((&before.wkv, &d_wkv))])?;
            } else if i < last {
                let known = [(&output.x, &dx)].into_iter().chain(of_v);
                let carried = d_after.into_iter().flat_map(|d| pairs(&output.after, d));
                propagate(known.chain(carried).map(Some))?;
            }
            dx = x.grad();
            observer.see(format_args!("blocks.{i}.att"), Backward, || dx.shallow_clone())?;
            if let Some(dv) = v_in.map(|v| v.grad()).filter(Tensor::defined) {
                dv_first = Some(dv_first.map_or(dv.shallow_clone(), |sum| sum + dv));
            }
            observer.take_gradients(i)?;
            if !needs[i] && !O::IS_LOOKING {
                break;
            }
        }
        propagate([Some((&embedded, &dx))])?;
        Ok(loss)
    }

    /// From the last block's output to the loss, and back into the block, with the gradients `d_after` of what it carries on; for an
    /// observer only to the gradient of the output, which is returned with the loss.
    fn backward_of_head<O: Observer>(
        &self,
        output: &BlockOutput,
        d_after: Option<&LayerState>,
        new: bool,
        observer: &mut O,
    ) -> Result<(Tensor, Tensor), O::Stop> {
        let Part { model, before, batch, .. } = *self;
        let top = cut::<O>(&output.x);
        let restarts = batch.restarts.as_ref();
        let (hidden, seen) = model.finish(&top, &batch.inputs, before.seen.as_ref(), restarts);
        if new {
            let value = || hidden.x.shallow_clone();
            observer.see(format_args!("ln_out"), Direction::Forward, value)?;
        }
        let d_after = d_after.filter(|_| !O::IS_LOOKING);
        let carried: Vec<_> = d_after.into_iter().flat_map(|d| pairs(&output.after, d)).collect();
        let loss = self.backward_from_hidden(&hidden, seen.as_ref(), &carried, observer)?;
        let dx = if O::IS_LOOKING { top.grad() } else { Tensor::new() };
        observer.see(format_args!("ln_out"), Direction::Backward, || dx.shallow_clone())?;
        Ok((loss, dx))
    }

    /// [`Model::block`] on `x`, from the WKV state `wkv`.
    fn block<O: Observer>(
        &self,
        i: usize,
        x: &Tensor,
        v_first: Option<&Tensor>,
        wkv: &Tensor,
    ) -> Result<BlockOutput, KernelError> {
        let (before, restarts) = (&self.before.layers[i], self.batch.restarts.as_ref());
        let AfterTimeMix { x: mixed, v_first, att_x, wkv } =
            self.model.time_mix(i, x, v_first, &before.att_x, wkv, restarts)?;
        let middle = cut::<O>(&mixed);
        let (x, ffn_x) = self.model.channel_mix(i, &middle, &before.ffn_x, restarts)?;
        let after = LayerState { att_x, wkv, ffn_x };
        let inner = O::IS_LOOKING.then_some(Inner { mixed, middle });
        Ok(BlockOutput { x, v_first, after, inner })
    }

    /// The part of [`Part::backward`] after the model's forward pass, with the gradients of what is `carried` on besides
    /// what is `seen`. The head runs on target positions only.
    fn backward_from_hidden<O: Observer>(
        &self,
        hidden: &Hidden,
        seen: Option<&Seen>,
        carried: &[(&Tensor, &Tensor)],
        observer: &mut O,
    ) -> Result<Tensor, O::Stop> {
        use Direction::{Backward, Forward};
        let Part { model, batch, weights, lesson, options, scale, .. } = *self;
        let d_seen = self.d_after.and_then(|d| d.seen.as_ref());
        let of_seen = seen.zip(d_seen).map(|(seen, d)| (seen.keys(), d.keys()));
        let carried = carried.iter().copied().chain(of_seen);
        if batch.targets.numel() == 0 {
            propagate(carried.map(Some))?;
            return Ok(Tensor::zeros([], (Kind::Double, hidden.x.device())));
        }
        let hidden = hidden.at(&batch.target_positions);
        let targets = &batch.targets;
        let HeadLoss { sum, d_hidden, d_scores, d_head } = match lesson {
            Some(lesson) => kl_loss(model, &hidden, targets, weights, lesson, options, scale)?,
            None => head_loss(model, &hidden, targets, weights, options, scale)?,
        };
        observer.see(format_args!("head"), Forward, || sum.shallow_clone())?;
        observer.see(format_args!("head"), Backward, || d_hidden.shallow_clone())?;
        let scores = hidden.copies.as_ref().map(|copies| &copies.scores);
        let of_scores = scores.zip(d_scores.as_ref());
        let of_head = d_head.as_ref().map(|d| (model.head(), d));
        let known = [Some((&hidden.x, &d_hidden)), of_scores, of_head];
        propagate(known.into_iter().chain(carried.map(Some)))?;
        Ok(sum)
    }
}

impl BlockOutput {
    /// Shows an observer the values of the block's forward pass.
    fn show<O: Observer>(&self, i: usize, observer: &mut O) -> Result<(), O::Stop> {
        let Some(Inner { mixed, .. }) = &self.inner else { return Ok(()) };
        let values = [("att WKV", &self.after.wkv), ("att", mixed), ("ffn", &self.x)];
        values.into_iter().try_for_each(|(part, value)| {
            let place = format_args!("blocks.{i}.{part}");
            observer.see(place, Direction::Forward, || value.shallow_clone())
        })
    }
}

/// The states of a block with their gradients.
fn pairs<'a>(layer: &'a LayerState, d: &'a LayerState) -> [(&'a Tensor, &'a Tensor); 3] {
    [(&layer.att_x, &d.att_x), (&layer.wkv, &d.wkv), (&layer.ffn_x, &d.ffn_x)]
}

/// The values of `x` as a tensor at which differentiation ends.
fn leaf(x: &Tensor, requires_grad: bool) -> Tensor {
    x.detach().set_requires_grad(requires_grad)
}

/// As [`leaf`], in memory of its own, because `x` may be a small part of a large tensor. Requires a gradient where `x` does.
fn kept(x: &Tensor) -> Tensor {
    x.detach().copy().set_requires_grad(x.requires_grad())
}

/// `x` itself, or for an observer a leaf with its values.
fn cut<O: Observer>(x: &Tensor) -> Tensor {
    if O::IS_LOOKING { leaf(x, true) } else { x.shallow_clone() }
}

/// [`kernels::backward`] from those of the values that are present and whose gradients are defined.
fn propagate<'a>(
    known: impl IntoIterator<Item = Option<(&'a Tensor, &'a Tensor)>>,
) -> Result<(), KernelError> {
    let known = known.into_iter().flatten().filter(|(_, d)| d.defined());
    kernels::backward(&known.collect::<Vec<_>>())
}
