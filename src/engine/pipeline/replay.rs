//! A recorded incident computed again: its step alone, in any precision and by any implementation.

use crate::tensors::device;
use std::ops::ControlFlow;
use std::path::Path;

use super::tuned::start as begin_tuning;
use super::{RunError, load_tokenizer, load_weights};
use crate::kernels::allow_tf32;
use crate::train::restore_values;
use crate::train::{LossScaler, Reading, StepOptions, Trainer, trace};
use statetune_core::data::Batch;
use statetune_core::plan::Plan;
use statetune_core::runs::Incident;

/// Computes the step that is recorded in `folder`, as the settings of `plan` say, with what learned then.
/// Returns every value on the way. Nothing is written.
///
/// # Errors
/// Weights or records that cannot be read or do not belong together, and what the recurrence refuses.
pub fn replay(plan: &Plan, incident: &Incident, folder: &Path) -> Result<Vec<Reading>, RunError> {
    allow_tf32(plan.train.tf32());
    let tokenizer = load_tokenizer(plan)?;
    let weights = load_weights(plan, &tokenizer)?.on(device(plan.train.device));
    let vocab_size = weights.shape().vocab_size;
    let method = begin_tuning(plan, weights, &tokenizer)?;
    let scaler =
        LossScaler::for_dtype(plan.train.dtype).map(|scaler| scaler.at(incident.loss_scale));
    let options = StepOptions::of_plan(plan);
    let mut trainer = Trainer::new(method.as_ref(), plan.train.adam, scaler, options);
    restore_values(folder, &mut trainer.adam)?;
    let batches = Incident::load_batches(folder, vocab_size)?;
    let batches: Vec<Batch> = batches.iter().map(|rows| Batch::from_plain(rows)).collect();
    let mut readings = Vec::new();
    trace(&trainer, &batches, incident.step - 1, &mut |reading| {
        readings.push(reading);
        ControlFlow::Continue(())
    })?;
    Ok(readings)
}
