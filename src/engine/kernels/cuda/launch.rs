//! Starts the kernels that the autograd shim asks for, through the CUDA driver.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ffi::{CStr, c_char, c_int};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

use cudarc::driver::DriverError;
use cudarc::driver::result::{ctx, device, init, launch_kernel, module, primary_ctx};
use cudarc::driver::sys::{
    CUcontext, CUdevice_attribute_enum as Attribute, CUfunction, CUmodule, is_culib_present,
};
use statetune_core::diagnostic::{Text, msg};

use super::nvrtc::{self, CodeSource};
use super::{
    Build, KernelError, LaunchRequest, Program, QuantBuild, QuantLaunchRequest, StageBuild,
    StageLaunchRequest,
};

/// Starts a kernel. Returns 0, or 1 after writing the reason and a zero byte into the message, whose size
/// in bytes is the last argument.
pub type Launch = unsafe extern "C" fn(*const LaunchRequest, *mut c_char, usize) -> c_int;

/// As [`Launch`], for the kernel of packed weights.
pub type QuantLaunch = unsafe extern "C" fn(*const QuantLaunchRequest, *mut c_char, usize) -> c_int;

/// As [`Launch`], for the kernels of the fused stages and of the optimizer.
pub type StageLaunch = unsafe extern "C" fn(*const StageLaunchRequest, *mut c_char, usize) -> c_int;

/// The [`Launch`] that runs kernels on a GPU.
///
/// # Safety
/// `request` points to a request whose `args` are those of the kernel, with pointers to arrays of the
/// device; `message` has room for `message_len` bytes, at least one.
pub(super) unsafe extern "C" fn launch(
    request: *const LaunchRequest,
    message: *mut c_char,
    message_len: usize,
) -> c_int {
    // SAFETY: the caller's promises.
    unsafe { reported(message, message_len, || start(&*request)) }
}

/// The [`QuantLaunch`] that runs the kernel on a GPU.
///
/// # Safety
/// That of [`launch`].
pub(in crate::kernels) unsafe extern "C" fn launch_quant(
    request: *const QuantLaunchRequest,
    message: *mut c_char,
    message_len: usize,
) -> c_int {
    // SAFETY: the caller's promises.
    unsafe { reported(message, message_len, || start_quant(&*request)) }
}

/// The [`StageLaunch`] that runs kernels on a GPU.
///
/// # Safety
/// That of [`launch`]; `kernel` is a text with a zero byte at its end.
pub(super) unsafe extern "C" fn launch_stage(
    request: *const StageLaunchRequest,
    message: *mut c_char,
    message_len: usize,
) -> c_int {
    // SAFETY: the caller's promises.
    unsafe { reported(message, message_len, || start_stage(&*request)) }
}

/// Runs `start`. Returns 0, or 1 after writing the reason and a zero byte into the message.
///
/// # Safety
/// `message` has room for `message_len` bytes, at least one.
unsafe fn reported(
    message: *mut c_char,
    message_len: usize,
    start: impl FnOnce() -> Result<(), KernelError>,
) -> c_int {
    // A panic must not cross into C++; cudarc panics where the driver's library is missing. After a panic nothing
    // reads state that it may have left half written.
    let outcome = catch_unwind(AssertUnwindSafe(start));
    let reason = match outcome {
        Ok(Ok(())) => return 0,
        Ok(Err(KernelError::Native(reason))) => reason.to_string(),
        Ok(Err(error)) => error.to_string(),
        Err(_) => msg!(CUDA_DRIVER_UNUSABLE).to_string(),
    };
    let len = reason.len().min(message_len - 1);
    // SAFETY: `len + 1` bytes fit, by the caller's promise.
    unsafe {
        reason.as_ptr().cast::<c_char>().copy_to_nonoverlapping(message, len);
        *message.add(len) = 0;
    }
    1
}

/// # Safety
/// That of [`launch`].
unsafe fn start(request: &LaunchRequest) -> Result<(), KernelError> {
    let name = if request.backward == 0 { c"wkv_forward" } else { c"wkv_backward" };
    let function = function(request.device, Loadable::Wkv(Build::of(request)?), name)?;
    let grid = (request.grid[0], request.grid[1], 1);
    let threads = (request.threads.unsigned_abs(), 1, 1);
    let mut args = [request.args.cast_mut()];
    // SAFETY: the function is of the context that `function` made current, the caller vouches for its
    // parameter, and the stream is libtorch's current one of the same device.
    unsafe { launch_kernel(function, grid, threads, 0, request.stream.cast(), &mut args) }
        .map_err(|error| failed(msg!(START_WKV_KERNEL), error))
}

/// # Safety
/// That of [`launch`].
unsafe fn start_quant(request: &QuantLaunchRequest) -> Result<(), KernelError> {
    let program = Loadable::Quant(QuantBuild::of(request)?);
    let function = function(request.device, program, c"dequantise")?;
    let (grid, threads) = ((request.blocks, 1, 1), (request.threads.unsigned_abs(), 1, 1));
    let mut args = [request.args.cast_mut()];
    // SAFETY: as in `start`.
    unsafe { launch_kernel(function, grid, threads, 0, request.stream.cast(), &mut args) }
        .map_err(|error| failed(msg!(START_PACKED_KERNEL), error))
}

