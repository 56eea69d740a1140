//! The chunked form against the recurrences one token at a time: outputs and all gradients.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use statetune_engine::kernels::reference::relative_error;
use statetune_engine::kernels::{Op, Wkv5, Wkv6, Wkv7, wkv5, wkv6, wkv7};
use tch::{Kind, Tensor};

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Version {
    V5,
    V6,
    V7,
}

const VERSIONS: [Version; 3] = [Version::V5, Version::V6, Version::V7];

/// B, T, H, N.
type Shape = [i64; 4];

/// Operands, and the gradients of y and of the last state, in float64.
struct Case {
    version: Version,
    inputs: Vec<Tensor>,
    restarts: Option<Tensor>,
    dy: Tensor,
    ds_last: Tensor,
}

impl Case {
    /// Operands like those of the models, w between the bounds of `w`, each exact in float32.
    fn random(version: Version, seed: u64, shape: Shape, w: (f64, f64)) -> Case {
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let mut draw = |shape: &[i64], low: f64, high: f64| {
            let count = shape.iter().product::<i64>();
            let numbers: Vec<f32> =
                (0..count).map(|_| rng.random_range(low..high) as f32).collect();
            Tensor::from_slice(&numbers).view(shape).to_kind(Kind::Double)
        };
        let [b, _, h, n] = shape;
        let [r, k, v] = [(); 3].map(|()| draw(&shape, -2.0, 2.0));
        let s0 = draw(&[b, h, n, n], -2.0, 2.0);
        let inputs = match version {
            Version::V5 => vec![r, draw(&[h, n], w.0, w.1), k, v, draw(&[h, n], -1.0, 1.0), s0],
            Version::V6 => vec![r, draw(&shape, w.0, w.1), k, v, draw(&[h, n], -1.0, 1.0), s0],
            Version::V7 => {
                let kk = draw(&shape, -1.0, 1.0);
                let kk = &kk / kk.norm_scalaropt_dim(2.0, [-1i64], true);
                let b = &kk * draw(&shape, 0.0, 1.0);
                let [a, b] = [-kk, b].map(|x| x.to_kind(Kind::Float).to_kind(Kind::Double));
                vec![r, draw(&shape, w.0, w.1), k, v, a, b, s0]
            }
        };
        let dy = draw(&shape, -1.0, 1.0);
        Case { version, inputs, restarts: None, dy, ds_last: draw(&[b, h, n, n], -1.0, 1.0) }
    }

    /// Documents begin at each row and token for which `begins` is true.
    fn with_restarts(mut self, mut begins: impl FnMut(i64, i64) -> bool) -> Case {
        let size = self.inputs[0].size();
        let [b, t] = [size[0], size[1]];
        let flags: Vec<bool> = (0..b * t).map(|at| begins(at / t, at % t)).collect();
        self.restarts = Some(Tensor::from_slice(&flags).view([b, t]));
        self
    }

    /// y, the last state and the gradients of all inputs.
    fn run(&self, op: Op, kind: Kind) -> Vec<Tensor> {
        let state_kind = if kind == Kind::Double { kind } else { Kind::Float };
        let last = self.inputs.len() - 1;
        let inputs: Vec<Tensor> = self
            .inputs
            .iter()
            .enumerate()
            .map(|(i, x)| x.to_kind(if i == last { state_kind } else { kind }).detach().copy())
            .map(|x| x.set_requires_grad(true))
            .collect();
        let restarts = self.restarts.as_ref();
        let result = match (self.version, inputs.as_slice()) {
            (Version::V5, [r, w, k, v, u, s0]) => wkv5(op, &Wkv5 { r, w, k, v, u }, s0, restarts),
            (Version::V6, [r, w, k, v, u, s0]) => wkv6(op, &Wkv6 { r, w, k, v, u }, s0, restarts),
            (Version::V7, [r, w, k, v, a, b, s0]) => {
                wkv7(op, &Wkv7 { r, w, k, v, a, b }, s0, restarts)
            }
            _ => unreachable!("the inputs are those of the version"),
        };
        let (y, s_last) = result.expect("valid operands");
        assert_eq!((y.kind(), s_last.kind()), (kind, state_kind));
        let loss = (&y * self.dy.to_kind(kind)).sum(state_kind)
            + (&s_last * self.ds_last.to_kind(state_kind)).sum(state_kind);
        let mut out = vec![y.detach(), s_last.detach()];
        out.extend(Tensor::run_backward(&[loss], &inputs, false, false));
        out
    }

    /// The largest error of the chunked form in `kind` against the reference in float64.
    fn error(&self, kind: Kind) -> f64 {
        let expected = self.run(Op::Reference, Kind::Double);
        let found = self.run(Op::Chunk, kind);
        let errors = found.iter().zip(&expected).map(|(x, reference)| {
            let error = relative_error(x, reference);
            if error.is_nan() { f64::INFINITY } else { error }
        });
        errors.fold(0.0, f64::max)
    }

