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
use statetune_engine::kernels::flat::{
    AdamRule, Pieces, STRETCH, digest, in_kind, squares_of_stretches, sum_of_squares,
    sum_of_stretches,
};
use statetune_engine::kernels::reference::relative_error;
use statetune_engine::kernels::{MixInput, NormMix, Op, Share, add_low_rank};
use statetune_engine::optim::{Adam, AdamOptions, Parameter};
use tch::{Device, Kind, Tensor};

use super::cuda::{self, ARCHITECTURES, Usage, nvrtc, usages};
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
    len: usize,
    change: impl Fn(String) -> String,
) -> c_int {
    // SAFETY: the shim's promise.
    unsafe {
        cuda::emulate(StageBuild::of(&*request), EMULATED_LAUNCH, request, (message, len), change)
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

/// Devices that have slices of the gradients put the sum together from those of stretches.
#[test]
fn an_emulated_gpu_sums_stretches_to_the_bits_of_the_whole() {
    for n in [16, STRETCH, STRETCH + 16, 3 * STRETCH + 7_000] {
        let x = numbers(n, 0.5);
        let whole = emulated(|| sum_of_squares(&x).expect("a sum")).double_value(&[]);
        let found = emulated(|| {
            let stretch = |i| squares_of_stretches(&x.narrow(0, i * STRETCH, STRETCH));
            let each = (0..n / STRETCH).map(stretch).collect::<Result<Vec<Tensor>, _>>();
            let mut each = each.expect("sums");
            each.push(Tensor::zeros([0], (Kind::Double, Device::Cpu)));
            let rest = x.narrow(0, n - n % STRETCH, n % STRETCH);
            sum_of_stretches(&Tensor::cat(&each, 0), &rest).expect("a sum")
        });
        assert_eq!(found.double_value(&[]).to_bits(), whole.to_bits(), "{n}");
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

/// More parameters than one launch adds gradients of: small ones, and some of several blocks.
fn many_parameters() -> Vec<Parameter> {
    let size = |i: i64| match i % 9 {
        0 => vec![9000],
        1 => vec![70, 130],
        _ => vec![i + 1, 3],
    };
    let parameter = |i: i64| {
        let size = size(i);
        let tensor = numbers(size.iter().product(), i as f64).view(&size[..]);
        let tensor = tensor.set_requires_grad(true);
        Parameter { name: format!("p{i}"), tensor, lr_scale: 1.0 + (i % 2) as f64, decays: false }
    };
    (0..70).map(parameter).collect()
}

#[test]
fn emulated_copies_have_the_values_and_gradients_of_casts() {
    for kind in [Kind::BFloat16, Kind::Half] {
        let options = AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
        // Values of all copies, and the gradients after two backward passes.
        let passes = || {
            let adam = Adam::new(many_parameters(), options);
            let copies = adam.copies(kind).expect("copies");
            let casts: Vec<Tensor> =
                adam.parameters().iter().map(|p| in_kind(&p.tensor, kind)).collect();
            for pass in 0..2 {
                let products = casts.iter().zip(0..).filter(|(_, i)| pass == 0 || i % 3 > 0);
                for (cast, i) in products {
                    let factor = numbers(cast.numel() as i64, f64::from(i * 7 + pass));
                    let y = cast * factor.view_as(cast).to_kind(kind);
                    y.sum(Kind::Float).backward();
                }
            }
            let values = casts.iter().map(Tensor::detach).collect::<Vec<_>>();
            (copies.is_some(), values, adam.all_gradients().copy())
        };
        let (is_emulated, values, gradients) = emulated(passes);
        let (is_cast, expected_values, expected) = passes();
        assert!(is_emulated && !is_cast);
        for (i, (value, expected)) in values.iter().zip(&expected_values).enumerate() {
            assert!(value.equal(expected), "parameter {i} in {kind:?}");
        }
        assert!(expected.abs().max().double_value(&[]) > 0.5);
        assert!(gradients.equal(&expected), "{kind:?}");
    }
}

#[test]
fn an_emulated_low_rank_update_equals_the_plain_one() {
    for x_size in [vec![7, 24], vec![2, 3, 24]] {
        let double = |size: &[i64], phase: f64| {
            let n = size.iter().product();
            numbers(n, phase).to_kind(Kind::Double).view(size).set_requires_grad(true)
        };
        let update = || {
            let (x, a, b) = (double(&x_size, 0.1), double(&[4, 24], 0.2), double(&[10, 4], 0.3));
            let matrix = double(&[10, 24], 0.4);
            let y = add_low_rank(x.matmul(&matrix.tr()), &x, &a, &b, 0.7);
            (&y * y.detach().sin()).sum(Kind::Double).backward();
            let leaves = [x, a, b, matrix];
            [y.detach()].into_iter().chain(leaves.iter().map(Tensor::grad)).collect::<Vec<_>>()
        };
        for (i, (found, expected)) in emulated(update).iter().zip(update()).enumerate() {
            assert_eq!(found.size(), expected.size());
            assert!(relative_error(found, &expected) < 1e-14, "tensor {i} of {x_size:?}");
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
