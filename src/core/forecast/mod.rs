//! What a run will need and do, before it starts.
//!
//! [`Workload`] is what memory depends on, and [`Workload::memory`] the memory, item by item: the forward pass of
//! every version is written down with the sizes of its tensors alone. [`proposals`] looks for settings with which a
//! run fits, and [`Forecast`] is the record of everything that is expected.

mod blocks;
mod fit;
mod memory;
mod record;
mod tape;

pub use crate::plan::Origins;
pub use fit::{Edit, Proposal, proposals};
pub use memory::{Item, ItemBytes, LOSS_PART_LEN, Memory, Workload, gib};
pub use record::{
    DataFacts, Forecast, ModelFacts, Rate, RatePoint, Saves, Settings, Time, Trains, Warning,
    schema_text,
};
