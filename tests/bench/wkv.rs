//! Speed of the WKV operations on the CPU: `cargo bench`. Throughput is in tokens; the result is checked
//! against the reference before timing starts.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use statetune::kernels::reference::relative_error;
use statetune::kernels::{HEAD_SIZE, Op, Wkv5, Wkv6, Wkv7, wkv5, wkv6, wkv7};
use tch::{Device, Kind, Tensor};

/// Batch, tokens and heads: a layer of the 0.1B model at ctx_len 512.
const SHAPE: (i64, i64, i64) = (1, 512, 12);

/// Operands in the order of the recurrence's formula, with s0 last.
type Operands = Vec<Tensor>;

/// Computes y from all operands.
type Recurrence = fn(Op, &[Tensor]) -> Tensor;

/// r, w, k, v and those of `rest`, as the model makes them, and a first state.
fn operands(w: Tensor, rest: Vec<Tensor>, kind: Kind) -> Operands {
    let (b, _, h) = SHAPE;
    let mut x = vec![of_tokens(), w, of_tokens(), of_tokens()];
    x.extend(rest);
    let mut x: Operands = x.iter().map(|x| x.to_kind(kind)).collect();
    x.push(randn(&[b, h, HEAD_SIZE, HEAD_SIZE]));
    x
}

fn randn(shape: &[i64]) -> Tensor {
    Tensor::randn(shape, (Kind::Float, Device::Cpu))
}

fn of_tokens() -> Tensor {
    let (b, t, h) = SHAPE;
    randn(&[b, t, h, HEAD_SIZE])
}

/// `w` for decays above 0.545, as RWKV-7 makes them.
fn bounded(x: &Tensor) -> Tensor {
    -(-x).softplus() - 0.5
}

fn operands5(kind: Kind) -> Operands {
    let of_heads = || randn(&[SHAPE.2, HEAD_SIZE]);
    operands(bounded(&of_heads()), vec![of_heads()], kind)
}

fn operands6(kind: Kind) -> Operands {
    operands(bounded(&of_tokens()), vec![randn(&[SHAPE.2, HEAD_SIZE])], kind)
}

fn operands7(kind: Kind) -> Operands {
    let kk = of_tokens();
    let kk = &kk / kk.norm_scalaropt_dim(2.0, [-1i64], true);
    let b = &kk * kk.rand_like();
    operands(bounded(&of_tokens()), vec![kk.neg(), b], kind)
}

fn run5(op: Op, x: &[Tensor]) -> Tensor {
    let [r, w, k, v, u, s0] = x else { unreachable!("six operands") };
    wkv5(op, &Wkv5 { r, w, k, v, u }, s0, None).expect("valid operands").0
}

fn run6(op: Op, x: &[Tensor]) -> Tensor {
    let [r, w, k, v, u, s0] = x else { unreachable!("six operands") };
    wkv6(op, &Wkv6 { r, w, k, v, u }, s0, None).expect("valid operands").0
}

fn run7(op: Op, x: &[Tensor]) -> Tensor {
    let [r, w, k, v, a, b, s0] = x else { unreachable!("seven operands") };
    wkv7(op, &Wkv7 { r, w, k, v, a, b }, s0, None).expect("valid operands").0
}

/// Times the forward pass, both passes with all gradients, and both with that of s0 alone.
fn bench_recurrence(
    c: &mut Criterion,
    name: &str,
    run: Recurrence,
    operands: fn(Kind) -> Operands,
) {
    let mut group = c.benchmark_group(name);
    let (b, t, h) = SHAPE;
    group.throughput(Throughput::Elements((b * t) as u64));
    for (dtype, kind, tolerance) in [("f32", Kind::Float, 1e-5), ("bf16", Kind::BFloat16, 1e-2)] {
        tch::manual_seed(1);
        let x = operands(kind);
        let reference = run(Op::Reference, &x);
        assert!(relative_error(&run(Op::Cpu, &x), &reference) < tolerance);
        let dy = reference.randn_like();
        let shape = format!("cpu_{dtype}_b{b}_t{t}_h{h}_n{HEAD_SIZE}");

        group.bench_function(BenchmarkId::new("forward", &shape), |bench| {
            let _guard = tch::no_grad_guard();
            bench.iter(|| black_box(run(Op::Cpu, &x)));
        });
        for (passes, first) in [("forward_backward", 0), ("forward_backward_state", x.len() - 1)] {
            let x: Operands =
                x.iter().enumerate().map(|(i, x)| x.copy().set_requires_grad(i >= first)).collect();
            group.bench_function(BenchmarkId::new(passes, &shape), |bench| {
                bench.iter(|| {
                    let loss = (run(Op::Cpu, &x) * &dy).sum(Kind::Float);
                    black_box(Tensor::run_backward(&[loss], &x[first..], false, false));
                });
            });
        }
    }
    group.finish();
}

fn main() {
    let mut c = Criterion::default().configure_from_args();
    bench_recurrence(&mut c, "wkv5", run5, operands5);
    bench_recurrence(&mut c, "wkv6", run6, operands6);
    bench_recurrence(&mut c, "wkv7", run7, operands7);
    c.final_summary();
}
