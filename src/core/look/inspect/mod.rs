//! A look at the documents of an experiment before training: problems, the target tokens of each document, and
//! lengths.
//!
//! [`read`] passes every document of the sources in order; the other files process one document at a time.

mod check;
mod fix;
mod read;
mod show;
mod stats;

pub use check::{Check, Checked, Finding, Kind};
pub use fix::{Fixed, Repair};
pub use read::{Item, Sample, read, read_other};
pub use show::{Fate, Part, parts};
pub use stats::{Bucket, Counter, Lengths, Stats};
