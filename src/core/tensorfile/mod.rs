//! Checkpoint files as bytes: reads and writes `.pth` and `.safetensors`, and writes `.gguf`, with names, dtypes and
//! shapes, without a tensor library.
//!
//! [`TensorFile`] maps a file into memory and finds its tensors. Tensor data is read only by
//! [`TensorRef::bytes`], and contiguous tensors are never copied. A `.pth` contains a pickle, which is a program and
//! untrusted: `pickle` runs the few instructions that describe tensors and refuses all others by name. No file makes
//! this module panic or allocate memory out of proportion to the size of the file.

mod archive;
mod atomic;
mod disk_speed;
mod dtype;
mod error;
mod file;
mod gguf;
mod mapped;
mod pickle;
mod pth;
mod safetensors;
mod tensor;

pub use self::safetensors::{LazyTensor, write_lazily, write_safetensors};
pub(crate) use atomic::TEMPORARY;
pub use atomic::{
    create_atomically, is_standard_output, is_written_through, one_of_several, publish,
    temporary_for, write_atomically,
};
pub use disk_speed::disk_speed;
pub use dtype::Dtype;
pub use error::{Problem, WeightsError};
pub use file::{FileFormat, TensorFile};
pub use gguf::{GgufDtype, GgufTensor, GgufValue, first_gguf_text, write_gguf};
pub use mapped::MappedFile;
pub use pth::write_pth;
pub use tensor::{Axes, NewTensor, TensorRef, View};
