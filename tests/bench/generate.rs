//! Tokens a second of generation, beside the time that the memory needs: `cargo bench --bench generate`.
//!
//! Random weights of a 0.1B model (12 layers, 768 channels, 65536 tokens) and the shipped model, dense and packed, for one
//! row and for eight. A token reads every weight once, but for the embedding, and the states of its rows; the floor is the
//! number of these bytes divided by the speed at which this machine reads memory, measured before each case. The last
//! columns are of whole answers: a prompt, sampling, text. Weights that fit into a cache beat the floor.
//! `cargo bench --bench generate -- NAME` runs the cases whose name begins so; `-- FILE.pth` measures these weights too.

use std::hint::black_box;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use statetune_core::data::Tokenizer;
use statetune_engine::inference::{GenerateOptions, generate};
use statetune_engine::kernels::{
    GenerationGuard, Op, device_model, has_bfloat16_products, keep_memory,
};
use statetune_engine::model::{Model, Shape, State, TimeState, Version, Weights};
use statetune_engine::quant::{Format, bytes, quantise};
use tch::{Device, Kind, Tensor};

/// Name, dtype of the computation, format of the linear layers.
const FORMS: [(&str, Kind, Option<Format>); 6] = [
    ("bf16", Kind::BFloat16, None),
    ("fp32", Kind::Float, None),
    ("bf16 int8", Kind::BFloat16, Some(Format::Int8)),
    ("bf16 nf4", Kind::BFloat16, Some(Format::Nf4 { double: false })),
    ("fp32 int8", Kind::Float, Some(Format::Int8)),
    ("fp32 nf4", Kind::Float, Some(Format::Nf4 { double: false })),
];
/// Rows of a batch.
const BATCHES: [i64; 2] = [1, 8];
/// Timed tokens of a row.
const TOKENS: usize = 48;
/// Repetitions, of which the fastest counts.
const REPEATS: usize = 5;

fn main() {
    keep_memory();
    let threads = tch::get_num_threads();
    let products = if has_bfloat16_products() { "bfloat16" } else { "float32" };
    println!("{}, {threads} threads, products of bf16 in {products}", device_model(Device::Cpu));
    println!(
        "{:22} {:>4} {:>9} {:>8} {:>9} {:>8} {:>6} {:>9}",
        "case", "rows", "tokens/s", "ms", "MB read", "floor ms", "share", "answers/s"
    );
    let asked: Vec<String> = std::env::args().skip(1).filter(|x| !x.starts_with("--")).collect();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files =
        asked.iter().filter(|name| name.ends_with(".pth")).map(|name| (name.as_str(), name.into()));
    let shipped = ("shipped", root.join("models/tiny-chat.pth"));
    let sources = [("0.1B", None)].into_iter();
    let sources =
        sources.chain([shipped].into_iter().chain(files).map(|(name, file)| (name, Some(file))));
    for (source, file) in sources {
        for (form, kind, format) in FORMS {
            let name = format!("{source} {form}");
            let is_asked = asked.is_empty() || asked.iter().any(|asked| name.starts_with(asked));
            if is_asked {
                run(&name, file.as_deref(), kind, format);
            }
        }
    }
}

fn run(name: &str, file: Option<&Path>, kind: Kind, format: Option<Format>) {
    let mut weights = match file {
        Some(file) => Weights::load(file).expect("weights"),
        None => random(),
    };
    if let Some(format) = format {
        quantise(&mut weights, format, |_| false).expect("finite weights");
    }
    let model = Model::new(&weights, kind, Op::Cpu);
    drop(weights);
    let shape = *model.shape();
    let start = TimeState::zeros(&shape, Kind::Float, Device::Cpu);
    let element = kind.elt_size_in_bytes();
    let embedding = (shape.vocab_size * shape.n_embd) as f64 * element as f64;
    let weights = bytes(&shape, element as u64, format) as f64 - embedding;
    let state = (shape.n_layer * shape.n_embd * shape.head_size * 4) as f64;
    for rows in BATCHES {
        let read = weights + state * rows as f64;
        let floor = read / bytes_per_second();
        let seconds = seconds_of_a_token(&model, &start, rows);
        println!(
            "{name:22} {rows:4} {:9.1} {:8.2} {:9.1} {:8.2} {:5.0}% {:9.1}",
            rows as f64 / seconds,
            seconds * 1e3,
            read / 1e6,
            floor * 1e3,
            100.0 * floor / seconds,
            answered_tokens_per_second(&model, &start, rows as usize)
        );
    }
}

/// A 0.1B model without matrices of zeros.
fn random() -> Weights {
    tch::manual_seed(1);
    let shape = Shape::for_scratch(Version::V7, 12, 768, 65536);
    let options = (Kind::BFloat16, Device::Cpu);
    Weights::from_fn(shape, |_, size| Tensor::randn(size, options).g_mul_scalar_(0.02))
}

/// Seconds in which a batch reads one token and gives the logits of the next.
fn seconds_of_a_token(model: &Model, start: &TimeState, rows: i64) -> f64 {
    let _guard = GenerationGuard::new();
    let vocab_size = model.shape().vocab_size;
    let mut state = model.start(start, rows);
    let step = |token: i64, state: &State| -> State {
        let ids = Tensor::arange(rows, (Kind::Int64, Device::Cpu)) * 7919 + token * 104_729;
        let ids = ids.remainder(vocab_size).view([rows, 1]);
        let (hidden, after) = model.forward(&ids, state, None).expect("sound operands");
        let _ = black_box(model.logits(&hidden));
        after
    };
    let mut least = f64::INFINITY;
    for _ in 0..REPEATS {
        let started = Instant::now();
        for token in 0..TOKENS {
            state = step(token as i64, &state);
        }
        least = least.min(started.elapsed().as_secs_f64() / TOKENS as f64);
    }
    least
}

/// Sampled tokens a second of whole answers to short questions.
fn answered_tokens_per_second(model: &Model, start: &TimeState, rows: usize) -> f64 {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let world = model.shape().vocab_size == 65536;
    let tokenizer = match world {
        true => Tokenizer::world(),
        false => Tokenizer::load(&root.join("models/tiny-vocab.txt")).expect("our vocabulary"),
    };
    let options = GenerateOptions {
        max_tokens: TOKENS,
        temperature: 1.0,
        top_p: 0.3,
        presence_penalty: 0.0,
        frequency_penalty: 0.0,
        penalty_decay: 1.0,
        seed: 7,
        stops: Vec::new(),
    };
    let prompts = vec!["User: How are you today?\n\nAssistant:"; rows];
    let mut most: f64 = 0.0;
    for _ in 0..REPEATS {
        let started = Instant::now();
        let answers = generate(model, start, &tokenizer, &prompts, &options, &mut |_| {
            ControlFlow::Continue(())
        });
        let seconds = started.elapsed().as_secs_f64();
        let answers = answers.expect("sound operands").expect("an end");
        let tokens: usize =
            answers.iter().map(|text| tokenizer.encode(text.as_bytes()).len()).sum();
        most = most.max(tokens as f64 / seconds);
    }
    most
}

/// The speed at which this machine reads memory with all threads.
fn bytes_per_second() -> f64 {
    let numbers = Tensor::ones([64 << 20], (Kind::Float, Device::Cpu));
    let _ = numbers.sum(Kind::Float);
    let least = (0..REPEATS).map(|_| {
        let started = Instant::now();
        let _ = black_box(numbers.sum(Kind::Float));
        started.elapsed().as_secs_f64()
    });
    (numbers.numel() * 4) as f64 / least.fold(f64::INFINITY, f64::min)
}
