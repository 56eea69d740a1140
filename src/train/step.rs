//! One optimizer step.

use tch::{Kind, Reduction, Tensor};

use crate::data::Batch;
use crate::kernels::KernelError;
use crate::model::{Model, TimeState};
use crate::optim::{Adam, clip_gradients};
use crate::peft::Method;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// The loss or a gradient is not a number any more; the parameters were not changed by this step.
    #[error("{what} became {value} at step {step}")]
    NonFinite {
        /// `loss` or `gradient norm`.
        what: &'static str,
        /// What it became.
        value: f64,
        /// The optimizer step, counted from 0.
        step: u64,
    },
    /// A batch could not be read.
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    /// The recurrence failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

/// What a step saw and did.
#[derive(Clone, Copy, Debug)]
pub struct StepOutcome {
    /// Mean loss of the step's learned tokens, in nats.
    pub loss: f64,
    /// Norm of all gradients before clipping.
    pub grad_norm: f64,
    /// Learned tokens.
    pub learned: u64,
    /// Positions computed, padding included.
    pub positions: u64,
}

/// Sum of the cross-entropy (float32, nats) over the learned tokens of a batch.
///
/// The head runs on the positions of learned tokens only.
pub(super) fn loss_sum(
    model: &Model,
    state: &TimeState,
    batch: &Batch,
) -> Result<Tensor, KernelError> {
    let start = model.start(state, batch.inputs.size()[0]);
    let (hidden, _) = model.forward(&batch.inputs, &start, None)?;
    let logits = model.logits(&hidden.at(&batch.learned_at)).to_kind(Kind::Float); // (learned, V)
    Ok(logits.cross_entropy_loss::<Tensor>(&batch.targets, None, Reduction::Sum, -100, 0.0))
}

/// Forward and backward over the micro-batches of one step, then one optimizer step.
///
/// The loss is the sum over the learned tokens of the whole step divided by their count, so that
/// accumulated micro-batches weigh their tokens as one large batch would.
///
/// # Errors
/// A loss or gradient that is not finite: nothing was changed then.
pub fn train_step(
    method: &dyn Method,
    adam: &mut Adam,
    batches: &[Batch],
    step: u64,
    lr: f64,
    max_norm: f64,
) -> Result<StepOutcome, TrainError> {
    let learned: u64 = batches.iter().map(|batch| batch.learned).sum();
    let positions = batches.iter().map(|batch| batch.inputs.numel() as u64).sum();
    let finite = |what, value: f64| {
        if value.is_finite() { Ok(()) } else { Err(TrainError::NonFinite { what, value, step }) }
    };
    let inputs: Vec<Tensor> = adam.parameters().iter().map(|p| p.tensor.shallow_clone()).collect();
    let mut loss = 0.0;
    let mut gradients: Vec<Tensor> = Vec::new();
    for batch in batches.iter().filter(|batch| batch.learned > 0) {
        let share = loss_sum(&method.model(), &method.time_state(), batch)? / learned as f64;
        loss += share.double_value(&[]);
        finite("loss", loss)?;
        let found = Tensor::run_backward(&[share], &inputs, false, false);
        if gradients.is_empty() {
            gradients = found;
        } else {
            for (sum, g) in gradients.iter_mut().zip(&found) {
                let _ = sum.g_add_(g);
            }
        }
    }
    let grad_norm = clip_gradients(&mut gradients, max_norm);
    finite("gradient norm", grad_norm)?;
    adam.step(&gradients, lr);
    Ok(StepOutcome { loss, grad_norm, learned, positions })
}
