//! Tuning of weights: by adapters, of the model's own tensors, with or without the initial states.

use std::cell::OnceCell;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statetune_core::plan::Plan;
use statetune_core::tensorfile::{WeightsError, write_pth};
use tch::{Kind, Tensor};

use super::TuningSpec;
use super::adapter::AdapterSet;
use super::method::{Method, TuningError};
use super::state::TrainableState;
use crate::exports::{ExportKind, ExportOptions, Passport, save_adapter, save_state, state_beside};
use crate::kernels::Op;
use crate::model::{Model, TimeState, Weights};
use crate::optim::{Parameter, group};
use crate::quant::Format;
use crate::tensors::kind;

/// Random words of a micro-step that belong to one chunk: more than a model has matrices.
const WORDS_OF_CHUNK: u128 = 1 << 20;

/// A model in which the parameters that a [`TuningSpec`] selects are trained, in float32; the model computes in its own
/// dtype.
#[derive(Debug)]
pub struct WeightTuning {
    /// The tensors of the model; the trainable ones are leaves.
    weights: Weights,
    /// The same without adapters, where these leave all matrices as they are and nothing else of the model is trained.
    base: Option<Weights>,
    adapters: AdapterSet,
    state: Option<TrainableState>,
    compute: Compute,
    /// The model, where only adapters and states are trained: nothing in it changes.
    model: OnceCell<Rc<Model>>,
}

/// How a model computes, and the seed of its training steps.
#[derive(Clone, Copy, Debug)]
pub struct Compute {
    /// The dtype.
    pub kind: Kind,
    /// The implementation of the recurrence.
    pub op: Op,
    /// Seed of all random numbers.
    pub seed: u64,
    /// The format in which residuals of adapters are packed; other matrices come packed already. `None`: they stay
    /// dense.
    pub quant: Option<Format>,
}

impl Compute {
    /// How the model of a plan computes.
    pub fn of_plan(plan: &Plan) -> Compute {
        let seed = plan.train.seed;
        Compute { kind: kind(plan.train.dtype), op: plan.train.op, seed, quant: plan.method.quant }
    }
}

impl WeightTuning {
    /// Puts adapters on their weights.
    fn with(
        spec: &TuningSpec,
        weights: &mut Weights,
        adapters: AdapterSet,
        compute: Compute,
    ) -> Result<WeightTuning, TuningError> {
        let shape = *weights.shape();
        adapters.freeze(weights, compute.kind, compute.quant)?;
        let mut weights = weights.trainable(compute.kind, |name| spec.trains(&shape, name));
        let base = spec.keeps_base().then(|| weights.share());
        adapters.attach(&mut weights, compute.kind);
        let state = spec
            .states()
            .map(|states| TrainableState::new(&weights.initial_states(), &shape, states));
        Ok(WeightTuning { weights, base, adapters, state, compute, model: OnceCell::new() })
    }

    /// Starts from untrained weights, with new adapters. Matrices of which adapters take a part
    /// ([`TuningSpec::splits`]) must be dense.
    ///
    /// # Errors
    /// Such a matrix with NaN or infinite entries.
    ///
    /// # Panics
    /// When the spec does not fit the weights, see [`TuningSpec::check`].
    pub fn start(
        spec: &TuningSpec,
        mut weights: Weights,
        compute: Compute,
    ) -> Result<WeightTuning, TuningError> {
        let adapters = match &spec.adapter {
            Some(spec) => AdapterSet::start(spec, &weights, compute.seed)?,
            None => AdapterSet::default(),
        };
        WeightTuning::with(spec, &mut weights, adapters, compute)
    }

