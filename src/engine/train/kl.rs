//! The distance of a student from a teacher, `KL(teacher || student)`, and its gradients, computed from both heads in chunks
//! of positions, so that the logits of a whole batch never exist at once: half as many positions as without a teacher, because
//! those of both exist. Of the teacher, only hidden states are kept.
//!
//! With p = softmax(u / T) of the teacher's logits u and q = softmax(z / T) of the student's logits z, the loss of a position
//! is `(1 - alpha) T^2 sum p (log p - log q) + alpha CE(z, target)`, and the gradient of its first part is
//! `(1 - alpha) T (q - p)`: the factor T^2 keeps gradients of one size for every temperature (arXiv:1503.02531).
//!
//! With `top_k`, the tokens K that are most likely to the teacher count one by one and all others as one mass. With the masses
//! `p_r` and `q_r` of the others, the sum over V becomes `sum over K of p (log p - log q) + p_r (log p_r - log q_r)`, and p in
//! the gradient becomes `q p_r / q_r` outside of K.

use std::rc::Rc;

use statetune_core::arch::LOSS_PART_LEN;
use tch::{Kind, Tensor};

use super::StepOptions;
use super::loss::{Chunk, HeadLoss, chunks, loss_of_chunks, sum_kind};
use crate::kernels::{KernelError, LossGradient, cross_entropy};
use crate::model::{Hidden, Model};

/// How a student is compared with its teacher.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Divergence {
    /// T, which divides the logits of both; above 0.
    pub temperature: f64,
    /// Tokens that count one by one; 0, or as many as there are: all.
    pub top_k: i64,
    /// The share of the plain cross-entropy in the loss, from 0 to 1.
    pub alpha: f64,
}

impl Divergence {
    /// `KL(teacher || student)` itself.
    pub const KL: Divergence = Divergence { temperature: 1.0, top_k: 0, alpha: 0.0 };
}

/// What a teacher makes of n positions.
#[derive(Debug)]
pub struct Lesson {
    /// The teacher, of whom the head is used. The vocabulary is that of the student.
    pub model: Rc<Model>,
    /// Its hidden states there: (n, C).
    pub hidden: Hidden,
    /// How the student is compared.
    pub divergence: Divergence,
}

impl Lesson {
    /// The lesson of some of the positions; `positions` (m) int64.
    pub(super) fn select(&self, positions: &Tensor) -> Lesson {
        let Lesson { model, hidden, divergence } = self;
        Lesson {
            model: Rc::clone(model),
            hidden: hidden.select(positions),
            divergence: *divergence,
        }
    }
}

/// As [`super::head_loss`], for a student with the `hidden` states of n positions whom the `lesson` teaches.
///
/// Softmax and loss are computed in float32 (float64 for a float64 model).
///
/// # Errors
/// [`KernelError::Native`].
pub fn kl_loss(
    model: &Model,
    hidden: &Hidden,
    targets: &Tensor,
    weights: Option<&Tensor>,
    lesson: &Lesson,
    options: &StepOptions,
    scale: f64,
) -> Result<HeadLoss, KernelError> {
    let gradient = Some(LossGradient { scale, l2wrap: options.l2wrap });
    let chunks = chunks(hidden, targets, weights, of_both(options.head_chunk));
    loss_of_chunks(model, hidden, chunks, |chunk| losses_of_chunk(model, chunk, lesson, gradient))
}

/// The loss of each position: (n) float64, in nats. Records no gradients.
///
/// # Errors
/// [`KernelError::Native`].
pub fn kl_losses(
    model: &Model,
    hidden: &Hidden,
    targets: &Tensor,
    lesson: &Lesson,
    head_chunk: i64,
) -> Result<Tensor, KernelError> {
    let _guard = tch::no_grad_guard();
    let losses = chunks(hidden, targets, None, of_both(head_chunk))
        .map(|chunk| losses_of_chunk(model, &chunk, lesson, None).map(|(losses, _)| losses));
    Ok(Tensor::cat(&losses.collect::<Result<Vec<_>, _>>()?, 0))
}

/// Positions of which the logits of teacher and student exist at a time.
fn of_both(head_chunk: i64) -> i64 {
    (head_chunk / 2).max(1)
}

