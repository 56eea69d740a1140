//! The implementations of the recurrence, and what keeps a GPU from being used.

use crate::diagnostic::Text;

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

/// Tokens between two states that the native kernels save for the backward pass: `WKV_CHUNK_LEN` of `kernels/wkv.h`, as a
/// test of the engine checks.
pub const SAVED_EVERY: u64 = 16;

/// Positions whose logits the plain form of the cross-entropy makes float32 at a time: few enough for the caches of a CPU.
pub const LOSS_PART_LEN: i64 = 32;

/// Why no GPU can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct NoGpu {
    /// What is missing.
    pub reason: Text,
    /// Whether the machine has a CUDA driver, so that its user may expect the GPU to be used.
    pub has_driver: bool,
}
