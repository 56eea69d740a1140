//! The devices that share a step: processes, each with the whole model, that take the passes of a step in turn.
//!
//! [`Devices`] moves tensors and texts between them; [`Single`] is one device alone, [`Group`] a group of processes that meet
//! through libtorch's TCPStore and speak Gloo. [`Place`] is what a launcher says about a process, [`Processes`] are those that
//! the program starts itself. [`PassSum`] adds gradients in the order of passes, so that any number of devices gets
//! the same bits; a [`Feed`] brings the gradients of a pass while the backward pass computes. [`Rounds`] deal out work without gradients, such as evaluations.

mod error;
mod exchange_time;
mod feed;
mod group;
mod native;
mod passes;
mod place;
mod processes;
mod rounds;
#[cfg(test)]
mod threads;
mod transport;

pub use error::DevicesError;
pub use exchange_time::exchange_time;
pub use feed::{Feed, watch_gradients};
pub use group::Group;
pub use passes::{PassSum, gather_range, gather_slices, sum_of_squares_of_slices};
pub use place::{Launcher, Place};
pub use processes::Processes;
pub use rounds::{Rounds, Sent};
pub use transport::{Devices, Exchange, Single};
