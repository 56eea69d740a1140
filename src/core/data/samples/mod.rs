//! From documents to batches: a survey of every document, packing, windows, and the loader.

mod answers;
mod batch;
mod loader;
mod options;
mod packing;
mod survey;

pub use batch::{Batch, PlainRow, RowAnswer, RowAnswers};
pub use loader::Loader;
pub use options::LoaderOptions;
pub use packing::rows_when_packed;
pub use survey::{Coverage, Survey};
