//! What a run will need, before it starts.

mod blocks;
mod memory;
mod tape;

pub use memory::{Item, Memory, Workload};
