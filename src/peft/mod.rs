//! What learns. A method takes a model apart into what stays and what changes, hands the trainer its
//! parameters, and knows how to write what was learned.

mod full;
mod state;

pub use full::FullTuning;
pub use state::StateTuning;

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use crate::model::{Model, TimeState};
use crate::optim::Parameter;
use crate::output::Export;
use crate::tensorfile::WeightsError;

/// A way to tune a model.
pub trait Method: Debug {
    /// What learns.
    fn parameters(&self) -> Vec<Parameter>;

    /// The model as it is now, connected with the parameters for differentiation.
    fn model(&self) -> Rc<Model>;

    /// The initial states as they are now, connected likewise; zeros where they do not learn.
    fn time_state(&self) -> TimeState;

    /// Writes what was learned under `stem` plus an extension, in the forms that other programs read, with
    /// its passport, and returns the files without side-cars.
    ///
    /// # Errors
    /// When a file cannot be written.
    fn export(&self, stem: &Path, export: &Export<'_>) -> Result<Vec<PathBuf>, WeightsError>;
}
