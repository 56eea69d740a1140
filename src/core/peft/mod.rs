//! PEFT methods as plain data: which tensors a method adds to a model and how large they are.
//!
//! The engine computes each method in a file of the same name.

mod adapter;
mod disha;
mod lora;
mod pissa;
mod tuning_spec;

pub use adapter::{AdapterMethod, AdapterSpec, AnyMethod, Part, SavedForBackward, tensor_name};
pub use disha::{Bat, Bone};
pub use lora::Lora;
pub use pissa::Pissa;
pub use tuning_spec::{Misfit, Parts, TuningSpec};
