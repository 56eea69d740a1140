//! Merges the exported file of a run into its base weights.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;
use statetune_core::diagnostic::{Diagnostic, Severity, msg};
use statetune_core::plan::{PeftPlan, Plan};
use tch::Kind;

use crate::RunError;
use crate::exports::{ExportKind, Passport, save_merged, state_beside};
use crate::inference::{check_base, unfit};
use crate::model::{TimeState, Version, Weights, load_tensors};
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
}

/// The result of a merge.
#[derive(Debug)]
pub struct Merged {
    /// Merged tensors of the exported file: all of them.
    pub tensors: usize,
    /// Warnings for the user.
    pub warnings: Vec<Diagnostic>,
}

/// Writes the merged model: the base's tensors in its order and dtypes, then the initial states if they were trained.
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
            let expected = match recipe.adapter {
                Some(_) => recipe.trained_tensors(&shape),
                None => shape.tensors(),
            };
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
    let state = state.map(|file| TimeState::load(&file, &shape)).transpose()?;
    if state.is_some() && shape.version() == Version::V7 {
        warnings.push(ignored_state());
    }

    let kind = base.iter().next().map_or(Kind::BFloat16, |(_, tensor)| tensor.kind());
    let tensors = || {
        let states = state.iter().flat_map(|state| state.0.iter().enumerate());
        let states = states.map(move |(layer, s)| (TimeState::name(layer), s.to_kind(kind)));
        let weights = merged(recipe, &base, packed.as_ref(), &learned);
        weights.map(|(name, x)| (name.to_string(), x)).chain(states)
    };
    let passport = Passport::of(files.exported)?.unwrap_or_else(|| {
        Passport::of_all(&[None], ExportKind::Model, json!({ "made_by": "merge" }))
    });
    save_merged(files.out, tensors, &Passport { kind: ExportKind::Model, ..passport })?;
    let states = state.as_ref().map_or(0, |state| state.0.len());
    Ok(Merged { tensors: learned.len() + states, warnings })
}

/// The warning about an adapter that was trained on quantized weights and is merged into dense ones.
fn dense_base() -> Diagnostic {
    let message = msg!(MERGED_WITH_DENSE);
    Diagnostic::warning(message)
        .note(msg!(DENSE_IS_ANOTHER_MODEL))
        .help(msg!(QUANTISED_IS_TRAINED_MODEL))
}

/// The warning about initial states in an RWKV-7 model.
fn ignored_state() -> Diagnostic {
    let message = msg!(STATES_IN_MODEL_IGNORED);
    Diagnostic::warning(message)
        .note(msg!(RUNNER_IGNORES_STATES))
        .note(msg!(OTHERS_REFUSE_STATES))
        .help(msg!(MOUNT_INSTEAD))
}
