//! Whether a GPU is usable, and what is known about it.

use std::ffi::c_int;
use std::sync::OnceLock;

use cudarc::driver::result::{device, init};
use statetune_core::arch::NoGpu;
use statetune_core::diagnostic::{Text, msg};
use tch::{Cuda, Device};

use super::nvrtc::Nvrtc;
use super::{enable_cuda, has_driver, libtorch_packages};
use crate::kernels::cpu::cpu_model;

unsafe extern "C" {
    fn statetune_peak_cuda_bytes(device: c_int, bytes: *mut i64) -> c_int;
}

/// Looks once in a process for everything that the kernels need: a CUDA driver, libtorch's CUDA part, a GPU, and
/// NVRTC. On success, libtorch can make CUDA tensors.
///
/// # Errors
/// The first of these that is missing.
pub fn find_gpu() -> Result<(), NoGpu> {
    static FOUND: OnceLock<Result<(), NoGpu>> = OnceLock::new();
    FOUND.get_or_init(look).clone()
}

fn look() -> Result<(), NoGpu> {
    let unusable = |reason: Text| NoGpu { reason, has_driver: true };
    match enable_cuda() {
        Ok(true) if Cuda::is_available() => {}
        Ok(true) => {
            return Err(unusable(msg!(NO_USABLE_GPU)));
        }
        Ok(false) => return Err(no_driver()),
        Err(error) => return Err(unusable(error.text())),
    }
    let packages = libtorch_packages();
    Nvrtc::open(packages.as_slice()).map(|_| ()).map_err(|error| unusable(error.text()))
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
            let threads = tch::get_num_threads();
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

/// Peak bytes of tensors on a GPU so far; `None` on a CPU.
pub fn peak_gpu_bytes(device: Device) -> Option<u64> {
    let Device::Cuda(index) = device else { return None };
    let mut bytes = 0;
    // SAFETY: the shim writes one number, and catches every exception.
    let status = unsafe { statetune_peak_cuda_bytes(index as c_int, &mut bytes) };
    if status == 0 { u64::try_from(bytes).ok() } else { None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gpu_is_usable_or_something_is_missing() {
        match find_gpu() {
            Ok(()) => {
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
