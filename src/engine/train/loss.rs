//! The cross-entropy of next tokens and its gradients, computed from the head in chunks of positions, so that
//! the logits of a whole batch never exist at once.
//!
//! With logits `z = W h` of a position and its target t, the loss is `log(sum exp z) - z_t`, and
//! `dz = softmax(z) - onehot(t)`, `dh = W^T dz`, `dW = sum dz h^T`. Loss and gradient come out of one pass
//! with two products by the head; nothing computes the logits twice.

use tch::{Kind, Tensor};

use super::StepOptions;
use crate::kernels::{KernelError, LossGradient, cross_entropy, flat};
use crate::model::{Hidden, Model};

/// The loss of some positions and its gradients, which are those of the scaled loss.
#[derive(Debug)]
pub struct HeadLoss {
    /// Weighted sum of the cross-entropy over the positions, in nats, not scaled: a float64 on the device of the model.
    pub sum: Tensor,
    /// Gradient of the hidden states: (n, C) in their dtype.
    pub d_hidden: Tensor,
    /// Gradient of the copy scores of `head_qk`, in their shape; absent in a model without it.
    pub d_scores: Option<Tensor>,
    /// Gradient of the head: (V, C), summed in float32 and returned in the head's dtype. Absent when the
    /// head is frozen.
    pub d_head: Option<Tensor>,
}

/// The loss of the `hidden` states of n positions with the `targets` (n) int64, each multiplied by its entry of
/// `weights` (n) float32, if any; and the gradients of `scale` times that loss.
///
/// Products are taken in the dtype of the model, softmax and loss in float32 (float64 for a float64
/// model); `scale` is applied before gradients are rounded to the model's dtype. With
/// `options.l2wrap` = f, each position's largest logit m adds `f m` to its own gradient, which pulls it
/// towards 0 as `f/2 m^2` would, without counting in the loss.
///
/// # Errors
/// [`KernelError::Native`].
pub fn head_loss(
    model: &Model,
    hidden: &Hidden,
    targets: &Tensor,
    weights: Option<&Tensor>,
    options: &StepOptions,
    scale: f64,
) -> Result<HeadLoss, KernelError> {
    let gradient = Some(LossGradient { scale, l2wrap: options.l2wrap });
    let chunks = chunks(hidden, targets, weights, options.head_chunk);
    loss_of_chunks(model, hidden, chunks, |Chunk { hidden, targets, weights, .. }| {
        let mut d = model.logits(hidden); // (rows, V), turned into its gradient
        let losses = cross_entropy(model.op(), &mut d, targets, weights.as_ref(), gradient)?;
        Ok((losses, d))
    })
}

/// The loss of the `hidden` states of all `chunks` of positions and its gradients. `of_chunk` has the losses (rows) float64 of
/// a chunk, and the gradient of its logits, (rows, V).
///
/// # Errors
/// Those of `of_chunk`.
pub(super) fn loss_of_chunks(
    model: &Model,
    hidden: &Hidden,
    chunks: impl Iterator<Item = Chunk>,
    of_chunk: impl Fn(&Chunk) -> Result<(Tensor, Tensor), KernelError>,
) -> Result<HeadLoss, KernelError> {
    let _guard = tch::no_grad_guard();
    let (head, kind) = (model.head(), model.kind());
    let mut d_head = head.requires_grad().then(|| head.zeros_like().to_kind(sum_kind(kind)));
    let d_hidden = hidden.x.empty_like();
    let d_scores = hidden.copies.as_ref().map(|copies| copies.scores.empty_like());
    let mut losses = Vec::new();
    for chunk in chunks {
        let (loss, d) = of_chunk(&chunk)?;
        losses.push(loss);
        let Chunk { first, rows, hidden, .. } = chunk;
        let _ = d.matmul_out(&d_hidden.narrow(0, first, rows), head);
        if let (Some(d_scores), Some(copies)) = (&d_scores, &hidden.copies) {
            d_scores.narrow(0, first, rows).copy_(&d.gather(-1, &copies.ids, false));
        }
        if let Some(d_head) = &mut d_head {
            let _ = d_head.g_add_(&d.tr().matmul(&hidden.x));
        }
    }
    let d_head = d_head.map(|d| d.to_kind(kind));
    let sum = chunk_sums(&losses);
    Ok(HeadLoss { sum, d_hidden, d_scores, d_head })
}

/// The sum of the losses of all chunks.
fn chunk_sums(losses: &[Tensor]) -> Tensor {
    match losses {
        [] => Tensor::from(0.0),
        losses => flat::sum(&Tensor::cat(losses, 0)),
    }
}

/// The cross-entropy of each position: (n) float64, in nats. For callers that record no gradients.
///
/// # Errors
/// [`KernelError::Native`].
pub(super) fn target_losses(
    model: &Model,
    hidden: &Hidden,
    targets: &Tensor,
    head_chunk: i64,
) -> Result<Tensor, KernelError> {
    let losses = chunks(hidden, targets, None, head_chunk).map(|chunk| {
        let mut logits = model.logits(&chunk.hidden);
        cross_entropy(model.op(), &mut logits, &chunk.targets, None, None)
    });
    Ok(Tensor::cat(&losses.collect::<Result<Vec<_>, _>>()?, 0))
}

/// The positions `first .. first + rows`.
pub(super) struct Chunk {
    pub(super) first: i64,
    pub(super) rows: i64,
    pub(super) hidden: Hidden,
    /// (rows)
    pub(super) targets: Tensor,
    /// (rows)
    pub(super) weights: Option<Tensor>,
}

/// Cuts the positions into chunks of `len`, the last one shorter.
pub(super) fn chunks(
    hidden: &Hidden,
    targets: &Tensor,
    weights: Option<&Tensor>,
    len: i64,
) -> impl Iterator<Item = Chunk> {
    let n = targets.size()[0];
    (0..n).step_by(len as usize).map(move |first| {
        let rows = len.min(n - first);
        let cut = |x: &Tensor| x.narrow(0, first, rows);
        Chunk {
            first,
            rows,
            hidden: hidden.narrow(first, rows),
            targets: cut(targets),
            weights: weights.map(cut),
        }
    })
}

/// The dtype in which gradients of a model that computes in `kind` are summed.
pub(super) fn sum_kind(kind: Kind) -> Kind {
    if kind == Kind::Double { Kind::Double } else { Kind::Float }
}
