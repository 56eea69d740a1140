//! How likely given tokens are after others, for many rows at once.

use std::iter;
use std::ops::ControlFlow::{self, Continue};

use tch::{Device, Kind, Tensor};

use super::score::exact_kind;
use crate::kernels::KernelError;
use crate::model::{Model, TimeState};
use crate::train::{Rounds, TrainError};

/// Tokens of a row in one forward pass, and of all rows together, at most.
const PIECE: usize = 512;
const BATCH: usize = 2048;
/// Positions with logits in memory at a time.
const HEAD_CHUNK: usize = 256;

/// Tokens, of which those from `first` on are scored.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ScoredRow {
    /// At least two.
    pub ids: Vec<u32>,
    /// At least 1: nothing says how likely the first token is.
    pub first: usize,
}

/// What the model says of the scored tokens of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowScore {
    /// Sum of their log-probabilities, in nats.
    pub logprob: f64,
    /// Whether each of them is the most likely one.
    pub is_greedy: bool,
}

/// Scores rows, in batches of about the same length and of bounded memory; `None` when `rounds`, which share the batches with the
/// rows as units of work, break off. A model in bfloat16 rounds by batches: the same rows give the same bits, on any number of devices.
///
/// # Errors
/// A forward pass that fails, or a device that is gone.
///
/// # Panics
/// When a row has no token before its first scored one, or none that is scored.
pub fn score_rows(
    model: &Model,
    state: &TimeState,
    rows: &[ScoredRow],
    rounds: &mut Rounds<'_>,
) -> Result<Option<Vec<RowScore>>, TrainError> {
    let _guard = tch::no_grad_guard();
    let mut scores = vec![RowScore { logprob: 0.0, is_greedy: true }; rows.len()];
    let mut order: Vec<usize> = (0..rows.len()).collect();
    order.sort_by_key(|&at| rows[at].ids.len());
    let mut rest = &order[..];
    let batches = iter::from_fn(|| {
        let (batch, after) = rest.split_at(batch_of(rest, rows));
        rest = after;
        (!batch.is_empty()).then_some(Ok((batch.len() as u64, batch)))
    });
    let compute = |batch: &&[usize], _: &mut dyn FnMut() -> ControlFlow<()>| {
        let scores = score_batch(model, state, batch, rows)?;
        let numbers = scores.iter().flat_map(|one| [one.logprob, one.is_greedy.into()]);
        Ok::<_, TrainError>(Continue(numbers.collect::<Vec<f64>>()))
    };
    let take = |batch: &[usize], numbers: Vec<f64>| {
        for (&row, &[logprob, is_greedy]) in batch.iter().zip(numbers.as_chunks().0) {
            scores[row] = RowScore { logprob, is_greedy: is_greedy > 0.0 };
        }
    };
    let done = rounds.each(batches, compute, take)?;
    Ok(done.is_continue().then_some(scores))
}

/// How many of the rows `order`, the short ones first, are a batch.
fn batch_of(order: &[usize], rows: &[ScoredRow]) -> usize {
    let fits = |count: &usize| rows[order[count - 1]].ids.len().min(PIECE) * count <= BATCH;
    (1..=order.len()).take_while(fits).last().unwrap_or(1).min(order.len())
}

/// The scores of the rows `batch`, in their order.
fn score_batch(
    model: &Model,
    state: &TimeState,
    batch: &[usize],
    rows: &[ScoredRow],
) -> Result<Vec<RowScore>, KernelError> {
    let mut scores = vec![RowScore { logprob: 0.0, is_greedy: true }; batch.len()];
    // The last token of a row is read by nothing.
    let inputs = batch.iter().map(|&row| rows[row].ids.len() - 1).max().unwrap_or(0);
    let mut carried = model.start(state, batch.len() as i64);
    for from in (0..inputs).step_by(PIECE) {
        let to = inputs.min(from + PIECE);
        let id = |row: usize, at: usize| rows[row].ids.get(at).copied().unwrap_or(0);
        let ids: Vec<i64> = batch
            .iter()
            .flat_map(|&row| (from..to).map(move |at| i64::from(id(row, at))))
            .collect();
        let ids = Tensor::from_slice(&ids).view([batch.len() as i64, -1]);
        let (hidden, after) = model.forward(&ids, &carried, None)?;
        carried = after;
        // Place of the row in the batch, position of the input in this piece, and the token that follows it.
        let mut targets = Vec::new();
        for (at, &row) in batch.iter().enumerate() {
            let ScoredRow { ids, first } = &rows[row];
            assert!(*first > 0 && *first < ids.len(), "a row has a token before the scored ones");
            let next = (*first).max(from + 1)..ids.len().min(to + 1);
            targets.extend(next.map(|next| (at, at * (to - from) + next - 1 - from, ids[next])));
        }
        for targets in targets.chunks(HEAD_CHUNK) {
            let device = model.device();
            let column = |values: Vec<i64>| Tensor::from_slice(&values).to_device(device);
            let positions =
                column(targets.iter().map(|(_, position, _)| *position as i64).collect());
            let next = column(targets.iter().map(|(.., id)| i64::from(*id)).collect());
            let logits = model.logits(&hidden.at(&positions)).to_kind(exact_kind(model)); // (n, V)
            let logprobs = logits.log_softmax(-1, exact_kind(model));
            let logprobs = logprobs.gather(-1, &next.unsqueeze(-1), false).squeeze_dim(-1);
            let greedy = logits.argmax(-1, false).eq_tensor(&next);
            let logprobs = to_vec::<f64>(&logprobs, Kind::Double);
            let greedy = to_vec::<i64>(&greedy, Kind::Int64);
            for ((at, ..), (logprob, greedy)) in
                targets.iter().zip(logprobs.into_iter().zip(greedy))
            {
                scores[*at].logprob += logprob;
                scores[*at].is_greedy &= greedy == 1;
            }
        }
    }
    Ok(scores)
}

fn to_vec<T: tch::kind::Element>(tensor: &Tensor, kind: Kind) -> Vec<T>
where
    Vec<T>: for<'a> TryFrom<&'a Tensor, Error = tch::TchError>,
{
    let tensor = tensor.to_kind(kind).to_device(Device::Cpu).contiguous();
    Vec::<T>::try_from(&tensor).expect("a vector of this kind")
}
