//! Exported files: what a run hands to other programs, with a passport that says what the file fits.

mod algebra;
mod card;
mod convert;
mod files;
mod gguf;
mod hf;
mod modelfile;
pub mod mount;
mod passport;
mod peft_adapter;
mod prompt_cache;
mod state;
mod weights;

pub use algebra::{
    AlgebraError, StateDifference, StateFile, check_alike, combine, differences, shift_differences,
};
pub use card::{ExportError, ModelCard};
pub use convert::{ConvertError, ModelFile, ModelFormat};
pub use files::remove_earlier;
pub use gguf::{is_own_gguf, save_gguf};
pub use hf::{WEIGHTS as HF_WEIGHTS, hf_files, save_hf};
pub use modelfile::save_modelfile;
pub use passport::{BaseWeights, ExportKind, ModelSizes, Passport, PassportError};
pub use peft_adapter::{ADAPTER as PEFT_ADAPTER, LowRank, peft_files, save_peft};
pub use prompt_cache::save_prompt_cache;
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
