//! Predicted memory of training steps against measured memory, each in a process of its own: this test binary with a
//! variable in its environment. The heap is one, and what it holds at its peak does not depend on time or other programs.

use std::process::Command;
use std::{env, fs};

use statetune_core::data::{Batch, RowAnswer, RowAnswers, Side};
use statetune_core::forecast::{Item, ItemBytes, Workload};
use statetune_core::objective::{Dpo, Kto, Orpo, Preference};
use statetune_engine::kernels::{Op, give_back_memory, keep_memory};
use statetune_engine::model::dtype_of;
use statetune_engine::model::{Model, Shape, Version, Weights};
use statetune_engine::optim::AdamOptions;
use statetune_engine::peft::{
    AdapterSpec, AnyMethod, Compute, Lora, Method, Parts, StatePart, StateSpec, StateTuning,
    TuningSpec, WeightTuning,
};
use statetune_engine::quant::{Format, quantise};
use statetune_engine::train::{
    Chunks, CrossEntropy, Distillation, Divergence, Objective, Preferences, References,
    StepOptions, Teacher, Trainer,
};
use tch::{Device, Kind, Tensor};

/// Names the case to the child process.
const CASE: &str = "STATETUNE_TEST_MEMORY";
/// Positions whose logits exist at a time.
const HEAD_CHUNK: i64 = 256;
/// How far a prediction may be from what is measured.
const TOLERANCE: f64 = 0.1;

#[derive(Clone, Copy, Debug)]
enum Learns {
    State,
    /// Shift states too.
    BothStates,
    Lora,
    Full,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Minimises {
    Sft,
    Dpo,
    Orpo,
    Kto,
    Distill,
}

#[derive(Clone, Copy, Debug)]
struct Case {
    version: Version,
    learns: Learns,
    minimises: Minimises,
    quant: Option<Format>,
    kind: Kind,
    grad_cp: bool,
    chunk_ctx: Option<i64>,
    /// Blocks, channels, token ids.
    sizes: [i64; 3],
    /// Rows and tokens of a batch.
    batch: [i64; 2],
}

const STATE: Case = Case {
    version: Version::V7,
    learns: Learns::State,
    minimises: Minimises::Sft,
    quant: None,
    kind: Kind::Float,
    grad_cp: false,
    chunk_ctx: None,
    sizes: [4, 256, 4096],
    batch: [4, 384],
};

/// Methods, formats and versions.
const CASES: [Case; 8] = [
    Case { learns: Learns::Full, kind: Kind::BFloat16, ..STATE },
    Case { version: Version::V6, learns: Learns::Lora, quant: Some(Format::Int8), ..STATE },
    Case { version: Version::V5, grad_cp: true, ..STATE },
    Case { chunk_ctx: Some(192), ..STATE },
    Case { learns: Learns::BothStates, ..STATE },
    Case { learns: Learns::BothStates, grad_cp: true, ..STATE },
    Case { version: Version::V6, learns: Learns::BothStates, ..STATE },
    Case { version: Version::V5, learns: Learns::BothStates, kind: Kind::BFloat16, ..STATE },
];

const OBJECTIVES: [Minimises; 5] =
    [Minimises::Sft, Minimises::Dpo, Minimises::Orpo, Minimises::Kto, Minimises::Distill];
/// Another shape: more channels, fewer blocks, shorter rows, more token ids.
const WIDE: Case = Case { sizes: [2, 512, 8192], batch: [6, 128], ..STATE };

/// All cases: methods, then the objectives at two shapes, with and without `grad_cp`.
fn cases() -> Vec<Case> {
    let mut cases = CASES.to_vec();
    for shape in [STATE, WIDE] {
        for grad_cp in [false, true] {
            cases.extend(OBJECTIVES.map(|minimises| Case { minimises, grad_cp, ..shape }));
        }
    }
    cases
}

impl Case {
    fn shape(&self) -> Shape {
        let [n_layer, n_embd, vocab_size] = self.sizes;
        Shape::for_scratch(self.version, n_layer, n_embd, vocab_size)
    }

