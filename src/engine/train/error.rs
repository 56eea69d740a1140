use statetune_core::data::DataError;

use crate::kernels::KernelError;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Gradients overflow float16 at every loss scale; the step did not change the parameters.
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
