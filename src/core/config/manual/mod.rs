//! What the tables say about themselves: the JSON Schema, the tree of keys, and the manual of each key in English and
//! Chinese.

mod chinese;
mod flat;
mod key_manual;
pub(super) mod keys;
mod schema;

pub use key_manual::{KeyManual, find_manual, manual, reference};
pub use schema::{schema, schema_text};