    fn states(&self) -> StateSpec {
        let shift = matches!(self.learns, Learns::BothStates).then_some(StatePart::Shift);
        let parts = [StatePart::Wkv].into_iter().chain(shift).collect();
        StateSpec { parts, ..StateSpec::wkv(1.0) }
    }

    fn recipe(&self) -> Option<TuningSpec> {
        let adapter = match self.learns {
            Learns::State | Learns::BothStates => return None,
            Learns::Full => None,
            Learns::Lora => {
                let method = AnyMethod::Lora(Lora { rank: 16, alpha: 16.0, ..Lora::default() });
                Some(AdapterSpec { method, targets: None })
            }
        };
        let parts = if adapter.is_none() { Parts::All } else { Parts::Groups(Vec::new()) };
        Some(TuningSpec { adapter, parts, state_lr_scale: None })
    }

    /// Calls `work` with the workload.
    fn with_workload<T>(&self, work: impl FnOnce(Workload<'_>) -> T) -> T {
        let (shape, recipe, states) = (self.shape(), self.recipe(), self.states());

        work(Workload {
            shape: &shape,
            recipe: recipe.as_ref(),
            states: Some(&states),
            quant: self.quant,
            dtype: dtype_of(self.kind),
            grad_cp: self.grad_cp,
            chunk_ctx: self.chunk_ctx.map(i64::unsigned_abs),
            head_chunk: HEAD_CHUNK.unsigned_abs(),
            rows: self.batch[0].unsigned_abs(),
            rows_per_sample: 1,
            tokens: self.batch[1].unsigned_abs(),
            on_gpu: false,
            teacher: None,
        })
    }

    /// Peak bytes of tensors, and what they are made of.
    fn predicted(&self) -> (f64, String) {
        let mut items = self.with_workload(|workload| workload.memory().items);
        items.retain(|one| one.item != Item::Program);
        let megabytes = |one: &ItemBytes| format!("{:?} {:.1}", one.item, one.bytes as f64 / 1e6);
        let parts: Vec<String> = items.iter().map(megabytes).collect();
        (items.iter().map(|one| one.bytes as f64).sum(), parts.join(", "))
    }

    fn weights(&self) -> Weights {
        let mut weights = Weights::from_fn(self.shape(), |_, size| {
            Tensor::empty(size, (self.kind, Device::Cpu)).uniform_(-0.02, 0.02)
        });
        if let Some(format) = self.quant {
            quantise(&mut weights, format, |_| false).expect("finite weights");
        }
        weights
    }

    /// Full rows of targets; in pairs of answers where the objective compares them.
    fn batch(&self) -> Batch {
        let rows = |rows: usize| {
            let positions = (rows as i64) * self.batch[1];
            let ids: Vec<i64> = (0..positions).map(|i| i * 7919 % self.sizes[2]).collect();
            Batch {
                rows,
                tokens: self.batch[1] as usize,
                inputs: ids.clone(),
                learned_at: (0..positions).collect(),
                targets: ids,
                documents: vec![Vec::new(); rows],
                ..Batch::default()
            }
        };
        let side = |row: usize| if row % 2 == 0 { Side::Chosen } else { Side::Rejected };
        let answer = |row: usize| RowAnswer { record: row / 2, side: side(row) };
        let count = self.batch[0] as usize;
        let mismatched = match self.minimises {
            Minimises::Kto => rows(count / 2),
            _ => Batch::default(),
        };
        let answers = RowAnswers { rows: (0..count).map(answer).collect(), mismatched };
        Batch { answers: Some(Box::new(answers)), ..rows(count) }
    }

    /// Two steps.
    fn train(&self) {
        let weights = self.weights();
        let method: Box<dyn Method> = match self.recipe() {
            None => {
                let model = Model::new(&weights, self.kind, Op::Cpu);
                Box::new(StateTuning::start(model, self.states()))
            }
            Some(recipe) => {
                let compute = Compute { kind: self.kind, op: Op::Cpu, seed: 1, quant: None };
                Box::new(WeightTuning::start(&recipe, weights, compute).expect("finite weights"))
            }
        };
        let preference: Option<Box<dyn Preference>> = match self.minimises {
            Minimises::Sft | Minimises::Distill => None,
            Minimises::Dpo => Some(Box::new(Dpo::default())),
            Minimises::Orpo => Some(Box::new(Orpo::default())),
            Minimises::Kto => Some(Box::new(Kto::default())),
        };
        let batch = self.batch();
        let objective: Box<dyn Objective + '_> = match (&preference, method.untouched()) {
            (Some(preference), _) => {
                let preferences = Preferences::new(preference.as_ref());
                preferences.start_from(References(vec![[-3e3; 3]; batch.rows]));
                Box::new(preferences)
            }
            (None, Some(model)) if self.minimises == Minimises::Distill => {
                let start = model.start(&model.initial_states(), 1);
                let teacher = Teacher { model, start, divergence: Divergence::KL };
                Box::new(Distillation { teacher })
            }
            (None, _) => Box::new(CrossEntropy),
        };
        let adam = AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
        let room = self.with_workload(|workload| workload.boundary_room());
        let options = StepOptions {
            head_chunk: HEAD_CHUNK,
            grad_cp: self.grad_cp,
            chunks: self.chunk_ctx.map(|tokens| Chunks { tokens, room }),
            l2wrap: 0.0,
            gradient_clip_val: 1.0,
        };
        let mut trainer = Trainer::new(method.as_ref(), adam, None, options);
        trainer.objective = objective.as_ref();
        for step in 0..2 {
            trainer.step(std::slice::from_ref(&batch), step, 1e-6).expect("a step");
        }
    }

