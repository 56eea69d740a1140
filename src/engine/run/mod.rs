//! A run, from plan to exported files: `prepare`, `begin`, then `course` (train, evaluate, save, guard, obey), `finish`.
//!
//! Inputs are checked before the run directory exists.

mod begin;
mod control;
mod course;
mod coverage;
mod documents;
mod export_at;
mod finish;
mod guard;
mod input_records;
mod measure;
mod merge;
mod outlook;
mod passport;
mod prepare;
mod record;
mod replay;
mod run;
mod sample;
mod summary_lines;
mod watchdog;

pub use begin::{Start, recorded_settings, setting_changes};
pub use export_at::export_at;
pub use guard::describe;
pub use input_records::CHARACTERS;
pub use measure::measure;
pub use merge::{Merge, Merged, merge};
pub use outlook::{Documents, Outlook};
pub use prepare::{load_tokenizer, load_weights, prepare_sources};
pub use record::{Counted, Outcome, Progress, Summary};
pub use replay::replay;
pub use run::run;
pub use sample::questions;
