//! Forward and backward of one micro-batch.
//!
//! The backward pass is made of pieces: the head's gradient is known in closed form ([`head_loss`]), and
//! with `grad_cp` every block is differentiated by itself, from the gradient of its output.

use tch::Tensor;

use super::loss::{HeadLoss, head_loss};
use super::{BatchTensors, StepOptions};
use crate::kernels::{self, KernelError};
use crate::model::{Hidden, Model, State};

/// Adds to the gradient of everything that learns that of `scale` times the summed loss of the batch's
/// learned tokens, and returns that sum (not scaled, in nats).
///
/// `start` is what the rows start from, connected with the trainable states for differentiation.
///
/// # Errors
/// What the model's recurrence refuses.
pub fn backward(
    model: &Model,
    start: &State,
    batch: &BatchTensors,
    options: &StepOptions,
    scale: f64,
) -> Result<f64, KernelError> {
    if options.grad_cp {
        return backward_by_blocks(model, start, batch, options, scale);
    }
    let (hidden, _) = model.forward(&batch.inputs, start, batch.restarts.as_ref())?;
    backward_from_hidden(model, &hidden, batch, options, scale)
}

/// The part of [`backward`] after the model's forward pass. The head runs on learned positions only.
fn backward_from_hidden(
    model: &Model,
    hidden: &Hidden,
    batch: &BatchTensors,
    options: &StepOptions,
    scale: f64,
) -> Result<f64, KernelError> {
    let learned = hidden.at(&batch.learned_at);
    let HeadLoss { sum, d_hidden, d_scores, d_head } =
        head_loss(model, &learned, &batch.targets, options, scale);
    let scores = learned.copies.as_ref().map(|copies| &copies.scores);
    let of_scores = scores.zip(d_scores.as_ref());
    let of_head = d_head.as_ref().map(|d| (model.head(), d));
    propagate([Some((&learned.x, &d_hidden)), of_scores, of_head])?;
    Ok(sum)
}

/// [`backward`] with activation checkpointing: the forward pass keeps the input of each block and nothing
/// from within, and the backward pass computes one block at a time again, the last one first.
fn backward_by_blocks(
    model: &Model,
    start: &State,
    batch: &BatchTensors,
    options: &StepOptions,
    scale: f64,
) -> Result<f64, KernelError> {
    let embedded = model.embed(&batch.inputs);
    let restarts = batch.restarts.as_ref();
    let mut inputs = vec![embedded.detach()]; // of the blocks, (B, T, C) each
    let mut v_first = None;
    let last = start.layers.len() - 1;
    tch::no_grad(|| {
        // The last block is not run here, because its backward pass comes first.
        for (i, before) in start.layers[..last].iter().enumerate() {
            let (out, v, _) = model.block(i, &inputs[i], v_first.as_ref(), before, restarts)?;
            inputs.push(out);
            v_first = v;
        }
        Ok::<_, KernelError>(())
    })?;

    let mut sum = 0.0;
    let mut dx = Tensor::new(); // of the input of the block above
    let mut dv_first: Option<Tensor> = None; // added up over the blocks that mix `v_first` in
    for (i, before) in start.layers.iter().enumerate().rev() {
        let x = leaf(&inputs.pop().expect("one input a block"), i > 0 || embedded.requires_grad());
        let v_in = v_first.as_ref().filter(|_| i > 0).map(|v| leaf(v, true));
        let (out, v_out, _) = model.block(i, &x, v_in.as_ref(), before, restarts)?;
        if i == last {
            let (hidden, _) = model.finish(&out, &batch.inputs, None, restarts);
            sum = backward_from_hidden(model, &hidden, batch, options, scale)?;
        } else {
            // Only the first block makes `v_first`; the others hand it on.
            let of_v = v_out.as_ref().zip(dv_first.as_ref()).filter(|_| i == 0);
            propagate([Some((&out, &dx)), of_v])?;
        }
        dx = x.grad();
        if let Some(dv) = v_in.map(|v| v.grad()) {
            dv_first = Some(dv_first.map_or(dv.shallow_clone(), |sum| sum + dv));
        }
    }
    propagate([Some((&embedded, &dx))])?;
    Ok(sum)
}

/// The values of `x` as a tensor at which differentiation ends.
pub(super) fn leaf(x: &Tensor, requires_grad: bool) -> Tensor {
    x.detach().set_requires_grad(requires_grad)
}

/// [`kernels::backward`] from those values that there are.
pub(super) fn propagate<const N: usize>(
    known: [Option<(&Tensor, &Tensor)>; N],
) -> Result<(), KernelError> {
    kernels::backward(&known.into_iter().flatten().collect::<Vec<_>>())
}
