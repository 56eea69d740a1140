//! What learns. A method takes a model apart into what stays and what changes, hands the trainer its
//! parameters, and knows how to write what was learned.
//!
//! [`StateTuning`] is the method that changes no weight. All others are a [`Tuning`] after a [`Recipe`]: `lora`,
//! `pissa` and `disha` say how a single matrix is changed, `parts` which tensors can learn themselves.

mod adapter;
mod adapters;
mod disha;
mod lora;
mod merge;
mod pissa;
mod state;
mod tuning;

pub use adapter::{Adapter, AdapterMath};
pub use adapters::Adapters;
pub use merge::{merged, packed_base};
pub use state::{StateTuning, state_after};
pub use statetune_core::peft::*;
pub use tuning::{Compute, Tuning, TuningError};

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::model::{Model, TimeState};
use crate::optim::Parameter;
use crate::output::Export;
use statetune_core::tensorfile::WeightsError;

/// A way to tune a model.
pub trait Method: Debug {
    /// What learns.
    fn parameters(&self) -> Vec<Parameter>;

    /// The model as it is now, connected with the parameters for differentiation.
    fn model(&self) -> Rc<Model>;

    /// The model as the micro-step `micro_step`, which counts from 0 over the whole run, trains it: with
    /// what is left out at random in this one.
    fn training_model(&self, micro_step: u64) -> Rc<Model> {
        let _ = micro_step;
        self.model()
    }

    /// The initial states as they are now, connected likewise; zeros where they do not learn.
    fn time_state(&self) -> TimeState;

    /// Writes what was learned under `stem` plus an extension, in the forms that other programs read, with
    /// its passport, and returns the files without side-cars.
    ///
    /// # Errors
    /// When a file cannot be written.
    fn export(&self, stem: &Path, export: &Export<'_>) -> Result<Vec<PathBuf>, WeightsError>;
}
