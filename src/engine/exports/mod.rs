//! Exported files: what a run hands to other programs, with a passport that says what the file fits.

mod algebra;
mod convert;
pub mod mount;
mod passport;
mod state;
mod weights;

pub use algebra::{AlgebraError, StateDifference, StateFile, check_alike, combine, differences};
pub use convert::{ConvertError, ModelFile, ModelFormat};
pub use passport::{BaseWeights, ExportKind, ModelSizes, Passport, PassportError};
pub use state::{save_state, save_state_pth, save_state_st};
pub use weights::{save_adapter, save_merged, state_beside};

use statetune_core::tensorfile::Dtype;

/// How a file is exported.
#[derive(Clone, Copy, Debug)]
pub struct ExportOptions<'a> {
    /// The dtype of a `.pth`.
    pub dtype: Dtype,
    /// What the file is and where it comes from.
    pub passport: &'a Passport,
}
