//! Training: the loss of a step, the loop over steps, and the loss on held-out documents.

mod eval;
mod fit;
mod step;

pub use eval::mean_loss;
pub use fit::{Event, FitOptions, Position, StepRecord, fit};
pub use step::{TrainError, train_step};
