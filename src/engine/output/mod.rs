//! The products of a run: files that other programs read.

mod adapter_file;
mod algebra;
mod convert;
mod merged_file;
mod passport;
mod state_file;

pub use adapter_file::{save_adapter, state_beside};
pub use algebra::{AlgebraError, Difference, KnownState, check_alike, combine, differences};
pub use convert::{ConvertError, Form, ModelFile};
pub use merged_file::save_merged;
pub use passport::{Base, Passport, PassportError, Product, Sizes};
pub use state_file::{save_state, save_state_pth, save_state_st};

use statetune_core::tensorfile::Dtype;

/// How a product is written.
#[derive(Clone, Copy, Debug)]
pub struct Export<'a> {
    /// The dtype of a `.pth`.
    pub dtype: Dtype,
    /// What the product is and where it comes from.
    pub passport: &'a Passport,
}
