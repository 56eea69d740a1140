//! Speed of the WKV-7 operation: `cargo bench`. Throughput is in tokens; the result is checked against
//! the reference before timing starts.

#![expect(missing_docs, reason = "criterion's macros make undocumented functions")]

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use statetune::kernels::reference::relative_error;
use statetune::kernels::{HEAD_SIZE, Op, Wkv7, wkv7};
use tch::{Device, Kind, Tensor};

/// r, w, k, v, a, b of RWKV-7 for one batch, and an initial state.
fn operands(b: i64, t: i64, h: i64, kind: Kind) -> ([Tensor; 6], Tensor) {
    tch::manual_seed(1);
    let options = (Kind::Float, Device::Cpu);
    let randn = || Tensor::randn([b, t, h, HEAD_SIZE], options);
    let kk = randn();
    let kk = &kk / kk.norm_scalaropt_dim(2.0, [-1i64], true);
    let iclr = Tensor::rand([b, t, h, HEAD_SIZE], options);
    let w = -(-randn()).softplus() - 0.5;
    let s0 = Tensor::randn([b, h, HEAD_SIZE, HEAD_SIZE], options);
    ([randn(), w, randn(), randn(), kk.neg(), kk * iclr].map(|x| x.to_kind(kind)), s0)
}

fn forward(op: Op, x: &[Tensor; 6], s0: &Tensor) -> Tensor {
    let [r, w, k, v, a, b] = x;
    wkv7(op, &Wkv7 { r, w, k, v, a, b }, s0).expect("valid operands").0
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("wkv7");
    let (b, t, h) = (1, 512, 12);
    for (name, kind, tolerance) in [("f32", Kind::Float, 1e-5), ("bf16", Kind::BFloat16, 1e-2)] {
        let (x, s0) = operands(b, t, h, kind);
        let reference = forward(Op::Reference, &x, &s0);
        assert!(relative_error(&forward(Op::Cpu, &x, &s0), &reference) < tolerance);
        let shape = format!("cpu_{name}_b{b}_t{t}_h{h}_n{HEAD_SIZE}");
        group.throughput(Throughput::Elements((b * t) as u64));
        group.bench_function(BenchmarkId::new("forward", &shape), |bench| {
            let _guard = tch::no_grad_guard();
            bench.iter(|| black_box(forward(Op::Cpu, &x, &s0)));
        });
        let x = x.map(|x| x.set_requires_grad(true));
        let s0 = s0.set_requires_grad(true);
        let dy = reference.randn_like();
        group.bench_function(BenchmarkId::new("forward_backward", &shape), |bench| {
            bench.iter(|| {
                let loss = (forward(Op::Cpu, &x, &s0) * &dy).sum(Kind::Float);
                let inputs: Vec<&Tensor> = x.iter().chain([&s0]).collect();
                black_box(Tensor::run_backward(&[loss], &inputs, false, false));
            });
        });
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
