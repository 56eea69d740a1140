//! RWKV architectures without tensors: versions, shapes, tensor lists, detection, parameter groups, and the memory of a
//! forward pass.
//!
//! A version is one file here, which [`Version`] lists, and one in the engine, which computes its forward pass.

mod checkpoint;
mod detect;
mod groups;
mod memory;
mod naming;
mod op;
mod preset;
mod rwkv5;
mod rwkv6;
mod rwkv7;
mod shape;
mod version;

pub use checkpoint::{ModelError, has_states, shape_in, shape_of, shape_of_file};
pub use detect::{FileKind, NotAModel, Shapes, check, detect};
pub use groups::{TrainPart, group, part};
pub use memory::SavedForBackward;
pub(crate) use memory::{Pass, Tape, Trains};
pub use naming::{
    hugging_face_name, is_of_adapter, is_of_shift, is_of_state, open_model, shift_state_names,
    time_state_name,
};
pub use op::{LOSS_PART_LEN, NoGpu, Op, SAVED_EVERY};
pub use preset::Preset;
pub use rwkv5::Rwkv5;
pub use rwkv6::{MIXTURES, Rwkv6};
pub use rwkv7::{Ranks, Rwkv7};
pub use shape::{HEAD_SIZE, Shape, block_of, is_linear};
pub use version::{Arch, Version};
