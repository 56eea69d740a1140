//! How the memory of tensors is had from the operating system.

use std::ffi::c_int;
use std::sync::Once;

use tch::Device;

unsafe extern "C" {
    fn statetune_keep_memory();
    fn statetune_free_cuda_bytes(device: c_int, bytes: *mut i64) -> c_int;
    /// Of the C library.
    fn malloc_trim(pad: usize) -> c_int;
}

/// Makes this process keep the memory of freed tensors for the next ones, in a heap without holes between them.
///
/// For a program's first line: it concerns only tensors that are made afterwards.
pub fn keep_memory() {
    static ONCE: Once = Once::new();
    // SAFETY: the shim sets options of malloc and libtorch's allocator, both once and before this program
    // has other threads, by the contract above.
    ONCE.call_once(|| unsafe { statetune_keep_memory() });
}

/// Gives the memory of freed tensors back to the operating system, page by page, between tensors that stay too.
///
/// For work that makes large tensors for a moment and small ones to keep, which would leave holes behind.
pub fn give_back_memory() {
    // SAFETY: glibc's function takes any number, may be called by any thread, and moves nothing.
    unsafe { malloc_trim(0) };
}

/// The most bytes of memory that this process has had resident so far, mapped files included; `None` where the
/// system does not say so.
pub fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024)
}

/// Bytes that a run may take on a device: on a processor what the system can give, no more than the limit of the
/// control group; on a GPU its free memory. `None` where that is not known.
pub fn available_bytes(device: Device) -> Option<u64> {
    let Device::Cuda(index) = device else { return available_on_cpu() };
    let mut bytes = 0;
    // SAFETY: the shim writes one number, and catches every exception.
    let status = unsafe { statetune_free_cuda_bytes(index as c_int, &mut bytes) };
    if status == 0 { u64::try_from(bytes).ok() } else { None }
}

fn available_on_cpu() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    let number = |name: &str| -> Option<u64> {
        std::fs::read_to_string(format!("/sys/fs/cgroup/{name}")).ok()?.trim().parse().ok()
    };
    let limit = number("memory.max").zip(number("memory.current"));
    let limit = limit.map_or(u64::MAX, |(max, current)| max.saturating_sub(current));
    Some((kib * 1024).min(limit))
}
