//! Training: the loss and its gradients, a step, the loop over steps, and the loss on held-out documents.

mod backward;
mod batch;
mod checkpoint;
mod error;
mod eval;
mod fit;
mod loss;
mod step;
mod trace;

pub use backward::backward;
pub use batch::BatchTensors;
pub use checkpoint::{
    digest_values, restore, restore_values, save as save_checkpoint, write_values,
};
pub use error::TrainError;
pub use eval::mean_loss;
pub use fit::{FitOptions, StepDone, fit};
pub use loss::{HeadLoss, head_loss};
pub use statetune_core::records::{LossScaler, NonFinite, Position, StepRecord};
pub use step::{StepOptions, StepOutcome, Trainer};
pub use trace::{Direction, Reading, trace};
