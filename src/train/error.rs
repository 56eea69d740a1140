use crate::data::DataError;
use crate::kernels::KernelError;

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
