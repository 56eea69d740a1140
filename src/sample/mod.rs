//! Texts that a model writes, and what is counted in them.

mod draw;
mod generate;
mod outlet;
mod probe;
mod speaker;

pub use draw::{GenerateOptions, Sampler};
pub use generate::generate;
pub use probe::{Probe, rate, rates};
pub use speaker::{Answer, Ending, Speaker};
