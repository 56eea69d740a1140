//! PEFT methods as plain data: which tensors a method adds to a model and how large they are.
//!
//! The computation of each method stands in the engine, in a file of the same name.

mod adapter;
mod disha;
mod lora;
mod pissa;
mod recipe;
mod target;

pub use adapter::{AdapterMethod, AdapterRecipe, AnyMethod, Kept, Part, tensor_name};
pub use disha::{Bat, Bone};
pub use lora::Lora;
pub use pissa::Pissa;
pub use recipe::{Misfit, Parts, Recipe};
pub use target::Target;
