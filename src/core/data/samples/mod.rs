//! From documents to batches.

pub(crate) mod batch;
pub(crate) mod coverage;
pub(crate) mod loader;
pub(crate) mod packing;
pub(crate) mod plain;
pub(crate) mod prefetch;
pub(crate) mod survey;
pub(crate) mod windows;

pub use batch::Batch;
pub use coverage::Coverage;
pub use loader::{Loader, LoaderOptions};
pub use packing::rows_when_packed;
pub use plain::PlainRow;
pub use prefetch::prefetch;
pub use survey::Survey;
pub use windows::magic_prime;
