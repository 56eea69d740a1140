//! The CUDA kernel of packed weights, tested as the kernels of the recurrences: it compiles for every architecture
//! without local memory, and in the emulation it writes the bits of the CPU kernels.

use std::ffi::{c_char, c_int};
use std::sync::Mutex;

use statetune_engine::kernels::cuda::{OperandType, QuantBuild, QuantLaunch, QuantLaunchRequest};
use statetune_engine::kernels::quant::Codes;
use statetune_engine::quant::{Format, Packed};
use tch::{Device, Kind, Tensor};

use super::cuda::{self, ARCHITECTURES, Usage, nvrtc, usages};
use super::gpu::has_gpu;

const EMULATED_LAUNCH: &str = include_str!("../emulation/quant_launch.cpp");

/// A table of 16 levels with each kind of scales, and one of 256 with a scale for each row.
const FORMATS: [Format; 3] =
    [Format::Nf4 { double: false }, Format::Nf4 { double: true }, Format::Fp8];
/// Within a block, at its end, and across several.
const SIZES: [[i64; 2]; 3] = [[3, 40], [8, 128], [24, 136]];
const KINDS: [Kind; 3] = [Kind::Float, Kind::BFloat16, Kind::Half];

fn packed(format: Format, size: [i64; 2]) -> Packed {
    tch::manual_seed(1);
    let matrix = Tensor::randn(size, (Kind::Float, Device::Cpu));
    Packed::pack(&matrix, format).expect("finite numbers")
}

#[test]
fn kernel_compiles_without_local_memory() {
    let Some(nvrtc) = nvrtc() else { return };
    for output in OperandType::ALL {
        for architecture in ARCHITECTURES {
            let program = QuantBuild { output };
            let compiled = nvrtc.compile(&program, architecture).expect("the kernel compiles");
            let [usage] = &usages(&compiled.log)[..] else { panic!("one kernel") };
            let Usage { kernel, registers, shared_bytes, local_bytes } = usage;
            println!(
                "{output:?} {architecture}: {registers} registers, {shared_bytes} bytes shared"
            );
            assert_eq!((kernel.as_str(), *shared_bytes, *local_bytes), ("dequantise", 1024, 0));
        }
    }
}

/// Runs a launch in the emulation of the kernel, after `change` of its text.
///
/// # Safety
/// As for a [`QuantLaunch`].
unsafe fn emulate(
    request: *const QuantLaunchRequest,
    message: *mut c_char,
    len: usize,
    change: impl Fn(String) -> String,
) -> c_int {
    // SAFETY: the shim's promise.
    unsafe {
        cuda::emulate(QuantBuild::of(&*request), EMULATED_LAUNCH, request, (message, len), change)
    }
}

unsafe extern "C" fn intact(
    request: *const QuantLaunchRequest,
    message: *mut c_char,
    len: usize,
) -> c_int {
    // SAFETY: passed on.
    unsafe { emulate(request, message, len, |source| source) }
}

fn by(launch: QuantLaunch, codes: &Codes, kind: Kind) -> Result<Tensor, String> {
    // SAFETY: the emulation reads and writes what the kernel does.
    unsafe { codes.dequantise_by(Some(launch), kind) }.map_err(|error| error.to_string())
}

#[test]
fn emulated_kernel_writes_the_bits_of_the_cpu_kernels() {
    for format in FORMATS {
        for size in SIZES {
            let packed = packed(format, size);
            for kind in KINDS {
                let found = by(intact, packed.codes(), kind).expect("a launch");
                let expected = packed.codes().dequantise(kind).expect("a dtype of the kernels");
                assert!(found.equal(&expected), "{format} {size:?} {kind:?}");
            }
        }
    }
}

#[test]
fn unsupported_dtypes_are_an_error() {
    let refusal = |size, kind| {
        by(intact, packed(Format::Fp8, size).codes(), kind).expect_err("to be refused")
    };
    assert!(refusal([3, 41], Kind::Float).contains("rows of a multiple of 8"));
    assert!(refusal([3, 40], Kind::Double).contains("does not dequantise to float64"));
}

/// The replacement that `damaged` makes in the text of the kernel: from, to.
static DAMAGE: Mutex<(&str, &str)> = Mutex::new(("", ""));

unsafe extern "C" fn damaged(
    request: *const QuantLaunchRequest,
    message: *mut c_char,
    len: usize,
) -> c_int {
    let (from, to) = *DAMAGE.lock().expect("no test has failed here");
    let change = |source: String| {
        let damaged = source.replace(from, to);
        assert_ne!(damaged, source);
        damaged
    };
    // SAFETY: passed on; the emulation keeps accesses away from other memory.
    unsafe { emulate(request, message, len, change) }
}

#[test]
fn emulation_detects_a_missing_barrier_and_access_outside_an_array() {
    let packed = packed(Format::Fp8, [8, 128]);
    let codes = packed.codes();
    let with = |from, to| {
        *DAMAGE.lock().expect("no test has failed here") = (from, to);
        by(damaged, codes, Kind::Float)
    };
    let expected = codes.dequantise(Kind::Float).expect("a dtype of the kernels");
    let found = with("  __syncthreads();\n", "").expect("no write outside an array");
    assert!(!found.equal(&expected), "levels are read before they are there");
    let found = with("p.scales[first", "p.scales[8 + first").expect("no write outside an array");
    assert!(
        bool::try_from(found.isnan().any()).expect("a bool"),
        "the memory behind the array is NaN"
    );
    let error = with("(p.out) + first", "(p.out) + first + OCTET").expect_err("a write behind out");
    assert!(error.contains("the kernel wrote 4096 bytes from the start of out"), "{error}");
}

#[test]
fn gpu_writes_the_bits_of_the_cpu_kernels() {
    if !has_gpu() {
        return;
    }
    for format in FORMATS {
        for kind in KINDS {
            let packed = packed(format, [515, 1024]);
            let there = packed.codes().to_device(Device::Cuda(0));
            let found = there.dequantise(kind).expect("a launch").to_device(Device::Cpu);
            let expected = packed.codes().dequantise(kind).expect("a dtype of the kernels");
            assert!(found.equal(&expected), "{format} {kind:?}");
        }
    }
}
