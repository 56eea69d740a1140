use statetune_core::data::DataError;
use statetune_core::diagnostic::{Text, msg};

use super::DevicesError;
use crate::kernels::KernelError;

/// Why training stopped.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum TrainError {
    /// Gradients overflow float16 at every loss scale; the step did not change the parameters.
    LossScale {
        /// The optimizer step, counted from 0.
        step: u64,
    },
    /// A batch could not be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// Another device failed or is gone; the step did not change the parameters.
    #[error(transparent)]
    Devices(#[from] DevicesError),
    /// The recurrence failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
}

impl TrainError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::LossScale { step } => msg!(GRADIENTS_OVERFLOW, step),
            Self::Data(error) => error.text(),
            Self::Devices(error) => error.text(),
            Self::Kernel(error) => error.text(),
        }
    }
}