/// # Safety
/// That of [`launch_stage`].
unsafe fn start_stage(request: &StageLaunchRequest) -> Result<(), KernelError> {
    let program = Loadable::Stage(StageBuild::of(request)?);
    // SAFETY: the caller vouches for the text.
    let function = function(request.device, program, unsafe { CStr::from_ptr(request.kernel) })?;
    let (grid, threads) = ((request.blocks, 1, 1), (request.threads.unsigned_abs(), 1, 1));
    let mut args = [request.args.cast_mut()];
    // SAFETY: as in `start`.
    unsafe { launch_kernel(function, grid, threads, 0, request.stream.cast(), &mut args) }
        .map_err(|error| failed(msg!(START_STAGE_KERNEL), error))
}

/// A program that a device can load.
#[derive(Clone, Copy, Eq, Ord, PartialEq, PartialOrd)]
enum Loadable {
    Wkv(Build),
    Quant(QuantBuild),
    Stage(StageBuild),
}

impl Loadable {
    fn program(&self) -> &dyn Program {
        match self {
            Loadable::Wkv(build) => build,
            Loadable::Quant(build) => build,
            Loadable::Stage(build) => build,
        }
    }
}

/// A device as libtorch uses it.
struct Gpu {
    /// The primary context, which libtorch's CUDA runtime uses as well.
    context: CUcontext,
    /// Such as `sm_90`.
    architecture: String,
    loaded: BTreeMap<Loadable, CUmodule>,
}

// SAFETY: contexts and modules are handles that the driver lets every thread use.
unsafe impl Send for Gpu {}

/// The devices used so far, for the rest of the process, as libtorch's own kernels are. A static, because libtorch
/// calls [`launch`] from its own threads.
static GPUS: Mutex<BTreeMap<c_int, Gpu>> = Mutex::new(BTreeMap::new());

/// A kernel on a device; compiles and loads its program on first use, and makes the device's context current.
fn function(ordinal: c_int, wanted: Loadable, name: &CStr) -> Result<CUfunction, KernelError> {
    let mut gpus = GPUS.lock().unwrap_or_else(PoisonError::into_inner);
    let gpu = match gpus.entry(ordinal) {
        Entry::Occupied(entry) => entry.into_mut(),
        Entry::Vacant(entry) => entry.insert(open(ordinal)?),
    };
    // SAFETY: the context is retained as long as the program lives.
    unsafe { ctx::set_current(gpu.context) }.map_err(|error| failed(msg!(USE_DEVICE), error))?;
    let module = match gpu.loaded.entry(wanted) {
        Entry::Occupied(entry) => *entry.get(),
        Entry::Vacant(entry) => {
            let load = |source| load(wanted.program(), &gpu.architecture, source);
            // A driver may refuse what an older one has taken.
            let module = load(CodeSource::Cache).or_else(|_| load(CodeSource::Compiler))?;
            *entry.insert(module)
        }
    };
    // SAFETY: modules are never unloaded.
    unsafe { module::get_function(module, name.into()) }
        .map_err(|error| failed(msg!(FIND_KERNEL), error))
}

/// Loads the machine code of a program into the current context.
fn load(
    program: &dyn Program,
    architecture: &str,
    source: CodeSource,
) -> Result<CUmodule, KernelError> {
    let cubin = nvrtc::machine_code(program, architecture, source)?;
    // SAFETY: the image is a whole cubin, which the driver checks and copies.
    unsafe { module::load_data(cubin.as_ptr().cast()) }
        .map_err(|error| failed(msg!(LOAD_KERNEL), error))
}

fn open(ordinal: c_int) -> Result<Gpu, KernelError> {
    // SAFETY: the probe loads the driver's library, as any use of it does.
    if !unsafe { is_culib_present() } {
        return Err(KernelError::Native(msg!(NO_CUDA_DRIVER)));
    }
    let describe = || {
        init()?;
        let device = device::get(ordinal)?;
        // SAFETY: the device is one that the driver has just named.
        unsafe {
            let number = |attribute| device::get_attribute(device, attribute);
            let major = number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
            let minor = number(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?;
            Ok((primary_ctx::retain(device)?, format!("sm_{major}{minor}")))
        }
    };
    let (context, architecture) = describe().map_err(|error| failed(msg!(USE_DEVICE), error))?;
    Ok(Gpu { context, architecture, loaded: BTreeMap::new() })
}

fn failed(what: Text, error: DriverError) -> KernelError {
    KernelError::Native(msg!(CUDA_DRIVER_CANNOT, what, error = Text::library(error)))
}

#[cfg(test)]
mod tests {
    use std::ptr::null;

    use std::ffi::c_void;

    use super::*;

    #[test]
    fn launch_without_a_driver_is_an_error_with_a_reason() {
        // SAFETY: the probe only loads the driver.
        if unsafe { is_culib_present() } {
            eprintln!("skipped: there is a CUDA driver");
            return;
        }
        let request = LaunchRequest {
            version: 7,
            backward: 0,
            dtype: 1,
            keys: 64,
            device: 0,
            threads: 128,
            grid: [1, 1],
            stream: null::<c_void>().cast_mut(),
            args: null(),
        };
        let mut message = [0 as c_char; 24];
        // SAFETY: without a driver no kernel reads `args`, and the message has the size that is said.
        let status = unsafe { launch(&request, message.as_mut_ptr(), message.len()) };
        assert_eq!(status, 1);
        assert_eq!(
            crate::kernels::autograd::text(&message),
            "the CUDA driver (libcud",
            "cut to fit"
        );
    }
}
