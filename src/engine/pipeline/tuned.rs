//! The tuning that an experiment asks for: at its start, and as an adapter file holds it.

use crate::tensors::kind;
use std::path::Path;
use std::rc::Rc;

use super::RunError;
use super::model::unfit;
use crate::model::{Model, TimeState, Weights, load_tensors};
use crate::peft::{Compute, Method, StateTuning, TuningSpec, WeightTuning, state_after};
use statetune_core::data::Tokenizer;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::plan::{ModelSource, PeftPlan, Plan, StateStart};

/// The method of an experiment on its weights, before the first step.
///
/// # Errors
/// A state to start from that cannot be read or is that of another model, and weights that cannot be tuned.
pub(super) fn start(
    plan: &Plan,
    weights: Weights,
    tokenizer: &Tokenizer,
) -> Result<Box<dyn Method>, RunError> {
    let start = match &plan.method.peft {
        PeftPlan::State(start) => start,
        PeftPlan::Weights(recipe) => {
            let path = match &plan.model.source {
                ModelSource::Load(path) => path,
                ModelSource::Scratch { .. } => Path::new("new weights"),
            };
            let tuning = WeightTuning::start(recipe, weights, Compute::of_plan(plan));
            return Ok(Box::new(tuning.map_err(|error| unfit(error, path))?));
        }
    };
    let model = Model::new(&weights, kind(plan.train.dtype), plan.train.op);
    let state = match start {
        StateStart::Zeros => return Ok(Box::new(StateTuning::new(model))),
        StateStart::File(path) => {
            TimeState::load(path, model.shape())?.to(tch::Kind::Float, model.device())
        }
        StateStart::Prompt(text) => {
            let ids: Vec<i64> =
                tokenizer.encode(text.as_bytes()).into_iter().map(i64::from).collect();
            state_after(&model, &ids)?
        }
    };
    Ok(Box::new(StateTuning::from(model, &state)))
}

/// The model that weights, read from `base`, are with what `file` holds, which was learned on them by `recipe`.
///
/// # Errors
/// A file that cannot be read, or that holds something else than the recipe learns.
pub(super) fn adapted(
    weights: Weights,
    base: &Path,
    recipe: &TuningSpec,
    file: &Path,
    compute: Compute,
) -> Result<Rc<Model>, RunError> {
    recipe.check(weights.shape()).map_err(|misfit| {
        let refusal = Diagnostic::error(misfit.text());
        RunError::Contradiction(Box::new(refusal.note(misfit.note(weights.shape()))))
    })?;
    let expected = recipe.trained_tensors(weights.shape());
    let trained = load_tensors(file, &expected, msg!(PARAMETERS_OF_RUN))?;
    let tuning = WeightTuning::resume(recipe, weights, &trained, compute);
    Ok(tuning.map_err(|error| unfit(error, base))?.model())
}
