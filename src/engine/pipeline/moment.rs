//! What a run had learned at a moment of it, as a product.

use crate::tensors::device;
use crate::train::restore_values;
use std::path::{Path, PathBuf};

use super::ending::export;
use super::passport::passport;
use super::tuned::start as begin_tuning;
use super::{CHARACTERS, RunError, load_tokenizer, load_weights};
use crate::optim::Adam;
use statetune_core::data::Tokenizer;
use statetune_core::diagnostic::msg;
use statetune_core::plan::{Plan, TokenizerPlan};
use statetune_core::runs::{Checkpoint, Lock, Moment, ReadRunError, StoredRun};

/// The `.pth` of what the run at `run`, whose plan this is, had learned at a moment. Mini-epochs have one; for a
/// checkpoint within a mini-epoch it is made from the weights and the checkpoint, and kept in `export/`.
///
/// # Errors
/// A checkpoint that is not there or cannot be read, weights that cannot be read, and a folder that cannot be
/// written to.
pub fn product_at(plan: &Plan, run: &Path, moment: Moment) -> Result<PathBuf, RunError> {
    let folder = run.join(StoredRun::EXPORT);
    let file = |stem: &str| folder.join(format!("{stem}.pth"));
    if let Moment::Epoch(epoch) = moment
        && file(&epoch_stem(epoch)).exists()
    {
        return Ok(file(&epoch_stem(epoch))); // also where the checkpoint is gone
    }
    let checkpoint = moment.checkpoint(run).map_err(RunError::Resume)?;
    let stem = stem(&checkpoint);
    if !file(&stem).exists() {
        write(plan, run, &checkpoint, &stem)?;
    }
    Ok(file(&stem))
}

/// The name of the product of what was learned when a mini-epoch, counted from 0, was done.
pub(super) fn epoch_stem(epoch: u64) -> String {
    format!("rwkv-{epoch}")
}

fn stem(checkpoint: &Checkpoint) -> String {
    match checkpoint.is_border() {
        true => epoch_stem(checkpoint.place.epochs.saturating_sub(1)),
        false => format!("rwkv-step-{}", checkpoint.place.position.steps),
    }
}

fn write(plan: &Plan, run: &Path, checkpoint: &Checkpoint, stem: &str) -> Result<(), RunError> {
    let tokenizer = match plan.model.tokenizer {
        TokenizerPlan::Characters => Tokenizer::load(&run.join(CHARACTERS))?,
        _ => load_tokenizer(plan)?,
    };
    let Some(lock) = Lock::load(run) else {
        let path = run.join(Lock::FILE);
        let error = ReadRunError::Damaged { path, problem: msg!(FILE_CANNOT_BE_READ) };
        return Err(RunError::Resume(Box::new(error.diagnostic())));
    };
    let weights = load_weights(plan, &tokenizer)?.on(device(plan.train.device));
    let shape = *weights.shape();
    let method = begin_tuning(plan, weights, &tokenizer)?;
    let mut adam = Adam::new(method.parameters(), plan.train.adam);
    restore_values(&checkpoint.path, &mut adam)?;
    let passport = passport(plan, run, &lock, &shape, checkpoint.place.epochs);
    export(plan, run, method.as_ref(), stem, &passport)?;
    Ok(())
}
