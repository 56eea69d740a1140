//! The loss on documents that were not learned from.

use super::loss::loss_sum;
use super::{BatchTensors, TrainError};
use crate::model::{Model, TimeState};
use statetune_core::data::Loader;

/// Mean loss of a model that starts from `state` over the learned tokens of every document of `loader`, in nats; `None` when it has none.
///
/// The logits of at most `head_chunk` positions exist at a time.
///
/// # Errors
/// A document that cannot be read.
pub fn mean_loss(
    model: &Model,
    state: &TimeState,
    loader: &mut Loader,
    micro_bsz: u64,
    head_chunk: i64,
) -> Result<Option<f64>, TrainError> {
    let _guard = tch::no_grad_guard();
    let (mut sum, mut learned) = (0.0, 0);
    let mut first = 0;
    while first < loader.samples_per_pass() {
        let batch = loader.batch(first, micro_bsz.min(loader.samples_per_pass() - first))?;
        if batch.learned() > 0 {
            learned += batch.learned();
            let batch = BatchTensors::new(&batch, model.device());
            let start = model.start(state, batch.inputs.size()[0]);
            let (hidden, _) = model.forward(&batch.inputs, &start, batch.restarts.as_ref())?;
            let hidden = hidden.at(&batch.learned_at);
            sum += loss_sum(model, &hidden, &batch.targets, head_chunk);
        }
        first += micro_bsz;
    }
    Ok((learned > 0).then(|| sum / learned as f64))
}
