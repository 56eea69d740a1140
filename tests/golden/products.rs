//! Products of 16-bit tensors on the CPU that are computed in float32, against float64.

use statetune_engine::kernels::{replace_products, with_widened_products};
use tch::{Device, Kind, Tensor};

/// Half a unit in the last place, relative.
fn rounding(kind: Kind) -> f64 {
    if kind == Kind::BFloat16 { 1.0 / 256.0 } else { 1.0 / 2048.0 }
}

/// Whether `found` is `exact` rounded once; `size` is the sum of the magnitudes of all terms.
fn assert_rounded_once(what: &str, found: &Tensor, exact: &Tensor, size: &Tensor) {
    let allowed = exact.abs() * rounding(found.kind()) + size * 1e-6;
    let error = (found.to_kind(Kind::Double) - exact).abs();
    let excess = f64::try_from((error - allowed).max()).unwrap();
    assert!(excess <= 0.0, "{what}: {excess:e} above one rounding");
}

/// Random numbers of a shape, in another layout if `transposed`.
fn operand(rows: i64, columns: i64, transposed: bool, kind: Kind) -> Tensor {
    let options = (Kind::Float, Device::Cpu);
    match transposed {
        true => Tensor::randn([columns, rows], options).to_kind(kind).tr(),
        false => Tensor::randn([rows, columns], options).to_kind(kind),
    }
}

const KINDS: [Kind; 2] = [Kind::BFloat16, Kind::Half];
/// (M, K, N): vectors, odd sizes, and matrices of several tiles.
const SHAPES: [(i64, i64, i64); 10] = [
    (1, 1, 1),
    (1, 768, 5),
    (5, 3, 1),
    (33, 65, 17),
    (7, 768, 3072),
    (1, 2048, 1031),
    (64, 3001, 511),
    (900, 40, 1200),
    (3001, 700, 33),
    (3, 600_001, 2),
];

#[test]
fn matrices_are_multiplied_in_float32_and_rounded_once() {
    tch::manual_seed(1);
    with_widened_products(true, || {
        for kind in KINDS {
            for (m, k, n) in SHAPES {
                for layout in 0..4 {
                    let (a, b) =
                        (operand(m, k, layout & 1 > 0, kind), operand(k, n, layout & 2 > 0, kind));
                    let wide = |x: &Tensor| x.to_kind(Kind::Double);
                    let what = format!("{kind:?} {m} {k} {n}, layout {layout}");
                    let (exact, size) =
                        (wide(&a).mm(&wide(&b)), wide(&a).abs().mm(&wide(&b).abs()));
                    let found = a.mm(&b);
                    assert_eq!((found.kind(), found.size()), (kind, vec![m, n]), "{what}");
                    assert!(found.is_contiguous(), "{what}");
                    assert_rounded_once(&what, &found, &exact, &size);
                    let into = Tensor::zeros([0], (kind, Device::Cpu));
                    assert_eq!(a.mm_out(&into, &b), found, "{what}: out");
                }
            }
        }
    });
}

#[test]
fn batches_of_matrices_are_multiplied_in_float32_and_rounded_once() {
    tch::manual_seed(2);
    with_widened_products(true, || {
        for kind in KINDS {
            let a = Tensor::randn([5, 37, 65], (Kind::Float, Device::Cpu)).to_kind(kind);
            let b = Tensor::randn([5, 9, 65], (Kind::Float, Device::Cpu)).to_kind(kind);
            let wide = |x: &Tensor| x.to_kind(Kind::Double);
            let b = b.transpose(1, 2);
            let size = wide(&a).abs().bmm(&wide(&b).abs());
            assert_rounded_once("bmm", &a.bmm(&b), &wide(&a).bmm(&wide(&b)), &size);
        }
    });
}

