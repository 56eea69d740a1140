//! What a run is made of, as its directory records it before any training.

use crate::tensors::device;
use std::collections::BTreeMap;
use std::path::{Path, absolute};

use super::RunError;
use super::data::Datasets;
use super::start::setting_changes;
use crate::kernels::device_model;
use crate::model::{ModelError, Shape, fingerprint};
use crate::quant;
use statetune_core::config::Loaded;
use statetune_core::data::Tokenizer;
use statetune_core::digest::sha256_of_file;
use statetune_core::plan::{ModelSource, PeftPlan, Plan, Reach, StateStart, TokenizerPlan};
use statetune_core::runs::{
    Earlier, Lock, LockedFile, LockedQuant, Resolved, RunDir, StoredRun, overrides_toml,
    resolved_again,
};
use statetune_core::tensorfile::WeightsError;

/// The vocabulary of a run on the characters of its data.
pub const CHARACTERS: &str = "vocab.json";

/// Everything outside the settings that the run depends on.
pub(super) fn lock(
    plan: &Plan,
    tokenizer: &Tokenizer,
    shape: &Shape,
    data: &Datasets<'_>,
) -> Result<Lock, RunError> {
    let (weights, fingerprint) = match &plan.model.source {
        ModelSource::Load(path) => {
            let sha256 = sha256_of_file(path)
                .map_err(|source| WeightsError::Read { path: path.clone(), source })?;
            (Some(LockedFile::new(path, sha256)), Some(fingerprint(path)?))
        }
        ModelSource::Scratch { .. } => (None, None),
    };
    let init = match &plan.method.peft {
        PeftPlan::State(StateStart::File(path)) => {
            let sha256 = sha256_of_file(path)
                .map_err(|source| WeightsError::Read { path: path.clone(), source });
            Some(LockedFile::new(path, sha256.map_err(ModelError::from)?))
        }
        _ => None,
    };
    let vocabulary = tokenizer.fingerprint().to_string();
    let tokenizer = match &plan.model.tokenizer {
        TokenizerPlan::Characters => LockedFile { path: CHARACTERS.into(), sha256: vocabulary },
        TokenizerPlan::World => {
            LockedFile { path: TokenizerPlan::WORLD.into(), sha256: vocabulary }
        }
        TokenizerPlan::File(path) => LockedFile::new(path, vocabulary),
    };
    Ok(Lock {
        statetune: env!("CARGO_PKG_VERSION").to_string(),
        libtorch: crate::LIBTORCH_VERSION.to_string(),
        kernels: Lock::kernels_sha256(),
        threads: tch::get_num_threads(),
        device: device_model(device(plan.train.device)),
        op: plan.train.op.name().to_string(),
        fingerprint,
        data: data.locked.clone(),
        prepared: data.key.clone(),
        tokenizer,
        weights,
        init,
        values: None,
        quant: plan.method.quant.map(|format| LockedQuant {
            format: format.name().to_string(),
            double: format.is_double(),
            bytes: quant::bytes(shape, plan.train.dtype.size() as u64, Some(format)),
        }),
    })
}

/// Writes what the run is made of, before any training. What an earlier process of the run wrote stays,
/// but for settings that were changed since.
pub(super) fn record_inputs(
    plan: &Plan,
    run: &RunDir,
    tokenizer: &Tokenizer,
    lock: &Lock,
) -> Result<(), RunError> {
    if let Some(characters) = tokenizer.characters_json() {
        run.write(CHARACTERS, characters.as_bytes())?;
    }
    if !run.join(StoredRun::EXPERIMENT).exists() {
        run.write(StoredRun::EXPERIMENT, plan.experiment.text().as_bytes())?;
    }
    let recorded = run.join(StoredRun::SETTINGS).exists();
    if !recorded || !setting_changes(run.path(), plan)?.is_empty() {
        record_settings(run, plan.experiment.loaded())?;
    }
    run.write(Lock::FILE, lock.to_toml().as_bytes())?;
    Ok(())
}

/// Writes the settings that are in force from now on.
pub(super) fn record_settings(run: &RunDir, loaded: &Loaded) -> Result<(), RunError> {
    let recorded = run.join(StoredRun::SETTINGS);
    // Its lines are no lines of the experiment file.
    let origins = match std::fs::read_to_string(&recorded) {
        Ok(text) if absolute(&loaded.file).ok() == absolute(&recorded).ok() => {
            Resolved::parse(text).map(|resolved| resolved.origins()).unwrap_or_default()
        }
        _ => BTreeMap::new(),
    };
    let resolved = resolved_again(loaded, &origins);
    run.write(StoredRun::OVERRIDES, overrides_toml(&resolved).as_bytes())?;
    run.write(StoredRun::SETTINGS, resolved.as_bytes())?;
    Ok(())
}

/// Keeps what the steps of the run at `from` were done with, where those after `steps` have something else on which
/// numbers depend.
pub(super) fn keep_earlier(
    run: &RunDir,
    from: &Path,
    plan: &Plan,
    lock: &Lock,
    steps: u64,
) -> Result<(), RunError> {
    let changes = setting_changes(from, plan)?;
    let settings_differ = changes.iter().any(|change| change.reach != Reach::Nothing);
    let inputs_differ = Lock::load(from).is_some_and(|was| was.differences(lock).is_any());
    if settings_differ || inputs_differ {
        Earlier::keep(run, from, steps)?;
    }
    Ok(())
}
