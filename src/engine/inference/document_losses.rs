//! The loss of every document, before and after training.

use sha2::{Digest as _, Sha256};
use statetune_core::data::Tokenizer;
use statetune_core::digest::hex;
use statetune_core::look::inspect::{Item, Sample, read};
use statetune_core::plan::Plan;
use statetune_core::records::{Ledger, LedgerLine};

use super::{LoadedModel, ReadMode, score};
use crate::RunError;
use crate::kernels::KernelError;

/// The ledger of all documents of `plan` for the exported file with the sha256 `learned`, without losses.
///
/// # Errors
/// A source that cannot be read.
pub fn ledger_of_documents(
    plan: &Plan,
    tokenizer: &Tokenizer,
    learned: String,
) -> Result<Ledger, RunError> {
    let limit = max_tokens(plan);
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
            learned_tokens: is_learned.iter().take(limit).filter(|is| **is).count() as u64,
            before: None,
            after: None,
        });
    })?;
    let documents = hex(digest.finalize());
    Ok(Ledger::new(learned, documents, lines))
}

/// The mean loss of each document of `plan` over its target tokens within `ctx_len`, in nats, in the order of the
/// sources; `None` for a document without target tokens.
///
/// # Errors
/// A source that cannot be read, or a forward pass that fails.
pub fn document_losses(
    plan: &Plan,
    tokenizer: &Tokenizer,
    loaded: &LoadedModel,
) -> Result<Vec<Option<f64>>, RunError> {
    let mut losses = Vec::new();
    let mut failed = None;
    for_each_sample(plan, tokenizer, &mut |sample| {
        if failed.is_none() {
            match mean_loss(loaded, &sample, max_tokens(plan)) {
                Ok(loss) => losses.push(loss),
                Err(error) => failed = Some(error),
            }
        }
    })?;
    failed.map_or(Ok(losses), |error| Err(error.into()))
}

/// The mean loss over the target tokens among the first `limit` tokens, in nats; `None` without target tokens.
///
/// # Errors
/// A forward pass that fails.
pub fn mean_loss(
    loaded: &LoadedModel,
    sample: &Sample,
    limit: usize,
) -> Result<Option<f64>, KernelError> {
    let ids: Vec<i64> = sample.ids.iter().take(limit).map(|&id| i64::from(id)).collect();
    let learned: Vec<i64> =
        (1..ids.len()).filter(|&at| sample.is_learned(at)).map(|at| at as i64 - 1).collect();
    if learned.is_empty() {
        return Ok(None);
    }
    let scored = score(&loaded.model, &loaded.state, &ids, ReadMode::Whole)?;
    let sum: f64 = learned.iter().map(|&at| scored.logprobs.double_value(&[at])).sum();
    Ok(Some(-sum / learned.len() as f64))
}

/// Tokens of a document to read at most: `ctx_len` inputs and the target of the last input.
pub fn max_tokens(plan: &Plan) -> usize {
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
