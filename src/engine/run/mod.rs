//! A run, from plan to exported files.
//!
//! [`run()`] reads top to bottom: prepare inputs (`prepare`), open the directory (`begin`), then train (`train`) with the
//! parts of a `course`: `evaluate`, `save`, `record`, `guard`, `obey`; at last `finish`. One event stream leaves the run.
//! Inputs are checked before the run directory exists.

mod begin;
mod course;
mod device_facts;
mod documents;
mod drawn;
mod evaluate;
mod finish;
mod follow;
mod forgetting;
mod guard;
mod input_records;
mod job;
mod mapped_inputs;
mod measure;
mod merge;
mod obey;
mod outlook;
mod prepare;
mod range_test;
mod recent_steps;
mod record;
mod reference;
#[expect(clippy::module_inception, reason = "the function `run` is this room's entrance")]
mod run;
mod save;
mod settings;
mod share;
mod suites;
mod summary_lines;
mod teacher;
mod train;
mod validation;

pub use begin::Begin;
pub use evaluate::{questions, without_thinking};
pub use finish::{Outcome, Sampled, Summary};
pub use follow::follow;
pub use guard::{Replayed, describe, replay};
pub use input_records::{CHARACTERS, recorded_settings, setting_changes};
pub use measure::measure;
pub use merge::{Merge, Merged, StatesPlace, merge};
pub use outlook::{Documents, Outlook};
pub use prepare::{load_tokenizer, load_weights, prepare_sources};
pub use range_test::find_rate;
pub use run::run;
pub use save::export_at;
pub use share::end;
