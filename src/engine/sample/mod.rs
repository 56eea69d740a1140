//! Texts that a model writes, and what is counted in them.

mod draw;
mod generate;
mod outlet;
mod speaker;

pub use draw::Sampler;
pub use generate::generate;
pub use speaker::{Answer, Ending, Speaker};
pub use statetune_core::plan::{GenerateOptions, Probe, rate, rates};
