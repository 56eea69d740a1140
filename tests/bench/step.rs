//! Speed and memory of a whole state-tuning step: `cargo bench --bench step`.
//!
//! A 0.1B model (12 layers, 768 channels, 65536 tokens, random weights) on random tokens, all of them targets.
//! Prints a line for each case: seconds of a step (median and minimum), tokens a second, the matrix products of the
//! step alone (median seconds, and their share of the step), and peak memory divided by the bytes of the weights: on
//! a CPU resident memory since libtorch was loaded, on a GPU the memory that libtorch reserves. Each case runs in a process of its
//! own, so that its peak is its own.
//! `cargo bench --bench step -- NAME` runs one case.

#[path = "../gpu.rs"]
mod gpu;

use std::fs;
use std::process::Command;
use std::time::Instant;

use statetune_core::data::Batch;
use statetune_engine::kernels::{
    Op, device_model, device_name, has_bfloat16_products, keep_memory, peak_gpu_bytes,
    with_widened_products,
};
use statetune_engine::model::{Model, Shape, Version, Weights};
use statetune_engine::optim::AdamOptions;
use statetune_engine::peft::StateTuning;
use statetune_engine::train::{StepOptions, Trainer};
use tch::{Cuda, Device, Kind, Tensor};

use gpu::has_gpu;

const N_LAYER: i64 = 12;
const N_EMBD: i64 = 768;
const VOCAB_SIZE: i64 = 65536;
const HEAD_CHUNK: i64 = 256;
/// Timed steps, after one warm-up step.
const STEPS: usize = 7;
/// The case of a child process, in its environment.
const CASE: &str = "STATETUNE_BENCH_CASE";

struct Case {
    name: &'static str,
    version: Version,
    device: Device,
    kind: Kind,
    /// Whether products of bf16 are computed in float32, as on CPUs without instructions for them. `None`: as the CPU can.
    widened: Option<bool>,
    /// Whether blocks are recomputed in the backward pass.
    grad_cp: bool,
    /// Samples and tokens in each.
    size: [i64; 2],
}

impl Case {
    const fn cpu(name: &'static str, kind: Kind, grad_cp: bool) -> Case {
        let (version, device) = (Version::V7, Device::Cpu);
        Case { name, version, device, kind, widened: None, grad_cp, size: [1, 512] }
    }

    const fn gpu(name: &'static str, kind: Kind, grad_cp: bool, size: [i64; 2]) -> Case {
        let (version, device) = (Version::V7, Device::Cuda(0));
        Case { name, version, device, kind, widened: None, grad_cp, size }
    }
}

const CASES: [Case; 10] = [
    Case::cpu("cpu bf16", Kind::BFloat16, false),
    Case::cpu("cpu bf16 grad_cp", Kind::BFloat16, true),
    Case::cpu("cpu fp32", Kind::Float, false),
    Case { widened: Some(true), ..Case::cpu("cpu bf16 widened", Kind::BFloat16, false) },
    Case { version: Version::V6, ..Case::cpu("cpu bf16 RWKV-6", Kind::BFloat16, false) },
    Case { version: Version::V5, ..Case::cpu("cpu bf16 RWKV-5", Kind::BFloat16, false) },
    Case::gpu("gpu bf16 1x512", Kind::BFloat16, false, [1, 512]),
    Case::gpu("gpu bf16 8x1024", Kind::BFloat16, false, [8, 1024]),
    Case::gpu("gpu bf16 8x1024 grad_cp", Kind::BFloat16, true, [8, 1024]),
    Case::gpu("gpu fp32 1x512", Kind::Float, false, [1, 512]),
];

fn main() {
    keep_memory();
    if let Ok(name) = std::env::var(CASE) {
        let case = CASES.iter().find(|case| case.name == name).expect("a known case");
        return match case.widened {
            Some(widen) => with_widened_products(widen, || run(case)),
            None => run(case),
        };
    }
    let has_gpu = has_gpu();
    println!("state tuning, L{N_LAYER} C{N_EMBD} V{VOCAB_SIZE}, RWKV-7 unless a case says another");
    println!("cpu: {}, samples of 512 tokens", device_name(Device::Cpu));
    let products = if has_bfloat16_products() { "bfloat16" } else { "float32" };
    println!("cpu: {}, products of bf16 in {products}", device_model(Device::Cpu));
    if has_gpu {
        println!("gpu: {}", device_name(Device::Cuda(0)));
    }
    println!(
        "{:24} {:>9} {:>9} {:>9} {:>10} {:>6} {:>9}",
        "case", "median s", "least s", "tokens/s", "products s", "share", "memory"
    );
    let asked: Vec<String> = std::env::args().skip(1).filter(|x| !x.starts_with("--")).collect();
    for case in &CASES {
        let is_asked = asked.is_empty() || asked.iter().any(|name| name == case.name);
        if is_asked && (case.device == Device::Cpu || has_gpu) {
            let program = std::env::current_exe().expect("the path of this program");
            let status = Command::new(program).env(CASE, case.name).status();
            assert!(status.expect("a child process").success(), "{} failed", case.name);
        }
    }
}

