//! What formats of whole models hold beside the weights.

use statetune_core::data::{Template, Tokenizer};
use statetune_core::diagnostic::Text;
use statetune_core::tensorfile::WeightsError;

use super::Passport;

/// What a program needs beside the weights to talk with a model.
#[derive(Debug)]
pub struct ModelCard<'a> {
    /// The name of the model.
    pub name: String,
    /// The vocabulary.
    pub tokenizer: Tokenizer,
    /// How conversations are written.
    pub template: &'a Template,
    /// What the file is and where it comes from.
    pub passport: Passport,
}

/// Why a model was not written for a program.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The program has no such model; the reason.
    #[error("{0}")]
    Refused(Text),
    /// A file that could not be written.
    #[error(transparent)]
    Output(#[from] WeightsError),
}
