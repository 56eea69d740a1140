//! The WKV-7 operation against printed vectors, the reference and finite differences.

use statetune::kernels::reference::relative_error;
use statetune::kernels::{HEAD_SIZE, KernelError, Op, Wkv7, wkv7};
use tch::{Device, Kind, Tensor};

/// r, w, k, v, a, b, s0 in this order, and the gradients of y and of the last state.
struct Case {
    inputs: Vec<Tensor>,
    dy: Tensor,
    ds_last: Tensor,
}

/// What an implementation makes of a case: y, s_T and the gradients of the seven inputs.
const NAMES: [&str; 9] = ["y", "s_T", "dr", "dw", "dk", "dv", "da", "db", "ds0"];

impl Case {
    /// Random operands as RWKV-7 makes them: `a = -kk`, `b = kk * iclr`, w of any sign.
    fn random(seed: i64, b: i64, t: i64, h: i64, n: i64) -> Case {
        tch::manual_seed(seed);
        let options = (Kind::Double, Device::Cpu);
        let randn = || Tensor::randn([b, t, h, n], options);
        let kk = randn();
        let kk = &kk / kk.norm_scalaropt_dim(2.0, [-1i64], true);
        let inputs = vec![
            randn(),
            randn() * 1.5 - 1.0,
            randn(),
            randn(),
            kk.neg(),
            kk * Tensor::rand([b, t, h, n], options),
            Tensor::randn([b, h, n, n], options),
        ];
        Case { inputs, dy: randn(), ds_last: Tensor::randn([b, h, n, n], options) }
    }

    fn run(&self, op: Op, kind: Kind) -> Vec<Tensor> {
        let state_kind = if kind == Kind::Double { kind } else { Kind::Float };
        let inputs: Vec<Tensor> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(i, x)| {
                x.to_kind(if i == 6 { state_kind } else { kind }).copy().set_requires_grad(true)
            })
            .collect();
        let [r, w, k, v, a, b, s0] = inputs.as_slice() else { unreachable!("seven inputs") };
        let (y, s_last) = wkv7(op, &Wkv7 { r, w, k, v, a, b }, s0).expect("valid operands");
        let loss = (&y * self.dy.to_kind(kind)).sum(state_kind)
            + (&s_last * self.ds_last.to_kind(state_kind)).sum(state_kind);
        let mut out = vec![y.detach(), s_last.detach()];
        out.extend(Tensor::run_backward(&[loss], &inputs, false, false));
        out
    }

    /// The same operands, rounded to `kind` first, so that both sides see the same numbers.
    fn rounded(self, kind: Kind) -> Case {
        let round = |x: Tensor| x.to_kind(kind).to_kind(Kind::Double);
        Case {
            inputs: self.inputs.into_iter().map(round).collect(),
            dy: round(self.dy),
            ds_last: self.ds_last,
        }
    }
}

fn assert_close(found: &[Tensor], expected: &[Tensor], tolerance: f64, what: &str) {
    for ((name, x), reference) in NAMES.iter().zip(found).zip(expected) {
        let error = relative_error(x, reference);
        assert!(error <= tolerance, "{what}: {name} is off by {error:e}, allowed {tolerance:e}");
    }
}

/// Embeds rows of two channels into head size 64, which changes nothing: the other channels of k, v,
/// a, b, r and of the state are zero.
fn vectors(pad: bool) -> Case {
    let rows = |x: [[f64; 2]; 3]| Tensor::from_slice2(&x).view([1, 3, 1, 2]);
    let grow = |x: Tensor| if pad { x.constant_pad_nd([0, HEAD_SIZE - 2]) } else { x };
    let grow_state =
        |x: Tensor| if pad { x.constant_pad_nd([0, HEAD_SIZE - 2, 0, HEAD_SIZE - 2]) } else { x };
    let s0 = grow_state(Tensor::from_slice2(&[[0.1, -0.2], [0.3, 0.4]]).view([1, 1, 2, 2]));
    Case {
        inputs: vec![
            grow(rows([[0.5, -1.0], [0.25, 0.75], [-0.5, 1.0]])),
            grow(rows([[-1.0, -0.5], [-2.0, 0.25], [-0.75, -1.5]])),
            grow(rows([[1.0, 0.5], [-0.5, 0.25], [0.75, -1.0]])),
            grow(rows([[0.2, -0.4], [1.0, 0.3], [-0.6, 0.8]])),
            grow(rows([[-0.6, -0.8], [-1.0, 0.0], [-0.8, 0.6]])),
            grow(rows([[0.3, 0.4], [0.5, 0.0], [0.4, -0.3]])),
            s0.shallow_clone(),
        ],
        dy: grow(rows([[1.0, 0.5], [-0.5, 2.0], [0.25, -1.0]])),
        ds_last: s0.zeros_like(),
    }
}

