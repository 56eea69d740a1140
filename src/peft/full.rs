//! Full tuning: every weight learns, as float32, while the model computes in its own dtype.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use tch::{Device, Kind};

use super::Method;
use crate::kernels::Op;
use crate::model::{Arch, Model, Shape, TimeState, Weights};
use crate::optim::{Parameter, group};
use crate::output::Export;
use crate::tensorfile::{WeightsError, write_pth};

/// All weights of a model.
#[derive(Debug)]
pub struct FullTuning {
    weights: Weights,
    kind: Kind,
    op: Op,
}

impl FullTuning {
    /// Starts from these weights; the model computes in `kind`.
    pub fn new(weights: &Weights, kind: Kind, op: Op) -> FullTuning {
        FullTuning { weights: weights.trainable(), kind, op }
    }

    /// Nothing reads the value residual of the first block, so it cannot learn.
    fn learns(shape: &Shape, name: &str) -> bool {
        !(matches!(shape.arch, Arch::V7 { first_layer_v: true, .. })
            && ["v0", "v1", "v2"].iter().any(|v| name == format!("blocks.0.att.{v}")))
    }
}

impl Method for FullTuning {
    fn parameters(&self) -> Vec<Parameter> {
        let version = self.weights.shape().version();
        self.weights
            .iter()
            .filter(|(name, _)| Self::learns(self.weights.shape(), name))
            .map(|(name, tensor)| {
                let (lr_scale, decays) = group(version, name, &tensor.size());
                Parameter {
                    name: name.to_string(),
                    tensor: tensor.shallow_clone(),
                    lr_scale,
                    decays,
                }
            })
            .collect()
    }

    fn model(&self) -> Rc<Model> {
        Rc::new(Model::new(&self.weights, self.kind, self.op))
    }

    fn time_state(&self) -> TimeState {
        TimeState::zeros(self.weights.shape(), Kind::Float, Device::Cpu)
    }

    fn export(&self, stem: &Path, export: &Export<'_>) -> Result<Vec<PathBuf>, WeightsError> {
        let path = stem.with_added_extension("pth");
        write_pth(&path, self.weights.file_tensors(export.dtype))?;
        export.passport.save_beside(&path)?;
        Ok(vec![path])
    }
}
