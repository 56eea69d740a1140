//! The cross-entropy of next tokens and its gradients, computed from the head in chunks of positions, so that
//! the logits of a whole batch never exist at once.
//!
//! With logits `z = W h` of a position and its target t, the loss is `log(sum exp z) - z_t`, and
//! `dz = softmax(z) - onehot(t)`, `dh = W^T dz`, `dW = sum dz h^T`. Loss and gradient come out of one pass
//! with two products by the head; nothing computes the logits twice.

use std::ops::ControlFlow::{self, Break, Continue};

use statetune_core::data::{Batch, Loader};
use tch::{Kind, Tensor};

use super::{BatchTensors, StepOptions, TrainError};
use crate::kernels::{KernelError, LossGradient, cross_entropy, flat};
use crate::model::{Copies, Hidden, Model, TimeState};

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
    let _guard = tch::no_grad_guard();
    let (head, kind) = (model.head(), model.kind());
    let mut d_head = head.requires_grad().then(|| head.zeros_like().to_kind(sum_kind(kind)));
    let d_hidden = hidden.x.empty_like();
    let d_scores = hidden.copies.as_ref().map(|copies| copies.scores.empty_like());
    let mut losses = Vec::new();
    let gradient = Some(LossGradient { scale, l2wrap: options.l2wrap });
    for Chunk { first, rows, hidden, targets, weights } in
        chunks(hidden, targets, weights, options.head_chunk)
    {
        let mut d = model.logits(&hidden); // (rows, V), turned into its gradient
        losses.push(cross_entropy(model.op(), &mut d, &targets, weights.as_ref(), gradient)?);
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

/// Mean loss over the target tokens of every document of `loader`, for a model that starts from `state`, in nats;
/// `None` without target tokens.
///
/// The logits of at most `head_chunk` positions exist at a time. `look` sees the samples done after every batch, and may
/// break off. `documents` gets the losses of the documents that it asks for.
///
/// # Errors
/// A document that cannot be read, and errors of the model's recurrence.
pub fn mean_loss(
    model: &Model,
    state: &TimeState,
    loader: &mut Loader,
    micro_bsz: u64,
    head_chunk: i64,
    documents: &mut DocumentSums,
    look: &mut dyn FnMut(u64) -> ControlFlow<()>,
) -> Result<ControlFlow<(), Option<f64>>, TrainError> {
    let (mut sum, mut targets) = (0.0, 0);
    let all = loader.samples_per_pass();
    let mut first = 0;
    while first < all {
        let batch = loader.batch(first, micro_bsz.min(all - first))?;
        targets += batch.learned();
        let losses = losses_of_batch(model, state, &batch, head_chunk)?;
        documents.add(&batch, &losses);
        sum += losses.sum(Kind::Double).double_value(&[]);
        first += micro_bsz;
        if look(first.min(all)).is_break() {
            return Ok(Break(()));
        }
    }
    Ok(Continue((targets > 0).then(|| sum / targets as f64)))
}

/// The losses of the first documents of a pair.
#[derive(Debug)]
pub struct DocumentSums {
    /// For each document the summed loss of its target tokens in nats, and their number.
    sums: Vec<(f64, u64)>,
}

impl DocumentSums {
    /// Takes the losses of the first `documents` documents of the pair.
    pub fn of_first(documents: usize) -> DocumentSums {
        DocumentSums { sums: vec![(0.0, 0); documents] }
    }

    /// Adds the losses (n) float64 of the targets of a batch.
    fn add(&mut self, batch: &Batch, losses: &Tensor) {
        if self.sums.is_empty() {
            return;
        }
        let losses = Vec::<f64>::try_from(losses).expect("a vector of float64");
        for (document, loss) in batch.target_documents().into_iter().zip(losses) {
            if let Some((sum, count)) = document.and_then(|document| self.sums.get_mut(document)) {
                *sum += loss;
                *count += 1;
            }
        }
    }

    /// The mean loss of each document in nats; `None` without target tokens.
    pub fn means(&self) -> Vec<Option<f64>> {
        let mean = |&(sum, count): &(f64, u64)| (count > 0).then(|| sum / count as f64);
        self.sums.iter().map(mean).collect()
    }
}

/// The summed loss over the target tokens of a batch, for a model that starts from `state`, in nats; records no gradients.
///
/// # Errors
/// Errors of the model's recurrence.
pub fn batch_loss(
    model: &Model,
    state: &TimeState,
    batch: &Batch,
    head_chunk: i64,
) -> Result<f64, TrainError> {
    Ok(losses_of_batch(model, state, batch, head_chunk)?.sum(Kind::Double).double_value(&[]))
}

/// The losses of the target tokens of a batch, (n) float64 in nats; records no gradients.
fn losses_of_batch(
    model: &Model,
    state: &TimeState,
    batch: &Batch,
    head_chunk: i64,
) -> Result<Tensor, TrainError> {
    let _guard = tch::no_grad_guard();
    if batch.learned() == 0 {
        return Ok(Tensor::zeros([0], (Kind::Double, model.device())));
    }
    let batch = BatchTensors::new(batch, model.device());
    let start = model.start(state, batch.inputs.size()[0]);
    let (hidden, _) = model.forward(&batch.inputs, &start, batch.restarts.as_ref())?;
    let hidden = hidden.at(&batch.target_positions);
    Ok(target_losses(model, &hidden, &batch.targets, head_chunk)?)
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
struct Chunk {
    first: i64,
    rows: i64,
    hidden: Hidden,
    /// (rows)
    targets: Tensor,
    /// (rows)
    weights: Option<Tensor>,
}

/// Cuts the positions into chunks of `len`, the last one shorter.
fn chunks(
    hidden: &Hidden,
    targets: &Tensor,
    weights: Option<&Tensor>,
    len: i64,
) -> impl Iterator<Item = Chunk> {
    let n = targets.size()[0];
    (0..n).step_by(len as usize).map(move |first| {
        let rows = len.min(n - first);
        let cut = |x: &Tensor| x.narrow(0, first, rows);
        let copies = hidden.copies.as_ref();
        let copies = copies.map(|c| Copies { scores: cut(&c.scores), ids: cut(&c.ids) });
        Chunk {
            first,
            rows,
            hidden: Hidden { x: cut(&hidden.x), copies },
            targets: cut(targets),
            weights: weights.map(cut),
        }
    })
}

/// The dtype in which gradients of a model that computes in `kind` are summed.
fn sum_kind(kind: Kind) -> Kind {
    if kind == Kind::Double { Kind::Double } else { Kind::Float }
}
