//! What a run saves: checkpoints, and exported files with their passports.

use std::path::{Path, PathBuf};

use statetune_core::data::{Mask, Tokenizer};
use statetune_core::diagnostic::msg;
use statetune_core::digest::sha256_hex;
use statetune_core::plan::{ModelSource, PeftPlan, Plan, TokenizerPlan};
use statetune_core::records::{
    Chain, Checkpoint, CheckpointRecord, Event, Lock, ReadRunError, RunDir, best_checkpoint,
    dir_name,
};
use statetune_core::store::CheckpointRef;

use super::input_records::CHARACTERS;
use super::job::Job;
use super::prepare::{load_tokenizer, load_weights, new_method};
use super::record::Events;
use super::share::{Order, give};
use crate::RunError;
use crate::exports::{BaseWeights, ExportKind, ExportOptions, ModelSizes, Passport};
use crate::model::Shape;
use crate::optim::Adam;
use crate::peft::Method;
use crate::train::{Trainer, restore_values, save_checkpoint};

/// Saves checkpoints and exported files of a run.
#[derive(Default)]
pub(super) struct Saver {
    /// Steps done at the newest checkpoint of this process.
    saved_at: Option<u64>,
    /// Steps done at the newest export.
    exported_at: Option<u64>,
    /// The files of the newest export.
    pub(super) exported: Vec<PathBuf>,
}

impl Saver {
    /// Whether this process saved a checkpoint after `steps` steps.
    pub(super) fn has_saved(&self, steps: u64) -> bool {
        self.saved_at == Some(steps)
    }

    /// Writes a checkpoint.
    ///
    /// # Errors
    /// A mapped input that changed, or a file that cannot be written.
    pub(super) fn save(
        &mut self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        name: &str,
        trainer: &Trainer<'_>,
        place: &CheckpointRecord,
    ) -> Result<(), RunError> {
        job.mapped.check(Some(job.lock))?;
        events.sync()?;
        job.run.sync(Chain::FILE)?;
        if trainer.adam.slices().is_some() {
            give(trainer.devices, &Order::GiveMoments)?;
        }
        save_checkpoint(job.run, name, trainer, place)?;
        let steps = place.position.steps;
        self.saved_at = Some(steps);
        Ok(events.emit(Event::Save { checkpoint: name.to_string(), steps })?)
    }

    /// Exports the trained values after `steps` steps under the name of the mini-epoch, once.
    ///
    /// # Errors
    /// A mapped input that changed, or a file that cannot be written.
    pub(super) fn export(&mut self, job: &Job<'_>, steps: u64) -> Result<(), RunError> {
        if self.exported_at == Some(steps) {
            return Ok(());
        }
        job.mapped.check(Some(job.lock))?;
        let epoch = steps.saturating_sub(1) / job.options.epoch_steps;
        let run = job.run.path();
        let passport = passport(&job.plan, run, job.lock, &job.shape, epoch + 1);
        self.exported = export(&job.plan, run, job.method, &epoch_stem(epoch), &passport)?;
        self.exported_at = Some(steps);
        Ok(())
    }

    /// Exports the best checkpoint as `rwkv-best` if it is older than `steps` steps. The trainer then has its values.
    ///
    /// # Errors
    /// A checkpoint that cannot be read, or a file that cannot be written.
    pub(super) fn export_best(
        &mut self,
        job: &Job<'_>,
        trainer: &mut Trainer<'_>,
        steps: u64,
    ) -> Result<(), RunError> {
        let run = job.run.path();
        let keeps_best = job.plan.records.checkpoint.keep_best;
        let best = if keeps_best { best_checkpoint(run)? } else { None };
        if let Some(best) = best.filter(|best| best.record.position.steps < steps) {
            restore_values(&best.path, &mut trainer.adam)?;
            let passport = passport(&job.plan, run, job.lock, &job.shape, best.record.epochs);
            self.exported.extend(export(&job.plan, run, job.method, "rwkv-best", &passport)?);
        }
        Ok(())
    }
}

