//! Texts that a model writes, and what is counted in them.

mod generate;
mod probe;

pub use generate::{GenerateOptions, generate};
pub use probe::{Probe, rate};