    /// The bytes that a process of its own needs for the steps.
    #[track_caller]
    fn measured(number: usize) -> f64 {
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
        line.trim().parse().expect("a number")
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
#[ignore = "the child process of `steps_use_the_predicted_memory`"]
fn child() {
    let Some(number) = env::var(CASE).ok().and_then(|number| number.parse::<usize>().ok()) else {
        return;
    };
    keep_memory();
    let case = cases()[number];
    // Code counts from its first use, so a small model comes first.
    Case { sizes: [2, 64, 256], batch: [2, 32], chunk_ctx: case.chunk_ctx.map(|_| 16), ..case }
        .train();
    give_back_memory();
    fs::write("/proc/self/clear_refs", "5").expect("the peak can be reset");
    let before = resident("VmRSS:");
    case.train();
    println!("memory {}", resident("VmHWM:") - before);
}

#[test]
fn steps_use_the_predicted_memory() {
    let mut far = Vec::new();
    let mut of_sft = f64::NAN;
    for (number, case) in cases().iter().enumerate() {
        let ((predicted, parts), measured) = (case.predicted(), Case::measured(number));
        let off = predicted / measured - 1.0;
        let line = format!(
            "{number} {} {:?} {:?} {:?} {:?} grad_cp {} chunk_ctx {:?}: predicted {:.1} MB, measured {:.1} MB, {:+.1} % ({parts})",
            case.version,
            case.learns,
            case.minimises,
            case.quant,
            case.kind,
            case.grad_cp,
            case.chunk_ctx,
            predicted / 1e6,
            measured / 1e6,
            100.0 * off
        );
        println!("{line}");
        if off.abs() > TOLERANCE {
            far.push(line);
        }
        // Against the same rows of `sft`, which come first.
        let most = match case.minimises {
            Minimises::Sft => {
                of_sft = measured;
                continue;
            }
            Minimises::Dpo | Minimises::Orpo | Minimises::Kto => 1.15,
            Minimises::Distill => 1.1,
        };
        let times = measured / of_sft;
        println!("    {times:.3} x sft");
        assert!(times <= most, "{:?}: {times}", case.minimises);
    }
    assert!(far.is_empty(), "{}", far.join("\n"));
}
