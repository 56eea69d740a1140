//! The CUDA kernels of the fused stages and of the optimizer, tested as those of the recurrences: they compile for every
//! architecture without local memory, and in the emulation the optimizer's match the CPU. `blocks.rs` compares
//! the stages.

use std::collections::BTreeSet;
use std::ffi::{c_char, c_int};
use std::sync::Mutex;

use statetune_engine::kernels::cuda::{
    OperandType, Program, StageBuild, StageLaunch, StageLaunchRequest, StageStarts,
    with_emulated_stages,
};
use statetune_engine::kernels::flat::{AdamRule, Pieces, digest, sum_of_squares};
use statetune_engine::kernels::reference::relative_error;
use statetune_engine::kernels::{MixInput, NormMix, Op, Share};
use tch::{Device, Kind, Tensor};

use super::cuda::{self, ARCHITECTURES, Usage, emulator, nvrtc, usages};
use super::gpu::has_gpu;

const EMULATED_LAUNCH: &str = include_str!("../emulation/stage_launch.cpp");

fn compile(operand: OperandType, architecture: &str) {
    let Some(nvrtc) = nvrtc() else { return };
    let compiled = nvrtc.compile(&StageBuild { operand }, architecture).expect("kernels compile");
    let usages = usages(&compiled.log);
    assert_eq!(usages.len(), 14);
    for Usage { kernel, registers, shared_bytes, local_bytes } in usages {
        println!(
            "{kernel} {operand:?} {architecture}: {registers} registers, {shared_bytes} bytes shared"
        );
        assert_eq!(local_bytes, 0, "{kernel} of {operand:?} on {architecture} uses local memory");
    }
}

#[test]
fn kernels_compile_without_local_memory() {
    for architecture in ARCHITECTURES {
        compile(OperandType::Bf16, architecture);
    }
    compile(OperandType::Float32, "sm_90");
    compile(OperandType::Float16, "sm_90");
}

#[test]
#[ignore = "takes a minute; part of `make test-full`"]
fn every_kernel_compiles_for_every_architecture() {
    for architecture in ARCHITECTURES {
        OperandType::ALL.into_iter().for_each(|operand| compile(operand, architecture));
    }
}

/// Runs a launch in the emulation of kernels, after `change` of their text.
///
/// # Safety
/// As for a [`StageLaunch`].
unsafe fn emulate(
    request: *const StageLaunchRequest,
    message: *mut c_char,
    message_len: usize,
    change: impl Fn(String) -> String,
) -> c_int {
    // SAFETY: the shim's promise.
    let program = StageBuild::of(unsafe { &*request }).expect("a dtype of the kernels");
    let emulator = emulator(&program, &change(program.source()), EMULATED_LAUNCH);
    let library = emulator.wait().as_ref().expect("the kernels are C++");
    let library = library.lock().expect("no launch panics");
    // SAFETY: the library exports a function of this name and type, and stays loaded.
    unsafe {
        let launch = library.get::<StageLaunch>("emulated_launch").expect("it is exported");
        launch(request, message, message_len)
    }
}

unsafe extern "C" fn intact(
    request: *const StageLaunchRequest,
    message: *mut c_char,
    len: usize,
) -> c_int {
    // SAFETY: passed on.
    unsafe { emulate(request, message, len, |source| source) }
}

/// Runs `work` with the CUDA kernels of the stages on an emulated GPU.
pub(super) fn emulated<T>(work: impl FnOnce() -> T) -> T {
    by(intact, work)
}

fn by<T>(stage: StageLaunch, work: impl FnOnce() -> T) -> T {
    // SAFETY: the emulation reads and writes what the kernels do, and its library stays loaded.
    unsafe { with_emulated_stages(StageStarts { stage, wkv: cuda::intact }, work) }
}

// ---- the optimizer --------------------------------------------------------------------------

/// Within a block of the kernels, at its end, and across several.
const SIZES: [i64; 3] = [16, 8192, 20_000];

fn numbers(n: i64, phase: f64) -> Tensor {
    let i = Tensor::arange(n, (Kind::Double, Device::Cpu));
    (i * 0.37 + phase).sin().to_kind(Kind::Float)
}

fn digest_of(x: &Tensor) -> Vec<i64> {
    Vec::try_from(digest(x).expect("a digest").to_device(Device::Cpu)).expect("two numbers")
}

#[test]
fn the_digest_is_the_same_on_an_emulated_gpu() {
    for n in SIZES {
        let x = numbers(n, 0.0);
        let _ = x.get(n - 1).fill_(f64::NAN);
        let _ = x.get(3).fill_(f64::INFINITY);
        let expected = digest_of(&x);
        assert_eq!(expected[1], 2);
        assert_eq!(emulated(|| digest_of(&x)), expected, "{n}");
    }
}

