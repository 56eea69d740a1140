//! The norm of the heads and the gate at the end of a time mix of RWKV-5 and RWKV-6.
//!
//! Shapes: B rows, T tokens, C = H * N channels.

use std::ffi::{c_char, c_int};
use std::ptr::null_mut;

use tch::Tensor;
use torch_sys::C_tensor;

use super::super::autograd::call_shim;
use super::{GPU_HEAD_SIZE, KernelError, Op, Packed, StageLaunch, place_of_rows};

/// Of the group norm on the WKV output: 1e-5 times the square of the head size divisor 8. RWKV-5 divides
/// the output by 8 and takes 1e-5, which is the same.
const EPS: f64 = 64e-5;

unsafe extern "C" {
    fn statetune_head_gate(
        y: *const C_tensor,
        g: *const C_tensor,
        params: *const C_tensor,
        start: Option<StageLaunch>,
        out: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// `norm(y) * silu(g)`, with a norm for each head.
#[derive(Debug)]
pub struct HeadGate {
    ln_x: [Tensor; 2],
    packed: Packed,
}

impl HeadGate {
    /// The stage with weight and bias (C) of its norm.
    pub fn new(ln_x: [Tensor; 2]) -> HeadGate {
        let packed = Packed::new(&ln_x);
        HeadGate { ln_x, packed }
    }

    /// y (B, T, H, N) and g (B, T, C) -> (B, T, C).
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text.
    pub fn apply(&self, op: Op, y: &Tensor, g: &Tensor) -> Result<Tensor, KernelError> {
        let place = place_of_rows(op, y, GPU_HEAD_SIZE);
        let Some((place, params)) = self.packed.of_kernel(place) else {
            return Ok(head_norm(y, &self.ln_x) * g.silu());
        };
        let (y, g) = (y.contiguous(), g.contiguous());
        let mut out: *mut C_tensor = null_mut();
        call_shim(|message, len| {
            // SAFETY: the tensors outlive the call and have the shapes, dtypes and contiguity that the shim documents.
            unsafe {
                statetune_head_gate(
                    y.as_ptr(),
                    g.as_ptr(),
                    params.as_ptr(),
                    place.start(),
                    &mut out,
                    message,
                    len,
                )
            }
        })?;
        // SAFETY: on success the pointer is a tensor that the shim allocated for the caller to own.
        Ok(unsafe { Tensor::from_ptr(out) })
    }
}

/// Group norm with one group a head, and weight and bias (C): y (B, T, H, N) -> (B, T, C).
pub(super) fn head_norm(y: &Tensor, [weight, bias]: &[Tensor; 2]) -> Tensor {
    let [b, t, h, n] = y.size()[..] else { unreachable!("y has four axes") };
    let normed = y.layer_norm::<Tensor>([n], None, None, EPS, false);
    bias.addcmul(&normed.view([b, t, h * n]), weight)
}
