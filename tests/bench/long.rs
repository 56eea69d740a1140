//! Long rows in chunks (`train.chunk_ctx`): `cargo bench --bench long`.
//!
//! State tuning on random tokens, all of them targets, each case in a process of its own. Prints the CPU seconds of a
//! step, CPU microseconds a token, and the peak of resident memory, and checks:
//!
//! - a 0.1B model with rows of 65,536 tokens takes at most 1.2 times the memory of rows of 4,096;
//! - a token takes at most 1.35 times the time that it takes in whole rows with `grad_cp`;
//! - one million tokens on the shipped base (`models/tiny-chat.pth`) take less than 1 GB.
//!
//! `cargo bench --bench long -- NAME` runs one case.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use statetune_core::data::Batch;
use statetune_core::forecast::{Streaming, Workload};
use statetune_core::plan::Sharing;
use statetune_engine::kernels::{Op, device_name, keep_memory};
use statetune_engine::model::{Model, Shape, Version, Weights, dtype_of};
use statetune_engine::optim::AdamOptions;
use statetune_engine::peft::StateTuning;
use statetune_engine::train::{Chunks, StepOptions, Trainer};
use tch::{Device, Kind, Tensor};

const SHIPPED: &str = "models/tiny-chat.pth";
const HEAD_CHUNK: i64 = 256;
/// The case of a child process, in its environment.
const CASE: &str = "STATETUNE_BENCH_CASE";

struct Case {
    name: &'static str,
    /// Whether the model is the shipped base, or one of random weights: 12 layers, 768 channels, 65536 tokens.
    shipped: bool,
    tokens: i64,
    chunk_ctx: Option<i64>,
    grad_cp: bool,
    /// Timed steps; the shortest counts.
    steps: usize,
}

const fn large(name: &'static str, tokens: i64, chunk_ctx: Option<i64>, steps: usize) -> Case {
    Case { name, shipped: false, tokens, chunk_ctx, grad_cp: chunk_ctx.is_none(), steps }
}

const CASES: [Case; 4] = [
    large("0.1B 4096 grad_cp", 4096, None, 2),
    large("0.1B 4096 in chunks", 4096, Some(1024), 2),
    large("0.1B 65536 in chunks", 65_536, Some(1024), 1),
    Case {
        name: "shipped 1000000 in chunks",
        shipped: true,
        tokens: 1_000_000,
        chunk_ctx: Some(1024),
        grad_cp: false,
        steps: 1,
    },
];

/// What a child process prints.
#[derive(Clone, Copy, Debug)]
struct Figures {
    micros_per_token: f64,
    peak_bytes: f64,
}

fn main() {
    keep_memory();
    if let Ok(name) = env::var(CASE) {
        let case = CASES.iter().find(|case| case.name == name).expect("a known case");
        return run(case);
    }
    println!("state tuning, RWKV-7, bf16, {}", device_name(Device::Cpu));
    println!(
        "{:28} {:>9} {:>10} {:>10} {:>10}",
        "case", "step s", "us/token", "peak MB", "forecast"
    );
    let asked: Vec<String> = env::args().skip(1).filter(|x| !x.starts_with("--")).collect();
    let figures: Vec<Option<Figures>> = CASES
        .iter()
        .map(|case| {
            let is_asked = asked.is_empty() || asked.iter().any(|name| name == case.name);
            is_asked.then(|| figures(case))
        })
        .collect();
    let [Some(whole), Some(short), Some(long), Some(million)] = figures[..] else { return };
    let memory = long.peak_bytes / short.peak_bytes;
    let time = long.micros_per_token / whole.micros_per_token;
    println!("65,536 tokens against 4,096: {memory:.2} times the memory (at most 1.2)");
    println!(
        "chunks against whole rows with grad_cp: {time:.2} times the time of a token (at most 1.35)"
    );
    println!(
        "one million tokens on the shipped base: {:.0} MB (less than 1000)",
        million.peak_bytes / 1e6
    );
    assert!(memory <= 1.2 && time <= 1.35 && million.peak_bytes < 1e9);
}

