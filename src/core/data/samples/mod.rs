//! From documents to batches: a survey of every document, packing, windows, and the loader.

mod batch;
mod loader;
mod options;
mod packing;
mod survey;

pub use batch::{Batch, PlainRow};
pub use loader::Loader;
pub use options::LoaderOptions;
pub use packing::rows_when_packed;
pub use survey::{Coverage, Survey};