/// The exported `.pth` of the run at `run`, with this plan, at a moment. Mini-epochs have an exported file; for a checkpoint
/// within a mini-epoch the file is made from weights and checkpoint, and kept in `export/`.
///
/// # Errors
/// A missing or unreadable checkpoint, unreadable weights, or a folder that cannot be written.
pub fn export_at(plan: &Plan, run: &Path, moment: CheckpointRef) -> Result<PathBuf, RunError> {
    let folder = run.join(RunDir::EXPORT);
    let file = |stem: &str| folder.join(format!("{stem}.pth"));
    if let CheckpointRef::Epoch(epoch) = moment
        && file(&epoch_stem(epoch)).exists()
    {
        return Ok(file(&epoch_stem(epoch))); // even when the checkpoint was removed
    }
    let checkpoint = moment.checkpoint(run).map_err(RunError::Resume)?;
    let stem = match checkpoint.ends_epoch() {
        true => epoch_stem(checkpoint.record.epochs.saturating_sub(1)),
        false => format!("rwkv-step-{}", checkpoint.record.position.steps),
    };
    if !file(&stem).exists() {
        export_checkpoint(plan, run, &checkpoint, &stem)?;
    }
    Ok(file(&stem))
}

/// The name of the export after mini-epoch `epoch`, counted from 0.
fn epoch_stem(epoch: u64) -> String {
    format!("rwkv-{epoch}")
}

fn export_checkpoint(
    plan: &Plan,
    run: &Path,
    checkpoint: &Checkpoint,
    stem: &str,
) -> Result<(), RunError> {
    let tokenizer = match plan.model.tokenizer {
        TokenizerPlan::Characters => Tokenizer::load(&run.join(CHARACTERS))?,
        _ => load_tokenizer(plan)?,
    };
    let Some(lock) = Lock::load(run) else {
        let path = run.join(Lock::FILE);
        let error = ReadRunError::Damaged { path, problem: msg!(FILE_CANNOT_BE_READ) };
        return Err(RunError::Resume(Box::new(error.diagnostic())));
    };
    let weights = load_weights(plan, &tokenizer)?;
    let shape = *weights.shape();
    let method = new_method(plan, weights, &tokenizer)?;
    let mut adam = Adam::new(method.parameters(), plan.train.adam);
    restore_values(&checkpoint.path, &mut adam)?;
    let passport = passport(plan, run, &lock, &shape, checkpoint.record.epochs);
    export(plan, run, method.as_ref(), stem, &passport)?;
    Ok(())
}

/// Writes the trained values as `export/NAME` plus an extension for each format.
fn export(
    plan: &Plan,
    run: &Path,
    method: &dyn Method,
    name: &str,
    passport: &Passport,
) -> Result<Vec<PathBuf>, RunError> {
    let options = ExportOptions { dtype: plan.records.export_dtype, passport };
    Ok(method.export(&run.join(RunDir::EXPORT).join(name), &options)?)
}

/// The passport of an export after `epochs` mini-epochs.
fn passport(plan: &Plan, run: &Path, lock: &Lock, shape: &Shape, epochs: u64) -> Passport {
    let base = match (&plan.model.source, &lock.fingerprint) {
        (ModelSource::Load(path), Some(fingerprint)) => {
            Some(BaseWeights::new(path, fingerprint.clone()))
        }
        _ => None,
    };
    // Other masks do not show whether the documents have turns.
    let has_turns = matches!(plan.data.mask, Mask::Assistant(_));
    let kind = match &plan.method.peft {
        PeftPlan::State(_) => ExportKind::State,
        PeftPlan::Weights(recipe) if recipe.adapter.is_some() => ExportKind::Adapter,
        PeftPlan::Weights(_) => ExportKind::Model,
    };
    Passport {
        base,
        tokenizer: Some(lock.tokenizer.sha256.clone()),
        template: has_turns.then(|| plan.data.template.prompt("{}").ok()).flatten(),
        ctx_len: Some(plan.train.ctx_len.0),
        run: Some(dir_name(run)),
        epochs: Some(epochs),
        data: lock.data_id().cloned(),
        config: Some(sha256_hex(plan.experiment.settings_of_numbers())),
        quant: plan.method.quant.map(|_| plan.method.quant_table.clone()),
        ..Passport::new(kind, ModelSizes::from(shape), plan.method.peft_table.clone())
    }
}
