//! A model with what was learned for it, named by files and read from them.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use tch::{Device, Kind};

use super::tuned::adapted;
use super::{RunError, as_warning, check_base, pack_weights};
use crate::kernels::{Op, allow_tf32};
use crate::model::{Model, Shape, TimeState, Weights, shape_in};
use crate::peft::{Compute, TuningSpec};
use crate::quant::Format;
use statetune_core::data::{Template, Tokenizer};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::plan::TokenizerPlan;

/// What is put to use: weights, an initial state or none, and the tokenizer.
#[derive(Clone, Debug)]
pub struct Subject {
    /// What the user calls it.
    pub name: String,
    /// The weights.
    pub weights: PathBuf,
    /// What was learned beside the weights; nothing without it.
    pub adapter: Option<AdapterFile>,
    /// The state to start from; zeros without one.
    pub state: Option<PathBuf>,
    /// How the linear layers of the weights are packed; absent: not at all.
    pub quant: Option<Format>,
    /// The vocabulary.
    pub tokenizer: TokenizerPlan,
    /// The dtype in which the model computes.
    pub kind: Kind,
    /// Whether matrix products of float32 may round their operands to TF32.
    pub tf32: bool,
    /// The implementation of the recurrence.
    pub op: Op,
    /// Where the model computes.
    pub device: Device,
    /// How a question is put to the model.
    pub template: Template,
}

/// A file of what was learned beside weights, and how.
#[derive(Clone, Debug)]
pub struct AdapterFile {
    /// The file.
    pub file: PathBuf,
    /// What learned.
    pub recipe: Rc<TuningSpec>,
}

/// A subject that was read.
#[derive(Debug)]
pub struct Loaded {
    /// The model.
    pub model: Rc<Model>,
    /// What it starts from.
    pub state: TimeState,
    /// Its vocabulary.
    pub tokenizer: Tokenizer,
}

impl Subject {
    /// Reads weights, state and vocabulary.
    ///
    /// # Errors
    /// Those of [`Subject::load_model`] and [`Subject::load_tokenizer`].
    pub fn load(&self) -> Result<Loaded, RunError> {
        let tokenizer = self.load_tokenizer(&shape_in(&self.weights)?)?;
        let (model, state) = self.load_model()?;
        Ok(Loaded { model, state, tokenizer })
    }

    /// Reads weights and state.
    ///
    /// # Errors
    /// A file that cannot be read, and adapters or a state of another shape.
    pub fn load_model(&self) -> Result<(Rc<Model>, TimeState), RunError> {
        allow_tf32(self.tf32);
        let mut weights = Weights::load(&self.weights)?.on(self.device);
        if let Some(format) = self.quant {
            let recipe = self.adapter.as_ref().map(|adapter| adapter.recipe.as_ref());
            pack_weights(&mut weights, format, recipe, &self.weights)?;
        }
        let model = match &self.adapter {
            Some(AdapterFile { file, recipe }) => {
                let Subject { kind, op, quant, .. } = *self;
                let compute = Compute { kind, op, seed: 0, quant };
                adapted(weights, &self.weights, recipe, file, compute)?
            }
            None => Rc::new(Model::new(&weights, self.kind, self.op)),
        };
        let state = match &self.state {
            Some(file) => TimeState::load(file, model.shape())?.to(Kind::Float, self.device),
            None => TimeState::zeros(model.shape(), Kind::Float, self.device),
        };
        Ok((model, state))
    }

    /// Reads the vocabulary, for a model of this shape.
    ///
    /// # Errors
    /// A file that cannot be read, and tokens that the model does not know.
    pub fn load_tokenizer(&self, shape: &Shape) -> Result<Tokenizer, RunError> {
        let tokenizer = match &self.tokenizer {
            TokenizerPlan::Characters | TokenizerPlan::World => Tokenizer::world(),
            TokenizerPlan::File(path) => Tokenizer::load(path)?,
        };
        check_vocabulary(shape, &tokenizer)?;
        Ok(tokenizer)
    }

    /// The file of what was learned: adapters, else a state, else the weights themselves.
    pub fn product(&self) -> &Path {
        let adapter = self.adapter.as_ref().map(|adapter| &adapter.file);
        adapter.or(self.state.as_ref()).unwrap_or(&self.weights)
    }

    /// What there is to say about adapters or a state that were not tuned on these weights, or of which nobody
    /// knows; the subject can be used all the same.
    ///
    /// # Errors
    /// Those of [`check_base`].
    pub fn check(&self) -> Result<Option<Diagnostic>, RunError> {
        let adapter = self.adapter.as_ref().map(|adapter| &adapter.file);
        let Some(product) = adapter.or(self.state.as_ref()) else { return Ok(None) };
        Ok(check_base(product, &self.weights)?.map(as_warning))
    }
}

fn check_vocabulary(shape: &Shape, tokenizer: &Tokenizer) -> Result<(), RunError> {
    let ids = tokenizer.vocab_size();
    if shape.vocab_size >= ids as i64 {
        return Ok(());
    }
    let message = msg!(TOKENIZER_SIZE, ids = shape.vocab_size, found = ids);
    let refusal = Diagnostic::error(message).help(msg!(NAME_TOKENIZER));
    Err(RunError::Contradiction(Box::new(refusal)))
}
