use crate::kernels::KernelError;
use statetune_core::data::DataError;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Gradients overflow float16 under every loss scale; the parameters were not changed by this step.
    #[error("gradients overflow float16 at step {step}, even without a loss scale")]
    LossScale {
        /// The optimizer step, counted from 0.
        step: u64,
    },
    /// A batch could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The recurrence failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}
