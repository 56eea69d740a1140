//! Products with few rows, dense and packed, and products with tiles of packed matrices, against float64.

use statetune_engine::kernels::{
    GenerationGuard, InstructionSet, linear, matmul, with_instruction_set,
};
use statetune_engine::model::Matrix;
use statetune_engine::quant::{Format, Packed};
use tch::{Device, Kind, Tensor};

/// (K, N): whole groups and rows of any length, fewer rows than a kernel reads at a time, several threads.
const SHAPES: [(i64, i64); 7] =
    [(64, 1), (768, 13), (1, 3), (83, 66), (640, 641), (3072, 70), (2048, 1031)];

const KINDS: [Kind; 3] = [Kind::Float, Kind::BFloat16, Kind::Half];

const FORMATS: [Format; 6] = [
    Format::Int8,
    Format::Fp8,
    Format::Nf4 { double: false },
    Format::Nf4 { double: true },
    Format::Fp4 { double: false },
    Format::Fp4 { double: true },
];

fn random(size: &[i64]) -> Tensor {
    Tensor::randn(size, (Kind::Float, Device::Cpu))
}

/// Half a unit in the last place of a dtype, relative.
fn rounding(kind: Kind) -> f64 {
    match kind {
        Kind::BFloat16 => 1.0 / 256.0,
        Kind::Half => 1.0 / 2048.0,
        _ => 0.0,
    }
}

/// Whether `found` is `x w^T` with sums in float32, rounded once.
fn assert_rounded_once(what: &str, found: &Tensor, x: &Tensor, w: &Tensor) {
    let wide = |tensor: &Tensor| tensor.to_kind(Kind::Double);
    let exact = wide(x).matmul(&wide(w).tr());
    let terms = wide(x).abs().matmul(&wide(w).abs().tr());
    assert_eq!((found.kind(), found.size()), (x.kind(), exact.size()), "{what}");
    // Below the normal numbers of float16 the unit in the last place is 2^-24.
    let smallest = if x.kind() == Kind::Half { 2f64.powi(-25) } else { 0.0 };
    let allowed = exact.abs() * rounding(x.kind()) + terms * 1e-6 + smallest;
    let excess = (wide(found) - &exact).abs() - allowed;
    assert!(excess.max().double_value(&[]) <= 0.0, "{what}");
}

/// Runs `work` with every instruction set of this machine.
fn on_instruction_sets(work: impl Fn(InstructionSet)) {
    for set in InstructionSet::ALL {
        if with_instruction_set(set, || work(set)).is_err() {
            eprintln!("not checked on this machine: {set:?}");
        }
    }
}

/// Every row of `y`, the product of several rows, is the product of this row alone.
fn assert_rows_alone(what: &str, x: &Tensor, y: &Tensor, product: impl Fn(&Tensor) -> Tensor) {
    for row in 0..x.size()[0] {
        assert!(product(&x.narrow(0, row, 1)).equal(&y.narrow(0, row, 1)), "{what}: row {row}");
    }
}

#[test]
fn a_few_rows_are_multiplied_in_float32_and_rounded_once() {
    tch::manual_seed(1);
    let _guard = GenerationGuard::new();
    on_instruction_sets(|set| {
        for kind in KINDS {
            for (k, n) in SHAPES {
                let w = random(&[n, k]).to_kind(kind);
                for m in [1, 2, 3, 8] {
                    let what = format!("{set:?} {kind:?} {m} {k} {n}");
                    let x = random(&[m, k]).to_kind(kind);
                    let y = linear(&x, &w);
                    assert_rounded_once(&what, &y, &x, &w);
                    assert_rows_alone(&what, &x, &y, |x| linear(x, &w));
                    let strided = Tensor::stack(&[&x, &x], -1).select(-1, 0).unsqueeze(1);
                    assert!(linear(&strided, &w).squeeze_dim(1).equal(&y), "{what}: strided");
                }
            }
        }
    });
}

