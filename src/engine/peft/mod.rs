//! PEFT methods with tensors. A [`Method`] freezes a part of a model, hands its trainable parameters to the trainer,
//! and writes them to files.
//!
//! [`StateTuning`] trains only the initial states. All other methods are a [`WeightTuning`] of a [`TuningSpec`]: adapters
//! of matrices, tensors of the model, or both, with or without the initial states. A method of adapters is described
//! in the crate statetune-core ([`AdapterMethod`]: the tensors it adds, their sizes) and computed here
//! ([`AdapterMath`]), in two files of the same name: `lora`, `pissa`, `disha`.

mod adapter;
mod disha;
mod lora;
mod merge;
mod method;
mod pissa;
mod state;
mod weights;

pub use statetune_core::peft::*;

pub use adapter::{Adapter, AdapterMath, AdapterSet};
pub use merge::{merged, packed_base};
pub use method::{Method, TuningError};
pub use state::{StateTuning, state_after};
pub use weights::{Compute, WeightTuning};

/// The computation of each method: the registry of this crate.
fn math(method: &AnyMethod) -> &dyn AdapterMath {
    match method {
        AnyMethod::Lora(method) => method,
        AnyMethod::Pissa(method) => method,
        AnyMethod::Disha(method) => method,
    }
}