    #[track_caller]
    fn matches_reference(&self, float64: f64, float32: f64) {
        for (kind, allowed) in [(Kind::Double, float64), (Kind::Float, float32)] {
            let error = self.error(kind);
            assert!(
                error <= allowed,
                "{:?} {:?} {kind:?}: off by {error:e}, allowed {allowed:e}",
                self.version,
                self.inputs[0].size()
            );
        }
    }
}

/// Decays from almost 1 to 0.37 (RWKV-7 goes down to 0.55).
const MODEL_W: (f64, f64) = (-6.0, 0.0);

#[test]
fn random_shapes() {
    for seed in 0..24 {
        let mut rng = ChaCha8Rng::seed_from_u64(1000 + seed);
        let mut pick = |from: &[i64]| from[rng.random_range(0..from.len())];
        let t = pick(&[1, 2, 7, 15, 16, 17, 31, 33, 48, 100]);
        let shape = [pick(&[1, 2, 3]), t, pick(&[1, 2, 3]), pick(&[2, 3, 8, 21, 32, 64])];
        let one_in = pick(&[0, 1, 2, 10, 40]);
        let version = VERSIONS[seed as usize % 3];
        let mut case = Case::random(version, seed, shape, MODEL_W);
        if one_in > 0 {
            case = case.with_restarts(|_, _| rng.random_range(0..one_in) == 0);
        }
        case.matches_reference(1e-13, 3e-6);
    }
}

#[test]
fn documents_around_the_edges_of_chunks() {
    for version in VERSIONS {
        for edge in [16, 32, 64] {
            for at in [edge - 1, edge, edge + 1] {
                let case = Case::random(version, at as u64, [2, 70, 1, 8], MODEL_W);
                let case = case.with_restarts(|row, token| row == 0 && token == at);
                case.matches_reference(1e-13, 3e-6);
            }
        }
    }
}

#[test]
fn documents_in_a_row_equal_separate_documents() {
    for version in VERSIONS {
        let case = Case::random(version, 5, [1, 50, 2, 8], MODEL_W)
            .with_restarts(|_, token| [0, 3, 4, 16, 37].contains(&token));
        let whole = case.run(Op::Chunk, Kind::Double);
        let of_s0 = |out: &[Tensor]| out.last().expect("the gradient of s0").shallow_clone();
        let mut ds0 = of_s0(&whole).zeros_like();
        let mut ys = Vec::new();
        for (begin, end) in [(0, 3), (3, 4), (4, 16), (16, 37), (37, 50)] {
            let part = |x: &Tensor| match x.size()[..] {
                [1, 50, ..] => x.narrow(1, begin, end - begin),
                _ => x.shallow_clone(),
            };
            let is_last = if end == 50 { 1.0 } else { 0.0 };
            let alone = Case {
                version,
                inputs: case.inputs.iter().map(part).collect(),
                restarts: None,
                dy: part(&case.dy),
                ds_last: &case.ds_last * is_last,
            };
            let out = alone.run(Op::Chunk, Kind::Double);
            ds0 += of_s0(&out);
            ys.push(out[0].shallow_clone());
        }
        assert!(relative_error(&Tensor::cat(&ys, 1), &whole[0]) < 1e-13, "{version:?} y");
        assert!(relative_error(&ds0, &of_s0(&whole)) < 1e-13, "{version:?} ds0");
    }
}

#[test]
fn strong_decays() {
    for version in VERSIONS {
        // exp(-exp(2)) = 6e-4, exp(-exp(5)) = 4e-65, exp(-exp(9)) = 0.
        for (seed, w) in [(-8.0, 2.0), (-8.0, 5.0), (4.0, 5.0), (-8.0, 9.0)].into_iter().enumerate()
        {
            let case = Case::random(version, seed as u64, [2, 50, 2, 16], w);
            case.matches_reference(1e-13, 6e-6);
            let mut rng = ChaCha8Rng::seed_from_u64(seed as u64);
            let case = case.with_restarts(|_, _| rng.random_range(0..12) == 0);
            case.matches_reference(1e-13, 6e-6);
        }
    }
}

#[test]
fn a_repeated_token() {
    // Equal keys, removed whole, with almost no decay: the powers of `A_ab` would lose all accuracy.
    let mut case = Case::random(Version::V7, 9, [1, 100, 2, 16], (-8.0, -7.9));
    for input in &mut case.inputs[..6] {
        *input = input.narrow(1, 0, 1).expand_as(&*input);
    }
    case.inputs[5] = case.inputs[4].neg();
    // db is a small difference of large terms: one token at a time in float32 has an error of 1e-5 too.
    case.matches_reference(1e-12, 4e-5);
}

