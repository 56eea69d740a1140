//! State and adapter files.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::de::Error as _;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::peft::{Peft, TuningSpec, is_adapter_tensor};
use statetune_core::plan::format_of_table;
use statetune_core::tensorfile::TensorFile;

use super::AdapterFile;
use crate::RunError;
use crate::exports::{ExportKind, Passport, PassportError, state_beside};
use crate::quant::Format;

/// The content of a state or adapter file.
#[derive(Debug, Default)]
pub struct Learned {
    /// The adapter.
    pub adapter: Option<AdapterFile>,
    /// The initial state.
    pub state: Option<PathBuf>,
    /// Quantisation of the weights that an adapter was trained on.
    pub quant: Option<Format>,
}

impl Learned {
    /// Reads the kind of a file: an adapter, with its method from its passport, otherwise a state.
    ///
    /// # Errors
    /// An unreadable file or passport, or an adapter without a passport.
    pub fn find(file: &Path) -> Result<Learned, RunError> {
        let passport = Passport::of(file)?;
        let Some(passport) = passport.filter(|one| one.kind == ExportKind::Adapter) else {
            if TensorFile::open(file)?.names().any(is_adapter_tensor) {
                let message = msg!(UNKNOWN_ADAPTER, file);
                let refusal = Diagnostic::error(message)
                    .note(msg!(PASSPORT_MISSING, file = Passport::beside(file)))
                    .help(msg!(NAME_THE_RUN));
                return Err(RunError::Contradiction(Box::new(refusal)));
            }
            return Ok(Learned { state: Some(file.to_path_buf()), ..Learned::default() });
        };
        let form = |source| PassportError::Form { path: Passport::beside(file), source };
        let quant = packed_format(file, &passport)?;
        let peft: Peft = serde_json::from_value(passport.method).map_err(form)?;
        if peft.rank() == Some(0) {
            return Err(form(serde_json::Error::custom("the rank is 0")).into());
        }
        let recipe = TuningSpec::new(&peft);
        let state = recipe.state_lr_scale.map(|_| state_of(file));
        let adapter = Some(AdapterFile { file: file.to_path_buf(), recipe: Rc::new(recipe) });
        Ok(Learned { adapter, state, quant })
    }
}

/// The format in which training packed the base weights of an exported file, by its passport.
///
/// # Errors
/// A passport with an unknown `[quant]`.
pub fn packed_format(file: &Path, passport: &Passport) -> Result<Option<Format>, PassportError> {
    let format = passport.quant.clone().map(format_of_table).transpose();
    let format =
        format.map_err(|source| PassportError::Form { path: Passport::beside(file), source })?;
    Ok(format.flatten())
}

/// The file of trained states next to the adapter or model file `exported`.
pub fn state_of(exported: &Path) -> PathBuf {
    state_beside(&exported.with_extension("")).with_added_extension("pth")
}
