//! A run from plan to products: data, model, training, samples, in this order.
//!
//! Everything that can be wrong with the inputs is found before a run directory exists.

mod belonging;
mod control;
mod course;
mod coverage;
mod data;
mod ending;
mod error;
mod evaluate;
mod facts;
mod forecast;
mod guard;
mod inputs;
mod ledger;
mod measure;
mod memory;
mod merge;
mod model;
mod moment;
mod origins;
mod passport;
mod record;
mod replay;
mod sample;
mod start;
mod subject;
mod tune;
mod tuned;
mod watchdog;

pub use belonging::{as_warning, check_base};
pub use data::prepare_sources;
pub use error::RunError;
pub use evaluate::{EvalData, EvalOptions};
pub use forecast::{Documents, Outlook};
pub use guard::describe;
pub use inputs::CHARACTERS;
pub use ledger::{fit, ledger_of_documents, losses, mean_loss};
pub use measure::measure;
pub use memory::keep_quiet_without_memory;
pub use merge::{Merge, MergedInto, merge};
pub use model::{load_tokenizer, load_weights, pack_weights};
pub use moment::product_at;
pub use record::{Counted, Outcome, Progress, Summary};
pub use replay::replay;
pub use sample::questions;
pub use start::{Start, recorded_settings, setting_changes};
pub use subject::{AdapterFile, Loaded, Subject};
pub use tune::run;
