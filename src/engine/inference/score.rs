//! The probabilities that a model gives to tokens, and the gradient of their mean in the initial states.

use tch::{Device, Kind, Tensor};

use crate::kernels::KernelError;
use crate::model::{Model, TimeState, dtype_of};
use crate::train::{BatchTensors, Chunks, LossOptions, LossScaler, Pass, StepModel, StepOptions};

/// Positions with logits in memory at a time.
const HEAD_CHUNK: i64 = 256;

const OPTIONS: StepOptions = StepOptions {
    head_chunk: HEAD_CHUNK,
    grad_cp: false,
    chunks: Some(Chunks { tokens: LossOptions::CHUNK_CTX, room: 0 }),
    l2wrap: 0.0,
    gradient_clip_val: 0.0,
};

/// How the model reads a sequence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum ReadMode {
    /// All tokens in one forward pass, those of a long sequence in several.
    Whole,
    /// One token at a time with the carried state.
    Recurrent,
}

/// Scores of a sequence of n tokens, float32 (float64 for a float64 model), on the model's device.
#[derive(Debug)]
pub struct Score {
    /// Log-probability of each next token, in nats: (n - 1).
    pub logprobs: Tensor,
    /// The logits after the last token: (V).
    pub last_logits: Tensor,
}

/// Scores `ids` from the initial state `state`.
///
/// # Errors
/// A forward pass that fails.
///
/// # Panics
/// When `ids` is empty or has an id outside the vocabulary, or `state` has the sizes of another model.
pub fn score(
    model: &Model,
    state: &TimeState,
    ids: &[i64],
    reading: ReadMode,
) -> Result<Score, KernelError> {
    assert!(!ids.is_empty(), "a sequence has at least one token");
    let _guard = tch::no_grad_guard();
    let kind = exact_kind(model);
    let ids = Tensor::from_slice(ids).unsqueeze(0); // (1, T)
    let positions = ids.size()[1];
    let next = ids.get(0).narrow(0, 1, positions - 1).to_device(model.device());
    let step = match reading {
        ReadMode::Whole => LossOptions::CHUNK_CTX,
        ReadMode::Recurrent => 1,
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

/// The dtype of states and of everything after the logits.
pub fn exact_kind(model: &Model) -> Kind {
    match model.kind() {
        Kind::Double => Kind::Double,
        _ => Kind::Float,
    }
}

/// Mean negative log-likelihood in nats over the next tokens of all sequences, summed in float64; `None` when no sequence
/// has a next token.
pub fn mean_nll<'a>(scores: impl IntoIterator<Item = &'a Score>) -> Option<f64> {
    let (mut sum, mut count) = (0.0, 0);
    for Score { logprobs, .. } in scores {
        sum -= logprobs.sum(Kind::Double).double_value(&[]);
        count += logprobs.numel();
    }
    (count > 0).then(|| sum / count as f64)
}

/// Scores of several sequences, and the gradient of their [`mean_nll`] in the initial states of every layer: WKV states
/// (H, N, N) indexed `[head, value, key]`, and shift states where `state` has them. The gradient is zero in layers without time mix, and everywhere when no sequence has a
/// next token.
///
/// A float16 model differentiates a scaled loss, as in training: without, small gradients become zero.
///
/// # Errors and panics
/// Those of [`score`].
pub fn score_with_gradient(
    model: &Model,
    state: &TimeState,
    sequences: &[Vec<i64>],
) -> Result<(Vec<Score>, TimeState), KernelError> {
    let scores = sequences.iter().map(|ids| score(model, state, ids, ReadMode::Whole));
    let scores = scores.collect::<Result<_, _>>()?;
    let mut scaler = LossScaler::for_dtype(dtype_of(model.kind()));
    loop {
        let loss_scale = scaler.as_ref().map_or(1.0, LossScaler::scale);
        let gradient = gradient(model, state, sequences, loss_scale)?;
        let is_finite =
            gradient.tensors().all(|(_, _, s)| s.isfinite().all().int64_value(&[]) != 0);
        // An overflow that remains without a factor belongs to the model.
        if is_finite || !scaler.as_mut().is_some_and(LossScaler::shrink) {
            return Ok((scores, gradient));
        }
    }
}

/// The gradient of [`score_with_gradient`], computed from the loss times `loss_scale`.
fn gradient(
    model: &Model,
    state: &TimeState,
    sequences: &[Vec<i64>],
    loss_scale: f64,
) -> Result<TimeState, KernelError> {
    let leaves = state.map(|s| s.detach().copy().set_requires_grad(true));
    let count: usize = sequences.iter().map(|ids| ids.len() - 1).sum();
    for ids in sequences.iter().filter(|ids| ids.len() > 1) {
        let batch = next_tokens(ids, model.device());
        let (start, scale) = (&model.start(&leaves, 1), loss_scale / count as f64);
        let (weights, options) = (None, &OPTIONS);
        let model = StepModel::without_dropout(model);
        let pass = Pass { model, start, batch: &batch, weights, teacher: None, options, scale };
        let _loss = pass.backward()?;
    }
    Ok(leaves.map(|s| match s.grad() {
        grad if grad.defined() => grad / loss_scale,
        _ => s.detach().zeros_like(),
    }))
}

/// A sequence as a training row with every next token as a target.
fn next_tokens(ids: &[i64], device: Device) -> BatchTensors {
    let known = ids.len() - 1;
    BatchTensors {
        restarts: None,
        inputs: Tensor::from_slice(&ids[..known]).unsqueeze(0).to_device(device),
        target_positions: Tensor::arange(known as i64, (Kind::Int64, device)),
        targets: Tensor::from_slice(&ids[1..]).to_device(device),
    }
}
