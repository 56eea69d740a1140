//! State tuning: the initial WKV state of every layer is trained.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use statetune_core::tensorfile::WeightsError;
use tch::{Kind, Tensor};

use super::method::Method;
use crate::exports::{ExportOptions, save_state};
use crate::kernels::KernelError;
use crate::model::{Model, Shape, TimeState};
use crate::optim::Parameter;

/// Tokens that [`state_after`] reads at a time.
const PROMPT_CHUNK: usize = 512;

/// Trainable initial states, float32. The state of a layer without time mix is frozen.
#[derive(Debug)]
pub(super) struct TrainableState {
    state: TimeState,
    lr_scale: f64,
}

impl TrainableState {
    /// Copies of these states of a model of this shape, with a factor on their learning rate.
    pub(super) fn new(start: &TimeState, shape: &Shape, lr_scale: f64) -> TrainableState {
        let trainable = |(layer, s): (i64, &Tensor)| {
            s.to_kind(Kind::Float).detach().copy().set_requires_grad(shape.has_time_mix(layer))
        };
        TrainableState { state: TimeState((0..).zip(&start.0).map(trainable).collect()), lr_scale }
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

    /// The states, connected to the parameters.
    pub(super) fn time_state(&self) -> TimeState {
        self.state.share()
    }
}

/// A frozen model with trainable initial states.
#[derive(Debug)]
pub struct StateTuning {
    model: Rc<Model>,
    state: TrainableState,
}

impl StateTuning {
    /// Starts from the states of the model, which are zero unless its file has others: the model stays as it is.
    pub fn new(model: Model) -> StateTuning {
        let start = model.initial_states();
        StateTuning::from(model, &start)
    }

    /// Starts from the states of a model of the same shape.
    pub fn from(model: Model, start: &TimeState) -> StateTuning {
        let state = TrainableState::new(start, model.shape(), 1.0);
        StateTuning { model: Rc::new(model), state }
    }
}

impl Method for StateTuning {
    fn parameters(&self) -> Vec<Parameter> {
        self.state.parameters()
    }

    fn kind(&self) -> Kind {
        self.model.kind()
    }

    fn model(&self) -> Rc<Model> {
        Rc::clone(&self.model)
    }

    fn untouched(&self) -> Option<Rc<Model>> {
        Some(self.model())
    }

    fn time_state(&self) -> TimeState {
        self.state.time_state()
    }

    fn export(
        &self,
        stem: &Path,
        export: &ExportOptions<'_>,
    ) -> Result<Vec<PathBuf>, WeightsError> {
        save_state(&self.state.state, stem, export)
    }
}

/// The WKV states of `model` after reading the token `ids`, at least one, from its own initial states. The inputs of the token shifts are not
/// included.
///
/// # Errors
/// Errors of the model's recurrence.
pub fn state_after(model: &Model, ids: &[i64]) -> Result<TimeState, KernelError> {
    let _guard = tch::no_grad_guard();
    let mut state = model.start(&model.initial_states(), 1);
    for ids in ids.chunks(PROMPT_CHUNK) {
        let ids = Tensor::from_slice(ids).unsqueeze(0);
        (_, state) = model.forward(&ids, &state, None)?;
    }
    Ok(TimeState(state.layers.into_iter().map(|layer| layer.wkv.squeeze_dim(0)).collect()))
}