fn run(case: &Case) {
    tch::manual_seed(1);
    let &Case { name, version, device, kind, grad_cp, size: [micro_bsz, ctx_len], widened: _ } =
        case;
    let loaded = resident("VmRSS:");
    let shape = Shape::for_scratch(version, N_LAYER, N_EMBD, VOCAB_SIZE);
    let weights = Weights::from_fn(shape, |_, size| {
        // In place, so that no copy of a tensor counts as memory of the step.
        Tensor::randn(size, (kind, device)).g_mul_scalar_(0.02)
    })
    .on(device);
    let bytes: usize = weights.iter().map(|(_, x)| x.numel() * x.kind().elt_size_in_bytes()).sum();
    let op = if device == Device::Cpu { Op::Cpu } else { Op::Cuda };
    let method = StateTuning::new(Model::new(&weights, kind, op));
    let options = AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
    let step_options = StepOptions {
        head_chunk: HEAD_CHUNK,
        grad_cp,
        chunks: None,
        l2wrap: 0.0,
        gradient_clip_val: 1.0,
    };
    let mut trainer = Trainer::new(&method, options, None, step_options);
    let tokens = micro_bsz * ctx_len;
    let ids: Vec<i64> = (0..tokens).map(|i| i * 7919 % VOCAB_SIZE).collect();
    let batch = [Batch {
        rows: micro_bsz as usize,
        tokens: ctx_len as usize,
        targets: ids.clone(),
        learned_at: (0..tokens).collect(),
        restarts: None,
        inputs: ids,
        documents: Vec::new(),
        answers: None,
    }];
    let mut number = 0;
    let (median, least) = timed(device, || {
        let outcome = trainer.step(&batch, number, 0.01).expect("a step");
        assert!(outcome.loss.is_finite());
        number += 1;
    });
    let peak =
        peak_gpu_bytes(device).map_or_else(|| resident("VmHWM:") - loaded, |x| x.reserved as f64);
    let (products, _) = timed(device, || products(&weights, tokens));
    println!(
        "{name:24} {median:9.4} {least:9.4} {:9.0} {products:10.4} {:5.0}% {:9.2}",
        tokens as f64 / median,
        100.0 * products / median,
        peak / bytes as f64
    );
}

/// Seconds of `work`: median and minimum of [`STEPS`], after one warm-up.
fn timed(device: Device, mut work: impl FnMut()) -> (f64, f64) {
    let mut seconds: Vec<f64> = (0..=STEPS)
        .map(|_| {
            let started = Instant::now();
            work();
            if let Device::Cuda(index) = device {
                Cuda::synchronize(index as i64);
            }
            started.elapsed().as_secs_f64()
        })
        .skip(1)
        .collect();
    seconds.sort_by(f64::total_cmp);
    (seconds[STEPS / 2], seconds[0])
}

/// The unavoidable products with frozen matrices of a step on `tokens`: forward, and the gradient of each input, except
/// below the first layer's recurrence.
fn products(weights: &Weights, tokens: i64) {
    let _guard = tch::no_grad_guard();
    for (name, matrix) in weights.iter() {
        let is_linear = name.ends_with(".weight");
        let is_low_rank = [".w", ".a", ".v", ".g", "_w"]
            .iter()
            .any(|x| name.ends_with(&format!("{x}1")) || name.ends_with(&format!("{x}2")));
        if name == "emb.weight" || matrix.dim() < 2 || !(is_linear || is_low_rank) {
            continue;
        }
        if matrix.dim() == 3 {
            for of_mixture in matrix.unbind(0) {
                product(&of_mixture, tokens, false);
            }
            continue;
        }
        let matrix = if is_linear { matrix.tr() } else { matrix.shallow_clone() }; // (in, out)
        let ends = name.starts_with("blocks.0.att.") && !name.ends_with("output.weight");
        let chunk = if name == "head.weight" { HEAD_CHUNK } else { tokens };
        for _ in 0..tokens / chunk {
            product(&matrix, chunk, ends);
        }
    }
}

/// The product of `rows` inputs with a matrix (in, out), and unless it `ends` there the gradient of the inputs.
fn product(matrix: &Tensor, rows: i64, ends: bool) {
    let options = (matrix.kind(), matrix.device());
    let y = Tensor::ones([rows, matrix.size()[0]], options).matmul(matrix);
    if !ends {
        let _ = y.matmul(&matrix.tr());
    }
}

/// Bytes of resident memory of this process: current (`VmRSS:`) or peak (`VmHWM:`).
fn resident(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0
}