    /// Continues from parameters that were trained on these weights: `trained` holds [`TuningSpec::trained_tensors`],
    /// float32.
    ///
    /// # Errors
    /// As for [`WeightTuning::start`].
    ///
    /// # Panics
    /// When one is missing, or the spec does not fit the weights.
    pub fn resume(
        spec: &TuningSpec,
        mut weights: Weights,
        trained: &HashMap<String, Tensor>,
        compute: Compute,
    ) -> Result<WeightTuning, TuningError> {
        let shape = *weights.shape();
        let adapters = spec.adapter.as_ref();
        let adapters =
            adapters.map(|spec| AdapterSet::from_tensors(spec, &shape, trained, weights.device()));
        for (name, _) in shape.tensors().iter().filter(|(name, _)| spec.trains(&shape, name)) {
            weights.set(name, trained[name].shallow_clone());
        }
        WeightTuning::with(spec, &mut weights, adapters.unwrap_or_default(), compute)
    }

    /// The trained tensors by name, without the states: [`TuningSpec::trained_tensors`], float32.
    pub fn trained_tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.adapters.tensors().chain(self.trainable_tensors())
    }

    /// The trainable tensors of the model itself.
    fn trainable_tensors(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.weights.iter().filter(|(_, tensor)| tensor.requires_grad())
    }
}

impl Method for WeightTuning {
    fn parameters(&self) -> Vec<Parameter> {
        let version = self.weights.shape().version();
        let tensors = self.trainable_tensors().map(|(name, tensor)| {
            let (lr_scale, decays) = group(version, name, &tensor.size());
            let tensor = tensor.shallow_clone();
            Parameter { name: name.to_string(), tensor, lr_scale, decays }
        });
        let states = self.state.iter().flat_map(TrainableState::parameters);
        self.adapters.parameters().into_iter().chain(tensors).chain(states).collect()
    }

    fn kind(&self) -> Kind {
        self.compute.kind
    }

    fn model(&self) -> Rc<Model> {
        let new = || Rc::new(Model::new(&self.weights, self.compute.kind, self.compute.op));
        match self.trainable_tensors().next() {
            Some(_) => new(),
            None => Rc::clone(self.model.get_or_init(new)),
        }
    }

    fn untouched(&self) -> Option<Rc<Model>> {
        let base = self.base.as_ref()?;
        Some(Rc::new(Model::new(base, self.compute.kind, self.compute.op)))
    }

    fn training_model(&self, micro_step: u64) -> Rc<Model> {
        self.chunk_model(micro_step, 0).unwrap_or_else(|| self.model())
    }

    fn chunk_model(&self, micro_step: u64, chunk: u64) -> Option<Rc<Model>> {
        if self.adapters.same_in_training() {
            return None;
        }
        let Compute { kind, op, seed, .. } = self.compute;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        rng.set_stream(micro_step);
        rng.set_word_pos(u128::from(chunk) * WORDS_OF_CHUNK);
        let mut weights = self.weights.share();
        self.adapters.attach_training(&mut weights, kind, || rng.next_u64());
        Some(Rc::new(Model::new(&weights, kind, op)))
    }

    fn time_state(&self) -> TimeState {
        match &self.state {
            Some(state) => state.time_state(),
            None => self.weights.initial_states(),
        }
    }

    /// Writes adapters with the trained tensors of the model, or the whole model without adapters; and the states to
    /// files of their own.
    fn export(
        &self,
        stem: &Path,
        export: &ExportOptions<'_>,
    ) -> Result<Vec<PathBuf>, WeightsError> {
        let mut files = if self.adapters.is_empty() {
            let path = stem.with_added_extension("pth");
            // Trained states have files of their own.
            let own_states = self.state.is_none().then(|| self.weights.file_states(export.dtype));
            let tensors = self.weights.file_tensors(export.dtype);
            write_pth(&path, tensors.chain(own_states.into_iter().flatten()))?;
            export.passport.save_beside(&path)?;
            vec![path]
        } else {
            save_adapter(self.trained_tensors(), stem, export.passport)?
        };
        if let Some(state) = &self.state {
            let passport = Passport { kind: ExportKind::State, ..export.passport.clone() };
            let export = ExportOptions { passport: &passport, ..*export };
            files.extend(save_state(&state.time_state(), &state_beside(stem), &export)?);
        }
        Ok(files)
    }
}
