//! The product of a low-rank update, as products of matrices alone.

use std::ffi::{c_char, c_int};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use super::autograd::call_shim;
use super::cuda::stage_starts;

unsafe extern "C" {
    fn statetune_low_rank(
        base: *const C_tensor,
        x: *const C_tensor,
        a: *const C_tensor,
        b: *const C_tensor,
        scale: f64,
        y: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// `base + scale (x A^T) B^T` for `x` (.., in), `a` (R, in), `b` (out, R) and `base` (.., out), a fresh result that no one
/// else reads; differentiable in all but the scale.
///
/// On a GPU the last product adds to `base`, so that nothing but products is launched; elsewhere these are tensor
/// operations.
///
/// # Panics
/// When shapes, dtypes or devices differ, or memory runs out.
pub fn add_low_rank(base: Tensor, x: &Tensor, a: &Tensor, b: &Tensor, scale: f64) -> Tensor {
    if stage_starts(x).is_none() || !base.is_contiguous() {
        return base + x.matmul(&a.tr()).matmul(&b.tr()) * scale;
    }
    let mut y: *mut C_tensor = null_mut();
    call_shim(|message, len| {
        // SAFETY: the tensors outlive the call; libtorch checks shapes and dtypes.
        unsafe {
            statetune_low_rank(
                base.as_ptr(),
                x.as_ptr(),
                a.as_ptr(),
                b.as_ptr(),
                scale,
                &mut y,
                message,
                len,
            )
        }
    })
    .unwrap_or_else(|error| panic!("{error}"));
    // SAFETY: on success the pointer is a tensor that the shim allocated for the caller to own.
    unsafe { Tensor::from_ptr(y) }
}
