//! The products of a run: files that other programs read.

mod state_file;

pub use state_file::save_state;
