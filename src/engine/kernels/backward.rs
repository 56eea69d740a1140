//! Backpropagation from values whose gradients are known.

use std::ffi::{CStr, c_char, c_int};

use tch::Tensor;
use torch_sys::C_tensor;

use super::KernelError;
use statetune_core::diagnostic::Text;

unsafe extern "C" {
    fn statetune_backward(
        values: *const *const C_tensor,
        gradients: *const *const C_tensor,
        n: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// Adds to the gradient of every leaf that `known` values depend on. Each is given as `(y, dy)`, of one
/// shape, dtype and device; values that depend on no leaf that learns are left out.
///
/// # Errors
/// [`KernelError::Native`] has libtorch's text, or that of an operation of this crate.
pub fn backward(known: &[(&Tensor, &Tensor)]) -> Result<(), KernelError> {
    let known: Vec<_> = known.iter().filter(|(y, _)| y.requires_grad()).collect();
    if known.is_empty() {
        return Ok(());
    }
    let values: Vec<*const C_tensor> = known.iter().map(|(y, _)| y.as_ptr()).collect();
    let gradients: Vec<*const C_tensor> = known.iter().map(|(_, dy)| dy.as_ptr()).collect();
    let mut message = [0 as c_char; 1024];
    // SAFETY: both lists hold as many pointers as is said, to tensors that outlive the call; the shim
    // catches every exception and ends `message` with a zero byte.
    let status = unsafe {
        statetune_backward(
            values.as_ptr(),
            gradients.as_ptr(),
            known.len(),
            message.as_mut_ptr(),
            message.len(),
        )
    };
    if status == 0 {
        return Ok(());
    }
    // SAFETY: the shim has written a zero-terminated text of at most `message.len()` bytes.
    let text = unsafe { CStr::from_ptr(message.as_ptr()) };
    Err(KernelError::Native(Text::library(text.to_string_lossy())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gradients_of_all_values_are_added_up() {
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
        backward(&[(&constant, &constant)]).expect("nothing learns");
    }

    #[test]
    fn a_gradient_of_another_shape_is_an_error() {
        let x = Tensor::from_slice(&[1f32, 2.0]).set_requires_grad(true);
        let error = backward(&[(&x.square(), &Tensor::from_slice(&[1f32]))]).expect_err("refused");
        assert!(error.to_string().contains("hape"), "{error}");
    }
}
