//! Speed of the WKV operations, on the CPU and on the first GPU if there is one: `cargo bench --bench wkv`. Throughput
//! is in tokens; the result is checked against the reference before timing.

#[path = "../gpu.rs"]
mod gpu;

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput};
use statetune_engine::kernels::reference::relative_error;
use statetune_engine::kernels::{HEAD_SIZE, Op, Wkv5, Wkv6, Wkv7, keep_memory, wkv5, wkv6, wkv7};
use tch::{Cuda, Device, Kind, Tensor};

use gpu::has_gpu;

/// Device, batch, tokens and heads of a timing.
#[derive(Clone, Copy)]
struct Place {
    name: &'static str,
    device: Device,
    op: Op,
    b: i64,
    t: i64,
    h: i64,
}

/// A layer of the 0.1B model at ctx_len 512, and one of the 7B model at ctx_len 4096 with micro_bsz 8.
const PLACES: [Place; 3] = [
    Place { name: "cpu", device: Device::Cpu, op: Op::Cpu, b: 1, t: 512, h: 12 },
    Place { name: "cuda", device: Device::Cuda(0), op: Op::Cuda, b: 1, t: 512, h: 12 },
    Place { name: "cuda", device: Device::Cuda(0), op: Op::Cuda, b: 8, t: 4096, h: 64 },
];

/// Operands in the order of the recurrence's formula, with s0 last.
type Operands = Vec<Tensor>;

/// Computes y from all operands.
type Recurrence = fn(Op, &[Tensor]) -> Tensor;

impl Place {
    /// r, w, k, v and those of `rest`, like a model's, and an initial state.
    fn operands(&self, w: Tensor, rest: Vec<Tensor>, kind: Kind) -> Operands {
        let mut x = vec![self.of_tokens(), w, self.of_tokens(), self.of_tokens()];
        x.extend(rest);
        let mut x: Operands = x.iter().map(|x| x.to_kind(kind)).collect();
        x.push(self.randn(&[self.b, self.h, HEAD_SIZE, HEAD_SIZE]));
        x
    }

    fn randn(&self, shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, self.device))
    }

    fn of_tokens(&self) -> Tensor {
        self.randn(&[self.b, self.t, self.h, HEAD_SIZE])
    }

    fn of_heads(&self) -> Tensor {
        self.randn(&[self.h, HEAD_SIZE])
    }

    /// Waits for the device.
    fn finish(&self) {
        if let Device::Cuda(index) = self.device {
            Cuda::synchronize(index as i64);
        }
    }
}

/// `w` for decays above 0.545, as in RWKV-7.
fn bounded(x: &Tensor) -> Tensor {
    -(-x).softplus() - 0.5
}

fn operands5(place: &Place, kind: Kind) -> Operands {
    place.operands(bounded(&place.of_heads()), vec![place.of_heads()], kind)
}

fn operands6(place: &Place, kind: Kind) -> Operands {
    place.operands(bounded(&place.of_tokens()), vec![place.of_heads()], kind)
}

fn operands7(place: &Place, kind: Kind) -> Operands {
    let kk = place.of_tokens();
    let kk = &kk / kk.norm_scalaropt_dim(2.0, [-1i64], true);
    let b = &kk * kk.rand_like();
    place.operands(bounded(&place.of_tokens()), vec![kk.neg(), b], kind)
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

/// Times the forward pass, and both passes with all gradients and with only the gradient of s0.
fn bench_recurrence(
    c: &mut Criterion,
    name: &str,
    place: &Place,
    run: Recurrence,
    operands: fn(&Place, Kind) -> Operands,
) {
    let mut group = c.benchmark_group(name);
    let &Place { name: device, op, b, t, h, .. } = place;
    group.throughput(Throughput::Elements((b * t) as u64));
    for (dtype, kind, tolerance) in [("f32", Kind::Float, 1e-4), ("bf16", Kind::BFloat16, 1e-2)] {
        tch::manual_seed(1);
        let x = operands(place, kind);
        {
            let _guard = tch::no_grad_guard();
            assert!(relative_error(&run(op, &x), &run(Op::Reference, &x)) < tolerance);
        }
        let dy = x[0].randn_like();
        let shape = format!("{device}_{dtype}_b{b}_t{t}_h{h}_n{HEAD_SIZE}");

        group.bench_function(BenchmarkId::new("forward", &shape), |bench| {
            let _guard = tch::no_grad_guard();
            bench.iter(|| {
                let y = run(op, &x);
                place.finish();
                black_box(y)
            });
        });
        for (passes, first) in [("forward_backward", 0), ("forward_backward_state", x.len() - 1)] {
            let x: Operands =
                x.iter().enumerate().map(|(i, x)| x.copy().set_requires_grad(i >= first)).collect();
            group.bench_function(BenchmarkId::new(passes, &shape), |bench| {
                bench.iter(|| {
                    let loss = (run(op, &x) * &dy).sum(Kind::Float);
                    black_box(Tensor::run_backward(&[loss], &x[first..], false, false));
                    place.finish();
                });
            });
        }
    }
    group.finish();
}

fn main() {
    keep_memory();
    let mut c = Criterion::default().configure_from_args();
    let has_gpu = has_gpu();
    for place in PLACES.iter().filter(|place| place.device == Device::Cpu || has_gpu) {
        bench_recurrence(&mut c, "wkv5", place, run5, operands5);
        bench_recurrence(&mut c, "wkv6", place, run6, operands6);
        bench_recurrence(&mut c, "wkv7", place, run7, operands7);
    }
    c.final_summary();
}
