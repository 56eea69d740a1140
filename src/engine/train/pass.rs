//! What is computed of one micro-batch.

use tch::Tensor;

use super::{BatchTensors, StepOptions, Teacher};
use crate::model::{Model, State};
use crate::peft::Method;

/// Forward and backward of one micro-batch.
#[derive(Clone, Copy, Debug)]
pub struct Pass<'a> {
    /// The model, connected to the trainable parameters.
    pub model: StepModel<'a>,
    /// The initial states of the rows, connected to the trainable states.
    pub start: &'a State,
    /// The micro-batch.
    pub batch: &'a BatchTensors,
    /// The weight of each target: (targets) float32 on the device of the model; absent: all are 1.
    pub weights: Option<&'a Tensor>,
    /// Who teaches, if the distance from a teacher takes the place of the cross-entropy.
    pub teacher: Option<&'a Teacher>,
    /// How to compute.
    pub options: &'a StepOptions,
    /// Factor on the loss before differentiation.
    pub scale: f64,
}

/// The model of a micro-step, and those of its chunks where they drop other inputs.
#[derive(Clone, Copy, Debug)]
pub struct StepModel<'a> {
    /// The model of whole rows, and of the first chunk.
    pub(super) whole: &'a Model,
    /// The method, and the number of the micro-step over the whole run, counted from 0.
    step: Option<(&'a dyn Method, u64)>,
}

impl<'a> StepModel<'a> {
    /// The model of `method` in micro-step `number`, of which `whole` is [`Method::training_model`].
    pub fn of_step(whole: &'a Model, method: &'a dyn Method, number: u64) -> StepModel<'a> {
        StepModel { whole, step: Some((method, number)) }
    }

    /// A model without dropout.
    pub fn without_dropout(model: &'a Model) -> StepModel<'a> {
        StepModel { whole: model, step: None }
    }

    /// Gives `work` the model of the chunk `chunk`, counted from 0 over the micro-batch.
    pub(super) fn of_chunk<T>(&self, chunk: u64, work: impl FnOnce(&Model) -> T) -> T {
        let other = self.step.filter(|_| chunk > 0);
        match other.and_then(|(method, number)| method.chunk_model(number, chunk)) {
            Some(model) => work(&model),
            None => work(self.whole),
        }
    }
}
