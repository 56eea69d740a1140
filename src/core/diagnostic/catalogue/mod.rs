//! Every message of the program in English and Chinese, by the room that sends it.
//!
//! [`msg!`](crate::msg) makes a message from its id. An entry that lacks a language, whose languages differ in their
//! arguments or that nothing uses does not compile or fails a test.

mod cli;
mod common;
mod config;
mod data;
mod devices;
mod distill;
mod look;
mod model;
mod plan;
mod products;
mod run;
mod runs;
mod suite;
mod train;

pub use cli::*;
pub use common::*;
pub use config::*;
pub use data::*;
pub use devices::*;
pub use distill::*;
pub use look::*;
pub use model::*;
pub use plan::*;
pub use products::*;
pub use run::*;
pub use runs::*;
pub use suite::*;
pub use train::*;
