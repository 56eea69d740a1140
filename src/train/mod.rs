//! Training: the loss and its gradients, a step, the loop over steps, and the loss on held-out documents.

mod backward;
mod error;
mod eval;
mod fit;
mod loss;
mod scaler;
mod step;
mod trace;

pub use backward::backward;
pub use error::TrainError;
pub use eval::mean_loss;
pub use fit::{FitOptions, Position, StepDone, StepRecord, fit};
pub use loss::{HeadLoss, PART_LEN as LOSS_PART_LEN, head_loss};
pub use scaler::LossScaler;
pub use step::{Fault, StepOptions, StepOutcome, Trainer};
pub use trace::{Direction, Reading, trace};
