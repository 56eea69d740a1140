//! The element-wise stages of a channel mix.

use std::ffi::{c_char, c_int};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use super::super::autograd::call_shim;
use super::{KernelError, OCTET, Op, Place, StageLaunch, place};

unsafe extern "C" {
    fn statetune_relu_square(
        x: *const C_tensor,
        start: Option<StageLaunch>,
        out: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_sigmoid_mul(
        x: *const C_tensor,
        y: *const C_tensor,
        start: Option<StageLaunch>,
        out: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// `relu(x)^2`.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub fn relu_square(op: Op, x: &Tensor) -> Result<Tensor, KernelError> {
    let Some(place) = place_of_numbers(op, x) else { return Ok(x.relu().square()) };
    let x = x.contiguous();
    call(|out, message, len| {
        // SAFETY: the tensor outlives the call and is contiguous, where the kernels are, in a dtype of theirs.
        unsafe { statetune_relu_square(x.as_ptr(), place.start(), out, message, len) }
    })
}

/// `sigmoid(x) * y`, for tensors of one size.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text.
pub fn sigmoid_mul(op: Op, x: &Tensor, y: &Tensor) -> Result<Tensor, KernelError> {
    let Some(place) = place_of_numbers(op, x) else { return Ok(x.sigmoid() * y) };
    let (x, y) = (x.contiguous(), y.contiguous());
    call(|out, message, len| {
        // SAFETY: as above; both tensors have one size and dtype.
        unsafe { statetune_sigmoid_mul(x.as_ptr(), y.as_ptr(), place.start(), out, message, len) }
    })
}

/// Where the kernels take the numbers of `x`.
fn place_of_numbers(op: Op, x: &Tensor) -> Option<Place> {
    let whole = x.numel() as i64 % OCTET == 0;
    place(op, x).filter(|place| whole || matches!(place, Place::Cpu))
}

/// The tensor that a function of the shim makes.
fn call(
    shim: impl FnOnce(*mut *mut C_tensor, *mut c_char, usize) -> c_int,
) -> Result<Tensor, KernelError> {
    let mut out: *mut C_tensor = null_mut();
    call_shim(|message, len| shim(&mut out, message, len))?;
    // SAFETY: on success the pointer is a tensor that the shim allocated for the caller to own.
    Ok(unsafe { Tensor::from_ptr(out) })
}
