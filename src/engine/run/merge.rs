//! Merges the exported file of a run into its base weights.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::json;
use statetune_core::diagnostic::{Diagnostic, Severity, msg};
use statetune_core::peft::StateReader;
use statetune_core::plan::{PeftPlan, Plan};
use statetune_core::tensorfile::{Dtype, one_of_several};
use tch::Kind;

use crate::RunError;
use crate::exports::{
    BaseWeights, ExportKind, ExportOptions, Passport, save_merged, save_state_pth, state_beside,
};
use crate::inference::{check_base, dense_base, unfit};
use crate::model::{TimeState, Version, Weights, has_states, load_tensors};
use crate::peft::{TuningSpec, merged, packed_base};

/// The files of a merge.
#[derive(Clone, Copy, Debug)]
pub struct Merge<'a> {
    /// The base weights of the run.
    pub base: &'a Path,
    /// The exported file of the run.
    pub exported: &'a Path,
    /// The merged model to write.
    pub out: &'a Path,
    /// Whether to merge into the dequantized weights that the run was trained on, instead of the base weights.
    pub quantised: bool,
    /// Where to write initial states; by default where programs for the version look for them.
    pub states: Option<StatesPlace>,
}

/// Where a merge writes initial states.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StatesPlace {
    /// Behind the weights, in the same file.
    Embed,
    /// In a state file beside the model.
    Beside,
}

impl StatesPlace {
    /// Programs for RWKV-5 and 6 apply states that stand behind the weights. Those for RWKV-7 ignore them or refuse the
    /// file.
    fn of_version(version: Version) -> StatesPlace {
        match version {
            Version::V5 | Version::V6 => StatesPlace::Embed,
            Version::V7 => StatesPlace::Beside,
        }
    }
}

impl Merge<'_> {
    /// The state file beside the merged model.
    pub fn state_file(&self) -> PathBuf {
        state_beside(&self.out.with_extension("")).with_added_extension("pth")
    }
}

/// The result of a merge.
#[derive(Debug)]
pub struct Merged {
    /// Merged tensors of the exported file: all of them.
    pub tensors: usize,
    /// The state file, where states were written beside the model.
    pub state: Option<PathBuf>,
    /// Warnings for the user.
    pub warnings: Vec<Diagnostic>,
}

/// Writes the merged model: the base's tensors in its order and dtypes, and the initial states that were trained, else
/// those of the base.
///
/// # Errors
/// An exported file that fits other weights, or lacks or adds a tensor; a value beyond the range of the base's dtype; a
/// file that cannot be read or written. No partial file is left behind.
pub fn merge(plan: &Plan, files: &Merge<'_>) -> Result<Merged, RunError> {
    let mut warnings = Vec::new();
    if let Some(found) = check_base(files.exported, files.base)? {
        if found.severity == Severity::Error {
            return Err(RunError::Foreign(Box::new(found)));
        }
        warnings.push(found);
    }
    let base = Weights::load(files.base)?;
    let shape = *base.shape();
    let nothing = TuningSpec::nothing();
    let (recipe, learned, state) = match &plan.method.peft {
        PeftPlan::State(_) => (&nothing, HashMap::new(), Some(files.exported.to_path_buf())),
        PeftPlan::Weights(recipe) => {
            let mut expected = match recipe.adapter {
                Some(_) => recipe.trained_tensors(&shape),
                None => shape.tensors(),
            };
            // A whole model keeps the states of its base.
            if has_states(files.exported)? {
                expected.extend(shape.state_tensors());
            }
            let learned = load_tensors(files.exported, &expected, msg!(PARAMETERS_OF_RUN))?;
            let stem = state_beside(&files.exported.with_extension(""));
            let state = recipe.state_lr_scale.map(|_| stem.with_added_extension("pth"));
            (recipe.as_ref(), learned, state)
        }
    };
    let format = plan.method.quant.filter(|_| files.quantised);
    let packed = format.map(|format| packed_base(recipe, &base, &learned, format)).transpose();
    let packed = packed.map_err(|error| unfit(error.into(), files.base))?;
    if plan.method.quant.is_some() && packed.is_none() {
        warnings.push(dense_base());
    }
    let trained = state.map(|file| TimeState::load(&file, &shape)).transpose()?;
    let states = trained.as_ref().or(base.states());
    let has_shift = states.is_some_and(|states| states.shift.is_some());
    let place = match files.states {
        Some(StatesPlace::Embed) if has_shift => return Err(shift_in_model()),
        Some(place) => place,
        None if has_shift => StatesPlace::Beside,
        None => StatesPlace::of_version(shape.version()),
    };
    let embedded = states.filter(|_| place == StatesPlace::Embed);
    if embedded.is_some() && shape.version() == Version::V7 {
        warnings.push(ignored_state());
    }

    let beside = states.filter(|_| place == StatesPlace::Beside);
    if let Some(fault) = beside.and_then(|_| one_of_several(files.out)) {
        return Err(RunError::Contradiction(Box::new(fault)));
    }

    let kind = base.iter().next().map_or(Kind::BFloat16, |(_, tensor)| tensor.kind());
    let tensors = || {
        let states = embedded.iter().flat_map(|states| states.tensors());
        let states = states.map(move |(_, name, s)| (name, s.to_kind(kind)));
        let weights = merged(recipe, &base, packed.as_ref(), &learned);
        weights.map(|(name, x)| (name.to_string(), x)).chain(states)
    };
    let passport = Passport::of(files.exported)?.unwrap_or_else(|| {
        Passport::of_all(&[None], ExportKind::Model, json!({ "made_by": "merge" }))
    });
    let passport = Passport { kind: ExportKind::Model, ..passport };
    save_merged(files.out, tensors, &passport)?;
    let state = beside.map(|states| save_beside(files, states, passport)).transpose()?;
    let tensors = learned.len() + trained.map_or(0, |states| states.tensors().count());
    Ok(Merged { tensors, state, warnings })
}

/// Writes the states of a merged model to a file beside it, exact: for that model, whose weights are dense.
fn save_beside(
    files: &Merge<'_>,
    states: &TimeState,
    passport: Passport,
) -> Result<PathBuf, RunError> {
    let path = files.state_file();
    let base = Some(BaseWeights::of(files.out)?);
    let passport = Passport { kind: ExportKind::State, base, quant: None, ..passport };
    save_state_pth(states, &path, &ExportOptions { dtype: Dtype::F32, passport: &passport })?;
    Ok(path)
}

/// The refusal of shift states in a model file.
fn shift_in_model() -> RunError {
    let refusal = StateReader::ModelFile.refusal().expect("readers of model files have none");
    RunError::Foreign(Box::new(refusal.help(msg!(STATES_BESIDE_WITH_SHIFT))))
}

/// The warning about initial states in an RWKV-7 model.
fn ignored_state() -> Diagnostic {
    let message = msg!(STATES_IN_MODEL_IGNORED);
    Diagnostic::warning(message)
        .note(msg!(RUNNER_IGNORES_STATES))
        .note(msg!(OTHERS_REFUSE_STATES))
        .help(msg!(STATES_BESIDE_INSTEAD))
}
