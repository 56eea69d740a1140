//! What a run will need and do, before it starts.
//!
//! [`Workload`] is what memory depends on, and [`Workload::memory`] the memory, item by item: the forward pass of
//! every version is written down with the sizes of its tensors alone. [`proposals`] looks for settings with which a
//! run fits, and [`Forecast`] is the record of everything that is expected.

mod boundaries;
mod fit;
mod memory;
mod record;

/// What people read where matrices of 16 bits are widened before they are multiplied.
pub const WIDENED_PRODUCTS: &str =
    "in float32, because the CPU has no instructions for products of 16-bit numbers";

pub use crate::plan::Origins;
pub use boundaries::{kept_every, most_kept};
pub use fit::{Edit, Proposal, proposals};
pub use memory::{Boundaries, Item, ItemBytes, Memory, PROGRAM_BYTES, Streaming, Workload};
pub use record::{
    DataFacts, Forecast, ModelFacts, Rate, RatePoint, Saves, Settings, Strategies, StreamFacts,
    SuiteFacts, SuitesFacts, Time, Trains, Warning, schema_text,
};
