//! Tuning of weights: by adapters, of tensors themselves, with or without the initial states.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use tch::{Kind, Tensor};

use super::adapters::Adapters;
use super::state::LearnedState;
use super::{Method, Recipe};
use crate::kernels::Op;
use crate::model::{Model, TimeState, Weights};
use crate::optim::{Parameter, group};
use crate::output::{Export, Passport, Product, save_adapter, save_state, state_beside};
use crate::quant::{Format, QuantError};
use crate::tensors::kind;
use statetune_core::diagnostic::{Text, msg};
use statetune_core::plan::Plan;
use statetune_core::tensorfile::{WeightsError, write_pth};

/// A model of which what a [`Recipe`] names learns. All that learns is float32, while the model computes in
/// its own dtype.
#[derive(Debug)]
pub struct Tuning {
    /// The tensors of the model, those that learn as leaves.
    weights: Weights,
    adapters: Adapters,
    state: Option<LearnedState>,
    compute: Compute,
}

/// How a model computes, and what is drawn at random in its training steps.
#[derive(Clone, Copy, Debug)]
pub struct Compute {
    /// The dtype.
    pub kind: Kind,
    /// The implementation of the recurrence.
    pub op: Op,
    /// What random numbers are made from.
    pub seed: u64,
    /// How matrices are packed after an adapter took out a part of them; all others come as they are kept.
    /// Absent: they stay dense.
    pub quant: Option<Format>,
}

impl Compute {
    /// How the model of a plan computes.
    pub fn of_plan(plan: &Plan) -> Compute {
        let seed = plan.train.seed;
        Compute { kind: kind(plan.train.dtype), op: plan.train.op, seed, quant: plan.method.quant }
    }
}

/// A tuning cannot begin.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum TuningError {
    /// A matrix holds a NaN or an infinity.
    NotFinite(String),
    /// What stays of a matrix cannot be packed.
    #[error(transparent)]
    Quant(#[from] QuantError),
}

impl TuningError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::NotFinite(value) => msg!(TENSOR_NOT_FINITE, value),
            Self::Quant(error) => error.text(),
        }
    }
}

impl Tuning {
    /// Puts adapters on the weights that they were made for.
    fn with(
        recipe: &Recipe,
        weights: &mut Weights,
        adapters: Adapters,
        compute: Compute,
    ) -> Result<Tuning, TuningError> {
        let shape = *weights.shape();
        adapters.freeze(weights, compute.kind, compute.quant)?;
        let mut weights = weights.trainable(compute.kind, |name| recipe.learns(&shape, name));
        adapters.attach(&mut weights, compute.kind);
        let state = recipe.state_lr_scale.map(|lr_scale| {
            let zeros = TimeState::zeros(&shape, Kind::Float, weights.device());
            LearnedState::new(&zeros, &shape, lr_scale)
        });
        Ok(Tuning { weights, adapters, state, compute })
    }

    /// The recipe applied to weights that it has not seen: new adapters, and everything else as it is.
    /// Matrices of which adapters take a part ([`Recipe::takes_out_of`]) must be dense.
    ///
    /// # Errors
    /// Such a matrix with numbers that are not finite.
    ///
    /// # Panics
    /// When the recipe does not fit the weights, see [`Recipe::check`].
    pub fn start(
        recipe: &Recipe,
        mut weights: Weights,
        compute: Compute,
    ) -> Result<Tuning, TuningError> {
        let adapters = match &recipe.adapter {
            Some(recipe) => Adapters::start(recipe, &weights, compute.seed)?,
            None => Adapters::default(),
        };
        Tuning::with(recipe, &mut weights, adapters, compute)
    }

    /// Goes on from what was learned on these weights: `learned` holds [`Recipe::product_tensors`], float32.
    ///
    /// # Errors
    /// As [`Tuning::start`].
    ///
    /// # Panics
    /// When one is missing, or the recipe does not fit the weights.
    pub fn resume(
        recipe: &Recipe,
        mut weights: Weights,
        learned: &HashMap<String, Tensor>,
        compute: Compute,
    ) -> Result<Tuning, TuningError> {
        let shape = *weights.shape();
        let adapters = recipe.adapter.as_ref();
        let adapters = adapters
            .map(|recipe| Adapters::from_tensors(recipe, &shape, learned, weights.device()));
        for (name, _) in shape.tensors().iter().filter(|(name, _)| recipe.learns(&shape, name)) {
            weights.set(name, learned[name].shallow_clone());
        }
        Tuning::with(recipe, &mut weights, adapters.unwrap_or_default(), compute)
    }

    /// What was learned of weights, by name: [`Recipe::product_tensors`], float32.
    pub fn product(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.adapters.tensors().chain(self.learning())
    }

    /// The tensors of the model that learn themselves.
    fn learning(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.weights.iter().filter(|(_, tensor)| tensor.requires_grad())
    }
}

impl Method for Tuning {
    fn parameters(&self) -> Vec<Parameter> {
        let version = self.weights.shape().version();
        let tensors = self.learning().map(|(name, tensor)| {
            let (lr_scale, decays) = group(version, name, &tensor.size());
            let tensor = tensor.shallow_clone();
            Parameter { name: name.to_string(), tensor, lr_scale, decays }
        });
        let states = self.state.iter().flat_map(LearnedState::parameters);
        self.adapters.parameters().into_iter().chain(tensors).chain(states).collect()
    }

    fn model(&self) -> Rc<Model> {
        Rc::new(Model::new(&self.weights, self.compute.kind, self.compute.op))
    }

    fn training_model(&self, micro_step: u64) -> Rc<Model> {
        if self.adapters.same_in_training() {
            return self.model();
        }
        let Compute { kind, op, seed, .. } = self.compute;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(micro_step);
        let mut weights = self.weights.share();
        self.adapters.attach_training(&mut weights, kind, || rng.next_u64());
        Rc::new(Model::new(&weights, kind, op))
    }

    fn time_state(&self) -> TimeState {
        match &self.state {
            Some(state) => state.time_state(),
            None => TimeState::zeros(self.weights.shape(), Kind::Float, self.weights.device()),
        }
    }

    /// Adapters with the tensors that learned beside them, or else the whole model; and the states as
    /// files of their own.
    fn export(&self, stem: &Path, export: &Export<'_>) -> Result<Vec<PathBuf>, WeightsError> {
        let mut files = if self.adapters.is_empty() {
            let path = stem.with_added_extension("pth");
            write_pth(&path, self.weights.file_tensors(export.dtype))?;
            export.passport.save_beside(&path)?;
            vec![path]
        } else {
            save_adapter(self.product(), stem, export.passport)?
        };
        if let Some(state) = &self.state {
            let passport = Passport { product: Product::State, ..export.passport.clone() };
            let export = Export { passport: &passport, ..*export };
            files.extend(save_state(&state.time_state(), &state_beside(stem), &export)?);
        }
        Ok(files)
    }
}