/// The printed vectors: head size 2, three tokens, double precision, seven to ten digits.
fn matches_printed_vectors(op: Op, pad: bool, kind: Kind, tolerance: f64) {
    let out = vectors(pad).run(op, kind);
    let expected: [(usize, &[f64]); 6] = [
        (
            0,
            &[0.1186578738, 0.0107344094, 0.0968623761, -0.0509891443, 0.9200289199, -1.1122019419],
        ),
        (1, &[-0.5057907939, 0.6671335230, 0.5215798552, -0.8514120143]),
        (3, &[-0.0425984, -0.04121, 0.0203034, 0.0674309, 0.0266215, -0.0071431]),
        (6, &[-0.0193538, 0.0706029, -0.0858823, -0.0390438, -0.0903857, -0.0200079]),
        (7, &[-0.1557248, 0.0046184, 0.1717646, 0.4171404, 0.0603038, -0.1206077]),
        (8, &[0.4930262, -0.3516067, 0.2603468, -0.1471497]),
    ];
    for (i, values) in expected {
        let x = &out[i];
        let x = x.narrow(-1, 0, 2);
        let x = if [1, 8].contains(&i) { x.narrow(-2, 0, 2) } else { x };
        let found =
            Vec::<f64>::try_from(x.contiguous().view(-1).to_kind(Kind::Double)).expect("a vector");
        for (found, expected) in found.iter().zip(values) {
            assert!(
                (found - expected).abs() <= tolerance,
                "{op:?} {}: {found} != {expected}",
                NAMES[i]
            );
        }
    }
}

#[test]
fn printed_vectors_float64() {
    matches_printed_vectors(Op::Reference, false, Kind::Double, 6e-8);
    matches_printed_vectors(Op::Cpu, true, Kind::Double, 6e-8);
}

#[test]
fn printed_vectors_float32() {
    matches_printed_vectors(Op::Reference, false, Kind::Float, 3e-7);
    matches_printed_vectors(Op::Cpu, true, Kind::Float, 3e-7);
}

#[test]
fn kernel_matches_reference_float64() {
    for (seed, (b, t, h)) in [(1, 1, 1), (2, 16, 1), (1, 33, 3), (3, 47, 2)].into_iter().enumerate()
    {
        let case = Case::random(seed as i64, b, t, h, HEAD_SIZE);
        let expected = case.run(Op::Reference, Kind::Double);
        assert_close(
            &case.run(Op::Cpu, Kind::Double),
            &expected,
            1e-13,
            &format!("B={b} T={t} H={h}"),
        );
    }
}

#[test]
fn kernel_matches_reference_float32() {
    for (seed, (b, t, h)) in [(1, 1, 1), (2, 65, 3), (4, 16, 2)].into_iter().enumerate() {
        let case = Case::random(seed as i64, b, t, h, HEAD_SIZE).rounded(Kind::Float);
        let expected = case.run(Op::Reference, Kind::Double);
        assert_close(
            &case.run(Op::Cpu, Kind::Float),
            &expected,
            2e-6,
            &format!("B={b} T={t} H={h}"),
        );
    }
}

#[test]
fn kernel_matches_reference_bf16_operands() {
    let case = Case::random(5, 2, 40, 2, HEAD_SIZE).rounded(Kind::BFloat16);
    let expected = case.run(Op::Reference, Kind::Double);
    let found = case.run(Op::Cpu, Kind::BFloat16);
    // The state stays float32, so s_T and ds0 do not see the rounding of y.
    assert_close(&found, &expected, 5e-3, "bf16");
    assert!(relative_error(&found[1], &expected[1]) < 1e-6, "s_T is carried in float32");
    assert!(relative_error(&found[8], &expected[8]) < 1e-6, "ds0 is carried in float32");
}

