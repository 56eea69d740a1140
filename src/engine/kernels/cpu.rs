//! The CPU kernels, called through the autograd shim.

use std::ffi::{c_char, c_int};
use std::fs;
use std::ptr::{null, null_mut};

use statetune_core::diagnostic::msg;
use tch::{Kind, Tensor};
use torch_sys::C_tensor;

use super::autograd::call_shim;
use super::{KernelError, Wkv5, Wkv6, Wkv7};

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
/// That costs one more tensor of the size of `k`, its gradient, and the exponentials of every token. Autograd sums
/// the gradient of `w` over the tokens.
pub(super) fn wkv5(
    ops: &Wkv5<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    let w = widened(ops.w).expand_as(ops.k);
    wkv6(&Wkv6 { r: ops.r, w: &w, k: ops.k, v: ops.v, u: ops.u }, s0, restarts)
}

/// WKV-6 on checked operands.
pub(super) fn wkv6(
    ops: &Wkv6<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    // The kernels make a gradient of u for every row of the batch, which autograd sums.
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

/// Calls the shim with the operands that it lists for `version`, r first.
fn call(
    version: c_int,
    inputs: &[&Tensor],
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    let kind = inputs[0].kind();
    let inputs: Vec<Tensor> = inputs.iter().map(|x| widened(x).contiguous()).collect();
    let restarts = restarts.map(Tensor::contiguous);
    let pointers: Vec<*const C_tensor> = inputs.iter().map(Tensor::as_ptr).collect();
    let mut y: *mut C_tensor = null_mut();
    let mut s_last: *mut C_tensor = null_mut();
    call_shim(|message, len| {
        let restarts = restarts.as_ref().map_or(null(), Tensor::as_ptr);
        // SAFETY: the pointers are those of live tensors that outlive the call, as many as the shim reads
        // for this version; shapes, dtypes, device and contiguity are what the kernels expect; the shim
        // keeps its own references.
        unsafe {
            statetune_wkv(version, pointers.as_ptr(), restarts, &mut y, &mut s_last, message, len)
        }
    })?;
    // SAFETY: on success both pointers are tensors that the shim allocated for the caller to own.
    let (y, s_last) = unsafe { (Tensor::from_ptr(y), Tensor::from_ptr(s_last)) };
    Ok((y.to_kind(kind), s_last))
}

/// `x`, in float32 if it is float16, which the kernels do not take.
fn widened(x: &Tensor) -> Tensor {
    if x.kind() == Kind::Half { x.to_kind(Kind::Float) } else { x.shallow_clone() }
}

/// An instruction set that the CPU kernels are compiled for. The best set of the machine is used unless a test
/// asks for another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum InstructionSet {
    /// Every CPU of the architecture has it.
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

    /// Whether this machine supports it.
    pub fn is_supported(self) -> bool {
        // SAFETY: the function takes any number and only queries the CPU.
        unsafe { statetune_cpu_supports(self as c_int) != 0 }
    }
}

/// Runs `work` with the CPU kernels of `set` on this thread. For tests: one machine can check every set it supports.
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

/// The CPU in run records (the text is part of the format of `lock.toml`): its model, and the best instruction set
/// that it shares with the kernels, because each set sums in another order.
pub(super) fn cpu_model() -> String {
    let sets = [(InstructionSet::Avx512, "AVX-512"), (InstructionSet::Avx2, "AVX2")];
    let best = sets.into_iter().find(|(set, _)| set.is_supported());
    let best = best.map_or("baseline", |(_, name)| name);
    // Only Linux has the file.
    let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    match model_name(&cpuinfo) {
        Some(model) => format!("processor ({model}, {best})"),
        None => format!("processor ({best})"),
    }
}

/// The first CPU's model in the text of `/proc/cpuinfo`.
fn model_name(cpuinfo: &str) -> Option<&str> {
    let line = cpuinfo.lines().find(|line| line.starts_with("model name"))?;
    line.split_once(": ").map(|(_, model)| model.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_cpu_is_named() {
        let text =
            "processor\t: 0\nmodel name\t: AMD EPYC 9B14\n\nprocessor\t: 1\nmodel name\t: B\n";
        assert_eq!(model_name(text), Some("AMD EPYC 9B14"));
        assert_eq!(model_name("flags\t: fpu\n"), None);
        assert!(cpu_model().starts_with("processor ("));
    }
}
