//! The CUDA kernels: how they reach a GPU, and the autograd shim in front of them.
//!
//! The program holds the kernels as text and links neither CUDA nor the CUDA part of libtorch, so that one program
//! serves machines with and without a GPU. [`find_gpu`] tells whether a GPU is usable, and loads libtorch's CUDA part
//! if a driver is present. NVRTC, from libtorch's CUDA packages, compiles a kernel at its first use on a kind of GPU;
//! the result is cached in a folder of the user ([`nvrtc::cache_folder`]). A kernel runs on libtorch's current stream
//! of the operands' device, in tensors that libtorch allocates.

mod build;
mod gpu;
mod launch;
pub mod nvrtc;

use std::cell::Cell;
use std::error::Error as _;
use std::ffi::{c_char, c_int};
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
use statetune_core::diagnostic::{Text, msg};
use tch::Tensor;
use torch_sys::C_tensor;

use super::autograd::{call_shim, text};
use super::{KernelError, Wkv5, Wkv6, Wkv7};

pub use build::{
    Build, LaunchRequest, OperandType, Program, QuantBuild, QuantLaunchRequest, Recurrence,
    StageBuild, StageLaunchRequest,
};
pub use gpu::{
    GpuBytes, device_model, device_name, find_driver, find_gpu, gpu_uuid, peak_gpu_bytes,
    recorded_device,
};
pub(super) use launch::launch_quant;
pub use launch::{Launch, QuantLaunch, StageLaunch};

/// How the kernels of the fused stages and of the optimizer are started, and those of the recurrences among them.
#[derive(Clone, Copy, Debug)]
pub struct StageStarts {
    /// Of the stages and the optimizer.
    pub stage: StageLaunch,
    /// Of the recurrences.
    pub wkv: Launch,
}

thread_local! {
    /// What [`with_emulated_stages`] has set.
    static EMULATED: Cell<Option<StageStarts>> = const { Cell::new(None) };
}

/// How kernels for tensors like `x` are started; `None` where no GPU has it.
pub(super) fn stage_starts(x: &Tensor) -> Option<StageStarts> {
    let on_gpu = StageStarts { stage: launch::launch_stage, wkv: launch::launch };
    EMULATED.get().or(x.device().is_cuda().then_some(on_gpu))
}

/// Runs `work` with the CUDA kernels of the stages and of the optimizer on CPU tensors, started by `starts`. For tests, which
/// emulate a GPU.
///
/// # Safety
/// As for [`run`], for both.
pub unsafe fn with_emulated_stages<T>(starts: StageStarts, work: impl FnOnce() -> T) -> T {
    /// Restores the former ones, after a panic too.
    struct Restore(Option<StageStarts>);
    impl Drop for Restore {
        fn drop(&mut self) {
            EMULATED.set(self.0);
        }
    }
    let _restore = Restore(EMULATED.replace(Some(starts)));
    work()
}

/// Loads libtorch's CUDA part. libtorch can use CUDA tensors from now on if a GPU is there.
///
/// Call it before any question to libtorch about CUDA (`tch::Cuda`, `Device::cuda_if_available`), and before seeds and
/// backward passes, which ask too: libtorch remembers its first answer.
///
/// # Errors
/// What the system's loader says, usually because libtorch was fetched on a machine without a driver and lacks the CUDA
/// packages.
fn enable_cuda() -> Result<(), Text> {
    let library =
        libtorch_folder().map_or("libtorch_cuda.so".into(), |x| x.join("libtorch_cuda.so"));
    load(&library).map_err(|error| {
        // The error itself only says that loading failed; its cause names the library.
        let cause = error.source().map_or_else(|| error.to_string(), ToString::to_string);
        msg!(LIBTORCH_CUDA_BROKEN, error = Text::library(cause))
    })
}

/// Whether a CUDA driver can be loaded.
fn has_driver() -> bool {
    load(Path::new("libcuda.so.1")).is_ok()
}

/// WKV-5 on operands that were checked.
pub(super) fn wkv5(
    ops: &Wkv5<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    // SAFETY: the operands were checked, and this launch runs the kernels of this crate.
    unsafe { run(launch::launch, &Operands::Wkv5(ops), s0, restarts) }
}

/// WKV-6 on operands that were checked.
pub(super) fn wkv6(
    ops: &Wkv6<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    // SAFETY: as in `wkv5`.
    unsafe { run(launch::launch, &Operands::Wkv6(ops), s0, restarts) }
}

/// WKV-7 on operands that were checked.
pub(super) fn wkv7(
    ops: &Wkv7<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    // SAFETY: as in `wkv5`.
    unsafe { run(launch::launch, &Operands::Wkv7(ops), s0, restarts) }
}

