//! RWKV models: shapes, weights, initialisation and the forward pass.
//!
//! The model knows nothing of how it is trained: whether a tensor learns is decided by whoever hands
//! the weights in.

mod init;
mod rwkv7;
mod shape;
mod state;
mod weights;

pub use init::init_x070;
pub use rwkv7::Rwkv7;
pub use shape::{Ranks, Shape};
pub use state::{LayerState, State, TimeState};
pub use weights::{ModelError, Weights, file_tensor};
