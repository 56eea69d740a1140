//! The cross-entropy of logits, and its gradient in their place.

use std::ffi::{c_char, c_int};
use std::ptr::{null, null_mut};

use statetune_core::arch::LOSS_PART_LEN;
use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::super::autograd::call_shim;
use super::{KernelError, Op, StageLaunch, place, wide};

unsafe extern "C" {
    fn statetune_head_loss(
        logits: *const C_tensor,
        targets: *const C_tensor,
        weights: *const C_tensor,
        gradient: c_int,
        scale: f64,
        l2wrap: f64,
        start: Option<StageLaunch>,
        losses: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// Which gradient takes the place of the logits.
#[derive(Clone, Copy, Debug)]
pub struct LossGradient {
    /// The factor on the loss.
    pub scale: f64,
    /// f adds `f m` times `scale` to the gradient of each position's largest logit m.
    pub l2wrap: f64,
}

/// The cross-entropies (n) float64 of n positions, in nats: of `logits` (n, V) and `targets` (n) int64, times `weights`
/// (n) float32. With a `gradient`, it takes the place of the logits; their values are used up without one too.
///
/// Softmax and loss are computed in float32 (float64 for float64 logits). Records no gradients.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub fn cross_entropy(
    op: Op,
    logits: &mut Tensor,
    targets: &Tensor,
    weights: Option<&Tensor>,
    gradient: Option<LossGradient>,
) -> Result<Tensor, KernelError> {
    let Some(place) = place(op, logits).filter(|_| logits.is_contiguous()) else {
        return Ok(plain(logits, targets, weights, gradient));
    };
    let (targets, weights) = (targets.contiguous(), weights.map(Tensor::contiguous));
    let weights = weights.as_ref().map_or(null(), Tensor::as_ptr);
    let LossGradient { scale, l2wrap } =
        gradient.unwrap_or(LossGradient { scale: 1.0, l2wrap: 0.0 });
    let mut losses: *mut C_tensor = null_mut();
    call_shim(|message, len| {
        // SAFETY: the tensors outlive the call; the logits are contiguous, where the kernels are, in a dtype of theirs,
        // and nothing else uses them.
        unsafe {
            statetune_head_loss(
                logits.as_ptr(),
                targets.as_ptr(),
                weights,
                gradient.is_some().into(),
                scale,
                l2wrap,
                place.start(),
                &mut losses,
                message,
                len,
            )
        }
    })?;
    // SAFETY: on success the pointer is a tensor that the shim allocated for the caller to own.
    Ok(unsafe { Tensor::from_ptr(losses) })
}

fn plain(
    logits: &Tensor,
    targets: &Tensor,
    weights: Option<&Tensor>,
    gradient: Option<LossGradient>,
) -> Tensor {
    let _guard = tch::no_grad_guard();
    let split = |x: &Tensor| x.split(LOSS_PART_LEN, 0).into_iter();
    let mut weights = weights.map(split);
    let mut all = Vec::new();
    for (mut logits, targets) in split(logits).zip(split(targets)) {
        let targets = targets.unsqueeze(-1);
        let weights = weights.as_mut().and_then(Iterator::next).map(|w| w.unsqueeze(-1));
        let (mut softmax, mut losses) = softmax(&logits, &targets);
        if let Some(LossGradient { scale, l2wrap }) = gradient {
            let mut dz = softmax.g_mul_scalar_(scale);
            let _ = dz.scatter_add_(-1, &targets, &losses.full_like(-scale));
            if let Some(weights) = &weights {
                let _ = dz.g_mul_(weights);
            }
            if l2wrap > 0.0 {
                let (largest, largest_at) = logits.max_dim(-1, true);
                let pull = largest.to_kind(dz.kind()) * (l2wrap * scale);
                let _ = dz.scatter_add_(-1, &largest_at, &pull);
            }
            logits.copy_(&dz);
        }
        if let Some(weights) = weights {
            losses *= weights;
        }
        all.push(losses);
    }
    Tensor::cat(&all, 0).squeeze_dim(-1).to_kind(Kind::Double)
}

/// Softmax (n, V) of the logits of n positions, and the cross-entropy (n, 1) there; `targets` is (n, 1).
///
/// The largest probability of a position is `1 / sum exp(z - max z)`, so its logarithm gives the loss without
/// that of the target's probability, which may be too small for its dtype.
fn softmax(logits: &Tensor, targets: &Tensor) -> (Tensor, Tensor) {
    let kind = wide(&logits.narrow(0, 0, 0)).kind();
    let softmax = logits.softmax(-1, kind);
    let largest = logits.amax([-1], true).to_kind(kind);
    let of_target = logits.gather(-1, targets, false).to_kind(kind);
    let losses = largest - of_target - softmax.amax([-1], true).log();
    (softmax, losses)
}
