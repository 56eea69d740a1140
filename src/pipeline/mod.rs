//! A run from plan to products: data, model, training, samples, in this order.
//!
//! Everything that can be wrong with the inputs is found before a run directory exists.

mod data;
mod error;
mod model;
mod passport;
mod record;
mod sample;
mod tune;
mod tuned;

pub use error::RunError;
pub use model::{load_tokenizer, load_weights, pack_weights};
pub use record::{Progress, Summary};
pub use sample::{answer, questions};
pub use tune::run;
pub use tuned::load_tuned;
