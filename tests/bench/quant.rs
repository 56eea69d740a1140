//! Linear layers of packed weights against dense ones, and their memory.
//!
//! A layer of D inputs and D outputs computes 512 tokens, or one; ids look like `quant/linear/f32_d768_t512/nf4`, with the
//! dtype of the computation. One token goes through many layers in turn, so that no cache holds them, and the time is that
//! of all of them: [`LAYER_BYTES`] in bf16. Also prints the bytes of the released sizes.

use std::hint::black_box;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use statetune_engine::kernels::{GenerationGuard, linear as product};
use statetune_engine::model::{Matrix, Shape, Version};
use statetune_engine::quant::{Format, Packed, bytes};
use tch::{Device, Kind, Tensor};

const TOKENS: [i64; 2] = [512, 1];
/// Bytes of the layers, in bf16, that one token goes through.
const LAYER_BYTES: i64 = 128 << 20;

const FORMATS: [Format; 5] = [
    Format::Int8,
    Format::Nf4 { double: false },
    Format::Nf4 { double: true },
    Format::Fp4 { double: false },
    Format::Fp8,
];

/// Version, layers and channels of released models.
const MODELS: [(&str, Version, i64, i64); 10] = [
    ("rwkv7-0.1b", Version::V7, 12, 768),
    ("rwkv7-0.4b", Version::V7, 24, 1024),
    ("rwkv7-1.5b", Version::V7, 24, 2048),
    ("rwkv7-2.9b", Version::V7, 32, 2560),
    ("rwkv7-7b", Version::V7, 32, 4096),
    ("rwkv7-14b", Version::V7, 61, 4096),
    ("rwkv6-1.6b", Version::V6, 24, 2048),
    ("rwkv6-3b", Version::V6, 32, 2560),
    ("rwkv6-7b", Version::V6, 32, 4096),
    ("rwkv6-14b", Version::V6, 61, 4096),
];

/// Prints the bytes of whole models whose other tensors are bfloat16, in GB.
fn memory() {
    let names = FORMATS.map(|format| match format.is_double() {
        true => format!("{} double", format.name()),
        false => format.name().to_string(),
    });
    println!("| GB | bf16 | {} |", names.join(" | "));
    println!("| --- | --- |{}", " --- |".repeat(FORMATS.len()));
    for (name, version, n_layer, n_embd) in MODELS {
        let shape = Shape::for_scratch(version, n_layer, n_embd, 65536);
        let of = |format| bytes(&shape, 2, format) as f64 / 1e9;
        let packed = FORMATS.map(|format| format!("{:.2}", of(Some(format))));
        println!("| {name} | {:.2} | {} |", of(None), packed.join(" | "));
    }
}

/// A forward pass of one layer, or of many for one token, and its part of making the matrix dense.
fn linear(c: &mut Criterion) {
    let _guard = GenerationGuard::new();
    for (label, kind) in [("f32", Kind::Float), ("bf16", Kind::BFloat16)] {
        for d in [768, 2048] {
            for tokens in TOKENS {
                layers(c, &format!("quant/linear/{label}_d{d}_t{tokens}"), kind, d, tokens);
            }
        }
    }
}

fn layers(c: &mut Criterion, name: &str, kind: Kind, d: i64, tokens: i64) {
    tch::manual_seed(7);
    let weight = Tensor::randn([d, d], (Kind::Float, Device::Cpu)) * 0.05;
    let x = Tensor::randn([tokens, d], (Kind::Float, Device::Cpu)).to_kind(kind);
    let count = if tokens == 1 { LAYER_BYTES / (2 * d * d) } else { 1 };
    let mut group = c.benchmark_group(name);
    group.sample_size(10).measurement_time(Duration::from_secs(1));
    group.warm_up_time(Duration::from_millis(300));
    group.throughput(Throughput::Elements(tokens as u64));
    let dense: Vec<Tensor> = (0..count).map(|_| weight.to_kind(kind).copy()).collect();
    group.bench_function("dense", |b| {
        b.iter(|| dense.iter().for_each(|dense| drop(black_box(product(&x, dense)))));
    });
    for format in FORMATS {
        let pack = || Packed::pack(&weight, format).expect("finite numbers");
        let packed: Vec<Packed> = (0..count).map(|_| pack()).collect();
        let expected = x.linear::<&Tensor>(&packed[0].dense(kind), None);
        let far = (packed[0].linear(&x) - &expected).abs().max() / expected.abs().max();
        assert!(far.double_value(&[]) < 0.01, "{format}");
        let name = format.to_string().replace(' ', "_");
        group.bench_function(BenchmarkId::from_parameter(&name), |b| {
            b.iter(|| packed.iter().for_each(|packed| drop(black_box(packed.linear(&x)))));
        });
        if tokens > 1 {
            group.bench_function(format!("{name}/dequantise"), |b| {
                b.iter(|| black_box(packed[0].dense(kind)));
            });
        }
    }
    group.finish();
}

fn main() {
    memory();
    let mut criterion = Criterion::default().configure_from_args();
    linear(&mut criterion);
    criterion.final_summary();
}