#[test]
fn gradients_match_finite_differences() {
    let case = Case::random(11, 1, 19, 1, HEAD_SIZE);
    let gradients = case.run(Op::Cpu, Kind::Double);
    let loss = |inputs: &[Tensor]| {
        let [r, w, k, v, a, b, s0] = inputs else { unreachable!("seven inputs") };
        let (y, s_last) = wkv7(Op::Cpu, &Wkv7 { r, w, k, v, a, b }, s0).expect("valid operands");
        (y * &case.dy).sum(Kind::Double).double_value(&[])
            + (s_last * &case.ds_last).sum(Kind::Double).double_value(&[])
    };
    for input in 0..7 {
        // The derivative along a random direction tests every entry at once.
        let direction = case.inputs[input].randn_like();
        let shifted = |h: f64| {
            let mut inputs: Vec<Tensor> = case.inputs.iter().map(Tensor::shallow_clone).collect();
            inputs[input] = &inputs[input] + &direction * h;
            loss(&inputs)
        };
        let h = 1e-5;
        let numeric = (shifted(h) - shifted(-h)) / (2.0 * h);
        let analytic = (&gradients[input + 2] * &direction).sum(Kind::Double).double_value(&[]);
        let error = (numeric - analytic).abs() / analytic.abs().max(1.0);
        assert!(error < 1e-7, "{}: {analytic} against {numeric}", NAMES[input + 2]);
    }
}

#[test]
fn result_does_not_depend_on_threads() {
    let case = Case::random(3, 2, 70, 3, HEAD_SIZE);
    let threads = tch::get_num_threads();
    let runs: Vec<Vec<Tensor>> = [1, 2, 3]
        .into_iter()
        .map(|n| {
            tch::set_num_threads(n);
            case.run(Op::Cpu, Kind::Float)
        })
        .collect();
    tch::set_num_threads(threads);
    for other in &runs[1..] {
        for ((name, x), y) in NAMES.iter().zip(&runs[0]).zip(other) {
            assert!(x.equal(y), "{name} differs between thread counts");
        }
    }
}

#[test]
fn one_call_equals_two_calls_with_the_carried_state() {
    let case = Case::random(8, 2, 30, 2, HEAD_SIZE);
    let whole = case.run(Op::Cpu, Kind::Float);
    let part = |start: i64, len: i64, s0: &Tensor| {
        let x: Vec<Tensor> =
            case.inputs[..6].iter().map(|x| x.narrow(1, start, len).to_kind(Kind::Float)).collect();
        let ops = Wkv7 { r: &x[0], w: &x[1], k: &x[2], v: &x[3], a: &x[4], b: &x[5] };
        wkv7(Op::Cpu, &ops, s0).expect("valid operands")
    };
    let (y1, s1) = part(0, 11, &case.inputs[6].to_kind(Kind::Float));
    let (y2, s2) = part(11, 19, &s1);
    assert!(Tensor::cat(&[y1, y2], 1).equal(&whole[0]));
    assert!(s2.equal(&whole[1]));
}

#[test]
fn wrong_operands_are_named() {
    let x = Tensor::zeros([1, 4, 2, 64], (Kind::Float, Device::Cpu));
    let short = x.narrow(1, 0, 3);
    let s0 = Tensor::zeros([1, 2, 64, 64], (Kind::Float, Device::Cpu));
    let ops = Wkv7 { r: &x, w: &x, k: &short, v: &x, a: &x, b: &x };
    let Err(KernelError::Operand { name, .. }) = wkv7(Op::Cpu, &ops, &s0) else {
        panic!("k is too short")
    };
    assert_eq!(name, "k");
    let ops = Wkv7 { k: &x, ..ops };
    let Err(error) = wkv7(Op::Cpu, &ops, &s0.to_kind(Kind::Double)) else {
        panic!("s0 is float64")
    };
    assert_eq!(
        error.to_string(),
        "wkv7: operand s0 is Double [1, 2, 64, 64] on Cpu, expected Float [1, 2, 64, 64] on Cpu"
    );
}
