//! Calls into the native shim, and backpropagation from values whose gradients are known.

use std::ffi::{CStr, c_char, c_int};

use statetune_core::diagnostic::Text;
use tch::Tensor;
use torch_sys::C_tensor;

use super::KernelError;

unsafe extern "C" {
    fn statetune_backward(
        values: *const *const C_tensor,
        gradients: *const *const C_tensor,
        n: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// Calls a function of the shim, which gets a buffer for a message and its size in bytes. The function returns 0, or
/// another number after writing its reason and a zero byte into the message.
pub(crate) fn call_shim(shim: impl FnOnce(*mut c_char, usize) -> c_int) -> Result<(), KernelError> {
    let mut message = [0 as c_char; 4096];
    match shim(message.as_mut_ptr(), message.len()) {
        0 => Ok(()),
        _ => Err(KernelError::Native(Text::library(text(&message)))),
    }
}

/// The text before the zero byte that C code has written.
pub(super) fn text(message: &[c_char]) -> String {
    let bytes: Vec<u8> = message.iter().map(|&c| c.cast_unsigned()).collect();
    CStr::from_bytes_until_nul(&bytes).unwrap_or_default().to_string_lossy().into_owned()
}

/// Accumulates gradients into every leaf that `known` values depend on. Each is given as `(y, dy)`, of one
/// shape, dtype and device; a value that depends on no trainable leaf is ignored.
///
/// # Errors
/// [`KernelError::Native`] has the text of libtorch or of a kernel.
pub fn backward(known: &[(&Tensor, &Tensor)]) -> Result<(), KernelError> {
    let known: Vec<_> = known.iter().filter(|(y, _)| y.requires_grad()).collect();
    if known.is_empty() {
        return Ok(());
    }
    let values: Vec<*const C_tensor> = known.iter().map(|(y, _)| y.as_ptr()).collect();
    let gradients: Vec<*const C_tensor> = known.iter().map(|(_, dy)| dy.as_ptr()).collect();
    call_shim(|message, len| {
        // SAFETY: both lists hold `known.len()` pointers to tensors that outlive the call.
        unsafe {
            statetune_backward(values.as_ptr(), gradients.as_ptr(), known.len(), message, len)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_of_all_values_are_summed() {
        let x = Tensor::from_slice(&[1f32, 2.0]).set_requires_grad(true);
        let (square, double) = (x.square(), &x * 2.0);
        let of = |values: [f32; 2]| Tensor::from_slice(&values);
        let constant = of([7.0, 7.0]);
        backward(&[
            (&square, &of([1.0, 10.0])),
            (&double, &of([1.0, 1.0])),
            (&constant, &constant),
        ])
        .expect("sound gradients");
        assert_eq!(Vec::<f32>::try_from(x.grad()).expect("a vector"), [4.0, 42.0]);
        backward(&[(&constant, &constant)]).expect("no trainable leaf");
    }

    #[test]
    fn a_gradient_of_another_shape_is_an_error() {
        let x = Tensor::from_slice(&[1f32, 2.0]).set_requires_grad(true);
        let error = backward(&[(&x.square(), &Tensor::from_slice(&[1f32]))]).expect_err("refused");
        assert!(error.to_string().contains("hape"), "{error}");
    }
}
