//! A look at the documents of an experiment before training: problems, the target tokens of each document, and
//! lengths.
//!
//! [`read`] hands out every document of the sources, in their order; the other files look at one after the
//! other and collect.

mod check;
mod fix;
mod read;
mod show;
mod stats;

pub use check::{Check, Checked, Finding, Kind};
pub use fix::{Fixed, fix};
pub use read::{Item, Sample, read, read_other, record_form};
pub use show::{Fate, Part, parts};
pub use stats::{Bucket, Counter, Lengths, Stats};
