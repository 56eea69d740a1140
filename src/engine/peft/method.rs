//! What all methods share.

use std::fmt::Debug;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use statetune_core::diagnostic::{Text, msg};
use statetune_core::tensorfile::WeightsError;

use tch::Kind;

use crate::exports::ExportOptions;
use crate::model::{Model, TimeState};
use crate::optim::Parameter;
use crate::quant::QuantError;

/// A model with trainable parameters.
pub trait Method: Debug {
    /// The trainable parameters.
    fn parameters(&self) -> Vec<Parameter>;

    /// The dtype in which the model computes.
    fn kind(&self) -> Kind;

    /// The model with the parameters' current values, connected to them for differentiation.
    fn model(&self) -> Rc<Model>;

    /// The model without what is trained, where memory has it beside the trained one.
    fn untouched(&self) -> Option<Rc<Model>> {
        None
    }

    /// The model as the micro-step `micro_step`, which counts from 0 over the whole run, trains it: with the dropout
    /// of this micro-step.
    fn training_model(&self, micro_step: u64) -> Rc<Model> {
        let _ = micro_step;
        self.model()
    }

    /// The model as that micro-step trains the chunk `chunk` of its micro-batch, counted from 0, if the inputs that are
    /// dropped differ from those of the first chunk.
    fn chunk_model(&self, micro_step: u64, chunk: u64) -> Option<Rc<Model>> {
        let _ = (micro_step, chunk);
        None
    }

    /// The current initial states, connected to the parameters likewise; those of the model where they are not trained.
    fn time_state(&self) -> TimeState;

    /// Writes the trained parameters under `stem` plus an extension, in the formats of other programs, each file with
    /// its passport, and returns the files without the passports.
    ///
    /// # Errors
    /// A file that cannot be written.
    fn export(&self, stem: &Path, export: &ExportOptions<'_>)
    -> Result<Vec<PathBuf>, WeightsError>;
}

/// Why weights cannot be tuned.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum TuningError {
    /// A matrix holds a NaN or an infinity.
    NotFinite(String),
    /// The rest of a matrix cannot be packed.
    #[error(transparent)]
    Quant(#[from] QuantError),
}

impl TuningError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::NotFinite(value) => msg!(TENSOR_NOT_FINITE, value),
            Self::Quant(error) => error.text(),
        }
    }
}
