//! The loss of every document before and after training.

use sha2::{Digest as _, Sha256};
use statetune_core::digest::hex;

use super::{Loaded, RunError};
use crate::kernels::KernelError;
use crate::score::{Reading, score};
use statetune_core::data::Tokenizer;
use statetune_core::inspect::{Item, Sample, read};
use statetune_core::plan::Plan;
use statetune_core::runs::{Ledger, LedgerLine};

/// The ledger of all documents of `plan` for what has the sha256 `learned`, without losses.
///
/// # Errors
/// A source that cannot be read.
pub fn ledger_of_documents(
    plan: &Plan,
    tokenizer: &Tokenizer,
    learned: String,
) -> Result<Ledger, RunError> {
    let fit = fit(plan);
    let mut digest = Sha256::new();
    let mut lines = Vec::new();
    for_each_sample(plan, tokenizer, &mut |sample| {
        let is_learned: Vec<bool> = (0..sample.ids.len()).map(|at| sample.is_learned(at)).collect();
        digest.update((sample.ids.len() as u64).to_le_bytes());
        for (id, counts) in sample.ids.iter().zip(&is_learned) {
            digest.update((u64::from(*id) << 1 | u64::from(*counts)).to_le_bytes());
        }
        lines.push(LedgerLine {
            document: sample.origin.to_string(),
            tokens: sample.ids.len() as u64,
            learned_tokens: is_learned.iter().take(fit).filter(|is| **is).count() as u64,
            before: None,
            after: None,
        });
    })?;
    let documents = hex(digest.finalize());
    Ok(Ledger::new(learned, documents, lines))
}

/// The mean loss (nats) of the learned tokens of every document of `plan` that fit into `ctx_len`, in the order of
/// the sources; `None` where nothing is learned.
///
/// # Errors
/// A source that cannot be read, and what the recurrence refuses.
pub fn losses(
    plan: &Plan,
    tokenizer: &Tokenizer,
    loaded: &Loaded,
) -> Result<Vec<Option<f64>>, RunError> {
    let mut losses = Vec::new();
    let mut failed = None;
    for_each_sample(plan, tokenizer, &mut |sample| {
        if failed.is_none() {
            match mean_loss(loaded, &sample, fit(plan)) {
                Ok(loss) => losses.push(loss),
                Err(error) => failed = Some(error),
            }
        }
    })?;
    failed.map_or(Ok(losses), |error| Err(error.into()))
}

/// The mean loss (nats) of the learned tokens among the first `fit` ones; `None` where none is learned.
///
/// # Errors
/// What the recurrence refuses.
pub fn mean_loss(loaded: &Loaded, sample: &Sample, fit: usize) -> Result<Option<f64>, KernelError> {
    let ids: Vec<i64> = sample.ids.iter().take(fit).map(|&id| i64::from(id)).collect();
    let learned: Vec<i64> =
        (1..ids.len()).filter(|&at| sample.is_learned(at)).map(|at| at as i64 - 1).collect();
    if learned.is_empty() {
        return Ok(None);
    }
    let scored = score(&loaded.model, &loaded.state, &ids, Reading::Whole)?;
    let sum: f64 = learned.iter().map(|&at| scored.logprobs.double_value(&[at])).sum();
    Ok(Some(-sum / learned.len() as f64))
}

/// Tokens of a document that are read: `ctx_len` inputs, and what the last of them predicts.
pub fn fit(plan: &Plan) -> usize {
    plan.train.ctx_len.as_usize() + 1
}

fn for_each_sample(
    plan: &Plan,
    tokenizer: &Tokenizer,
    each: &mut dyn FnMut(Sample),
) -> Result<(), RunError> {
    read(plan, tokenizer, &mut |item| {
        if let Item::Sample(sample) = item {
            each(sample);
        }
    })?;
    Ok(())
}
