//! The safe side of `kernels/weight_copies.cpp`.

use std::ffi::{c_char, c_int};
use std::ptr::{NonNull, null_mut};

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::KernelError;
use super::autograd::call_shim;

#[repr(C)]
struct CWeightCopies {
    _private: [u8; 0],
}

unsafe extern "C" {
    fn statetune_weight_copies_open(
        device: c_int,
        opened: *mut *mut CWeightCopies,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_weight_copies_close(copies: *mut CWeightCopies);
    fn statetune_weight_copies_into(
        copies: *const CWeightCopies,
        x: *const C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_weight_copies_begin(
        copies: *mut CWeightCopies,
        place: c_int,
        to: *const *const C_tensor,
        from: *const *const C_tensor,
        n: usize,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_weight_copies_await(
        copies: *mut CWeightCopies,
        place: c_int,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
}

/// Copies from the memory of the host to a GPU, on a stream of their own, into one of two places.
#[derive(Debug)]
pub struct WeightCopies(NonNull<CWeightCopies>);

impl WeightCopies {
    /// The copies to a device; `None` on the CPU, which has no streams.
    ///
    /// # Errors
    /// [`KernelError::Native`] has libtorch's text, as in the calls below.
    pub fn to(device: Device) -> Result<Option<WeightCopies>, KernelError> {
        let Device::Cuda(index) = device else { return Ok(None) };
        let mut opened = null_mut();
        call_shim(|message, len| {
            // SAFETY: the shim writes one pointer, and catches every exception.
            unsafe { statetune_weight_copies_open(index as c_int, &mut opened, message, len) }
        })?;
        Ok(NonNull::new(opened).map(WeightCopies))
    }

    /// Takes a tensor of the GPU as a place of copies: its memory is reused only after them.
    ///
    /// # Errors
    /// As for [`WeightCopies::to`].
    pub fn into_memory_of(&self, x: &Tensor) -> Result<(), KernelError> {
        call_shim(|message, len| {
            // SAFETY: the tensor outlives the call.
            unsafe { statetune_weight_copies_into(self.0.as_ptr(), x.as_ptr(), message, len) }
        })
    }

    /// Begins to copy each second tensor into the first, in `place` 0 or 1, after all that was started on the GPU before.
    ///
    /// # Errors
    /// As for [`WeightCopies::to`].
    pub fn begin(&self, place: usize, tensors: &[(Tensor, Tensor)]) -> Result<(), KernelError> {
        let pointers = |of: fn(&(Tensor, Tensor)) -> &Tensor| -> Vec<*const C_tensor> {
            tensors.iter().map(|two| of(two).as_ptr()).collect()
        };
        let (to, from) = (pointers(|(to, _)| to), pointers(|(_, from)| from));
        call_shim(|message, len| {
            // SAFETY: both lists hold as many pointers to tensors, which live as long as their owner, and so as the copies.
            unsafe {
                statetune_weight_copies_begin(
                    self.0.as_ptr(),
                    place as c_int,
                    to.as_ptr(),
                    from.as_ptr(),
                    to.len(),
                    message,
                    len,
                )
            }
        })
    }

    /// Lets what is started on the GPU from now on wait for the copies into `place`.
    ///
    /// # Errors
    /// As for [`WeightCopies::to`].
    pub fn wait_for(&self, place: usize) -> Result<(), KernelError> {
        call_shim(|message, len| {
            // SAFETY: the shim catches every exception.
            unsafe { statetune_weight_copies_await(self.0.as_ptr(), place as c_int, message, len) }
        })
    }
}

impl Drop for WeightCopies {
    fn drop(&mut self) {
        // SAFETY: opened by `WeightCopies::to`, and closed once.
        unsafe { statetune_weight_copies_close(self.0.as_ptr()) }
    }
}
