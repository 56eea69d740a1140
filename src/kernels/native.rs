//! Calls into the autograd shim: the only `unsafe` code of the crate.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use super::{KernelError, Wkv7};

unsafe extern "C" {
    fn statetune_wkv7(
        r: *const C_tensor,
        w: *const C_tensor,
        k: *const C_tensor,
        v: *const C_tensor,
        a: *const C_tensor,
        b: *const C_tensor,
        s0: *const C_tensor,
        y: *mut *mut C_tensor,
        s_last: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// WKV-7 on CPU tensors of head size [`super::HEAD_SIZE`] whose shapes and dtypes were checked.
pub(super) fn wkv7(ops: &Wkv7<'_>, s0: &Tensor) -> Result<(Tensor, Tensor), KernelError> {
    let [r, w, k, v, a, b] = [ops.r, ops.w, ops.k, ops.v, ops.a, ops.b].map(Tensor::contiguous);
    let s0 = s0.contiguous();
    let mut y: *mut C_tensor = null_mut();
    let mut s_last: *mut C_tensor = null_mut();
    let mut message = [0 as c_char; 1024];
    // SAFETY: the pointers are those of live tensors that outlive the call; shapes, dtypes, device
    // and contiguity are what the kernels expect; the shim keeps its own references, catches
    // every exception and ends `message` with a zero byte.
    let status = unsafe {
        statetune_wkv7(
            r.as_ptr(),
            w.as_ptr(),
            k.as_ptr(),
            v.as_ptr(),
            a.as_ptr(),
            b.as_ptr(),
            s0.as_ptr(),
            &mut y,
            &mut s_last,
            message.as_mut_ptr(),
            message.len(),
        )
    };
    if status != 0 {
        // SAFETY: the shim has written a zero-terminated text of at most `message.len()` bytes.
        let text = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned();
        return Err(KernelError::Native(text));
    }
    // SAFETY: on success both pointers are tensors that the shim allocated for the caller to own.
    Ok(unsafe { (Tensor::from_ptr(y), Tensor::from_ptr(s_last)) })
}
