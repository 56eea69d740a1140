//! Checkpoint files as raw bytes: `.pth` and `.safetensors` in and out, with names, dtypes and
//! shapes but without any tensor library.
//!
//! [`TensorFile`] maps a file into memory and finds the tensors in it; nothing of their data is
//! read until [`TensorRef::bytes`] is used, and contiguous tensors are never copied. A `.pth` is a
//! pickle, that is a program, and comes from strangers: `pickle` runs the few instructions that
//! describe tensors and refuses everything else by name. No content of a file makes this module
//! panic or reserve memory out of proportion to its size.

mod archive;
mod atomic;
mod dtype;
mod error;
mod file;
mod pickle;
mod pth;
mod quiet;
mod safetensors;
mod tensor;

pub use self::safetensors::{LazyTensor, write_lazily, write_safetensors};
pub use atomic::write_atomically;
pub use dtype::Dtype;
pub use error::{Problem, WeightsError};
pub use file::{Format, TensorFile};
pub use pth::write_pth;
pub use tensor::{NewTensor, TensorRef};