#[test]
fn a_few_rows_are_multiplied_by_what_a_packed_matrix_holds() {
    tch::manual_seed(2);
    let _guard = GenerationGuard::new();
    on_instruction_sets(|set| {
        for (k, n) in SHAPES {
            let matrix = random(&[n, k]) * 0.05;
            for format in FORMATS {
                let packed = Packed::pack(&matrix, format).expect("finite numbers");
                for kind in KINDS {
                    let dense = packed.dense(kind);
                    for m in [1, 2, 5, 8] {
                        let what = format!("{set:?} {format} {kind:?} {m} {k} {n}");
                        let x = random(&[m, k]).to_kind(kind);
                        let y = packed.linear(&x);
                        assert_rounded_once(&what, &y, &x, &dense);
                        if k % 64 == 0 {
                            assert_rows_alone(&what, &x, &y, |x| packed.linear(x));
                        }
                    }
                }
            }
        }
    });
}

/// A matrix of several tiles, with a last one of another size, in both directions.
#[test]
fn tiles_give_the_products_of_the_whole_matrix() {
    tch::manual_seed(3);
    for (rows, columns) in [(1100, 1600), (1664, 1100)] {
        let matrix = random(&[rows, columns]) * 0.05;
        let (x, dy) = (random(&[2, 6, columns]), random(&[2, 6, rows]));
        for format in FORMATS {
            let packed = Packed::pack(&matrix, format).expect("finite numbers");
            on_instruction_sets(|set| {
                for kind in KINDS {
                    let what = format!("{set:?} {format} {kind:?} {rows} {columns}");
                    let x = x.to_kind(kind).copy().set_requires_grad(true);
                    let y = packed.linear(&x);
                    let dy = dy.to_kind(kind);
                    (&y * &dy).sum(kind).backward();
                    let dense = packed.dense(kind);
                    assert_rounded_once(&what, &y.detach(), &x.detach(), &dense);
                    assert_rounded_once(&format!("{what}: gradient"), &x.grad(), &dy, &dense.tr());
                }
            });
        }
    }
}

/// The kernels share out rows of W; how many threads there are changes nothing.
#[test]
fn threads_change_no_product() {
    tch::manual_seed(4);
    let _guard = GenerationGuard::new();
    let (w, x) = (random(&[1031, 2048]).to_kind(Kind::BFloat16), random(&[3, 2048]));
    let x = x.to_kind(Kind::BFloat16);
    let packed = Packed::pack(&w, Format::Nf4 { double: true }).expect("finite numbers");
    let threads = tch::get_num_threads();
    let products = |n| {
        tch::set_num_threads(n);
        [linear(&x, &w), packed.linear(&x)]
    };
    let one = products(1);
    for n in [2, 3, 7] {
        assert_eq!(products(n), one, "{n} threads");
    }
    tch::set_num_threads(threads);
}

#[test]
fn products_that_autograd_follows_have_gradients() {
    tch::manual_seed(5);
    let x = random(&[2, 96]).set_requires_grad(true);
    let w = random(&[40, 96]).set_requires_grad(true);
    linear(&x, &w).sum(Kind::Float).backward();
    let sums = |of: &Tensor, size: [i64; 2]| {
        of.detach().sum_dim_intlist([0i64].as_slice(), true, None::<Kind>).expand(size, false)
    };
    assert!(x.grad().allclose(&sums(&w, [2, 96]), 1e-5, 1e-5, false));
    assert!(w.grad().allclose(&sums(&x, [40, 96]), 1e-5, 1e-5, false));
}

#[test]
fn a_transposed_matrix_gives_the_same_products() {
    tch::manual_seed(6);
    let _guard = GenerationGuard::new();
    on_instruction_sets(|set| {
        for kind in KINDS {
            for (k, n) in [(1, 1), (768, 64), (64, 768), (77, 83), (768, 1030)] {
                let w = random(&[k, n]).to_kind(kind);
                for m in [1, 2, 5, 8] {
                    let what = format!("{set:?} {kind:?} {m} {k} {n}");
                    let x = random(&[m, k]).to_kind(kind);
                    let y = matmul(&x, &w);
                    assert_rounded_once(&what, &y, &x, &w.tr());
                    assert_rows_alone(&what, &x, &y, |x| matmul(x, &w));
                }
            }
        }
    });
}
