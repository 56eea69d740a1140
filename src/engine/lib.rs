//! Everything of statetune that computes with tensors: kernels, models, methods, training, exported files, runs.

pub mod kernels;
pub mod model;
pub mod mount;
pub mod optim;
pub mod output;
pub mod peft;
pub mod pipeline;
pub mod quant;
pub mod sample;
pub mod score;
pub mod tensors;
pub mod train;

/// The release of libtorch that this program was built for.
pub const LIBTORCH_VERSION: &str = env!("STATETUNE_LIBTORCH_VERSION");
