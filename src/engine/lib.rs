//! Everything of statetune that computes with tensors: kernels, models, methods, training, exported files, runs.

mod error;
pub mod exports;
pub mod inference;
pub mod kernels;
mod library_fault;
pub mod model;
pub mod optim;
pub mod peft;
pub mod quant;
pub mod run;
pub mod tensors;
pub mod train;

pub use error::{RunError, error_of_panic, silence_library_panics};

/// The release of libtorch that this program was built for.
pub const LIBTORCH_VERSION: &str = env!("STATETUNE_LIBTORCH_VERSION");
