//! What a model thinks of given tokens: the probability of each next one, and how the mean follows the
//! initial states.

mod tokens;

use tch::{Kind, Tensor};

use crate::kernels::KernelError;
use crate::model::{Model, TimeState};

pub use tokens::{Tokens, TokensError};

/// How the model reads a sequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading {
    /// All tokens in one forward pass.
    Whole,
    /// One token at a time with the carried state.
    Recurrent,
}

/// What a model thinks of one sequence of n tokens, float32 (float64 from a float64 model).
#[derive(Debug)]
pub struct Score {
    /// Natural logarithm of the probability of each next token: (n - 1).
    pub logprobs: Tensor,
    /// The logits after the last token: (V).
    pub last_logits: Tensor,
}

/// Scores `ids`, which start from `state`. Differentiable in the state.
///
/// # Errors
/// What the recurrence refuses.
///
/// # Panics
/// When `ids` is empty or has an id that the model does not know, or `state` is that of a model with
/// other sizes.
pub fn score(
    model: &Model,
    state: &TimeState,
    ids: &[i64],
    reading: Reading,
) -> Result<Score, KernelError> {
    assert!(!ids.is_empty(), "a sequence has at least one token");
    let kind = exact_kind(model);
    let ids = Tensor::from_slice(ids).unsqueeze(0).to_device(model.head().device()); // (1, T)
    let positions = ids.size()[1];
    let step = match reading {
        Reading::Whole => positions,
        Reading::Recurrent => 1,
    };
    let mut carried = model.start(state, 1);
    let mut logits = Vec::new();
    for part in ids.split(step, 1) {
        let (hidden, next) = model.forward(&part, &carried, None)?;
        logits.push(model.logits(&hidden).squeeze_dim(0).to_kind(kind)); // (part's T, V)
        carried = next;
    }
    let logits = Tensor::cat(&logits, 0); // (T, V)
    let next = ids.get(0).narrow(0, 1, positions - 1);
    let logprobs = logits
        .narrow(0, 0, positions - 1)
        .log_softmax(-1, kind)
        .gather(-1, &next.unsqueeze(-1), false)
        .squeeze_dim(-1);
    Ok(Score { logprobs, last_logits: logits.get(positions - 1) })
}

/// The dtype of states, and of everything after the logits.
pub fn exact_kind(model: &Model) -> Kind {
    match model.kind() {
        Kind::Double => Kind::Double,
        _ => Kind::Float,
    }
}

/// Mean negative log-likelihood in nats over the next tokens of all sequences, summed in float64; none
/// when no sequence has a next token.
pub fn mean_nll<'a>(scores: impl IntoIterator<Item = &'a Score>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for Score { logprobs, .. } in scores {
        sum -= logprobs.sum(Kind::Double).double_value(&[]);
        count += logprobs.numel();
    }
    (count > 0).then(|| sum / count as f64)
}

/// Scores of several sequences, and the gradient of their [`mean_nll`] with respect to the initial state
/// of every layer: (H, N, N) indexed `[head, value, key]`. It is zero in a layer that has no time mix,
/// and in all of them when no sequence has a next token.
///
/// # Errors and panics
/// Those of [`score`].
pub fn score_with_gradient(
    model: &Model,
    state: &TimeState,
    sequences: &[Vec<i64>],
) -> Result<(Vec<Score>, TimeState), KernelError> {
    let leaves = state.0.iter().map(|s| s.detach().copy().set_requires_grad(true));
    let leaves = TimeState(leaves.collect());
    let count: usize = sequences.iter().map(|ids| ids.len() - 1).sum();
    let mut scores = Vec::with_capacity(sequences.len());
    for ids in sequences {
        let Score { logprobs, last_logits } = score(model, &leaves, ids, Reading::Whole)?;
        if logprobs.numel() > 0 && logprobs.requires_grad() {
            (logprobs.sum(Kind::Double) / -(count as f64)).backward();
        }
        scores.push(Score { logprobs: logprobs.detach(), last_logits: last_logits.detach() });
    }
    let gradient = leaves.0.iter().map(|s| match s.grad() {
        grad if grad.defined() => grad,
        _ => s.detach().zeros_like(),
    });
    Ok((scores, TimeState(gradient.collect())))
}
