//! RWKV models: shapes, weights, initialisation and the forward pass.
//!
//! [`Model`] is a model of any version. `rwkv5`, `rwkv6` and `rwkv7` hold what the versions do not
//! share, one file each: the tensors of a block and what is computed with them. The model knows nothing
//! of how it is trained: the code that creates the weights decides which tensors train.

mod ahead;
mod copying;
mod fingerprint;
mod forward;
mod init;
mod layers;
mod linear;
mod rwkv5;
mod rwkv6;
mod rwkv7;
mod state;
mod stream;
mod versions;
mod weights;

pub use copying::{Copies, Seen};
pub use fingerprint::{fingerprint, fingerprint_without_states};
pub use forward::{AfterTimeMix, Hidden, Model};
pub use linear::{Linear, Matrix, Update};
pub use state::{LayerState, Shift, State, TimeState};
pub use statetune_core::arch::{
    Arch, ModelError, Ranks, Rwkv5, Rwkv6, Rwkv7, Shape, Version, has_states, shape_in, shape_of,
};
pub use stream::Stream;
pub use weights::{Weights, blob, copied, dtype_of, file_tensor, load_tensors};
