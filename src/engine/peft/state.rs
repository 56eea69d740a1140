//! State tuning: the initial states of the layers are trained.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use statetune_core::arch::is_of_shift;
use statetune_core::peft::{StatePart, StateSpec};
use statetune_core::tensorfile::WeightsError;
use tch::{Kind, Tensor};

use super::method::Method;
use crate::exports::{ExportOptions, save_state};
use crate::kernels::KernelError;
use crate::model::{LayerState, Model, Shape, Shift, TimeState};
use crate::optim::Parameter;

/// Tokens that [`state_after`] reads at a time.
const PROMPT_CHUNK: usize = 512;

/// Initial states, float32, of which those that a [`StateSpec`] selects are trainable.
#[derive(Debug)]
pub(super) struct TrainableState {
    state: TimeState,
    spec: StateSpec,
}

impl TrainableState {
    /// Copies of these states of a model of this shape.
    pub(super) fn new(start: &TimeState, shape: &Shape, spec: StateSpec) -> TrainableState {
        let state = start.map(|s| s.to_kind(Kind::Float).detach().copy());
        let state = if spec.has_shift() { state.with_shift(shape.n_embd) } else { state };
        for (layer, name, s) in state.tensors() {
            let part = if is_of_shift(&name) { StatePart::Shift } else { StatePart::Wkv };
            let _ = s.set_requires_grad(spec.trains(shape, layer, part));
        }
        TrainableState { state, spec }
    }

    pub(super) fn parameters(&self) -> Vec<Parameter> {
        let parameter = |(layer, name, s): (i64, String, &Tensor)| Parameter {
            name,
            tensor: s.shallow_clone(),
            lr_scale: self.spec.scale(layer),
            decays: false,
        };
        self.state.tensors().filter(|(_, _, s)| s.requires_grad()).map(parameter).collect()
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
    /// Trains the WKV states of all layers, from those of the model.
    pub fn new(model: Model) -> StateTuning {
        StateTuning::start(model, StateSpec::wkv(1.0))
    }

    /// Starts from the states of the model, which are zero unless its file has others: the model stays as it is.
    pub fn start(model: Model, spec: StateSpec) -> StateTuning {
        let start = model.initial_states();
        StateTuning::from(model, &start, spec)
    }

    /// Starts from the states of a model of the same shape.
    pub fn from(model: Model, start: &TimeState, spec: StateSpec) -> StateTuning {
        let state = TrainableState::new(start, model.shape(), spec);
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

/// The states of `model` after reading the token `ids`, at least one, from its own initial states.
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
    let of_row = |x: &Tensor| x.squeeze_dim(0);
    let shift = |layer: &LayerState| Shift {
        att: of_row(&layer.att_x).to_kind(layer.wkv.kind()),
        ffn: of_row(&layer.ffn_x).to_kind(layer.wkv.kind()),
    };
    Ok(TimeState {
        wkv: state.layers.iter().map(|layer| of_row(&layer.wkv)).collect(),
        shift: Some(state.layers.iter().map(shift).collect()),
    })
}
