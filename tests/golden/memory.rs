//! Predicted memory of training steps against measured memory, each in a process of its own: this test binary with a
//! variable in its environment.

use std::process::Command;
use std::{env, fs};

use statetune_core::data::Batch;
use statetune_core::forecast::{Item, Streaming, Workload};
use statetune_core::plan::Sharing;
use statetune_engine::kernels::{Op, keep_memory};
use statetune_engine::model::dtype_of;
use statetune_engine::model::{Model, Shape, Version, Weights};
use statetune_engine::optim::AdamOptions;
use statetune_engine::peft::{
    AdapterSpec, AnyMethod, Compute, Lora, Method, Parts, StateTuning, TuningSpec, WeightTuning,
};
use statetune_engine::quant::{Format, quantise};
use statetune_engine::train::{Chunks, StepOptions, Trainer};
use tch::{Device, Kind, Tensor};

/// Names the case to the child process.
const CASE: &str = "STATETUNE_TEST_MEMORY";
/// Blocks, channels, token ids; rows and tokens of a batch; positions whose logits exist at a time.
const SIZES: [i64; 3] = [4, 256, 4096];
const BATCH: [i64; 2] = [4, 384];
const HEAD_CHUNK: i64 = 256;

#[derive(Clone, Copy, Debug)]
enum Learns {
    State,
    Lora,
    Full,
}

struct Case {
    version: Version,
    learns: Learns,
    quant: Option<Format>,
    kind: Kind,
    grad_cp: bool,
    chunk_ctx: Option<i64>,
}

const STATE: Case = Case {
    version: Version::V7,
    learns: Learns::State,
    quant: None,
    kind: Kind::Float,
    grad_cp: false,
    chunk_ctx: None,
};

const CASES: [Case; 5] = [
    STATE,
    Case { learns: Learns::Full, kind: Kind::BFloat16, ..STATE },
    Case { version: Version::V6, learns: Learns::Lora, quant: Some(Format::Int8), ..STATE },
    Case { version: Version::V5, grad_cp: true, ..STATE },
    Case { chunk_ctx: Some(192), ..STATE },
];

impl Case {
    fn shape(&self) -> Shape {
        let [n_layer, n_embd, vocab_size] = SIZES;
        Shape::for_scratch(self.version, n_layer, n_embd, vocab_size)
    }

    fn recipe(&self) -> Option<TuningSpec> {
        let adapter = match self.learns {
            Learns::State => return None,
            Learns::Full => None,
            Learns::Lora => {
                let method = AnyMethod::Lora(Lora { rank: 16, alpha: 16.0, ..Lora::default() });
                Some(AdapterSpec { method, targets: None })
            }
        };
        let parts = if adapter.is_none() { Parts::All } else { Parts::Groups(Vec::new()) };
        Some(TuningSpec { adapter, parts, state_lr_scale: None })
    }

    fn workload<'a>(&self, shape: &'a Shape, recipe: Option<&'a TuningSpec>) -> Workload<'a> {
        Workload {
            shape,
            recipe,
            states: None,
            quant: self.quant,
            dtype: dtype_of(self.kind),
            grad_cp: self.grad_cp,
            chunk_ctx: self.chunk_ctx.map(i64::unsigned_abs),
            head_chunk: HEAD_CHUNK.unsigned_abs(),
            rows: BATCH[0].unsigned_abs(),
            rows_per_sample: 1,
            tokens: BATCH[1].unsigned_abs(),
            on_gpu: false,
            teacher: None,
            devices: 1,
            sharing: Sharing::Ddp,
            stream: Streaming::No,
        }
    }

    /// Peak bytes of tensors.
    fn predicted(&self) -> u64 {
        let (shape, recipe) = (self.shape(), self.recipe());
        let workload = self.workload(&shape, recipe.as_ref());
        let items = workload.memory().items;
        items.iter().filter(|one| one.item != Item::Program).map(|one| one.bytes).sum()
    }