#[test]
fn the_emulated_sum_of_squares_equals_that_of_the_cpu() {
    for n in SIZES {
        let x = numbers(n, 0.5);
        let sum = || sum_of_squares(&x).expect("a sum").double_value(&[]);
        assert!((emulated(sum) / sum() - 1.0).abs() < 1e-7, "{n}");
    }
}

#[test]
fn emulated_steps_of_adam_equal_those_of_the_cpu() {
    for n in SIZES {
        let steps = || {
            let zeros = || Tensor::zeros([n], (Kind::Float, Device::Cpu));
            let mut pieces =
                Pieces { values: numbers(n, 0.0), gradients: zeros(), m: zeros(), v: zeros() };
            for step in 1..=3 {
                pieces.gradients.copy_(&numbers(n, f64::from(step)));
                let (beta1, beta2, eps) = (0.9, 0.99, 1e-8);
                let weight_decay = if step == 2 { 0.1 } else { 0.0 };
                let rule = AdamRule { beta1, beta2, eps, step, lr: 0.01, weight_decay };
                pieces.step(&rule).expect("a step");
            }
            [pieces.values, pieces.m, pieces.v]
        };
        for (found, expected) in emulated(steps).iter().zip(steps()) {
            assert!(relative_error(found, &expected) < 1e-6, "{n}");
        }
    }
}

#[test]
fn the_digest_is_the_same_on_a_gpu() {
    if has_gpu() {
        let x = numbers(1_000_000, 0.0);
        assert_eq!(digest_of(&x.to_device(Device::Cuda(0))), digest_of(&x));
    }
}

// ---- the emulation detects faults -----------------------------------------------------------

/// The barrier that `without_barrier` removes, counted over the text of the kernels.
static LEFT_OUT: Mutex<usize> = Mutex::new(0);

fn is_barrier(line: &str) -> bool {
    line.trim_start().starts_with("__sync")
}

unsafe extern "C" fn without_barrier(
    request: *const StageLaunchRequest,
    message: *mut c_char,
    len: usize,
) -> c_int {
    let left_out = *LEFT_OUT.lock().expect("no test has failed here");
    let change = |source: String| {
        let barriers = source.lines().enumerate().filter(|(_, line)| is_barrier(line));
        let gone = barriers.map(|(at, _)| at).nth(left_out);
        let kept = source.lines().enumerate().filter(|(at, _)| Some(*at) != gone);
        kept.map(|(_, line)| line).collect::<Vec<_>>().join("\n")
    };
    // SAFETY: passed on.
    unsafe { emulate(request, message, len, change) }
}

/// Results of kernels with barriers, on one row that takes several warps.
fn with_barriers() -> Vec<Tensor> {
    let c = 1032;
    let row = |phase| numbers(c, phase);
    let mix = NormMix::new(row(0.1), row(0.2), vec![Share::Before(row(0.3))]);
    let (x, before) = (numbers(2 * c, 0.4).view([1, 2, c]), row(0.5).view([1, c]));
    let input = MixInput { op: Op::Cuda, x: &x, before: &before, restarts: None };
    let mut found = mix.apply(&input, None).expect("a kernel").mixtures;
    let logits = numbers(c, 0.6).view([1, c]) * 3.0;
    let targets = Tensor::from_slice(&[7i64]);
    let gradient = Some(statetune_engine::kernels::LossGradient { scale: 1.0, l2wrap: 0.5 });
    let mut z = logits.copy();
    let loss = statetune_engine::kernels::cross_entropy(Op::Cuda, &mut z, &targets, None, gradient);
    found.extend([loss.expect("a kernel"), z]);
    found.push(sum_of_squares(&numbers(20_000, 0.5)).expect("a sum"));
    found
}

#[test]
fn emulation_detects_every_missing_barrier() {
    let source = StageBuild { operand: OperandType::Float32 }.source();
    let expected = emulated(with_barriers);
    let mut needless = BTreeSet::new();
    for (number, line) in source.lines().filter(|line| is_barrier(line)).enumerate() {
        // The next thread is drawn at random, so no warp is ahead of another by the exchanges of a whole sum.
        if line.contains("the sums before have been read") {
            continue;
        }
        *LEFT_OUT.lock().expect("no test has failed here") = number;
        let found = by(without_barrier, with_barriers);
        let same = found.iter().zip(&expected).all(|(x, y)| x.allclose(y, 1e-6, 1e-6, false));
        if same {
            needless.insert((number, line.trim()));
        }
    }
    assert!(needless.is_empty(), "the right numbers without {needless:?}");
}
