//! What a step minimises.

use std::fmt::Debug;

use tch::{Kind, Tensor};

use super::BatchTensors;
use super::loss::target_losses;
use crate::kernels::KernelError;
use crate::model::{Model, State};

/// A weighted cross-entropy of the target tokens: `sum of weight * -log p(target)`.
///
/// Differentiation takes the weights as constants. An objective whose weights depend on the model (a preference
/// between rows, a policy gradient) gets the log-probability of each row from a first pass without gradients.
pub trait Objective: Debug {
    /// Whether [`Objective::weights`] reads the log-probabilities of the rows, which cost a second forward pass of
    /// every micro-batch.
    fn needs_log_probs(&self) -> bool {
        false
    }

    /// The weight of each target of `batch`: (targets) float32 on its device. `None`: all are 1.
    ///
    /// `log_probs` (B) float64 has, for each row, the sum of `log p(target)` over its targets in nats; present if
    /// [`Objective::needs_log_probs`].
    fn weights(&self, batch: &BatchTensors, log_probs: Option<&Tensor>) -> Option<Tensor>;
}

/// The plain cross-entropy: every target weighs 1.
#[derive(Clone, Copy, Debug)]
pub struct CrossEntropy;

impl Objective for CrossEntropy {
    fn weights(&self, _: &BatchTensors, _: Option<&Tensor>) -> Option<Tensor> {
        None
    }
}

/// The weights of a batch, after the first pass where `objective` needs one.
///
/// # Errors
/// Errors of the model's recurrence.
pub(super) fn weights(
    objective: &dyn Objective,
    model: &Model,
    start: &State,
    batch: &BatchTensors,
    head_chunk: i64,
) -> Result<Option<Tensor>, KernelError> {
    let log_probs = match objective.needs_log_probs() {
        true => Some(row_log_probs(model, start, batch, head_chunk)?),
        false => None,
    };
    Ok(objective.weights(batch, log_probs.as_ref()))
}

/// For each row the sum of `log p(target)` over its targets: (B) float64, in nats.
fn row_log_probs(
    model: &Model,
    start: &State,
    batch: &BatchTensors,
    head_chunk: i64,
) -> Result<Tensor, KernelError> {
    let _guard = tch::no_grad_guard();
    let [rows, tokens] = batch.inputs.size()[..] else { unreachable!("inputs have two axes") };
    let (hidden, _) = model.forward(&batch.inputs, start, batch.restarts.as_ref())?;
    let hidden = hidden.at(&batch.target_positions);
    let losses = target_losses(model, &hidden, &batch.targets, head_chunk)?;
    let row = batch.target_positions.floor_divide_scalar(tokens);
    let zeros = Tensor::zeros([rows], (Kind::Double, losses.device()));
    Ok(zeros.index_add(0, &row, &losses.neg()))
}
