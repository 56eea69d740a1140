//! Prepared data: the sources as tokens, split, repeated and shuffled, in a cache on disk.

pub mod cache;
mod export;
mod first_look;
mod ingest;
mod layout;
mod prepare;
mod split;

pub use export::{Exported, TextForm, copy_pair, pair_files, pair_to_texts};
pub use first_look::first_look;
pub use ingest::READ_AT_ONCE;
pub use layout::{LongestDocument, PrepareReport, PrepareSpec, Prepared, Split};
pub use prepare::{find_prepared, prepare};
