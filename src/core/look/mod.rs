//! Reports on data and runs.

pub mod inspect;
