//! Speed and memory of a whole state-tuning step: `cargo bench --bench step`.
//!
//! A 0.1B model (12 layers, 768 channels, 65536 tokens, random weights), one sample of 512 tokens, all of them
//! learned. Prints a line a case: seconds of a step (median and least of several), tokens a second, and the peak
//! of resident memory since libtorch was loaded, divided by the bytes of the weights. Each case runs
//! in a process of its own, so that its peak is its own.

use std::fs;
use std::process::Command;
use std::time::Instant;

use statetune::data::Batch;
use statetune::kernels::Op;
use statetune::model::{Model, Shape, Version, Weights};
use statetune::optim::{Adam, AdamOptions};
use statetune::peft::{Method, StateTuning};
use statetune::train::{StepOptions, Trainer};
use tch::{Device, Kind, Tensor};

const N_LAYER: i64 = 12;
const N_EMBD: i64 = 768;
const VOCAB_SIZE: i64 = 65536;
const CTX_LEN: i64 = 512;
/// Steps that are timed, after one that is not.
const STEPS: usize = 7;
/// Names the case that a child process runs.
const CASE: &str = "STATETUNE_BENCH_CASE";

/// Dtype, and whether activations are computed again.
const CASES: [(&str, Kind, bool); 3] = [
    ("bf16", Kind::BFloat16, false),
    ("bf16 grad_cp", Kind::BFloat16, true),
    ("fp32", Kind::Float, false),
];

fn main() {
    if let Ok(name) = std::env::var(CASE) {
        let case = CASES.into_iter().find(|case| case.0 == name).expect("a known case");
        return run(case);
    }
    println!(
        "state tuning, RWKV-7 L{N_LAYER} C{N_EMBD} V{VOCAB_SIZE}, ctx_len {CTX_LEN}, {} threads",
        tch::get_num_threads()
    );
    println!(
        "{:14} {:>9} {:>9} {:>9} {:>16}",
        "case", "median s", "least s", "tokens/s", "memory / weights"
    );
    for (name, ..) in CASES {
        let program = std::env::current_exe().expect("the path of this program");
        let status = Command::new(program).env(CASE, name).status().expect("a child process");
        assert!(status.success(), "{name} failed");
    }
}

fn run((name, kind, grad_cp): (&str, Kind, bool)) {
    tch::manual_seed(1);
    let loaded = resident("VmRSS:");
    let shape = Shape::for_scratch(Version::V7, N_LAYER, N_EMBD, VOCAB_SIZE);
    let weights = Weights::from_fn(shape, |_, size| {
        // Tensor by tensor, so that no float32 copy of the model counts as its memory.
        (Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.02).to_kind(kind)
    });
    let bytes: usize = weights.iter().map(|(_, x)| x.numel() * x.kind().elt_size_in_bytes()).sum();
    let method = StateTuning::new(Model::new(&weights, kind, Op::Cpu));
    let options = AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
    let mut trainer = Trainer {
        adam: Adam::new(method.parameters(), options),
        method: &method,
        scaler: None,
        options: StepOptions { head_chunk: 256, grad_cp, l2wrap: 0.0, gradient_clip_val: 1.0 },
    };
    let ids = Tensor::randint(VOCAB_SIZE, [1, CTX_LEN], (Kind::Int64, Device::Cpu));
    let batch = [Batch {
        targets: ids.view(-1).roll([-1], [0]),
        learned_at: Tensor::arange(CTX_LEN, (Kind::Int64, Device::Cpu)),
        learned: CTX_LEN as u64,
        restarts: None,
        inputs: ids,
    }];
    let mut seconds: Vec<f64> = (0..=STEPS)
        .map(|step| {
            let started = Instant::now();
            let outcome = trainer.step(&batch, step as u64, 0.01).expect("a step");
            assert!(outcome.loss.is_finite());
            started.elapsed().as_secs_f64()
        })
        .skip(1)
        .collect();
    seconds.sort_by(f64::total_cmp);
    let (median, least) = (seconds[STEPS / 2], seconds[0]);
    let memory = (resident("VmHWM:") - loaded) / bytes as f64;
    println!("{name:14} {median:9.3} {least:9.3} {:9.0} {memory:16.2}", CTX_LEN as f64 / median);
}

/// Bytes of resident memory of this process: now (`VmRSS:`) or at most so far (`VmHWM:`).
fn resident(field: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0
}
