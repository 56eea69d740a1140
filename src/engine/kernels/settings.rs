//! Settings of libtorch for the whole process, and the memory of the machine.

use std::ffi::c_int;
use std::path::Path;
use std::sync::Once;

use tch::{Device, Tensor};
use torch_sys::C_tensor;

use super::control_groups::free_in_groups;

unsafe extern "C" {
    fn statetune_keep_memory();
    fn statetune_end_in_words();
    fn statetune_free_cuda_bytes(device: c_int, bytes: *mut i64) -> c_int;
    fn statetune_use_cuda(device: c_int) -> c_int;
    fn statetune_allow_tf32(allow: c_int);
    fn statetune_pinned(x: *const C_tensor) -> *mut C_tensor;
    /// Of the C library.
    fn malloc_trim(pad: usize) -> c_int;
}

/// Allows or forbids matrix products of float32 tensors to round their operands to TF32 (10 bits after the binary
/// point) on GPUs that can. A setting of the whole process; CPUs always compute in float32.
pub fn allow_tf32(allow: bool) {
    // SAFETY: the function takes a number by value and sets a flag of libtorch's global context.
    unsafe { statetune_allow_tf32(allow.into()) }
}

/// `x` on `device`. From the CPU to a GPU it goes without a wait: a copy in pinned memory, and from there in the order of
/// the GPU's work.
pub fn send(x: Tensor, device: Device) -> Tensor {
    if x.device() == device {
        return x;
    }
    let kind = x.kind();
    match x.device() {
        Device::Cpu => pinned(x).to_device_(device, kind, true, false),
        _ => x.to_device(device),
    }
}

/// A CPU tensor in memory that a GPU copies from without a wait; the tensor itself where there is no such memory.
pub fn pinned(x: Tensor) -> Tensor {
    // SAFETY: the pointer is that of a live tensor; the shim catches every exception, and returns null or a tensor for
    // the caller to own.
    let copy = unsafe { statetune_pinned(x.as_ptr()) };
    if copy.is_null() {
        return x;
    }
    // SAFETY: as above.
    unsafe { Tensor::from_ptr(copy) }
}

/// Makes this process keep the memory of freed tensors for the next ones, in a heap without gaps between them.
///
/// Call it on the first line of a program: only later tensors are affected.
pub fn keep_memory() {
    static ONCE: Once = Once::new();
    // SAFETY: the shim sets options of malloc and libtorch's allocator, both once and before this program
    // has other threads, by the contract above.
    ONCE.call_once(|| unsafe { statetune_keep_memory() });
}

/// Ends the process with a message and exit code 23 when memory ends in a thread of libtorch, which nothing can catch.
pub fn end_in_words() {
    static ONCE: Once = Once::new();
    // SAFETY: the shim sets the terminate handler of the C++ library, once.
    ONCE.call_once(|| unsafe { statetune_end_in_words() });
}

/// Returns the memory of freed tensors to the operating system page by page, also between tensors that stay.
///
/// For work that alternates large short-lived tensors with small ones that stay, and would leave gaps.
pub fn give_back_memory() {
    // SAFETY: glibc's function takes any number, may be called by any thread, and moves nothing.
    unsafe { malloc_trim(0) };
}

/// Peak resident bytes of this process so far, mapped files included; `None` where the system does not report it.
pub fn peak_resident_bytes() -> Option<u64> {
    proc_bytes("/proc/self/status", "VmHWM:")
}

/// Bytes that a run may use on a device. CPU: the available memory, up to the limit of the control group; GPU: the
/// free memory. `None` where unknown.
pub fn available_bytes(device: Device) -> Option<u64> {
    let Device::Cuda(index) = device else { return available_on_cpu() };
    let mut bytes = 0;
    // SAFETY: the shim writes one number, and catches every exception.
    let status = unsafe { statetune_free_cuda_bytes(index as c_int, &mut bytes) };
    if status == 0 { u64::try_from(bytes).ok() } else { None }
}

/// Makes a GPU the current one of this thread, so that this process takes memory of no other. A GPU that fails here fails again at
/// its first use, which tells why.
pub fn use_device(device: Device) {
    if let Device::Cuda(index) = device {
        // SAFETY: the shim catches every exception.
        unsafe { statetune_use_cuda(index as c_int) };
    }
}

fn available_on_cpu() -> Option<u64> {
    let available = proc_bytes("/proc/meminfo", "MemAvailable:")?;
    Some(available.min(free_in_groups(Path::new("/"))))
}

/// The bytes of the line of a file that begins with `key` and counts in kB (1024 bytes).
fn proc_bytes(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}
