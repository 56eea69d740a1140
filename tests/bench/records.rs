//! The cost of a run's records: `cargo bench --bench records`.
//!
//! Prints for each case the median seconds of a training step, and of the records after it: the check of the
//! parameters, the link of the chain, the totals, a line of metrics, an event, the progress line. Every step has all
//! of them, which in a run come at intervals. Steps and records alternate, so that other load on the machine affects
//! both.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use statetune_core::data::Batch;
use statetune_core::records::{Chain, Event, Metrics, RunDir, Times, Totals};
use statetune_engine::kernels::{Op, device_name, keep_memory};
use statetune_engine::model::{Model, Shape, Version, Weights};
use statetune_engine::optim::AdamOptions;
use statetune_engine::peft::{Compute, Method, Parts, StateTuning, TuningSpec, WeightTuning};
use statetune_engine::train::{
    Position, StepDone, StepOptions, StepRecord, Trainer, digest_values,
};
use tch::{Device, Kind, Tensor};

/// Timed steps, after one warm-up step.
const STEPS: usize = 9;

struct Case {
    name: &'static str,
    /// Layers, channels, token ids.
    sizes: (i64, i64, i64),
    kind: Kind,
    /// Whether all weights are trained instead of the initial state.
    full: bool,
    /// Samples and tokens in each.
    size: [i64; 2],
}

const CASES: [Case; 4] = [
    Case {
        name: "state 0.1B bf16 1x512",
        sizes: (12, 768, 65536),
        kind: Kind::BFloat16,
        full: false,
        size: [1, 512],
    },
    Case {
        name: "state 0.1B bf16 1x64",
        sizes: (12, 768, 65536),
        kind: Kind::BFloat16,
        full: false,
        size: [1, 64],
    },
    Case {
        name: "state L5 C192 fp32 8x64",
        sizes: (5, 192, 4096),
        kind: Kind::Float,
        full: false,
        size: [8, 64],
    },
    Case {
        name: "full L5 C192 fp32 8x64",
        sizes: (5, 192, 4096),
        kind: Kind::Float,
        full: true,
        size: [8, 64],
    },
];

fn main() {
    keep_memory();
    println!("{}", device_name(Device::Cpu));
    println!("{:28} {:>10} {:>12} {:>8}", "case", "step s", "records s", "share");
    let asked: Vec<String> = std::env::args().skip(1).filter(|x| !x.starts_with("--")).collect();
    for case in &CASES {
        if asked.is_empty() || asked.iter().any(|name| name == case.name) {
            let (step, records) = measure(case);
            let share = 100.0 * records / step;
            println!("{:28} {step:10.4} {records:12.6} {share:7.2}%", case.name);
        }
    }
}

/// Median seconds of a step and of its records.
fn measure(case: &Case) -> (f64, f64) {
    tch::manual_seed(1);
    let &Case { sizes: (n_layer, n_embd, vocab_size), kind, full, size, .. } = case;
    let shape = Shape::for_scratch(Version::V7, n_layer, n_embd, vocab_size);
    let options = (if full { Kind::Float } else { kind }, Device::Cpu);
    let weights =
        Weights::from_fn(shape, |_, size| Tensor::randn(size, options).g_mul_scalar_(0.02));
    let method: Box<dyn Method> = match full {
        true => {
            let recipe = TuningSpec { adapter: None, parts: Parts::All, state_lr_scale: None };
            let compute = Compute { kind, op: Op::Cpu, seed: 0, quant: None };
            Box::new(WeightTuning::start(&recipe, weights, compute).expect("finite weights"))
        }
        false => Box::new(StateTuning::new(Model::new(&weights, kind, Op::Cpu))),
    };
    let adam = AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
    let options = StepOptions {
        head_chunk: 256,
        grad_cp: false,
        chunks: None,
        l2wrap: 0.0,
        gradient_clip_val: 1.0,
    };
    let mut trainer = Trainer::new(method.as_ref(), adam, None, options);
    let batches = [batch(vocab_size, size)];
    let folder = tempfile::tempdir().expect("a temporary folder");
    let run = RunDir::create(folder.path(), "bench").expect("a run directory");
    let mut records = Records { run, chain: Chain::after(0), totals: Totals::default() };
    let (mut steps, mut kept) = (Vec::new(), Vec::new());
    for step in 0..=STEPS as u64 {
        let started = Instant::now();
        let outcome = trainer.step(&batches, step, 1e-4).expect("a step");
        let duration = started.elapsed();
        assert!(outcome.loss.is_finite());
        let record = StepRecord {
            step,
            epoch: 0,
            loss: outcome.loss,
            lr: 1e-4,
            grad_norm: outcome.grad_norm,
            rewards: None,
            skipped: outcome.skipped,
            non_finite: outcome.fault,
            learned: outcome.targets,
            positions: outcome.positions,
            duration,
            data_wait: Duration::ZERO,
        };
        let position = Position { steps: step + 1, ..Position::default() };
        let done = StepDone {
            record,
            position,
            epoch_mean_loss: None,
            batches: &batches,
            trainer: &trainer,
        };
        let started = Instant::now();
        records.keep(&done);
        steps.push(duration.as_secs_f64());
        kept.push(started.elapsed().as_secs_f64());
    }
    (median(&mut steps[1..]), median(&mut kept[1..]))
}

/// The records of a run.
struct Records {
    run: RunDir,
    chain: Chain,
    totals: Totals,
}

impl Records {
    fn keep(&mut self, done: &StepDone<'_>) {
        assert!(done.trainer.adam.is_finite()); // the step has checked it already
        let values = |digest: &mut _| digest_values(digest, &done.trainer.adam);
        self.chain.add(&self.run, done.batches, &done.record, values).expect("a writable folder");
        let metrics = self.totals.add(&done.record, 1, u64::MAX).expect("an interval of one step");
        let times = serde_json::to_string(&Times::of(&metrics)).expect("plain data");
        self.run.append(Times::FILE, &times).expect("a writable folder");
        let line = serde_json::to_string(&metrics).expect("plain data");
        self.run.append(Metrics::FILE, &line).expect("a writable folder");
        let (steps, val_loss) = (done.position.steps, metrics.loss);
        self.run
            .event(&Event::Eval {
                steps,
                epochs: 0,
                val_loss: Some(val_loss),
                rewards: None,
                probes: Default::default(),
                suites: BTreeMap::new(),
                counts: Vec::new(),
            })
            .expect("a writable folder");
        eprint!("\rstep {}  loss {:.4}\r", metrics.step, metrics.loss);
    }
}

fn batch(vocab_size: i64, size: [i64; 2]) -> Batch {
    let tokens = size[0] * size[1];
    let ids: Vec<i64> = (0..tokens).map(|i| i * 7919 % vocab_size).collect();
    Batch {
        rows: size[0] as usize,
        tokens: size[1] as usize,
        targets: ids.clone(),
        learned_at: (0..tokens).collect(),
        restarts: None,
        inputs: ids,
        documents: Vec::new(),
        answers: None,
    }
}

fn median(seconds: &mut [f64]) -> f64 {
    seconds.sort_by(f64::total_cmp);
    seconds[seconds.len() / 2]
}
