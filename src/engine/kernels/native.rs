//! The CPU kernels, by way of the autograd shim.

use std::ffi::{CStr, c_char, c_int};
use std::ptr::{null, null_mut};

use tch::Tensor;
use torch_sys::C_tensor;

use super::{KernelError, Wkv5, Wkv6, Wkv7};
use statetune_core::diagnostic::{Text, msg};

unsafe extern "C" {
    fn statetune_wkv(
        version: c_int,
        inputs: *const *const C_tensor,
        restarts: *const C_tensor,
        y: *mut *mut C_tensor,
        s_last: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;
    fn statetune_cpu_supports(set: c_int) -> c_int;
    fn statetune_cpu_use(set: c_int) -> c_int;
}

/// WKV-5 on checked operands: the WKV-6 kernels on a `w` that is repeated for every token.
///
/// That costs one more tensor of the size of `k`, its gradient, and the exponentials of every token. The
/// gradient of `w` is added up by autograd.
pub(super) fn wkv5(
    ops: &Wkv5<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    let w = ops.w.expand_as(ops.k);
    wkv6(&Wkv6 { r: ops.r, w: &w, k: ops.k, v: ops.v, u: ops.u }, s0, restarts)
}

/// WKV-6 on checked operands.
pub(super) fn wkv6(
    ops: &Wkv6<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    // The kernels make a gradient of u for every row of the batch, which autograd adds up.
    let b = ops.r.size()[0];
    let u = ops.u.to_kind(s0.kind()).unsqueeze(0).repeat([b, 1, 1]); // (B, H, N)
    call(6, &[ops.r, ops.w, ops.k, ops.v, &u, s0], restarts)
}

/// WKV-7 on checked operands.
pub(super) fn wkv7(
    ops: &Wkv7<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    call(7, &[ops.r, ops.w, ops.k, ops.v, ops.a, ops.b, s0], restarts)
}

/// Calls the shim with the operands that it lists for `version`.
fn call(
    version: c_int,
    inputs: &[&Tensor],
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    let inputs: Vec<Tensor> = inputs.iter().map(|x| x.contiguous()).collect();
    let restarts = restarts.map(Tensor::contiguous);
    let pointers: Vec<*const C_tensor> = inputs.iter().map(Tensor::as_ptr).collect();
    let mut y: *mut C_tensor = null_mut();
    let mut s_last: *mut C_tensor = null_mut();
    let mut message = [0 as c_char; 1024];
    // SAFETY: the pointers are those of live tensors that outlive the call, as many as the shim reads
    // for this version; shapes, dtypes, device and contiguity are what the kernels expect; the shim
    // keeps its own references, catches every exception and ends `message` with a zero byte.
    let status = unsafe {
        statetune_wkv(
            version,
            pointers.as_ptr(),
            restarts.as_ref().map_or(null(), Tensor::as_ptr),
            &mut y,
            &mut s_last,
            message.as_mut_ptr(),
            message.len(),
        )
    };
    if status != 0 {
        // SAFETY: the shim has written a zero-terminated text of at most `message.len()` bytes.
        let text = unsafe { CStr::from_ptr(message.as_ptr()) }.to_string_lossy().into_owned();
        return Err(KernelError::Native(Text::library(text)));
    }
    // SAFETY: on success both pointers are tensors that the shim allocated for the caller to own.
    Ok(unsafe { (Tensor::from_ptr(y), Tensor::from_ptr(s_last)) })
}

/// What the CPU kernels are compiled for. The best set of the machine is used unless a test asks for
/// another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InstructionSet {
    /// What every processor of this architecture has.
    Baseline,
    /// AVX2, FMA and F16C.
    Avx2,
    /// AVX-512 F, DQ, BW and VL.
    Avx512,
}

impl InstructionSet {
    /// Every set, whether or not this machine has it.
    pub const ALL: [InstructionSet; 3] =
        [InstructionSet::Baseline, InstructionSet::Avx2, InstructionSet::Avx512];

    /// Whether this machine runs it.
    pub fn is_supported(self) -> bool {
        // SAFETY: the function takes any number and only asks the processor.
        unsafe { statetune_cpu_supports(self as c_int) != 0 }
    }
}

/// Runs `work` with the CPU kernels of `set` instead of the best ones, as far as this thread calls them.
/// For tests: it lets one machine check all that it can run.
///
/// # Errors
/// [`KernelError::Native`] when this machine does not have `set`; `work` does not run.
pub fn with_instruction_set<T>(
    set: InstructionSet,
    work: impl FnOnce() -> T,
) -> Result<T, KernelError> {
    /// Restores the former set, after a panic too.
    struct Restore(c_int);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: the number came from `statetune_cpu_use`, so it is a supported set.
            unsafe { statetune_cpu_use(self.0) };
        }
    }
    if !set.is_supported() {
        return Err(KernelError::Native(msg!(MACHINE_LACKS, set = format_args!("{set:?}"))));
    }
    // SAFETY: the set is supported.
    let _restore = Restore(unsafe { statetune_cpu_use(set as c_int) });
    Ok(work())
}
