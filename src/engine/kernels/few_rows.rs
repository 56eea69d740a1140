//! Products of a few rows with a dense matrix, as generation needs them.

use std::cell::Cell;
use std::ffi::{c_char, c_int};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use super::autograd::call_shim;

unsafe extern "C" {
    fn statetune_few_rows(
        x: *const C_tensor,
        w: *const C_tensor,
        transposed: c_int,
        y: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

thread_local! {
    /// How many [`GenerationGuard`]s this thread has.
    static GUARDS: Cell<u32> = const { Cell::new(0) };
}

/// Switches autograd off on this thread and lets [`linear`] and [`matmul`] take the kernels for few rows, until it is
/// dropped. Training takes no guard: products that are computed again with autograd have to be the same.
pub struct GenerationGuard {
    _no_grad: tch::NoGradGuard,
}

impl GenerationGuard {
    /// Switches now.
    #[expect(clippy::new_without_default, reason = "a guard is taken on purpose")]
    pub fn new() -> GenerationGuard {
        GUARDS.set(GUARDS.get() + 1);
        GenerationGuard { _no_grad: tch::no_grad_guard() }
    }
}

impl Drop for GenerationGuard {
    fn drop(&mut self) {
        GUARDS.set(GUARDS.get() - 1);
    }
}

/// `x W^T` for `x` (.., in) and `w` (out, in): (.., out) in the dtype of `x`, differentiable in both.
///
/// Where a [`GenerationGuard`] lives and `x` has up to eight rows on the CPU, a kernel of this crate multiplies, at the speed of the
/// memory: sums are in float32 and rounded once, and a row does not depend on the others. Else libtorch multiplies.
///
/// # Panics
/// When shapes, dtypes or devices differ, or memory runs out.
pub fn linear(x: &Tensor, w: &Tensor) -> Tensor {
    few_rows(x, w, false).unwrap_or_else(|| x.linear::<&Tensor>(w, None))
}

/// `x W` for `x` (.., in) and `w` (in, out); as [`linear`].
///
/// # Panics
/// When shapes, dtypes or devices differ, or memory runs out.
pub fn matmul(x: &Tensor, w: &Tensor) -> Tensor {
    few_rows(x, w, true).unwrap_or_else(|| x.matmul(w))
}

/// The product by our kernel, if it takes these operands.
fn few_rows(x: &Tensor, w: &Tensor, transposed: bool) -> Option<Tensor> {
    if GUARDS.get() == 0 {
        return None;
    }
    let mut y: *mut C_tensor = null_mut();
    call_shim(|message, len| {
        // SAFETY: both tensors live through the call; the shim checks what its kernels read.
        unsafe {
            statetune_few_rows(x.as_ptr(), w.as_ptr(), transposed.into(), &mut y, message, len)
        }
    })
    .expect("memory for a few rows");
    // SAFETY: a pointer that is not null is a tensor that the shim allocated for the caller to own.
    (!y.is_null()).then(|| unsafe { Tensor::from_ptr(y) })
}
