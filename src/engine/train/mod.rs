//! Training: the loss and its gradients, a step, the loop over steps, and the validation loss.
//!
//! [`fit`] runs the steps; [`Trainer::step`] is one. A step minimises an [`Objective`] over micro-batches that
//! [`Devices`] may share; [`Pass`] is the forward and backward of one micro-batch, and [`trace`] computes a step
//! again with a look at each of its values.

mod backward;
mod batch;
mod checkpoint;
mod chunks;
mod cut;
mod devices;
mod error;
mod fit;
mod in_turn;
mod keep;
mod kl;
mod loss;
mod mean_loss;
mod moments;
mod objective;
mod options;
mod part;
mod pass;
mod preferences;
mod references;
mod step;
mod step_work;
mod teacher;
mod trace;
mod turns;

pub use batch::BatchTensors;
pub use checkpoint::{
    SaveError, digest_values, restore, restore_values, save as save_checkpoint, write_values,
};
pub use devices::{
    Devices, DevicesError, Exchange, Group, Launcher, PassSum, Place, Processes, Rounds, Sent,
    Single, exchange_time,
};
pub use error::TrainError;
pub use fit::{StepDone, fit};
pub use keep::Keep;
pub use kl::{Divergence, Lesson, kl_loss, kl_losses};
pub use loss::{HeadLoss, head_loss};
pub use mean_loss::{DocumentSums, Subject, batch_loss, mean_loss};
pub use moments::{give_moments, take_moments};
pub use objective::{CrossEntropy, Distillation, Objective, RowLogProbs, Weighed};
pub use options::{Chunks, FitOptions, LossOptions, StepOptions};
pub use part::Direction;
pub use pass::{Pass, StepModel};
pub use preferences::{LossAndRewards, Preferences, mean_preference_loss};
pub use references::References;
pub use statetune_core::records::{LossScaler, NonFiniteValue, Position, StepRecord};
pub use step::{StepOutcome, Trainer};
pub use step_work::THIS_STEP;
pub use teacher::Teacher;
pub use trace::{Reading, trace};
