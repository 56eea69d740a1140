//! The products of a run: files that other programs read.

mod passport;
mod state_file;

pub use passport::{Base, Passport, PassportError, Product, Sizes};
pub use state_file::save_state;
