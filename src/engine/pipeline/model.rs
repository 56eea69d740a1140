//! The model stage: the weights and the tokenizer that an experiment names.

use std::path::Path;
use std::rc::Rc;

use super::RunError;
use crate::model::{ModelError, Shape, Weights, shape_in};
use crate::peft::{TuningError, TuningSpec};
use crate::quant::{Format, PackError, QuantError, quantise};
use statetune_core::data::{Tokenizer, character_tokenizer};
use statetune_core::plan::{ModelSource, Plan, TokenizerPlan};

/// The tokenizer of an experiment.
///
/// # Errors
/// A vocabulary file that cannot be read or is faulty, or plain text that is to be the vocabulary and
/// cannot be read.
pub fn load_tokenizer(plan: &Plan) -> Result<Tokenizer, RunError> {
    match &plan.model.tokenizer {
        TokenizerPlan::Characters => Ok(character_tokenizer(&plan.data.sources)?),
        TokenizerPlan::World => Ok(Tokenizer::world()),
        TokenizerPlan::File(path) => Ok(Tokenizer::load(path)?),
    }
}

/// The sizes of an experiment's model, compared with what the file says about it, with what is to learn, and with
/// the tokenizer. The tensors of a checkpoint stay unread.
///
/// # Errors
/// A checkpoint that cannot be used, contradicts the file, or knows fewer tokens than the tokenizer.
pub(super) fn model_shape(plan: &Plan, tokenizer: &Tokenizer) -> Result<Shape, RunError> {
    let shape = match &plan.model.source {
        ModelSource::Load(path) => {
            let shape = shape_in(path)?;
            plan.check_shape(&shape).map_err(RunError::Contradiction)?;
            shape
        }
        &ModelSource::Scratch { version, n_layer, n_embd, vocab_size, pre_ffn, head_qk } => {
            let vocab_size = vocab_size.map_or(tokenizer.vocab_size() as i64, i64::from);
            let plain = Shape::for_scratch(version, n_layer.into(), n_embd.into(), vocab_size);
            Shape { pre_ffn, head_qk: head_qk.into(), ..plain }
        }
    };
    plan.check_peft(&shape).map_err(RunError::Contradiction)?;
    plan.check_vocabulary(&shape, tokenizer.vocab_size()).map_err(RunError::Contradiction)?;
    Ok(shape)
}

/// The weights of an experiment: read, compared with what the file says, and packed where it asks for that;
/// or new.
///
/// # Errors
/// A checkpoint that cannot be used, contradicts the file, knows fewer tokens than the tokenizer, or cannot
/// be packed.
pub fn load_weights(plan: &Plan, tokenizer: &Tokenizer) -> Result<Weights, RunError> {
    let shape = model_shape(plan, tokenizer)?;
    let ModelSource::Load(path) = &plan.model.source else {
        return Ok(Weights::scratch(shape, plan.train.seed as i64));
    };
    let mut weights = Weights::load(path)?;
    if let Some(format) = plan.method.quant {
        pack_weights(&mut weights, format, plan.method.peft.recipe().map(Rc::as_ref), path)?;
    }
    Ok(weights)
}

/// Packs the linear layers of a model that was read from `path`, but those of which a part is taken out
/// before: [`crate::peft::Tuning`] packs them.
///
/// # Errors
/// The first matrix that cannot be packed, by name.
pub fn pack_weights(
    weights: &mut Weights,
    format: Format,
    recipe: Option<&TuningSpec>,
    path: &Path,
) -> Result<(), RunError> {
    let later = |name: &str| recipe.is_some_and(|recipe| recipe.splits(name));
    quantise(weights, format, later).map_err(|error| unfit(TuningError::Quant(error), path))
}

/// Weights, read from `path`, that cannot be packed or tuned.
pub(super) fn unfit(error: TuningError, path: &Path) -> RunError {
    match error {
        TuningError::Quant(QuantError { source: PackError::Kernel(error), .. }) => error.into(),
        error => ModelError::Tensors { path: path.to_path_buf(), problem: error.text() }.into(),
    }
}
