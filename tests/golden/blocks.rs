//! The fused stages of a block against their plain forms, with every instruction set of this machine and on an emulated GPU:
//! results, and the gradient of every input.

use statetune_engine::kernels::reference::relative_error;
use statetune_engine::kernels::{
    HeadGate, InstructionSet, LossGradient, MixInput, Mixed, NormMix, Op, Share, TimeMix7Inputs,
    TimeMix7Params, backward, cross_entropy, relu_square, sigmoid_mul, time_mix7,
    with_instruction_set,
};
use tch::{Device, Kind, Tensor};

use super::stages_cuda::emulated;

/// (B, T, H, N).
type Shape = [i64; 4];

/// Shapes, and the tokens (row, token) at which a document begins besides the first of a row.
const SHAPES: [(Shape, &[(i64, i64)]); 8] = [
    ([1, 1, 1, 64], &[]),
    ([2, 1, 2, 8], &[(1, 0)]),
    ([2, 15, 1, 8], &[(1, 14)]),
    ([1, 16, 3, 16], &[]),
    ([3, 17, 1, 24], &[(0, 16), (1, 3), (1, 4), (2, 0)]),
    ([1, 33, 2, 40], &[(0, 15), (0, 16), (0, 32)]),
    ([2, 63, 2, 64], &[(0, 1), (1, 16), (1, 47)]),
    ([1, 20, 1, 128], &[(0, 5)]),
];

/// Dtypes with the largest error of a kernel, relative to the largest number of the plain form in float64.
const TOLERANCES: [(Kind, f64); 3] =
    [(Kind::Double, 1e-12), (Kind::Float, 1e-5), (Kind::BFloat16, 2e-2)];

/// Tests beside this one draw from the same generator: the same seed does not give the same numbers twice.
fn randn(size: &[i64]) -> Tensor {
    Tensor::randn(size, (Kind::Double, Device::Cpu))
}

fn documents([b, t, ..]: Shape, places: &[(i64, i64)]) -> Option<Tensor> {
    let restarts = Tensor::zeros([b, t], (Kind::Bool, Device::Cpu));
    for &(row, token) in places {
        let _ = restarts.get(row).get(token).fill_(1);
    }
    (!places.is_empty()).then_some(restarts)
}

/// Outputs of `stage` and the gradients of its inputs, in `kind`, from numbers that `rounded` can hold. A state stays in
/// float32 in a bf16 or fp16 model: `states` are the indices of inputs and outputs of this kind.
fn outcome(
    inputs: &[Tensor],
    states: [usize; 2],
    kind: Kind,
    rounded: Kind,
    stage: impl Fn(&[Tensor]) -> Vec<Tensor>,
) -> Vec<Tensor> {
    let wide = |kind| match kind {
        Kind::BFloat16 | Kind::Half => Kind::Float,
        kind => kind,
    };
    let pick = |is_state: bool, kind| if is_state { wide(kind) } else { kind };
    let leaf = |(i, x): (usize, &Tensor)| {
        let x = x.to_kind(pick(i == states[0], rounded)).to_kind(pick(i == states[0], kind));
        x.detach().copy().set_requires_grad(true)
    };
    let leaves: Vec<Tensor> = inputs.iter().enumerate().map(leaf).collect();
    let outputs = stage(&leaves);
    let gradients: Vec<Tensor> = (0..)
        .zip(&outputs)
        .map(|(i, y)| {
            let phase = Tensor::arange(y.numel() as i64, (Kind::Double, Device::Cpu)) + i;
            phase.sin().view_as(y).to_kind(pick(i as usize == states[1], rounded)).to_kind(y.kind())
        })
        .collect();
    backward(&outputs.iter().zip(&gradients).collect::<Vec<_>>()).expect("a backward pass");
    outputs.iter().map(Tensor::detach).chain(leaves.iter().map(Tensor::grad)).collect()
}

const NO_STATES: [usize; 2] = [usize::MAX; 2];

/// Shapes for the emulation, which takes its time; the second one has more channels than the threads of a block hold at once.
const EMULATED_SHAPES: [(Shape, &[(i64, i64)]); 4] = [
    ([1, 1, 1, 64], &[]),
    ([1, 2, 26, 80], &[]),
    ([2, 4, 2, 40], &[(0, 2), (1, 0), (1, 3)]),
    ([1, 3, 1, 136], &[(0, 1)]),
];

