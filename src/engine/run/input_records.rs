//! Records of the inputs of a run, written before training: lock, experiment file, settings.

use std::collections::BTreeMap;
use std::path::{Path, absolute};

use statetune_core::data::{DataError, Tokenizer};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::digest::sha256_of_file;
use statetune_core::known_digest::{known_digest, known_sha256};
use statetune_core::plan::{
    Change, Experiment, ModelSource, PeftPlan, Plan, Reach, StatePlan, StateStart, TokenizerPlan,
};
use statetune_core::records::{Lock, LockedFile, LockedQuant, PastSettings, RunDir};
use statetune_core::resolved_settings::{ResolvedSettings, overrides_toml};
use statetune_core::tensorfile::WeightsError;

use super::prepare::Datasets;
use super::settings::widened_products;
use super::teacher::file_of;
use crate::kernels::{cores_of_machine, device_model, most_threads};
use crate::model::{ModelError, Shape, fingerprint};
use crate::tensors::device;
use crate::{RunError, quant};

/// The file of a character vocabulary in the run directory.
pub const CHARACTERS: &str = "vocab.json";

/// Everything that the run depends on besides its settings.
pub(super) fn lock(
    plan: &Plan,
    tokenizer: &Tokenizer,
    shape: &Shape,
    data: &Datasets<'_>,
) -> Result<Lock, RunError> {
    let (weights, fingerprint) = match &plan.model.source {
        ModelSource::Load(path) => {
            let cache = &plan.data.cache_dir;
            let sha256 = known_sha256(cache, path)
                .map_err(|source| WeightsError::Read { path: path.clone(), source })?;
            let fingerprint = known_digest(cache, path, "fingerprint", || fingerprint(path))?;
            (Some(LockedFile::new(path, sha256)), Some(fingerprint))
        }
        ModelSource::Scratch { .. } => (None, None),
    };
    let init = match &plan.method.peft {
        PeftPlan::State(StatePlan { start: StateStart::File(path), .. }) => {
            let sha256 = sha256_of_file(path)
                .map_err(|source| WeightsError::Read { path: path.clone(), source });
            Some(LockedFile::new(path, sha256.map_err(ModelError::from)?))
        }
        _ => None,
    };
    let suites = plan.eval.suites.iter().map(|file| match sha256_of_file(file) {
        Ok(sha256) => Ok(LockedFile::new(file, sha256)),
        Err(source) => Err(DataError::Read { file: file.clone(), source }),
    });
    let suites = suites.collect::<Result<_, _>>()?;
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
        commit: Lock::commit_of_program().map(str::to_owned),
        kernels: Lock::kernels_sha256(),
        threads: i32::try_from(most_threads()).unwrap_or(i32::MAX),
        devices: None,
        strategy: None,
        cores: Some(cores_of_machine()),
        device: device_model(device(plan.train.device)),
        products: widened_products(plan).map(str::to_string),
        op: plan.train.op.name().to_string(),
        fingerprint,
        data: data.locked.clone(),
        prepared: data.key.clone(),
        tokenizer,
        weights,
        init,
        teacher: files_of_teacher(plan)?,
        values: None,
        suites,
        quant: plan.method.quant.map(|format| LockedQuant {
            format: format.name().to_string(),
            double: format.is_double(),
            bytes: quant::bytes(shape, plan.train.dtype.size() as u64, Some(format)),
        }),
    })
}

/// The files of the teacher of a distillation, and general text.
fn files_of_teacher(plan: &Plan) -> Result<Vec<LockedFile>, RunError> {
    let distill = plan.objective.distill();
    let teacher = distill.and_then(|distill| distill.teacher.as_deref());
    let teacher = teacher.map(file_of).transpose()?;
    let of_distill = distill.map(|distill| [&distill.prompt_file, &distill.teacher_model]);
    let files = of_distill.into_iter().flatten().chain([&teacher, &plan.eval.general]);
    let locked = files.flatten().map(|path| {
        let sha256 = sha256_of_file(path);
        let sha256 = sha256.map_err(|source| WeightsError::Read { path: path.clone(), source })?;
        Ok(LockedFile::new(path, sha256))
    });
    locked.collect()
}

/// Writes the inputs of the run. Records of an earlier process stay, except the lock and changed settings.
pub(super) fn record_inputs(
    plan: &Plan,
    run: &RunDir,
    tokenizer: &Tokenizer,
    lock: &Lock,
) -> Result<(), RunError> {
    if let Some(characters) = tokenizer.characters_json() {
        run.write(CHARACTERS, characters.as_bytes())?;
    }
    if !run.join(RunDir::EXPERIMENT).exists() {
        run.write(RunDir::EXPERIMENT, plan.experiment.text().as_bytes())?;
    }
    let recorded = run.join(RunDir::SETTINGS).exists();
    if !recorded || !setting_changes(run.path(), plan)?.is_empty() {
        record_settings(run, &plan.experiment)?;
    }
    run.write(Lock::FILE, lock.to_toml(run.path()).as_bytes())?;
    Ok(())
}

/// Writes the settings in force from now on.
pub(super) fn record_settings(run: &RunDir, experiment: &Experiment) -> Result<(), RunError> {
    let recorded = run.join(RunDir::SETTINGS);
    // Places in the recorded settings are not places in the experiment file.
    let origins = match std::fs::read_to_string(&recorded) {
        Ok(text) if absolute(experiment.file()).ok() == absolute(&recorded).ok() => {
            ResolvedSettings::parse(text).map(|resolved| resolved.origins()).unwrap_or_default()
        }
        _ => BTreeMap::new(),
    };
    let resolved = experiment.resolved_toml(&origins, run.path());
    run.write(RunDir::OVERRIDES, overrides_toml(&resolved).as_bytes())?;
    run.write(RunDir::SETTINGS, resolved.as_bytes())?;
    Ok(())
}

/// Keeps the settings and the lock of the first `steps` steps of the run at `from` when later steps have others that affect
/// results.
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
        PastSettings::keep(run, from, steps)?;
    }
    Ok(())
}

/// The recorded settings of the run at `path`.
///
/// # Errors
/// [`RunError::Resume`] when the record cannot be read.
pub fn recorded_settings(path: &Path) -> Result<Experiment, RunError> {
    Experiment::recorded(&path.join(RunDir::SETTINGS)).map_err(|found| {
        let first = found.into_iter().next();
        let unknown = || Diagnostic::error(msg!(CANNOT_READ_SETTINGS));
        RunError::Resume(Box::new(first.unwrap_or_else(unknown)))
    })
}

/// The settings in which the plan differs from the run at `path`.
///
/// # Errors
/// As [`recorded_settings`].
pub fn setting_changes(path: &Path, plan: &Plan) -> Result<Vec<Change>, RunError> {
    Ok(recorded_settings(path)?.changes_to(&plan.experiment))
}