fn figures(case: &Case) -> Figures {
    let program = env::current_exe().expect("the path of this program");
    let child = Command::new(program).env(CASE, case.name).output().expect("a child process");
    let output = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success(), "{output}{}", String::from_utf8_lossy(&child.stderr));
    let mut numbers = output.split_whitespace().map(|x| x.parse::<f64>().expect("a number"));
    let mut next = || numbers.next().expect("three numbers");
    let (seconds, peak_bytes, forecast) = (next(), next(), next());
    let micros_per_token = seconds * 1e6 / case.tokens as f64;
    let (peak, expected) = (peak_bytes / 1e6, forecast / 1e6);
    println!("{:28} {seconds:9.2} {micros_per_token:10.1} {peak:10.0} {expected:10.0}", case.name);
    Figures { micros_per_token, peak_bytes }
}

/// Prints the CPU seconds of a step, the peak of resident memory and the forecast of it, in bytes.
fn run(case: &Case) {
    tch::manual_seed(1);
    let kind = Kind::BFloat16;
    let weights = match case.shipped {
        true => Weights::load(Path::new(SHIPPED)).expect("the shipped base").to_kind(kind),
        false => {
            let shape = Shape::for_scratch(Version::V7, 12, 768, 65_536);
            Weights::from_fn(shape, |_, size| {
                Tensor::randn(size, (kind, Device::Cpu)).g_mul_scalar_(0.02)
            })
        }
    };
    let shape = *weights.shape();
    let method = StateTuning::new(Model::new(&weights, kind, Op::Cpu));
    let workload = Workload {
        shape: &shape,
        recipe: None,
        states: None,
        quant: None,
        dtype: dtype_of(kind),
        grad_cp: case.grad_cp,
        chunk_ctx: case.chunk_ctx.map(i64::unsigned_abs),
        head_chunk: HEAD_CHUNK.unsigned_abs(),
        rows: 1,
        rows_per_sample: 1,
        tokens: case.tokens.unsigned_abs(),
        on_gpu: false,
        teacher: None,
        devices: 1,
        sharing: Sharing::Ddp,
        stream: Streaming::No,
    };
    let room = workload.boundary_room();
    let options = StepOptions {
        head_chunk: HEAD_CHUNK,
        grad_cp: case.grad_cp,
        chunks: case.chunk_ctx.map(|tokens| Chunks { tokens, room }),
        l2wrap: 0.0,
        gradient_clip_val: 1.0,
    };
    let adam = AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
    let mut trainer = Trainer::new(&method, adam, None, options);
    let ids: Vec<i64> = (0..case.tokens).map(|i| i * 7919 % shape.vocab_size).collect();
    let batch = [Batch {
        rows: 1,
        tokens: case.tokens as usize,
        targets: ids.clone(),
        learned_at: (0..case.tokens).collect(),
        restarts: None,
        inputs: ids,
        documents: Vec::new(),
        answers: None,
    }];
    let seconds = (0..case.steps as u64).map(|step| {
        let before = cpu_seconds();
        let outcome = trainer.step(&batch, step, 0.01).expect("a step");
        assert!(outcome.loss.is_finite());
        cpu_seconds() - before
    });
    let seconds = seconds.fold(f64::INFINITY, f64::min);
    println!("{seconds} {} {}", peak(), workload.memory().total);
}

/// The seconds that all threads of the process have computed: other programs on the machine change them little.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").expect("Linux");
    let (_, fields) = stat.rsplit_once(") ").expect("a name in brackets");
    let ticks = fields.split(' ').skip(11).take(2); // utime and stime, proc(5)
    ticks.map(|ticks| ticks.parse::<f64>().expect("a number")).sum::<f64>() / 100.0
}

/// The peak of resident memory in bytes.
fn peak() -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the field");
    let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024.0
}
