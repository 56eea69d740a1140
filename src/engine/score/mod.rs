//! What a model thinks of given tokens: the probability of each next one, and how the mean follows the
//! initial states.

mod tokens;

use tch::{Device, Kind, Tensor};

use crate::kernels::KernelError;
use crate::model::{Model, TimeState};
use crate::train::{BatchTensors, CrossEntropy, Pass, StepOptions};

pub use tokens::{Tokens, TokensError};

/// Positions whose logits exist at a time.
const HEAD_CHUNK: i64 = 256;

/// How the gradient is computed.
const OPTIONS: StepOptions =
    StepOptions { head_chunk: HEAD_CHUNK, grad_cp: false, l2wrap: 0.0, gradient_clip_val: 0.0 };

/// How the model reads a sequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reading {
    /// All tokens in one forward pass.
    Whole,
    /// One token at a time with the carried state.
    Recurrent,
}

/// What a model thinks of one sequence of n tokens, float32 (float64 from a float64 model), on its device.
#[derive(Debug)]
pub struct Score {
    /// Natural logarithm of the probability of each next token: (n - 1).
    pub logprobs: Tensor,
    /// The logits after the last token: (V).
    pub last_logits: Tensor,
}

/// Scores `ids`, which start from `state`. The logits of a part of the positions exist at a time.
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
    let _guard = tch::no_grad_guard();
    let kind = exact_kind(model);
    let ids = Tensor::from_slice(ids).unsqueeze(0).to_device(model.device()); // (1, T)
    let positions = ids.size()[1];
    let next = ids.get(0).narrow(0, 1, positions - 1);
    let step = match reading {
        Reading::Whole => positions,
        Reading::Recurrent => 1,
    };
    let mut carried = model.start(state, 1);
    let mut logprobs = Vec::new();
    let mut last_logits = Tensor::new();
    let mut first = 0;
    for part in ids.split(step, 1) {
        let (hidden, after) = model.forward(&part, &carried, None)?;
        carried = after;
        let rows = part.size()[1];
        for at in (0..rows).step_by(HEAD_CHUNK as usize) {
            let len = HEAD_CHUNK.min(rows - at);
            let here = Tensor::arange_start(at, at + len, (Kind::Int64, model.device()));
            let logits = model.logits(&hidden.at(&here)).to_kind(kind); // (len, V)
            let known = len.min(positions - 1 - first - at); // the last token has no next one
            let next = next.narrow(0, first + at, known).unsqueeze(-1);
            let logits_known = logits.narrow(0, 0, known);
            logprobs.push(logits_known.log_softmax(-1, kind).gather(-1, &next, false));
            last_logits = logits.get(len - 1);
        }
        first += rows;
    }
    Ok(Score { logprobs: Tensor::cat(&logprobs, 0).squeeze_dim(-1), last_logits })
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
        scores.push(score(model, state, ids, Reading::Whole)?);
        if ids.len() > 1 {
            let batch = next_tokens(ids, model.device());
            let (start, scale) = (&model.start(&leaves, 1), 1.0 / count as f64);
            let (objective, options) = (&CrossEntropy, &OPTIONS);
            Pass { model, start, batch: &batch, objective, options, scale }.backward()?;
        }
    }
    let gradient = leaves.0.iter().map(|s| match s.grad() {
        grad if grad.defined() => grad,
        _ => s.detach().zeros_like(),
    });
    Ok((scores, TimeState(gradient.collect())))
}

/// A sequence as one row of a batch with every next token as a target.
fn next_tokens(ids: &[i64], device: Device) -> BatchTensors {
    let known = ids.len() - 1;
    BatchTensors {
        restarts: None,
        inputs: Tensor::from_slice(&ids[..known]).unsqueeze(0).to_device(device),
        target_positions: Tensor::arange(known as i64, (Kind::Int64, device)),
        targets: Tensor::from_slice(&ids[1..]).to_device(device),
    }
}
