//! State tuning: the initial WKV state of every layer learns, all weights stay frozen.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use tch::{Device, Kind};

use super::Method;
use crate::model::{Model, TimeState};
use crate::optim::Parameter;
use crate::output::{Export, save_state};
use crate::tensorfile::WeightsError;

/// A frozen model and its trainable initial states, float32, from zero. The state of a layer that has no
/// time mix stays zero.
#[derive(Debug)]
pub struct StateTuning {
    model: Rc<Model>,
    state: TimeState,
}

impl StateTuning {
    /// Starts from the untouched model.
    pub fn new(model: Model) -> StateTuning {
        let zeros = TimeState::zeros(model.shape(), Kind::Float, Device::Cpu);
        let learns = |layer| model.shape().has_time_mix(layer);
        let layers =
            zeros.0.into_iter().zip(0..).map(|(s, layer)| s.set_requires_grad(learns(layer)));
        let state = TimeState(layers.collect());
        StateTuning { model: Rc::new(model), state }
    }
}

impl Method for StateTuning {
    fn parameters(&self) -> Vec<Parameter> {
        let parameter = |(layer, s): (usize, &tch::Tensor)| Parameter {
            name: TimeState::name(layer),
            tensor: s.shallow_clone(),
            lr_scale: 1.0,
            decays: false,
        };
        self.state.0.iter().enumerate().filter(|(_, s)| s.requires_grad()).map(parameter).collect()
    }

    fn model(&self) -> Rc<Model> {
        Rc::clone(&self.model)
    }

    fn time_state(&self) -> TimeState {
        TimeState(self.state.0.iter().map(tch::Tensor::shallow_clone).collect())
    }

    fn export(&self, stem: &Path, export: &Export<'_>) -> Result<Vec<PathBuf>, WeightsError> {
        save_state(&self.state, stem, export)
    }
}
