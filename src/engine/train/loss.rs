//! The cross-entropy of next tokens and its gradients, taken from the head in chunks of positions, so that
//! the logits of a whole batch never exist at once.
//!
//! With logits `z = W h` of a position and its target t, the loss is `log(sum exp z) - z_t`, and
//! `dz = softmax(z) - onehot(t)`, `dh = W^T dz`, `dW = sum dz h^T`. Loss and gradient come out of one pass,
//! with two products by the head and no third one that computes the logits again.

use statetune_core::forecast::LOSS_PART_LEN;
use tch::{Kind, Tensor};

use super::StepOptions;
use crate::model::{Copies, Hidden, Model};

/// The loss of some positions and what follows from it.
///
/// Gradients are those of the scaled sum.
#[derive(Debug)]
pub struct HeadLoss {
    /// Sum of the cross-entropy over the positions, in nats, not scaled.
    pub sum: f64,
    /// Gradient of the hidden states: (n, C) in their dtype.
    pub d_hidden: Tensor,
    /// Gradient of the scores of what the head copies, like these; absent in a model without `head_qk`.
    pub d_scores: Option<Tensor>,
    /// Gradient of the head: (V, C), added up in float32 and given in the head's dtype. Absent when the
    /// head does not learn.
    pub d_head: Option<Tensor>,
}

/// The loss of the `hidden` states of n positions with the `targets` (n) int64, and the gradients of
/// `scale` times its sum.
///
/// Products are taken in the dtype of the model, softmax and loss in float32 (float64 for a float64
/// model); `scale` is applied before gradients are rounded to the model's dtype. With
/// `options.l2wrap` = f, each position's largest logit m adds `f m` to its own gradient, which pulls it
/// towards 0 as `f/2 m^2` would, without counting in the loss.
pub fn head_loss(
    model: &Model,
    hidden: &Hidden,
    targets: &Tensor,
    options: &StepOptions,
    scale: f64,
) -> HeadLoss {
    let _guard = tch::no_grad_guard();
    let (head, kind) = (model.head(), model.kind());
    let mut d_head = head.requires_grad().then(|| head.zeros_like().to_kind(loss_kind(kind)));
    let d_hidden = hidden.x.empty_like();
    let d_scores = hidden.copies.as_ref().map(|copies| copies.scores.empty_like());
    let mut sum = Tensor::zeros([], (Kind::Double, head.device()));
    for Chunk { first, rows, hidden, targets } in chunks(hidden, targets, options.head_chunk) {
        let d = model.logits(&hidden); // (rows, V), turned into its gradient part by part
        for (mut z, targets) in parts(&d, &targets) {
            let (mut softmax, losses) = softmax(&z, &targets);
            sum += losses.sum(Kind::Double);
            let mut dz = softmax.g_mul_scalar_(scale);
            let _ = dz.scatter_add_(-1, &targets.unsqueeze(-1), &losses.full_like(-scale));
            if options.l2wrap > 0.0 {
                let (largest, largest_at) = z.max_dim(-1, true);
                let pull = largest.to_kind(dz.kind()) * (options.l2wrap * scale);
                let _ = dz.scatter_add_(-1, &largest_at, &pull);
            }
            z.copy_(&dz);
        }
        let _ = d.matmul_out(&d_hidden.narrow(0, first, rows), head);
        if let (Some(d_scores), Some(copies)) = (&d_scores, &hidden.copies) {
            d_scores.narrow(0, first, rows).copy_(&d.gather(-1, &copies.ids, false));
        }
        if let Some(d_head) = &mut d_head {
            let _ = d_head.g_add_(&d.tr().matmul(&hidden.x));
        }
    }
    let d_head = d_head.map(|d| d.to_kind(kind));
    HeadLoss { sum: sum.double_value(&[]), d_hidden, d_scores, d_head }
}

/// The sum of [`head_loss`] alone, in nats.
pub(super) fn loss_sum(model: &Model, hidden: &Hidden, targets: &Tensor, head_chunk: i64) -> f64 {
    let _guard = tch::no_grad_guard();
    let mut sum = Tensor::zeros([], (Kind::Double, targets.device()));
    for Chunk { hidden, targets, .. } in chunks(hidden, targets, head_chunk) {
        for (z, targets) in parts(&model.logits(&hidden), &targets) {
            sum += softmax(&z, &targets).1.sum(Kind::Double);
        }
    }
    sum.double_value(&[])
}

/// Cuts the logits of a chunk (rows, V) and its targets into views of at most [`LOSS_PART_LEN`] rows, of which
/// one at a time becomes float32.
fn parts(logits: &Tensor, targets: &Tensor) -> impl Iterator<Item = (Tensor, Tensor)> {
    logits.split(LOSS_PART_LEN, 0).into_iter().zip(targets.split(LOSS_PART_LEN, 0))
}

/// Softmax (n, V) of the logits of n positions, and the cross-entropy (n, 1) there.
///
/// The largest probability of a position is `1 / sum exp(z - max z)`, so its logarithm gives the loss without
/// that of the target's probability, which may be too small for its dtype.
fn softmax(logits: &Tensor, targets: &Tensor) -> (Tensor, Tensor) {
    let kind = loss_kind(logits.kind());
    let softmax = logits.softmax(-1, kind);
    let largest = logits.amax([-1], true).to_kind(kind);
    let of_target = logits.gather(-1, &targets.unsqueeze(-1), false).to_kind(kind);
    let losses = largest - of_target - softmax.amax([-1], true).log();
    (softmax, losses)
}

/// The positions `first .. first + rows`.
struct Chunk {
    first: i64,
    rows: i64,
    hidden: Hidden,
    targets: Tensor,
}

/// Cuts the positions into chunks of `len`, the last one shorter.
fn chunks(hidden: &Hidden, targets: &Tensor, len: i64) -> impl Iterator<Item = Chunk> {
    let n = targets.size()[0];
    (0..n).step_by(len as usize).map(move |first| {
        let rows = len.min(n - first);
        let part = |x: &Tensor| x.narrow(0, first, rows);
        let copies = hidden
            .copies
            .as_ref()
            .map(|copies| Copies { scores: part(&copies.scores), ids: part(&copies.ids) });
        Chunk { first, rows, hidden: Hidden { x: part(&hidden.x), copies }, targets: part(targets) }
    })
}

/// The dtype of softmax and loss in a model that computes in `kind`.
fn loss_kind(kind: Kind) -> Kind {
    if kind == Kind::Double { Kind::Double } else { Kind::Float }
}
