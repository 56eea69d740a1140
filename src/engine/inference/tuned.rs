//! The weights that compute what a run trained, as dense tensors.

use std::collections::HashMap;

use statetune_core::diagnostic::{Diagnostic, Severity, msg};

use super::check_base;
use super::load::{AdapterFile, ModelSpec, check_fit, unfit};
use crate::RunError;
use crate::model::{TimeState, Weights, load_tensors};
use crate::peft::{TuningSpec, merged, packed_base};

/// A tuned model without adapters: dense weights, and the initial states beside them.
#[derive(Debug)]
pub struct TunedModel {
    /// The weights, in the dtypes of the base.
    pub weights: Weights,
    /// The initial states that were trained, else those of the base.
    pub states: Option<TimeState>,
    /// Warnings for the user.
    pub warnings: Vec<Diagnostic>,
}

impl ModelSpec {
    /// The model with its adapter merged. With `quantised` the adapter is merged into the packed weights that it was
    /// trained on, made dense again.
    ///
    /// # Errors
    /// A file that cannot be read, or an adapter or state of other weights.
    pub fn tuned(&self, quantised: bool) -> Result<TunedModel, RunError> {
        let mut warnings = Vec::new();
        let file = self.adapter.as_ref().map(|adapter| &adapter.file).or(self.state.as_ref());
        if let Some(found) = file.map(|file| check_base(file, &self.weights)).transpose()?.flatten()
        {
            if found.severity == Severity::Error {
                return Err(RunError::Foreign(Box::new(found)));
            }
            warnings.push(found);
        }
        let base = Weights::load(&self.weights)?;
        let nothing = TuningSpec::nothing();
        let (recipe, trained) = match &self.adapter {
            None => (&nothing, HashMap::new()),
            Some(AdapterFile { file, recipe }) => {
                check_fit(recipe, &base)?;
                let expected = recipe.trained_tensors(base.shape());
                (&**recipe, load_tensors(file, &expected, msg!(PARAMETERS_OF_RUN))?)
            }
        };
        let format = self.quant.filter(|_| quantised);
        let packed = format.map(|format| packed_base(recipe, &base, &trained, format)).transpose();
        let packed = packed.map_err(|error| unfit(error.into(), &self.weights))?;
        if self.quant.is_some() && packed.is_none() {
            warnings.push(dense_base());
        }
        let mut weights = base.share();
        for (name, tensor) in merged(recipe, &base, packed.as_ref(), &trained) {
            weights.set(name, tensor);
        }
        let trained =
            self.state.as_ref().map(|file| TimeState::load(file, base.shape())).transpose()?;
        let of_base = || base.states().map(TimeState::share);
        Ok(TunedModel { weights, states: trained.or_else(of_base), warnings })
    }
}

/// The warning about an adapter that was trained on quantized weights and is merged into dense ones.
pub fn dense_base() -> Diagnostic {
    let message = msg!(MERGED_WITH_DENSE);
    Diagnostic::warning(message)
        .note(msg!(DENSE_IS_ANOTHER_MODEL))
        .help(msg!(QUANTISED_IS_TRAINED_MODEL))
}
