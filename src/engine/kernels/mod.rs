//! The WKV recurrences as differentiable operations on tensors.
//!
//! [`wkv5`], [`wkv6`] and [`wkv7`] are the entry points, [`Op`] selects the implementation: native kernels, whole
//! chunks in matrix products, or [`reference`](mod@reference): the same recurrence in plain tensor
//! operations, slow and obvious, against which the others are tested.
//!
//! # Documents
//!
//! A row of tokens may hold several documents. `restarts` (B, T) bool is true where one begins: the
//! state before that token is `s0` again. Position 0 always begins a document, whatever `restarts` says
//! there; `None` means one document a row. The gradient of `s0` is the sum over the documents of a row,
//! and the returned state is the one after the row's last token.

mod autograd;
mod blocks;
mod chunk;
mod control_groups;
mod cpu;
pub mod cuda;
mod few_rows;
pub mod flat;
mod low_rank;
mod operands;
mod products;
pub mod quant;
pub mod reference;
mod selftest;
mod settings;
mod threads;
mod weight_copies;

pub use statetune_core::arch::{HEAD_SIZE, NoGpu, Op, SAVED_EVERY};
use tch::Tensor;

pub use autograd::backward;
pub(crate) use autograd::call_shim;
pub use blocks::{
    HeadGate, LossGradient, MixInput, Mixed, NormMix, Share, TimeMix7Inputs, TimeMix7Params,
    cross_entropy, layer_norm, relu_square, sigmoid_mul, time_mix7,
};
pub use cpu::{InstructionSet, with_instruction_set};
pub use cuda::{
    GpuBytes, device_model, device_name, find_driver, find_gpu, gpu_uuid, peak_gpu_bytes,
    recorded_device,
};
pub use few_rows::{GenerationGuard, linear, matmul};
pub use low_rank::add_low_rank;
pub use operands::{KernelError, Wkv5, Wkv6, Wkv7};
pub use products::{has_bfloat16_products, replace_products, with_widened_products};
pub use selftest::{KernelCheck, Recurrence, check_kernel};
pub use settings::{
    allow_tf32, available_bytes, end_in_words, give_back_memory, keep_memory, peak_resident_bytes,
    pinned, send, use_device,
};
pub use threads::{cores_of_machine, fix_threads, follow_load, limit_threads, most_threads};
pub use weight_copies::WeightCopies;

/// The WKV-5 recurrence, differentiable in every operand and in `s0`.
///
/// Per head, with `d = exp(-exp(w))`, the same for all tokens:
/// `y_t = (S_{t-1} + v_t (u * k_t)^T) r_t` and `S_t = S_{t-1} diag(d) + v_t k_t^T`.
///
/// - `ops`: r, k, v, each (B, T, H, N), and w, u, each (H, N); one dtype and device, T >= 1.
/// - `s0`: (B, H, N, N) indexed `[value, key]`; float32, or float64 when `ops` are.
/// - `restarts`: (B, T) bool, true where a document begins; see the [module](self).
///
/// Returns `y` (B, T, H, N) in the dtype of `ops`, and `s_T` like `s0`. Source: arXiv:2404.05892,
/// section 4.
///
/// # Errors
/// [`KernelError::Operand`] names the first tensor of wrong shape, dtype or device, or without a kernel in
/// `op`; [`KernelError::Native`] has libtorch's text.
pub fn wkv5(
    op: Op,
    ops: &Wkv5<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    ops.check(op, s0, restarts)?;
    match op {
        Op::Cpu => cpu::wkv5(ops, s0, restarts),
        Op::Cuda => cuda::wkv5(ops, s0, restarts),
        Op::Chunk => Ok(chunk::wkv5(ops, s0, restarts)),
        Op::Reference => Ok(reference::wkv5(ops, s0, restarts)),
    }
}

/// The WKV-6 recurrence, differentiable in every operand and in `s0`.
///
/// As [`wkv5`], with a decay for every token, `d_t = exp(-exp(w_t))`:
/// `y_t = (S_{t-1} + v_t (u * k_t)^T) r_t` and `S_t = S_{t-1} diag(d_t) + v_t k_t^T`.
///
/// - `ops`: r, w, k, v, each (B, T, H, N), and u (H, N); one dtype and device, T >= 1.
/// - `s0`, `restarts`, the result and the source as for [`wkv5`].
///
/// # Errors
/// Those of [`wkv5`].
pub fn wkv6(
    op: Op,
    ops: &Wkv6<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    ops.check(op, s0, restarts)?;
    match op {
        Op::Cpu => cpu::wkv6(ops, s0, restarts),
        Op::Cuda => cuda::wkv6(ops, s0, restarts),
        Op::Chunk => Ok(chunk::wkv6(ops, s0, restarts)),
        Op::Reference => Ok(reference::wkv6(ops, s0, restarts)),
    }
}

/// The WKV-7 recurrence, differentiable in every operand and in `s0`.
///
/// Per head, with `d_t = exp(-exp(w_t))`:
/// `S_t = S_{t-1} diag(d_t) + (S_{t-1} a_t) b_t^T + v_t k_t^T` and `y_t = S_t r_t`.
///
/// - `ops`: r, w, k, v, a, b, each (B, T, H, N), one dtype and device, T >= 1.
/// - `s0`, `restarts` and the result as for [`wkv5`]. Source: arXiv:2503.14456.
///
/// # Errors
/// Those of [`wkv5`].
pub fn wkv7(
    op: Op,
    ops: &Wkv7<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    ops.check(op, s0, restarts)?;
    match op {
        Op::Cpu => cpu::wkv7(ops, s0, restarts),
        Op::Cuda => cuda::wkv7(ops, s0, restarts),
        Op::Chunk => Ok(chunk::wkv7(ops, s0, restarts)),
        Op::Reference => Ok(reference::wkv7(ops, s0, restarts)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_and_kernels_agree_on_the_chunk_length() {
        for (header, constant) in [
            (include_str!("../../../kernels/wkv.h"), "int64_t WKV_CHUNK_LEN"),
            (include_str!("../../../kernels/wkv_cuda.h"), "int WKV_CUDA_CHUNK_LEN"),
        ] {
            let line = format!("constexpr {constant} = {SAVED_EVERY};");
            assert!(header.lines().any(|found| found == line), "no `{line}`");
        }
    }
}
