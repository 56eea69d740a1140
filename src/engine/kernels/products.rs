//! Matrix products of 16-bit floating-point tensors on CPUs without instructions for them.

use std::ffi::c_int;
use std::sync::Once;

unsafe extern "C" {
    fn statetune_replace_products();
    fn statetune_has_bfloat16_products() -> c_int;
    fn statetune_widen_products(dtypes: c_int) -> c_int;
}

/// Replaces libtorch's CPU products of bfloat16 and float16 tensors, where the CPU has no instructions for them, by
/// products in float32 of operands that are widened tile by tile. Each sum is rounded once. Autograd is not concerned:
/// the gradients of a product are products.
pub fn replace_products() {
    static ONCE: Once = Once::new();
    // SAFETY: the shim registers functions that live as long as the program.
    ONCE.call_once(|| unsafe { statetune_replace_products() });
}

/// Whether this CPU has instructions for products of bfloat16 matrices.
pub fn has_bfloat16_products() -> bool {
    // SAFETY: the function only queries the CPU.
    unsafe { statetune_has_bfloat16_products() != 0 }
}

/// Runs `work` with products of 16-bit tensors on this thread that are widened (`widen`), or that are libtorch's own. For
/// tests and benchmarks: one machine can check both.
pub fn with_widened_products<T>(widen: bool, work: impl FnOnce() -> T) -> T {
    /// Restores the former setting, after a panic too.
    struct Restore(c_int);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the function sets a flag.
            unsafe { statetune_widen_products(self.0) };
        }
    }
    /// bfloat16 and float16, as `Widened` of `kernels/products.cpp`.
    const BOTH: c_int = 3;
    replace_products();
    // SAFETY: the function sets a flag.
    let _restore = Restore(unsafe { statetune_widen_products(if widen { BOTH } else { 0 }) });
    work()
}