#[test]
fn bfloat16_operands() {
    for version in VERSIONS {
        let mut case = Case::random(version, 12, [2, 40, 2, 16], MODEL_W);
        let last = case.inputs.len() - 1;
        for x in case.inputs[..last].iter_mut().chain([&mut case.dy]) {
            *x = x.to_kind(Kind::BFloat16).to_kind(Kind::Double);
        }
        // Results are rounded to 8 bits; those in the dtype of the state are not.
        let expected = case.run(Op::Reference, Kind::Double);
        let found = case.run(Op::Chunk, Kind::BFloat16);
        for (i, (x, reference)) in found.iter().zip(&expected).enumerate() {
            let is_state = i == 1 || i == found.len() - 1;
            let (error, allowed) =
                (relative_error(x, reference), if is_state { 2e-6 } else { 4e-3 });
            assert!(error <= allowed, "{version:?}, output {i}: off by {error:e}");
        }
    }
}

/// One head of size 2, three tokens. The vectors have seven to ten printed digits.
struct Printed {
    case: Case,
    /// Position in the result of [`Case::run`], and the values there.
    expected: Vec<(usize, Vec<f64>)>,
}

impl Printed {
    fn new(version: Version, expected: &[(usize, &[f64])]) -> Printed {
        let rows = |x: [f64; 6]| Tensor::from_slice(&x).view([1, 3, 1, 2]);
        let r = rows([0.5, -1.0, 0.25, 0.75, -0.5, 1.0]);
        let w = rows([-1.0, -0.5, -2.0, 0.25, -0.75, -1.5]);
        let k = rows([1.0, 0.5, -0.5, 0.25, 0.75, -1.0]);
        let v = rows([0.2, -0.4, 1.0, 0.3, -0.6, 0.8]);
        let s0 = Tensor::from_slice(&[0.1, -0.2, 0.3, 0.4]).view([1, 1, 2, 2]);
        let ds_last = s0.zeros_like();
        let inputs = match version {
            Version::V7 => {
                let a = rows([-0.6, -0.8, -1.0, 0.0, -0.8, 0.6]);
                let b = rows([0.3, 0.4, 0.5, 0.0, 0.4, -0.3]);
                vec![r, w, k, v, a, b, s0]
            }
            _ => vec![r, w, k, v, Tensor::from_slice(&[0.5, -0.25]).view([1, 2]), s0],
        };
        let dy = rows([1.0, 0.5, -0.5, 2.0, 0.25, -1.0]);
        let case = Case { version, inputs, restarts: None, dy, ds_last };
        Printed { case, expected: expected.iter().map(|(i, x)| (*i, x.to_vec())).collect() }
    }

    fn check(&self, kind: Kind, tolerance: f64) {
        let out = self.case.run(Op::Chunk, kind);
        for (i, expected) in &self.expected {
            let expected = Tensor::from_slice(expected);
            let error = (out[*i].to_kind(Kind::Double).flatten(0, -1) - expected).abs().max();
            let error = error.double_value(&[]);
            assert!(error <= tolerance, "{:?}, output {i}: off by {error:e}", self.case.version);
        }
    }
}

#[test]
fn printed_vectors() {
    let v6 = Printed::new(
        Version::V6,
        &[
            (0, &[0.325, -0.4, -0.0488558661, -0.0673256894, 0.3424229685, 0.2890080725]),
            (1, &[-0.6151449388, 0.7979982262, 0.4017228060, -0.7359902924]),
            (2, &[0.25, 0.0, -0.5442897, 0.0344653, -0.1044702, -0.2556374]),
            (3, &[-0.0655958, -0.182015, 0.0153457, 0.0072386, 0.0, 0.0]),
            (4, &[-0.4215202, -0.5503858, 0.0375, -0.06875, 0.2375, 0.2375]),
            (5, &[-0.0120628, 1.7357513, 0.1796875, -0.71875, 0.015625, -0.0625]),
            (6, &[0.34375, 0.96875]),
            (7, &[0.3379019, -1.1667177, 0.8983923, 0.166871]),
        ],
    );
    let v7 = Printed::new(
        Version::V7,
        &[
            (
                0,
                &[
                    0.1186578738,
                    0.0107344094,
                    0.0968623761,
                    -0.0509891443,
                    0.9200289199,
                    -1.1122019419,
                ],
            ),
            (1, &[-0.5057907939, 0.6671335230, 0.5215798552, -0.8514120143]),
            (3, &[-0.0425984, -0.04121, 0.0203034, 0.0674309, 0.0266215, -0.0071431]),
            (6, &[-0.0193538, 0.0706029, -0.0858823, -0.0390438, -0.0903857, -0.0200079]),
            (7, &[-0.1557248, 0.0046184, 0.1717646, 0.4171404, 0.0603038, -0.1206077]),
            (8, &[0.4930262, -0.3516067, 0.2603468, -0.1471497]),
        ],
    );
    for printed in [v6, v7] {
        printed.check(Kind::Double, 6e-8);
        printed.check(Kind::Float, 3e-7);
    }
}