/// A linear layer whose weights are trained has all three products.
#[test]
fn gradients_are_products_too() {
    tch::manual_seed(3);
    with_widened_products(true, || {
        let leaf = |size: [i64; 2]| {
            let x = Tensor::randn(size, (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16);
            x.set_requires_grad(true)
        };
        let (x, w) = (leaf([40, 70]), leaf([90, 70]));
        let dy = Tensor::randn([40, 90], (Kind::Float, Device::Cpu)).to_kind(Kind::BFloat16);
        (x.linear::<&Tensor>(&w, None) * &dy).sum(Kind::Float).backward();
        let wide = |x: &Tensor| x.detach().to_kind(Kind::Double);
        let (wx, ww, wdy) = (wide(&x), wide(&w), wide(&dy));
        for (what, found, left, right) in
            [("dx", x.grad(), wdy.copy(), ww), ("dw", w.grad(), wdy.tr(), wx)]
        {
            let size = left.abs().mm(&right.abs());
            assert_rounded_once(what, &found, &left.mm(&right), &size);
        }
    });
}

#[test]
fn other_products_stay_as_they_are() {
    replace_products();
    let float = Tensor::randn([3, 4], (Kind::Float, Device::Cpu));
    let expected = (float.unsqueeze(2) * float.tr().unsqueeze(0)).sum_dim_intlist(1, false, None);
    let error = f64::try_from((float.mm(&float.tr()) - expected).abs().max()).unwrap();
    assert!(error < 1e-6);
    let half = float.to_kind(Kind::Half);
    let refused = half.f_mm(&half).unwrap_err().to_string();
    assert!(refused.contains("cannot be multiplied (3x4 and 3x4)"), "{refused}");
    let empty = Tensor::zeros([0, 4], (Kind::Half, Device::Cpu));
    assert_eq!(empty.mm(&half.tr()).size(), [0, 3]);
    let inner = Tensor::zeros([3, 0], (Kind::Half, Device::Cpu));
    assert_eq!(inner.mm(&inner.tr()), Tensor::zeros([3, 3], (Kind::Half, Device::Cpu)));
}

/// What `work` makes with several numbers of threads is the same.
fn assert_same_with_any_threads(what: &str, work: impl Fn() -> Tensor) {
    let threads = tch::get_num_threads();
    let results = [1, 2, 3, 7].map(|n| {
        tch::set_num_threads(n);
        work()
    });
    tch::set_num_threads(threads);
    assert!(results.iter().all(|result| *result == results[0]), "{what}");
}

#[test]
fn the_result_does_not_depend_on_the_number_of_threads() {
    tch::manual_seed(4);
    for widen in [false, true] {
        with_widened_products(widen, || {
            for kind in [Kind::BFloat16, Kind::Float, Kind::Double] {
                for (m, k, n) in [(70, 900, 2000), (512, 768, 768), (3, 20_001, 64), (1, 768, 3072)]
                {
                    let (a, b) = (operand(m, k, false, kind), operand(k, n, true, kind));
                    let what = format!("{kind:?} {m} {k} {n}, widened {widen}");
                    assert_same_with_any_threads(&what, || a.mm(&b));
                    assert_same_with_any_threads(&what, || a.mm(&b.contiguous()));
                }
                for (batch, m, k, n) in [(5, 512, 32, 768), (300, 16, 64, 16), (2, 300, 300, 300)] {
                    let a = Tensor::randn([batch, m, k], (Kind::Float, Device::Cpu)).to_kind(kind);
                    let b = Tensor::randn([batch, n, k], (Kind::Float, Device::Cpu)).to_kind(kind);
                    let what = format!("{batch} x {kind:?} {m} {k} {n}, widened {widen}");
                    assert_same_with_any_threads(&what, || a.bmm(&b.transpose(1, 2)));
                }
            }
        });
    }
}

/// Products that are cut into blocks, row by row as sums that no product computes.
#[test]
fn blocks_make_a_whole_product() {
    tch::manual_seed(5);
    with_widened_products(false, || {
        for (kind, unit) in [(Kind::Float, 1e-6), (Kind::Double, 1e-14)] {
            for (m, k, n) in SHAPES.into_iter().chain([(1500, 70, 300), (40, 800, 5000)]) {
                for layout in 0..4 {
                    let (a, b) =
                        (operand(m, k, layout & 1 > 0, kind), operand(k, n, layout & 2 > 0, kind));
                    let found = a.mm(&b);
                    assert_eq!((found.size(), found.kind()), (vec![m, n], kind));
                    for row in [0, m / 2, m - 1] {
                        let terms =
                            a.get(row).to_kind(Kind::Double).unsqueeze(1) * b.to_kind(Kind::Double);
                        let sum = |x: &Tensor| x.sum_dim_intlist(0, false, Kind::Double);
                        let error = (found.get(row).to_kind(Kind::Double) - sum(&terms)).abs();
                        let excess = (error - sum(&terms.abs()) * unit).max();
                        let excess = f64::try_from(excess).unwrap();
                        assert!(excess <= 0.0, "{kind:?} {m} {k} {n} layout {layout}: {excess:e}");
                    }
                }
            }
        }
    });
}