    /// Two steps.
    fn train(&self) {
        let weights = Weights::from_fn(self.shape(), |_, size| {
            Tensor::empty(size, (self.kind, Device::Cpu)).uniform_(-0.02, 0.02)
        });
        let mut weights = weights;
        if let Some(format) = self.quant {
            quantise(&mut weights, format, |_| false).expect("finite weights");
        }
        let method: Box<dyn Method> = match self.recipe() {
            None => Box::new(StateTuning::new(Model::new(&weights, self.kind, Op::Cpu))),
            Some(recipe) => {
                let compute = Compute { kind: self.kind, op: Op::Cpu, seed: 1, quant: None };
                Box::new(WeightTuning::start(&recipe, weights, compute).expect("finite weights"))
            }
        };
        let (shape, recipe) = (self.shape(), self.recipe());
        let adam = AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
        let options = StepOptions {
            head_chunk: HEAD_CHUNK,
            grad_cp: self.grad_cp,
            chunks: self.chunk_ctx.map(|tokens| Chunks {
                tokens,
                room: self.workload(&shape, recipe.as_ref()).boundary_room(),
            }),
            l2wrap: 0.0,
            gradient_clip_val: 1.0,
        };
        let mut trainer = Trainer::new(method.as_ref(), adam, None, options);
        let positions = BATCH[0] * BATCH[1];
        let ids: Vec<i64> = (0..positions).map(|i| i * 7919 % SIZES[2]).collect();
        let batch = Batch {
            rows: BATCH[0] as usize,
            tokens: BATCH[1] as usize,
            inputs: ids.clone(),
            restarts: None,
            learned_at: (0..positions).collect(),
            targets: ids,
            documents: Vec::new(),
            answers: None,
        };
        for step in 0..2 {
            trainer.step(std::slice::from_ref(&batch), step, 1e-6).expect("a step");
        }
    }
}

fn resident(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// What the child process does; prints a number for its parent.
#[test]
#[ignore = "the child process of `steps_take_what_is_predicted`"]
fn child() {
    let Some(number) = env::var(CASE).ok().and_then(|number| number.parse::<usize>().ok()) else {
        return;
    };
    keep_memory();
    // The code of libtorch counts from its first use.
    let tiny = Tensor::ones([64, 64], (CASES[number].kind, Device::Cpu));
    let _ = tiny.matmul(&tiny);
    fs::write("/proc/self/clear_refs", "5").expect("the peak can be reset");
    let before = resident("VmRSS:");
    CASES[number].train();
    println!("memory {}", resident("VmHWM:") - before);
}

#[test]
fn steps_use_the_predicted_memory() {
    for (number, case) in CASES.iter().enumerate() {
        let child = Command::new(env::current_exe().expect("the path of this program"))
            .args(["--exact", "memory::child", "--ignored", "--nocapture"])
            .env(CASE, number.to_string())
            .env("OMP_NUM_THREADS", "1")
            // One heap, as the main thread of the program has it. A test runs in a thread, whose heap has gaps.
            .env("MALLOC_ARENA_MAX", "1")
            .output()
            .expect("a child process");
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success(), "{output}{}", String::from_utf8_lossy(&child.stderr));
        let line = output.lines().find_map(|line| line.split_once("memory ")).expect("a number").1;
        let measured: f64 = line.trim().parse().expect("a number");
        let predicted = case.predicted() as f64;
        let off = predicted / measured - 1.0;
        println!(
            "{} {:?} {:?} {:?} grad_cp {} chunk_ctx {:?}: predicted {:.0} MB, measured {:.0} MB, {:+.1} %",
            case.version,
            case.learns,
            case.quant,
            case.kind,
            case.grad_cp,
            case.chunk_ctx,
            predicted / 1e6,
            measured / 1e6,
            100.0 * off
        );
        // The measured bytes include code of libtorch that is loaded on the way.
        assert!((-0.25..0.25).contains(&off), "case {number}: {:+.1} %", 100.0 * off);
    }
}
