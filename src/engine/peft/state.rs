//! State tuning: the initial WKV state of every layer learns.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use tch::{Kind, Tensor};

use super::Method;
use crate::kernels::KernelError;
use crate::model::{Model, Shape, TimeState};
use crate::optim::Parameter;
use crate::output::{Export, save_state};
use statetune_core::tensorfile::WeightsError;

/// Tokens that are read at a time where a state is made of a text.
const PROMPT_CHUNK: usize = 512;

/// Initial states that learn, float32. That of a layer that has no time mix stays as it is.
#[derive(Debug)]
pub(super) struct LearnedState {
    state: TimeState,
    lr_scale: f64,
}

impl LearnedState {
    /// Copies of these states of a model of this shape, whose learning rate is multiplied by `lr_scale`.
    pub(super) fn new(start: &TimeState, shape: &Shape, lr_scale: f64) -> LearnedState {
        let learned = |(layer, s): (i64, &Tensor)| {
            s.to_kind(Kind::Float).detach().copy().set_requires_grad(shape.has_time_mix(layer))
        };
        LearnedState { state: TimeState((0..).zip(&start.0).map(learned).collect()), lr_scale }
    }

    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let parameter = |(layer, s): (usize, &Tensor)| Parameter {
            name: TimeState::name(layer),
            tensor: s.shallow_clone(),
            lr_scale: self.lr_scale,
            decays: false,
        };
        self.state.0.iter().enumerate().filter(|(_, s)| s.requires_grad()).map(parameter).collect()
    }

    /// The states, connected for differentiation.
    pub(super) fn time_state(&self) -> TimeState {
        TimeState(self.state.0.iter().map(Tensor::shallow_clone).collect())
    }
}

/// A frozen model whose initial states learn.
#[derive(Debug)]
pub struct StateTuning {
    model: Rc<Model>,
    state: LearnedState,
}

impl StateTuning {
    /// Starts from the untouched model, whose states are zero.
    pub fn new(model: Model) -> StateTuning {
        let zeros = TimeState::zeros(model.shape(), Kind::Float, model.device());
        StateTuning::from(model, &zeros)
    }

    /// Starts from these states, which are those of a model of the same shape.
    pub fn from(model: Model, start: &TimeState) -> StateTuning {
        let state = LearnedState::new(start, model.shape(), 1.0);
        StateTuning { model: Rc::new(model), state }
    }
}

impl Method for StateTuning {
    fn parameters(&self) -> Vec<Parameter> {
        self.state.parameters()
    }

    fn model(&self) -> Rc<Model> {
        Rc::clone(&self.model)
    }

    fn time_state(&self) -> TimeState {
        self.state.time_state()
    }

    fn export(&self, stem: &Path, export: &Export<'_>) -> Result<Vec<PathBuf>, WeightsError> {
        save_state(&self.state.state, stem, export)
    }
}

/// The WKV states that `model` has after reading the token `ids`, of which there is at least one. What the
/// token shifts carry is no part of them.
///
/// # Errors
/// What the model's recurrence refuses.
pub fn state_after(model: &Model, ids: &[i64]) -> Result<TimeState, KernelError> {
    let _guard = tch::no_grad_guard();
    let mut state = model.start(&TimeState::zeros(model.shape(), Kind::Float, model.device()), 1);
    for ids in ids.chunks(PROMPT_CHUNK) {
        let ids = Tensor::from_slice(ids).unsqueeze(0).to_device(model.device());
        (_, state) = model.forward(&ids, &state, None)?;
    }
    Ok(TimeState(state.layers.into_iter().map(|layer| layer.wkv.squeeze_dim(0)).collect()))
}
