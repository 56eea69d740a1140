//! Loads a model with its adapter, state and tokenizer from files.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use statetune_core::data::{Template, Tokenizer};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::plan::TokenizerPlan;
use statetune_core::words::grouped;
use tch::{Device, Kind};

use super::{as_warning, check_base};
use crate::RunError;
use crate::kernels::{Op, allow_tf32};
use crate::model::{Model, ModelError, Shape, TimeState, Weights, load_tensors, shape_in};
use crate::peft::{Compute, Method, TuningError, TuningSpec, WeightTuning};
use crate::quant::{Format, PackError, QuantError, quantise, quantise_stored};

/// The files of a model and how to compute with it.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// The name that the user gave.
    pub name: String,
    /// The weights.
    pub weights: PathBuf,
    /// The adapter, if any.
    pub adapter: Option<AdapterFile>,
    /// The initial state; without a file, that of the weights, see [`Weights::initial_states`].
    pub state: Option<PathBuf>,
    /// Quantization of the linear layers, if any.
    pub quant: Option<Format>,
    /// The vocabulary.
    pub tokenizer: TokenizerPlan,
    /// The dtype of the computation.
    pub kind: Kind,
    /// Whether float32 matrix products may use TF32.
    pub tf32: bool,
    /// The implementation of the recurrence.
    pub op: Op,
    /// The device.
    pub device: Device,
    /// The conversation template of prompts.
    pub template: Template,
}

/// An adapter file and the recipe that trained the adapter.
#[derive(Clone, Debug)]
pub struct AdapterFile {
    /// The file.
    pub file: PathBuf,
    /// The recipe.
    pub recipe: Rc<TuningSpec>,
}

/// A loaded model.
#[derive(Debug)]
pub struct LoadedModel {
    /// The model.
    pub model: Rc<Model>,
    /// The initial state.
    pub state: TimeState,
    /// The tokenizer.
    pub tokenizer: Tokenizer,
}

impl ModelSpec {
    /// Loads model, state and tokenizer.
    ///
    /// # Errors
    /// Those of [`ModelSpec::load_model`] and [`ModelSpec::load_tokenizer`].
    pub fn load(&self) -> Result<LoadedModel, RunError> {
        let tokenizer = self.load_tokenizer(&shape_in(&self.weights)?)?;
        let (model, state) = self.load_model()?;
        Ok(LoadedModel { model, state, tokenizer })
    }

    /// Loads model and state.
    ///
    /// # Errors
    /// A file that cannot be read, or an adapter or state of another shape.
    pub fn load_model(&self) -> Result<(Rc<Model>, TimeState), RunError> {
        allow_tf32(self.tf32);
        let recipe = self.adapter.as_ref().map(|adapter| adapter.recipe.as_ref());
        let base = Weights::load(&self.weights)?;
        let weights = place_weights(base, self.device, self.quant, recipe, &self.weights, None)?;
        let model = match &self.adapter {
            Some(AdapterFile { file, recipe }) => {
                let ModelSpec { kind, op, quant, .. } = *self;
                let compute = Compute { kind, op, seed: 0, quant };
                adapted(weights, &self.weights, recipe, file, compute)?
            }
            None => Rc::new(Model::new(&weights, self.kind, self.op)),
        };
        let state = match &self.state {
            Some(file) => TimeState::load(file, model.shape())?.to(Kind::Float, self.device),
            None => model.initial_states(),
        };
        Ok((model, state))
    }

    /// Loads the tokenizer for a model of this shape.
    ///
    /// # Errors
    /// A file that cannot be read, or more token ids than the model has.
    pub fn load_tokenizer(&self, shape: &Shape) -> Result<Tokenizer, RunError> {
        let tokenizer = match &self.tokenizer {
            TokenizerPlan::Characters | TokenizerPlan::World => Tokenizer::world(),
            TokenizerPlan::File(path) => Tokenizer::load(path)?,
        };
        check_vocabulary(shape, &tokenizer)?;
        Ok(tokenizer)
    }

    /// The file that training produced: the adapter, else the state, else the weights.
    pub fn trained_file(&self) -> &Path {
        let adapter = self.adapter.as_ref().map(|adapter| &adapter.file);
        adapter.or(self.state.as_ref()).unwrap_or(&self.weights)
    }