/// The operands of any of the recurrences.
#[derive(Debug)]
pub enum Operands<'a> {
    /// WKV-5.
    Wkv5(&'a Wkv5<'a>),
    /// WKV-6.
    Wkv6(&'a Wkv6<'a>),
    /// WKV-7.
    Wkv7(&'a Wkv7<'a>),
}

unsafe extern "C" {
    fn statetune_wkv_cuda(
        launch: Launch,
        version: c_int,
        r: *const C_tensor,
        w: *const C_tensor,
        k: *const C_tensor,
        v: *const C_tensor,
        a: *const C_tensor,
        b: *const C_tensor,
        u: *const C_tensor,
        s0: *const C_tensor,
        restarts: *const C_tensor,
        y: *mut *mut C_tensor,
        s_last: *mut *mut C_tensor,
        message: *mut c_char,
        message_len: usize,
    ) -> c_int;

    fn statetune_libtorch_file(file: *mut c_char, file_len: usize) -> c_int;
}

/// A recurrence whose kernels `launch` starts, in the forward and the backward pass. The functions of [`super`] are
/// the safe interface; tests pass a launch that emulates the GPU.
///
/// # Errors
/// [`KernelError::Native`] has the text of libtorch or `launch`.
///
/// # Safety
/// The operands have the shapes and dtypes that [`super::wkv5`], [`super::wkv6`] and [`super::wkv7`] ask for
/// and lie on one device. `launch` reads a request as [`LaunchRequest`] documents it, writes only where
/// the kernels write, and ends a message with a zero byte; it can be called as long as the results live.
pub unsafe fn run(
    launch: Launch,
    operands: &Operands<'_>,
    s0: &Tensor,
    restarts: Option<&Tensor>,
) -> Result<(Tensor, Tensor), KernelError> {
    let (version, [r, w, k, v], ab, u) = match operands {
        Operands::Wkv5(x) => (5, [x.r, x.w, x.k, x.v], None, Some(x.u)),
        Operands::Wkv6(x) => (6, [x.r, x.w, x.k, x.v], None, Some(x.u)),
        Operands::Wkv7(x) => (7, [x.r, x.w, x.k, x.v], Some((x.a, x.b)), None),
    };
    let pointer = |x: Option<&Tensor>| x.map_or(null(), Tensor::as_ptr);
    let mut y: *mut C_tensor = null_mut();
    let mut s_last: *mut C_tensor = null_mut();
    call_shim(|message, len| {
        // SAFETY: the pointers are null where the shim allows it or those of live tensors that outlive the
        // call; the caller vouches for shapes, dtypes, device and `launch`; the shim makes operands
        // contiguous and keeps its own references.
        unsafe {
            statetune_wkv_cuda(
                launch,
                version,
                r.as_ptr(),
                w.as_ptr(),
                k.as_ptr(),
                v.as_ptr(),
                pointer(ab.map(|(a, _)| a)),
                pointer(ab.map(|(_, b)| b)),
                pointer(u),
                s0.as_ptr(),
                pointer(restarts),
                &mut y,
                &mut s_last,
                message,
                len,
            )
        }
    })?;
    // SAFETY: on success both pointers are tensors that the shim allocated for the caller to own.
    Ok(unsafe { (Tensor::from_ptr(y), Tensor::from_ptr(s_last)) })
}

/// The folder of the loaded libtorch.
pub fn libtorch_folder() -> Option<PathBuf> {
    let mut file = [0 as c_char; 4096];
    // SAFETY: the shim writes at most `file.len()` bytes and a final zero.
    let status = unsafe { statetune_libtorch_file(file.as_mut_ptr(), file.len()) };
    let file = PathBuf::from((status == 0).then(|| text(&file))?);
    file.parent().map(PathBuf::from)
}

/// The folder of libtorch's CUDA packages, beside the folder `torch/` of the loaded libtorch.
fn libtorch_packages() -> Option<PathBuf> {
    libtorch_folder().map(|lib| lib.join("../../nvidia/cu13/lib"))
}

/// Loads a library for the rest of the process, its symbols visible to all others.
fn load(library: &Path) -> Result<(), libloading::Error> {
    // SAFETY: loading runs the initialisers of the library. This module loads the CUDA driver, NVRTC
    // and libtorch's CUDA part, which may be loaded at any time and are never unloaded.
    let library = unsafe { Library::open(Some(library), RTLD_NOW | RTLD_GLOBAL) }?;
    std::mem::forget(library);
    Ok(())
}
