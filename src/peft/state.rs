//! State tuning: the initial WKV state of every layer learns, all weights stay frozen.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use tch::{Device, Kind};

use super::Method;
use crate::model::{Rwkv7, TimeState};
use crate::optim::Parameter;
use crate::output::save_state;
use crate::tensorfile::WeightsError;

/// A frozen model and its trainable initial states, float32, from zero.
#[derive(Debug)]
pub struct StateTuning {
    model: Rc<Rwkv7>,
    state: TimeState,
}

impl StateTuning {
    /// Starts from the untouched model.
    pub fn new(model: Rwkv7) -> StateTuning {
        let zeros = TimeState::zeros(model.shape(), Kind::Float, Device::Cpu);
        let state = TimeState(zeros.0.into_iter().map(|s| s.set_requires_grad(true)).collect());
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
        self.state.0.iter().enumerate().map(parameter).collect()
    }

    fn model(&self) -> Rc<Rwkv7> {
        Rc::clone(&self.model)
    }

    fn time_state(&self) -> TimeState {
        TimeState(self.state.0.iter().map(tch::Tensor::shallow_clone).collect())
    }

    fn export(&self, stem: &Path) -> Result<Vec<PathBuf>, WeightsError> {
        save_state(&self.state, stem)
    }
}