    /// A warning when the adapter or state was tuned on other weights, or its base is unknown.
    ///
    /// # Errors
    /// Those of [`check_base`].
    pub fn check(&self) -> Result<Option<Diagnostic>, RunError> {
        let adapter = self.adapter.as_ref().map(|adapter| &adapter.file);
        let Some(file) = adapter.or(self.state.as_ref()) else { return Ok(None) };
        Ok(check_base(file, &self.weights)?.map(as_warning))
    }
}

fn check_vocabulary(shape: &Shape, tokenizer: &Tokenizer) -> Result<(), RunError> {
    let ids = tokenizer.vocab_size();
    if shape.vocab_size >= ids as i64 {
        return Ok(());
    }
    let message = msg!(
        TOKENIZER_SIZE,
        ids = grouped(shape.vocab_size.unsigned_abs()),
        found = grouped(ids as u64)
    );
    let refusal = Diagnostic::error(message).help(msg!(NAME_TOKENIZER));
    Err(RunError::Contradiction(Box::new(refusal)))
}

/// The model of `weights`, read from `base`, with the adapter in `file` that `recipe` trained.
///
/// # Errors
/// A file that cannot be read, or that lacks or adds a tensor.
fn adapted(
    weights: Weights,
    base: &Path,
    recipe: &TuningSpec,
    file: &Path,
    compute: Compute,
) -> Result<Rc<Model>, RunError> {
    check_fit(recipe, &weights)?;
    let expected = recipe.trained_tensors(weights.shape());
    let trained = load_tensors(file, &expected, msg!(PARAMETERS_OF_RUN))?;
    let tuning = WeightTuning::resume(recipe, weights, &trained, compute);
    Ok(tuning.map_err(|error| unfit(error, base))?.model())
}

/// Refuses a recipe for other layers than the weights have.
pub(super) fn check_fit(recipe: &TuningSpec, weights: &Weights) -> Result<(), RunError> {
    recipe.check(weights.shape()).map_err(|misfit| {
        let refusal = Diagnostic::error(misfit.text());
        RunError::Contradiction(Box::new(refusal.note(misfit.note(weights.shape()))))
    })
}

/// Weights, read from `path`, for a model on `device`, their linear layers quantized if a format is given. The only way to
/// a model on a device: packed layers lie on the device that the weights have when they are packed.
///
/// With a `cache`, packed layers are in a file of the cache ([`quantise_stored`]).
///
/// Matrices from which `recipe` first takes a part out stay as they are: [`WeightTuning`] quantizes those.
///
/// # Errors
/// The first matrix that cannot be quantized, by name.
pub(crate) fn place_weights(
    weights: Weights,
    device: Device,
    quant: Option<Format>,
    recipe: Option<&TuningSpec>,
    path: &Path,
    cache: Option<&Path>,
) -> Result<Weights, RunError> {
    pack_weights(weights.on(device), quant, recipe, path, cache)
}

/// [`place_weights`] of weights that have their device.
///
/// # Errors
/// As for [`place_weights`].
pub(crate) fn pack_weights(
    mut weights: Weights,
    quant: Option<Format>,
    recipe: Option<&TuningSpec>,
    path: &Path,
    cache: Option<&Path>,
) -> Result<Weights, RunError> {
    if let Some(format) = quant {
        let later = |name: &str| recipe.is_some_and(|recipe| recipe.splits(name));
        let splits = weights.shape().linears().iter().any(|(name, _)| later(name));
        let packed = match cache.filter(|_| !splits) {
            Some(cache) => quantise_stored(&mut weights, format, path, cache),
            None => quantise(&mut weights, format, later),
        };
        packed.map_err(|error| unfit(TuningError::Quant(error), path))?;
    }
    Ok(weights)
}

/// The error for weights, read from `path`, that cannot be quantized or tuned.
pub(crate) fn unfit(error: TuningError, path: &Path) -> RunError {
    match error {
        TuningError::Quant(QuantError { source: PackError::Kernel(error), .. }) => error.into(),
        error => ModelError::Tensors { path: path.to_path_buf(), problem: error.text() }.into(),
    }
}
