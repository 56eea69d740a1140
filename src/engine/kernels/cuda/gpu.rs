//! Whether a GPU is usable, and what is known about it.

use std::ffi::c_int;
use std::sync::OnceLock;

use cudarc::driver::DriverError;
use cudarc::driver::result::{device, init};
use cudarc::driver::sys::cuDriverGetVersion;
use statetune_core::arch::NoGpu;
use statetune_core::diagnostic::{Text, msg};
use tch::{Cuda, Device};

use super::nvrtc::Nvrtc;
use super::{KernelError, enable_cuda, has_driver, libtorch_packages};
use crate::kernels::cpu::cpu_model;
use crate::kernels::most_threads;

unsafe extern "C" {
    fn statetune_peak_cuda_bytes(device: c_int, allocated: *mut i64, reserved: *mut i64) -> c_int;
}

/// The CUDA that libtorch was built with, 13.0, and the first driver that supports it.
const CUDA_OF_LIBTORCH: c_int = 13000;
const DRIVER_OF_LIBTORCH: u32 = 580;

/// Looks once in a process for everything that the kernels need: a CUDA driver, libtorch's CUDA part, a GPU, and
/// NVRTC. On success, libtorch can make CUDA tensors. Returns the number of GPUs that this process sees.
///
/// # Errors
/// The first of these that is missing.
pub fn find_gpu() -> Result<usize, NoGpu> {
    static FOUND: OnceLock<Result<usize, NoGpu>> = OnceLock::new();
    FOUND.get_or_init(look).clone()
}

fn look() -> Result<usize, NoGpu> {
    if !has_driver() {
        return Err(no_driver());
    }
    usable().map_err(|reason| NoGpu { reason, has_driver: true })
}

/// How many GPUs of the driver can be used, or what keeps them from that. The driver is asked before libtorch, which does
/// not say why.
fn usable() -> Result<usize, Text> {
    let (found, needed) = (driver_version()?, CUDA_OF_LIBTORCH);
    if found < needed {
        let version = |number: c_int| format!("{}.{}", number / 1000, number % 1000 / 10);
        let (found, needed) = (version(found), version(needed));
        return Err(msg!(DRIVER_IS_OLD, found, needed, driver = DRIVER_OF_LIBTORCH));
    }
    let answers = || init().and_then(|()| device::get_count());
    answers().map_err(no_usable_gpu)?;
    enable_cuda()?;
    if !Cuda::is_available() {
        return Err(msg!(LIBTORCH_FINDS_NO_GPU));
    }
    let packages = libtorch_packages();
    Nvrtc::open(packages.as_slice()).map_err(|error| match error {
        KernelError::Native(reason) => reason,
        error => error.text(),
    })?;
    Ok(usize::try_from(Cuda::device_count()).unwrap_or(0).max(1))
}

/// The newest CUDA that the driver supports, such as 13000 for 13.0.
fn driver_version() -> Result<c_int, Text> {
    let mut version = 0;
    // SAFETY: the driver's library is there, as the caller has found, and the call writes one number.
    unsafe { cuDriverGetVersion(&mut version) }.result().map_err(no_usable_gpu)?;
    Ok(version)
}

/// What the driver says of an error, as the reason for which there is no GPU.
fn no_usable_gpu(error: DriverError) -> Text {
    let words = error.error_string().map(|words| words.to_string_lossy().into_owned());
    msg!(NO_USABLE_GPU, error = Text::library(words.unwrap_or_else(|_| error.to_string())))
}

fn no_driver() -> NoGpu {
    let reason = msg!(NO_CUDA_DRIVER);
    NoGpu { reason, has_driver: false }
}

/// Whether there is a CUDA driver: the part of [`find_gpu`] that needs no libtorch.
///
/// # Errors
/// There is no driver.
pub fn find_driver() -> Result<(), NoGpu> {
    if has_driver() { Ok(()) } else { Err(no_driver()) }
}

/// The name of a device on screen: the model of a GPU, or the CPU with its number of threads.
pub fn device_name(device: Device) -> String {
    named(device, "CPU")
}

/// The name of a device in `plan.json`; the text is part of its format.
pub fn recorded_device(device: Device) -> String {
    named(device, "processor")
}

fn named(device: Device, cpu: &str) -> String {
    match device {
        Device::Cuda(index) => match gpu_name(index) {
            Some(name) => format!("{name} (GPU {index})"),
            None => format!("GPU {index}"),
        },
        _ => {
            let threads = most_threads();
            format!("{cpu}, {threads} thread{}", if threads == 1 { "" } else { "s" })
        }
    }
}

/// The model of a device in `lock.toml`: the same run may round differently on another model.
pub fn device_model(device: Device) -> String {
    match device {
        Device::Cuda(index) => gpu_name(index).unwrap_or_else(|| "GPU".to_string()),
        _ => cpu_model(),
    }
}

fn gpu_name(index: usize) -> Option<String> {
    init().and_then(|()| device::get_name(device::get(index as c_int)?)).ok()
}

/// What tells a GPU from all others, on any machine, in hexadecimal; `None` on a CPU, or where the driver does not say.
pub fn gpu_uuid(device: Device) -> Option<String> {
    let Device::Cuda(index) = device else { return None };
    let uuid = init().and_then(|()| device::get_uuid(device::get(index as c_int)?)).ok()?;
    Some(uuid.bytes.iter().map(|byte| format!("{:02x}", byte.cast_unsigned())).collect())
}

/// Bytes of GPU memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct GpuBytes {
    /// Held by tensors.
    pub allocated: u64,
    /// Taken by libtorch for tensors, with the gaps between them: what other programs cannot use. The context of CUDA
    /// is not counted.
    pub reserved: u64,
}

/// The most bytes so far of a GPU, each at its own peak; `None` on a CPU.
pub fn peak_gpu_bytes(device: Device) -> Option<GpuBytes> {
    let Device::Cuda(index) = device else { return None };
    let (mut allocated, mut reserved) = (0, 0);
    // SAFETY: the shim writes two numbers, and catches every exception.
    let status =
        unsafe { statetune_peak_cuda_bytes(index as c_int, &mut allocated, &mut reserved) };
    let bytes = |number: i64| u64::try_from(number).ok();
    (status == 0).then_some(())?;
    Some(GpuBytes { allocated: bytes(allocated)?, reserved: bytes(reserved)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_usable_or_something_is_missing() {
        match find_gpu() {
            Ok(count) => {
                assert!(count > 0);
                assert!(device_name(Device::Cuda(0)).ends_with(" (GPU 0)"));
                assert!(peak_gpu_bytes(Device::Cuda(0)).is_some());
            }
            Err(missing) => {
                println!("no GPU: {missing}");
                assert_eq!(
                    missing.has_driver,
                    !missing.reason.to_string().contains("(libcuda.so.1) is not installed")
                );
            }
        }
    }

    #[test]
    fn a_cpu_has_threads_and_no_gpu_memory() {
        assert!(device_name(Device::Cpu).starts_with("CPU, "));
        assert!(recorded_device(Device::Cpu).starts_with("processor, "));
        assert_eq!(peak_gpu_bytes(Device::Cpu), None);
    }
}
