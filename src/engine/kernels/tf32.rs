//! A switch of libtorch for matrix products on GPUs.

use std::ffi::c_int;

unsafe extern "C" {
    fn statetune_allow_tf32(allow: c_int);
}

/// Lets matrix products of float32 tensors round their operands to TF32 (10 bits after the binary point) on
/// GPUs that can, or keeps them exact. Concerns the whole process; processors always compute exactly.
pub fn allow_tf32(allow: bool) {
    // SAFETY: the function takes a number by value and sets a flag of libtorch's global context.
    unsafe { statetune_allow_tf32(allow.into()) }
}
