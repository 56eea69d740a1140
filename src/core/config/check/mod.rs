//! The errors of an experiment: what the schema finds wrong, as messages with places, suggestions and fixes.

mod errors;
mod fixes;
mod key_errors;
mod other_trainers;
mod value_errors;
mod violations;

pub(super) use errors::check;
pub use other_trainers::{key_meant, option_meant};
