//! Whether frozen weights are read from the file block by block, or copied to the GPU, so that they need not fit into its memory.

use super::{Faults, ModelSource, PeftPlan, Plan};
use crate::arch::{is_linear, open_model};
use crate::config::Stream;
use crate::diagnostic::{Diagnostic, msg};
use crate::peft::Peft;
use crate::tensorfile::Dtype;

impl Faults<'_> {
    /// Refuses to stream weights that a run changes.
    pub(super) fn check_stream(&mut self) {
        let config = self.config();
        if config.hardware.stream != Stream::On {
            return;
        }
        let refusal = match &config.peft {
            Peft::Full(_) => {
                Diagnostic::error(msg!(STREAM_NEEDS_FROZEN)).note(msg!(FULL_CHANGES_WEIGHTS))
            }
            Peft::Pissa(_) => {
                Diagnostic::error(msg!(STREAM_NEEDS_FROZEN)).note(msg!(PISSA_CHANGES_WEIGHTS))
            }
            _ => return,
        };
        self.add("hardware.stream", refusal.help(msg!(DELETE_STREAM)));
    }
}

impl Plan {
    /// Whether the frozen weights can come block by block: where the method leaves the weights of blocks as the file has them, and on a
    /// CPU linear layers are packed or in the dtype of the computation.
    pub fn can_stream(&self) -> bool {
        let leaves_blocks = match &self.method.peft {
            PeftPlan::State(_) => true,
            PeftPlan::Weights(recipe) => {
                recipe.adapter.as_ref().is_some_and(|adapter| !adapter.method.splits_matrix())
            }
        };
        leaves_blocks && self.other_dtype().is_none()
    }

    /// The dtype of a linear layer in the checkpoint that has to be converted before the run computes with the layer, if any. A GPU gets
    /// its blocks from memory of the host, where converted layers lie.
    fn other_dtype(&self) -> Option<Dtype> {
        let ModelSource::Load(path) = &self.model.source else { return None };
        if self.method.quant.is_some() || self.train.device.is_gpu() {
            return None;
        }
        let file = open_model(path).ok()?; // who loads the weights reports the error
        let linears = file.tensors().filter(|tensor| is_linear(tensor.name()));
        linears.map(|tensor| tensor.dtype()).find(|dtype| *dtype != self.train.dtype)
    }

    /// Refuses `hardware.stream = true` for a checkpoint in another dtype than that of the computation.
    pub(super) fn check_stream(&self) -> Result<(), Box<Diagnostic>> {
        if self.train.stream != Stream::On {
            return Ok(());
        }
        let Some(found) = self.other_dtype() else { return Ok(()) };
        let refusal = Diagnostic::error(msg!(STREAM_NEEDS_DTYPE))
            .note(msg!(
                WEIGHTS_ARE_CONVERTED,
                found = found.name(),
                dtype = self.train.dtype.name()
            ))
            .help(msg!(QUANTIZE_OR_CONVERT))
            .help(msg!(DELETE_STREAM));
        Err(Box::new(self.experiment.at("hardware.stream", refusal)))
    }

    /// Decides what `hardware.stream` leaves open.
    pub fn take_stream(&mut self, is_on: bool) {
        self.train.stream = if is_on { Stream::On } else { Stream::Off };
    }
}