/// The losses (rows) float64 of a chunk, and with `gradient` the gradient of the student's logits, (rows, V) in the dtype of
/// the model; else the logits.
fn losses_of_chunk(
    model: &Model,
    chunk: &Chunk,
    lesson: &Lesson,
    gradient: Option<LossGradient>,
) -> Result<(Tensor, Tensor), KernelError> {
    let Chunk { first, rows, hidden, targets, weights } = chunk;
    let Lesson { model: teacher, hidden: taught, divergence } = lesson;
    let alpha = divergence.alpha;
    let of_teacher = teacher.logits(&taught.narrow(*first, *rows));
    let d = model.logits(hidden); // (rows, V), turned into its gradient
    let plain = match alpha > 0.0 {
        true => {
            let mut logits = d.copy();
            let gradient = gradient.map(|LossGradient { scale, .. }| LossGradient {
                scale: scale * alpha,
                l2wrap: 0.0,
            });
            let losses =
                cross_entropy(model.op(), &mut logits, targets, weights.as_ref(), gradient)?;
            Some((losses, logits))
        }
        false => None,
    };
    let mut all = Vec::new();
    for at in (0..*rows).step_by(LOSS_PART_LEN as usize) {
        let part = |x: &Tensor| x.narrow(0, at, LOSS_PART_LEN.min(rows - at));
        let (mut losses, mut dz) =
            kl(&part(&d), &part(&of_teacher), divergence, gradient.is_some());
        let weights = weights.as_ref().map(|weights| part(weights).unsqueeze(-1));
        let _ = losses.g_mul_scalar_(1.0 - alpha);
        if let Some(weights) = &weights {
            let _ = losses.g_mul_(weights);
        }
        if let (Some(LossGradient { scale, l2wrap }), Some(dz)) = (gradient, &mut dz) {
            let _ = dz.g_mul_scalar_(scale * (1.0 - alpha));
            if let Some(weights) = &weights {
                let _ = dz.g_mul_(weights);
            }
            if l2wrap > 0.0 {
                let (largest, largest_at) = part(&d).max_dim(-1, true);
                let pull = largest.to_kind(dz.kind()) * (l2wrap * scale);
                let _ = dz.scatter_add_(-1, &largest_at, &pull);
            }
            if let Some((_, of_plain)) = &plain {
                let _ = dz.g_add_(&part(of_plain));
            }
            part(&d).copy_(dz);
        }
        all.push(losses.squeeze_dim(-1).to_kind(Kind::Double));
    }
    let mut losses = Tensor::cat(&all, 0);
    if let Some((of_plain, _)) = plain {
        losses += of_plain * alpha;
    }
    Ok((losses, d))
}

/// `T^2 KL(p || q)` of the logits `student` and `teacher` (m, V) of m positions: (m, 1); and its gradient with respect to
/// those of the student, (m, V), if wanted. Float32, or float64 for float64 logits.
fn kl(
    student: &Tensor,
    teacher: &Tensor,
    divergence: &Divergence,
    has_gradient: bool,
) -> (Tensor, Option<Tensor>) {
    if student.size()[0] == 1 {
        // libtorch sums a single row in an order that depends on the number of threads.
        let twice = |x: &Tensor| Tensor::cat(&[x, x], 0);
        let (losses, gradient) = kl(&twice(student), &twice(teacher), divergence, has_gradient);
        return (losses.narrow(0, 0, 1), gradient.map(|d| d.narrow(0, 0, 1)));
    }
    let Divergence { temperature, top_k, .. } = *divergence;
    let kind = sum_kind(student.kind());
    let log_softmax = |x: &Tensor| (x.to_kind(kind) / temperature).log_softmax(-1, kind);
    let (log_p, log_q) = (log_softmax(teacher), log_softmax(student));
    let sum = |x: Tensor| x.sum_dim_intlist(-1, true, kind) * (temperature * temperature);
    if top_k == 0 || top_k >= log_p.size()[1] {
        let (p, mut log_p, mut log_q) = (log_p.exp(), log_p, log_q);
        let losses = sum(log_p.g_sub_(&log_q).g_mul_(&p));
        let gradient = || log_q.exp_().g_sub_(&p).g_mul_scalar_(temperature);
        return (losses, has_gradient.then(gradient));
    }
    let (log_p_of, ids) = log_p.topk(top_k, -1, true, false);
    let log_rest = |x: &Tensor| x.scatter_value(-1, &ids, f64::NEG_INFINITY).logsumexp(-1, true);
    let (log_p_rest, log_q_rest) = (log_rest(&log_p), log_rest(&log_q));
    let p_of = log_p_of.exp();
    let one_by_one = &p_of * (&log_p_of - log_q.gather(-1, &ids, false));
    let rest = log_p_rest.exp() * (&log_p_rest - &log_q_rest);
    let losses = sum(Tensor::cat(&[one_by_one, rest], -1));
    let gradient = has_gradient.then(|| {
        let p = (&log_q + (log_p_rest - log_q_rest)).exp().scatter(-1, &ids, &p_of);
        (log_q.exp() - p) * temperature
    });
    (losses, gradient)
}
