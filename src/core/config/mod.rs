//! The experiment file: its tables, the layers below and above it, the checks and the manual.
//!
//! The checks cover single values and keys; relations between values are checked by the plan.

mod base_template;
mod check;
#[cfg(test)]
mod every_key;
mod lints;
mod load;
mod loading;
mod manual;
mod rewrite;
mod spelling;
mod tables;

pub use base_template::{TemplateHint, is_of_g1, template_of_weights};
pub use check::{key_meant, option_meant};
pub use load::{ConfigError, Loaded, Origin, load, parse};
pub use loading::foreign_path::{foreign_path, hub_address, hub_dataset, hub_file, is_repository};
pub use loading::overrides::Overrides;
pub use loading::text::read_text;
pub use manual::{KeyManual, find_manual, manual, reference, schema, schema_text};
pub use rewrite::{filled, minimal};
pub use spelling::nearest_word;
pub use tables::*;
