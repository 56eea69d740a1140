//! Every message of the program in English and Chinese, by the room that sends it.
//!
//! [`msg!`](crate::msg) makes a message from its id. An entry that lacks a language, whose languages differ in their
//! arguments or that nothing uses does not compile or fails a test.

mod common;

pub use common::*;
