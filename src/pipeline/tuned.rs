//! The tuning that an experiment asks for: at its start, and as its products hold it.

use std::path::Path;
use std::rc::Rc;

use tch::{Device, Kind};

use super::{RunError, load_weights};
use crate::data::Tokenizer;
use crate::model::{Model, TimeState, Weights, load_tensors};
use crate::output::state_beside;
use crate::peft::{Method, StateTuning, Tuning, state_after};
use crate::plan::{PeftPlan, Plan, StateStart};

/// The method of an experiment on its weights, before the first step.
///
/// # Errors
/// A state to start from that cannot be read or is that of another model.
pub(super) fn start(
    plan: &Plan,
    weights: Weights,
    tokenizer: &Tokenizer,
) -> Result<Box<dyn Method>, RunError> {
    let start = match &plan.peft {
        PeftPlan::State(start) => start,
        PeftPlan::Weights(recipe) => {
            return Ok(Box::new(Tuning::start(recipe, weights, plan.compute())));
        }
    };
    let model = Model::new(&weights, plan.kind, plan.op);
    let state = match start {
        StateStart::Zeros => return Ok(Box::new(StateTuning::new(model))),
        StateStart::File(path) => TimeState::load(path, model.shape())?,
        StateStart::Prompt(text) => {
            let ids: Vec<i64> =
                tokenizer.encode(text.as_bytes()).into_iter().map(i64::from).collect();
            state_after(&model, &ids)?
        }
    };
    Ok(Box::new(StateTuning::from(model, &state)))
}

/// The model and the initial states that a product of a run stands for. `product` is the `.pth` or the
/// other form of a state, of adapters, or of a whole model.
///
/// # Errors
/// The base model as [`load_weights`] refuses it, and a product that cannot be read or is that of another
/// model or method.
pub fn load_tuned(
    plan: &Plan,
    tokenizer: &Tokenizer,
    product: &Path,
) -> Result<(Rc<Model>, TimeState), RunError> {
    let recipe = match &plan.peft {
        PeftPlan::State(_) => {
            let weights = load_weights(plan, tokenizer)?;
            let state = TimeState::load(product, weights.shape())?;
            return Ok((Rc::new(Model::new(&weights, plan.kind, plan.op)), state));
        }
        PeftPlan::Weights(recipe) => recipe,
    };
    let model = if recipe.adapter.is_some() {
        let weights = load_weights(plan, tokenizer)?;
        let whole = format!("what `type = \"{}\"` learns", plan.config().peft.name());
        let learned = load_tensors(product, &recipe.product_tensors(weights.shape()), &whole)?;
        Tuning::resume(recipe, weights, &learned, plan.compute()).model()
    } else {
        Rc::new(Model::new(&Weights::load(product)?, plan.kind, plan.op))
    };
    let state = if recipe.state_lr_scale.is_some() {
        let stem = state_beside(&product.with_extension(""));
        TimeState::load(&stem.with_added_extension("pth"), model.shape())?
    } else {
        TimeState::zeros(model.shape(), Kind::Float, Device::Cpu)
    };
    Ok((model, state))
}
