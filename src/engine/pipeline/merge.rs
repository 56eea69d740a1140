//! A base and what a run learned on it as one checkpoint.

use std::collections::HashMap;
use std::path::Path;

use serde_json::json;
use tch::Kind;

use super::model::unfit;
use super::{RunError, check_base};
use crate::model::{TimeState, Version, Weights, load_tensors};
use crate::output::{Passport, Product, save_merged, state_beside};
use crate::peft::{TuningSpec, merged, packed_base};
use statetune_core::diagnostic::{Diagnostic, Severity, msg};
use statetune_core::plan::{PeftPlan, Plan};

/// What is merged, and where it goes.
#[derive(Clone, Copy, Debug)]
pub struct Merge<'a> {
    /// The weights that the run started from.
    pub base: &'a Path,
    /// The newest product of the run.
    pub product: &'a Path,
    /// The checkpoint that is written.
    pub out: &'a Path,
    /// Whether the packed weights that the run was tuned on, made dense again, take the place of the weights of
    /// the base.
    pub quantised: bool,
}

/// What came of it.
#[derive(Debug)]
pub struct MergedInto {
    /// Tensors of the run's product that were merged: all that it has.
    pub tensors: usize,
    /// What the user should know.
    pub said: Vec<Diagnostic>,
}

/// Writes the model that does what the base does with what the run learned: the base's tensors in its order
/// and its dtypes, and the initial states behind them where they learned.
///
/// # Errors
/// A base that the product does not belong to, a product that lacks or adds a tensor, numbers beyond the
/// base's dtype, and files that cannot be read or written. Nothing is left behind then.
pub fn merge(plan: &Plan, files: &Merge<'_>) -> Result<MergedInto, RunError> {
    let mut said = Vec::new();
    if let Some(found) = check_base(files.product, files.base)? {
        if found.severity == Severity::Error {
            return Err(RunError::Foreign(Box::new(found)));
        }
        said.push(found);
    }
    let base = Weights::load(files.base)?;
    let shape = *base.shape();
    let nothing = TuningSpec::nothing();
    let (recipe, learned, state) = match &plan.method.peft {
        PeftPlan::State(_) => (&nothing, HashMap::new(), Some(files.product.to_path_buf())),
        PeftPlan::Weights(recipe) => {
            let expected = match recipe.adapter {
                Some(_) => recipe.trained_tensors(&shape),
                None => shape.tensors(),
            };
            let learned = load_tensors(files.product, &expected, msg!(PARAMETERS_OF_RUN))?;
            let stem = state_beside(&files.product.with_extension(""));
            let state = recipe.state_lr_scale.map(|_| stem.with_added_extension("pth"));
            (recipe.as_ref(), learned, state)
        }
    };
    let format = plan.method.quant.filter(|_| files.quantised);
    let packed = format.map(|format| packed_base(recipe, &base, &learned, format)).transpose();
    let packed = packed.map_err(|error| unfit(error.into(), files.base))?;
    if plan.method.quant.is_some() && packed.is_none() {
        said.push(dense_base());
    }
    let state = state.map(|file| TimeState::load(&file, &shape)).transpose()?;
    if state.is_some() && shape.version() == Version::V7 {
        said.push(ignored_state());
    }

    let kind = base.iter().next().map_or(Kind::BFloat16, |(_, tensor)| tensor.kind());
    let tensors = || {
        let states = state.iter().flat_map(|state| state.0.iter().enumerate());
        let states = states.map(move |(layer, s)| (TimeState::name(layer), s.to_kind(kind)));
        let weights = merged(recipe, &base, packed.as_ref(), &learned);
        weights.map(|(name, x)| (name.to_string(), x)).chain(states)
    };
    let passport = Passport::of(files.product)?.unwrap_or_else(|| {
        Passport::of_all(&[None], Product::Model, json!({ "made_by": "merge" }))
    });
    save_merged(files.out, tensors, &Passport { product: Product::Model, ..passport })?;
    let states = state.as_ref().map_or(0, |state| state.0.len());
    Ok(MergedInto { tensors: learned.len() + states, said })
}

/// What it means to merge what was learned on packed weights with the weights of the base.
fn dense_base() -> Diagnostic {
    let message = msg!(MERGED_WITH_DENSE);
    Diagnostic::warning(message)
        .note(msg!(DENSE_IS_ANOTHER_MODEL))
        .help(msg!(QUANTISED_IS_TRAINED_MODEL))
}

/// What programs make of initial states in an RWKV-7 model.
fn ignored_state() -> Diagnostic {
    let message = msg!(STATES_IN_MODEL_IGNORED);
    Diagnostic::warning(message)
        .note(msg!(RUNNER_IGNORES_STATES))
        .note(msg!(OTHERS_REFUSE_STATES))
        .help(msg!(MOUNT_INSTEAD))
}
