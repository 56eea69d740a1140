//! What a run is made of, as its directory records it before any training.

use super::RunError;
use super::data::Datasets;
use super::start::setting_changes;
use crate::config::Tokenizer as TokenizerSetting;
use crate::data::Tokenizer;
use crate::kernels::device_model;
use crate::model::{ModelError, Shape, fingerprint};
use crate::plan::{ModelPlan, PeftPlan, Plan, StateStart};
use crate::quant;
use crate::runs::{Lock, LockedFile, LockedQuant, RunDir, StoredRun, resolved_toml, sha256_of};
use crate::tensorfile::WeightsError;

/// The vocabulary of a run on the characters of its data.
pub const CHARACTERS: &str = "vocab.json";

/// Everything outside the settings that the run depends on.
pub(super) fn lock(
    plan: &Plan,
    tokenizer: &Tokenizer,
    shape: &Shape,
    data: &Datasets<'_>,
) -> Result<Lock, RunError> {
    let (weights, fingerprint) = match &plan.model {
        ModelPlan::Load(path) => {
            let sha256 = sha256_of(path)
                .map_err(|source| WeightsError::Read { path: path.clone(), source })?;
            (Some(LockedFile::new(path, sha256)), Some(fingerprint(path)?))
        }
        ModelPlan::Scratch { .. } => (None, None),
    };
    let init = match &plan.peft {
        PeftPlan::State(StateStart::File(path)) => {
            let sha256 =
                sha256_of(path).map_err(|source| WeightsError::Read { path: path.clone(), source });
            Some(LockedFile::new(path, sha256.map_err(ModelError::from)?))
        }
        _ => None,
    };
    let vocabulary = tokenizer.fingerprint().to_string();
    let tokenizer = match &plan.config().model.tokenizer {
        TokenizerSetting::Auto if plan.characters => {
            LockedFile { path: CHARACTERS.into(), sha256: vocabulary }
        }
        TokenizerSetting::Auto | TokenizerSetting::World => {
            LockedFile { path: TokenizerSetting::WORLD.into(), sha256: vocabulary }
        }
        TokenizerSetting::File(path) => LockedFile::new(path, vocabulary),
    };
    Ok(Lock {
        statetune: env!("CARGO_PKG_VERSION").to_string(),
        libtorch: env!("STATETUNE_LIBTORCH_VERSION").to_string(),
        kernels: Lock::kernels_sha256(),
        threads: tch::get_num_threads(),
        device: device_model(plan.device),
        op: plan.op.name().to_string(),
        fingerprint,
        data: data.locked.clone(),
        prepared: data.key.clone(),
        tokenizer,
        weights,
        init,
        values: None,
        quant: plan.quant.map(|format| LockedQuant {
            format: format.name().to_string(),
            double: format.is_double(),
            bytes: quant::bytes(shape, plan.kind, Some(format)),
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
        run.write(StoredRun::EXPERIMENT, plan.loaded.text.as_bytes())?;
    }
    let recorded = run.join(StoredRun::SETTINGS).exists();
    if !recorded || !setting_changes(run.path(), plan)?.is_empty() {
        run.write(StoredRun::SETTINGS, resolved_toml(&plan.loaded).as_bytes())?;
    }
    run.write(Lock::FILE, lock.to_toml().as_bytes())?;
    Ok(())
}