/// Dtypes of the CUDA kernels with the largest error, as [`TOLERANCES`].
const EMULATED_TOLERANCES: [(Kind, f64); 3] =
    [(Kind::Float, 1e-5), (Kind::BFloat16, 2e-2), (Kind::Half, 4e-3)];

/// A stage by an implementation; it makes its parameters in the dtype that it gets, of numbers that the second one can hold.
type Stage<'a> = &'a dyn Fn(Op, &[Tensor], [Kind; 2]) -> Vec<Tensor>;

/// Compares a stage with its plain form.
type Compare = fn(&str, &[Tensor], [usize; 2], Stage<'_>);

/// The plain form of a stage in float64 from numbers of a dtype, and in that dtype: where a stage rounds on the way, the latter
/// shows how much that costs.
struct Plain {
    expected: Vec<Tensor>,
    rounded: Vec<Tensor>,
}

impl Plain {
    fn new(inputs: &[Tensor], states: [usize; 2], kind: Kind, stage: Stage<'_>) -> Plain {
        let by = |in_kind| {
            outcome(inputs, states, in_kind, kind, |x| stage(Op::Reference, x, [in_kind, kind]))
        };
        Plain { expected: by(Kind::Double), rounded: by(kind) }
    }

    fn assert_close(&self, what: &str, found: &[Tensor], tolerance: f64) {
        assert_eq!(found.len(), self.expected.len());
        for (i, (x, reference)) in found.iter().zip(&self.expected).enumerate() {
            assert_eq!(x.size(), reference.size(), "{what}: tensor {i}");
            let error = |x: &Tensor| match reference.abs().max().double_value(&[]) {
                0.0 => x.abs().max().double_value(&[]),
                _ => relative_error(x, reference),
            };
            let allowed = match self.rounded[i].kind() {
                Kind::BFloat16 | Kind::Half => tolerance.max(1.5 * error(&self.rounded[i])),
                _ => tolerance,
            };
            let error = error(x);
            assert!(
                error <= allowed,
                "{what}: tensor {i} is off by {error:e}, allowed {allowed:e}"
            );
        }
    }
}

/// Compares `stage` by [`Op::Cpu`], with every instruction set, with its plain form.
fn on_cpu(what: &str, inputs: &[Tensor], states: [usize; 2], stage: Stage<'_>) {
    for (kind, tolerance) in TOLERANCES {
        let plain = Plain::new(inputs, states, kind, stage);
        for set in InstructionSet::ALL {
            let run = || outcome(inputs, states, kind, kind, |x| stage(Op::Cpu, x, [kind, kind]));
            match with_instruction_set(set, run) {
                Ok(found) => {
                    plain.assert_close(&format!("{what} {kind:?} {set:?}"), &found, tolerance)
                }
                Err(_) => eprintln!("skipped {set:?}: this machine does not have it"),
            }
        }
    }
}

/// Compares `stage` by the CUDA kernels, emulated, with its plain form.
fn on_emulated_gpu(what: &str, inputs: &[Tensor], states: [usize; 2], stage: Stage<'_>) {
    for (kind, tolerance) in EMULATED_TOLERANCES {
        let plain = Plain::new(inputs, states, kind, stage);
        let found =
            emulated(|| outcome(inputs, states, kind, kind, |x| stage(Op::Cuda, x, [kind, kind])));
        plain.assert_close(&format!("{what} {kind:?} emulated"), &found, tolerance);
    }
}

#[test]
fn norm_and_mixes_equal_their_plain_form() {
    norm_and_mixes(&SHAPES, on_cpu);
}

#[test]
fn emulated_norm_and_mixes_equal_their_plain_form() {
    norm_and_mixes(&EMULATED_SHAPES, on_emulated_gpu);
}

fn norm_and_mixes(shapes: &[(Shape, &[(i64, i64)])], compare: Compare) {
    for (seed, &(shape, places)) in shapes.iter().enumerate() {
        tch::manual_seed(seed as i64);
        let [b, t, h, n] = shape;
        let c = h * n;
        let restarts = documents(shape, places);
        let (weight, bias) = (randn(&[c]) * 0.3 + 1.0, randn(&[c]) * 0.1);
        let before = randn(&[b, c]);
        for (n_mix, moves, own) in [
            (1, false, false),
            (6, false, false),
            (2, false, true),
            (5, true, false),
            (2, true, true),
        ] {
            let mixes: Vec<Tensor> = (0..n_mix).map(|_| randn(&[1, 1, c]).sigmoid()).collect();
            let mut inputs = vec![randn(&[b, t, c]) * 2.0 + 0.5, before.copy()];
            if moves {
                inputs.push(randn(&[n_mix, b, t, c]) * 0.3);
            }
            let what = format!("{shape:?}, {n_mix} mixes, moving {moves}, own {own}");
            compare(&what, &inputs, NO_STATES, &|op, x, [kind, rounded]| {
                let here = |x: &Tensor| x.to_kind(rounded).to_kind(kind);
                let share = |x: &Tensor| match own {
                    true => Share::Own(here(x)),
                    false => Share::Before(here(x)),
                };
                let shares = mixes.iter().map(share).collect();
                let stage = NormMix::new(here(&weight), here(&bias), shares);
                let restarts = restarts.as_ref();
                let input = MixInput { op, x: &x[0], before: &x[1], restarts };
                let Mixed { mut mixtures, last, x } =
                    stage.apply(&input, x.get(2)).expect("a kernel");
                mixtures.extend([last, x]);
                mixtures
            });
        }
    }
}

/// Random parameters of a time mix of RWKV-7, in float64, in the order of [`TimeMix7Params::new`]; the value gate lies
/// sixth.
fn numbers7([h, n]: [i64; 2]) -> [Tensor; 8] {
    let c = h * n;
    let row = |scale: f64, centre: f64| randn(&[1, 1, c]) * scale + centre;
    [
        row(1.0, -1.0),
        row(0.5, 0.0),
        row(0.1, 0.7),
        row(0.1, 1.0),
        randn(&[h, n]) * 0.3,
        row(0.5, 0.3),
        randn(&[c]) * 0.2 + 1.0,
        randn(&[c]) * 0.1,
    ]
}

/// These parameters in `kind`, of numbers that `rounded` can hold.
fn params7(numbers: &[Tensor; 8], has_v: bool, [kind, rounded]: [Kind; 2]) -> TimeMix7Params {
    let [w0, a0, k_k, k_a, r_k, v0, weight, bias] =
        numbers.each_ref().map(|x| x.to_kind(rounded).to_kind(kind));
    TimeMix7Params::new([w0, a0, k_k, k_a, r_k], has_v.then_some(v0), [weight, bias])
}

/// r, k, v, w_low, a_low, g, s0, and where there are values v_low and v_first.
fn inputs7([b, t, h, n]: Shape, has_v: bool) -> Vec<Tensor> {
    let mut inputs: Vec<Tensor> = (0..6).map(|_| randn(&[b, t, h * n])).collect();
    inputs.push(randn(&[b, h, n, n]) * 0.3);
    if has_v {
        inputs.extend((0..2).map(|_| randn(&[b, t, h * n])));
    }
    inputs
}

fn stage7(op: Op, params: &TimeMix7Params, x: &[Tensor], restarts: Option<&Tensor>) -> Vec<Tensor> {
    let inputs = TimeMix7Inputs {
        r: &x[0],
        k: &x[1],
        v: &x[2],
        w_low: &x[3],
        a_low: &x[4],
        g: &x[5],
        values: x.get(7).zip(x.get(8)),
    };
    let (out, s) = time_mix7(op, params, &inputs, &x[6], restarts).expect("a kernel");
    vec![out, s]
}

#[test]
fn the_time_mix_of_rwkv7_equals_its_plain_form() {
    time_mix_of_rwkv7(&SHAPES, on_cpu);
}

#[test]
fn the_emulated_time_mix_of_rwkv7_equals_its_plain_form() {
    time_mix_of_rwkv7(&EMULATED_SHAPES, on_emulated_gpu);
}

fn time_mix_of_rwkv7(shapes: &[(Shape, &[(i64, i64)])], compare: Compare) {
    for (seed, &(shape, places)) in shapes.iter().enumerate() {
        let restarts = documents(shape, places);
        for has_v in [false, true] {
            tch::manual_seed(seed as i64);
            let numbers = numbers7([shape[2], shape[3]]);
            let inputs = inputs7(shape, has_v);
            let what = format!("{shape:?}, values of block 0 {has_v}");
            compare(&what, &inputs, [6, 1], &|op, x, kinds| {
                let params = params7(&numbers, has_v, kinds);
                stage7(op, &params, x, restarts.as_ref())
            });
        }
    }
}

#[test]
fn a_state_alone_has_the_gradient_of_the_whole_time_mix() {
    for (shape, places) in SHAPES {
        let restarts = documents(shape, places);
        tch::manual_seed(5);
        let params = params7(&numbers7([shape[2], shape[3]]), true, [Kind::Float; 2]);
        let inputs: Vec<Tensor> =
            inputs7(shape, true).iter().map(|x| x.to_kind(Kind::Float)).collect();
        let gradient = |learns: &dyn Fn(usize) -> bool| {
            let leaves: Vec<Tensor> = inputs
                .iter()
                .enumerate()
                .map(|(i, x)| x.copy().set_requires_grad(learns(i)))
                .collect();
            let out = stage7(Op::Cpu, &params, &leaves, restarts.as_ref());
            backward(&[(&out[0], &out[0].detach().sin())]).expect("a backward pass");
            leaves[6].grad()
        };
        let error = relative_error(&gradient(&|i| i == 6), &gradient(&|_| true));
        assert!(error < 1e-5, "{shape:?}: {error:e}");
    }
}

#[test]
fn the_end_of_older_time_mixes_equals_its_plain_form() {
    end_of_older_time_mixes(&SHAPES, on_cpu);
}

#[test]
fn the_emulated_end_of_older_time_mixes_equals_its_plain_form() {
    end_of_older_time_mixes(&EMULATED_SHAPES, on_emulated_gpu);
}

fn end_of_older_time_mixes(shapes: &[(Shape, &[(i64, i64)])], compare: Compare) {
    for (seed, &(shape, _)) in shapes.iter().enumerate() {
        tch::manual_seed(seed as i64);
        let [b, t, h, n] = shape;
        let ln_x = [randn(&[h * n]) * 0.2 + 1.0, randn(&[h * n]) * 0.1];
        let inputs = [randn(&shape), randn(&[b, t, h * n]) * 2.0];
        compare(&format!("{shape:?}"), &inputs, NO_STATES, &|op, x, [kind, rounded]| {
            let ln_x = ln_x.each_ref().map(|x| x.to_kind(rounded).to_kind(kind));
            vec![HeadGate::new(ln_x).apply(op, &x[0], &x[1]).expect("a kernel")]
        });
    }
}

#[test]
fn element_wise_stages_equal_their_plain_form() {
    element_wise_stages(&[[1, 1, 8], [2, 3, 24], [1, 17, 1030]], on_cpu);
}

#[test]
fn emulated_element_wise_stages_equal_their_plain_form() {
    element_wise_stages(&[[1, 1, 8], [2, 3, 24], [1, 2, 1048]], on_emulated_gpu);
}

fn element_wise_stages(sizes: &[[i64; 3]], compare: Compare) {
    for size in sizes {
        tch::manual_seed(size[2]);
        let inputs = [randn(size) * 3.0, randn(size)];
        let what = format!("{size:?}");
        compare(&what, &inputs[..1], NO_STATES, &|op, x, _| {
            vec![relu_square(op, &x[0]).expect("a kernel")]
        });
        compare(&what, &inputs, NO_STATES, &|op, x, _| {
            vec![sigmoid_mul(op, &x[0], &x[1]).expect("a kernel")]
        });
    }
}

/// Computes with the implementations to be compared with the plain form; each has a name.
type Runs = fn(&dyn Fn(Op) -> Vec<Tensor>) -> Vec<(String, Vec<Tensor>)>;

#[test]
fn the_cross_entropy_equals_its_plain_form() {
    let sets: Runs = |run| {
        let by = |set| with_instruction_set(set, || run(Op::Cpu)).ok();
        let named = |set| by(set).map(|found| (format!("{set:?}"), found));
        InstructionSet::ALL.into_iter().filter_map(named).collect()
    };
    cross_entropies(&[(1, 2), (5, 67), (33, 5000)], &TOLERANCES, sets);
}

#[test]
fn the_emulated_cross_entropy_equals_its_plain_form() {
    let gpu: Runs = |run| vec![("emulated".to_string(), emulated(|| run(Op::Cuda)))];
    cross_entropies(&[(1, 2), (3, 67), (2, 5000)], &EMULATED_TOLERANCES, gpu);
}

fn cross_entropies(sizes: &[(i64, i64)], tolerances: &[(Kind, f64)], runs: Runs) {
    for &(n, vocab) in sizes {
        tch::manual_seed(vocab);
        let logits = randn(&[n, vocab]) * 4.0;
        let targets = Tensor::randint(vocab, [n], (Kind::Int64, Device::Cpu));
        let weights = Tensor::rand([n], (Kind::Float, Device::Cpu));
        let cases = [None, Some(0.0), Some(0.05)].into_iter().flat_map(|l2wrap| {
            [None, Some(&weights)].into_iter().map(move |weights| (l2wrap, weights))
        });
        for (l2wrap, weights) in cases {
            let gradient = l2wrap.map(|l2wrap| LossGradient { scale: 0.125, l2wrap });
            let run = |op, kind, rounded| {
                let mut z = logits.to_kind(rounded).to_kind(kind).copy();
                let losses = cross_entropy(op, &mut z, &targets, weights, gradient);
                let losses = losses.expect("a kernel");
                assert_eq!(losses.kind(), Kind::Double);
                if gradient.is_some() { vec![losses, z] } else { vec![losses] }
            };
            for &(kind, tolerance) in tolerances {
                let expected = run(Op::Reference, Kind::Double, kind);
                for (name, found) in runs(&|op| run(op, kind, kind)) {
                    for (x, reference) in found.iter().zip(&expected) {
                        let error = relative_error(x, reference);
                        assert!(error <= tolerance, "{n} x {vocab} {kind:?} {name}: {error:e}");
                    }
                    // Losses are not rounded.
                    let error = relative_error(&found[0], &expected[0]);
                    assert!(error < 1e-6, "{n} x {vocab} {kind:?} {name}: losses {error:e}");
                }
            }
        }
    }
}

#[test]
fn impossible_logits_have_no_loss() {
    for value in [f64::NAN, f64::INFINITY] {
        for at in [0, 40] {
            let logits = randn(&[1, 41]).to_kind(Kind::Float);
            let _ = logits.get(0).get(at).fill_(value);
            let targets = Tensor::from_slice(&[7i64]);
            let loss = |op| cross_entropy(op, &mut logits.copy(), &targets, None, None);
            for losses in [loss(Op::Cpu), emulated(|| loss(Op::Cuda))] {
                assert!(losses.expect("a kernel").double_value(&[0]).is_nan(), "{value} at {at}");
            }
        }
    }
}

#[test]
fn results_of_stages_do_not_depend_on_threads() {
    let (shape, places) = SHAPES[6];
    let restarts = documents(shape, places);
    let params = params7(&numbers7([shape[2], shape[3]]), true, [Kind::Float; 2]);
    let c = shape[2] * shape[3];
    tch::manual_seed(3);
    let inputs = inputs7(shape, true);
    let (x, before) =
        (randn(&[shape[0], shape[1], c]), Tensor::zeros([shape[0], c], (Kind::Float, Device::Cpu)));
    let mix = NormMix::new(
        randn(&[c]).to_kind(Kind::Float),
        randn(&[c]).to_kind(Kind::Float),
        (0..6).map(|_| Share::Before(randn(&[c]).to_kind(Kind::Float))).collect(),
    );
    let run = |threads| {
        tch::set_num_threads(threads);
        let mut all = outcome(&inputs, [6, 1], Kind::Float, Kind::Float, |x| {
            stage7(Op::Cpu, &params, x, restarts.as_ref())
        });
        all.extend(outcome(std::slice::from_ref(&x), NO_STATES, Kind::Float, Kind::Float, |x| {
            let input =
                MixInput { op: Op::Cpu, x: &x[0], before: &before, restarts: restarts.as_ref() };
            mix.apply(&input, None).expect("a kernel").mixtures
        }));
        all
    };
    let before_threads = tch::get_num_threads();
    let one = run(1);
    for threads in [2, 3] {
        for (i, (x, y)) in run(threads).iter().zip(&one).enumerate() {
            assert!(x.equal(y), "tensor {i} with {threads} threads");
        }
    }
    tch::set_num_threads(before_threads);
}
