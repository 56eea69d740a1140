//! RWKV architectures without tensors: versions, shapes, tensor lists, detection, parameter groups.
use crate::diagnostic::Text;

mod detect;
mod groups;
mod parts;
mod presets;
mod rwkv5;
pub mod rwkv6;
mod rwkv7;
mod shape;
mod version;

pub use detect::{Shapes, check, detect};
pub use groups::group;
pub use parts::{TrainPart, part};
pub use presets::Preset;
pub use shape::{Arch, HEAD_SIZE, Ranks, Shape, is_linear};
pub use version::Version;

/// Which implementation computes a recurrence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Op {
    /// The native CPU kernels: CPU tensors, head sizes that are a multiple of 8 up to 256. Float16
    /// operands are computed in float32.
    Cpu,
    /// The native CUDA kernels: CUDA tensors, float32, bfloat16 or float16 operands, head sizes that
    /// are a multiple of 8 up to 256.
    Cuda,
    /// Chunks of tokens at once, in matrix products of libtorch. Any head size, any device.
    Chunk,
    /// Plain tensor operations, one token at a time. Any head size, any device.
    Reference,
}

impl Op {
    /// Its name in experiment files.
    pub fn name(self) -> &'static str {
        match self {
            Op::Cpu => "cpu",
            Op::Cuda => "cuda",
            Op::Chunk => "chunk",
            Op::Reference => "reference",
        }
    }

    /// Whether this implementation computes heads of `n` channels.
    pub fn computes_heads_of(self, n: i64) -> bool {
        match self {
            Op::Reference | Op::Chunk => true,
            Op::Cpu | Op::Cuda => n > 0 && n <= 256 && n % 8 == 0,
        }
    }
}

/// Tokens from one state that the native kernels save for the backward pass to the next (`WKV_CHUNK_LEN` in
/// `kernels/wkv.h`).
pub const SAVED_EVERY: u64 = 16;

/// Why no GPU can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct NoGpu {
    /// What is missing.
    pub reason: Text,
    /// Whether the machine has a CUDA driver, so that somebody may count on its GPU.
    pub has_driver: bool,
}
