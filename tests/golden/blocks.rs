//! The fused stages of a block against their plain forms, with every instruction set of this machine: results, and the
//! gradient of every input.

use statetune_engine::kernels::reference::relative_error;
use statetune_engine::kernels::{
    HeadGate, InstructionSet, LossGradient, MixInput, Mixed, NormMix, Op, Share, TimeMix7Inputs,
    TimeMix7Params, backward, cross_entropy, relu_square, sigmoid_mul, time_mix7,
    with_instruction_set,
};
use tch::{Device, Kind, Tensor};

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
/// float32 in a bf16 model: `states` are the indices of inputs and outputs of this kind.
fn outcome(
    inputs: &[Tensor],
    states: [usize; 2],
    kind: Kind,
    rounded: Kind,
    stage: impl Fn(&[Tensor]) -> Vec<Tensor>,
) -> Vec<Tensor> {
    let wide = |kind| if kind == Kind::BFloat16 { Kind::Float } else { kind };
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

/// Compares `stage` by [`Op::Cpu`] with its plain form in float64. It makes its parameters in the dtype that it gets, of
/// numbers that the second one can hold.
fn compare(
    what: &str,
    inputs: &[Tensor],
    states: [usize; 2],
    stage: impl Fn(Op, &[Tensor], [Kind; 2]) -> Vec<Tensor>,
) {
    for (kind, tolerance) in TOLERANCES {
        let expected = outcome(inputs, states, Kind::Double, kind, |x| {
            stage(Op::Reference, x, [Kind::Double, kind])
        });
        // Where a stage rounds on the way, the plain form shows how much that costs.
        let plain = outcome(inputs, states, kind, kind, |x| stage(Op::Reference, x, [kind, kind]));
        for set in InstructionSet::ALL {
            let run = || outcome(inputs, states, kind, kind, |x| stage(Op::Cpu, x, [kind, kind]));
            let Ok(found) = with_instruction_set(set, run) else {
                eprintln!("skipped {set:?}: this machine does not have it");
                continue;
            };
            assert_eq!(found.len(), expected.len());
            for (i, (x, reference)) in found.iter().zip(&expected).enumerate() {
                assert_eq!(x.size(), reference.size(), "{what}: tensor {i}");
                let error = |x: &Tensor| match reference.abs().max().double_value(&[]) {
                    0.0 => x.abs().max().double_value(&[]),
                    _ => relative_error(x, reference),
                };
                let allowed = match kind {
                    Kind::BFloat16 => tolerance.max(1.5 * error(&plain[i])),
                    _ => tolerance,
                };
                let error = error(x);
                let what = format!("{what} {kind:?} {set:?}: tensor {i}");
                assert!(error <= allowed, "{what} is off by {error:e}, allowed {allowed:e}");
            }
        }
    }
}

#[test]
fn norm_and_mixes_equal_their_plain_form() {
    for (seed, (shape, places)) in SHAPES.into_iter().enumerate() {
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
            compare(&what, &inputs, NO_STATES, |op, x, [kind, rounded]| {
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
    for (seed, (shape, places)) in SHAPES.into_iter().enumerate() {
        let restarts = documents(shape, places);
        for has_v in [false, true] {
            tch::manual_seed(seed as i64);
            let numbers = numbers7([shape[2], shape[3]]);
            let inputs = inputs7(shape, has_v);
            let what = format!("{shape:?}, values of block 0 {has_v}");
            compare(&what, &inputs, [6, 1], |op, x, kinds| {
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
    for (seed, (shape, _)) in SHAPES.into_iter().enumerate() {
        tch::manual_seed(seed as i64);
        let [b, t, h, n] = shape;
        let ln_x = [randn(&[h * n]) * 0.2 + 1.0, randn(&[h * n]) * 0.1];
        let inputs = [randn(&shape), randn(&[b, t, h * n]) * 2.0];
        compare(&format!("{shape:?}"), &inputs, NO_STATES, |op, x, [kind, rounded]| {
            let ln_x = ln_x.each_ref().map(|x| x.to_kind(rounded).to_kind(kind));
            vec![HeadGate::new(ln_x).apply(op, &x[0], &x[1]).expect("a kernel")]
        });
    }
}

#[test]
fn element_wise_stages_equal_their_plain_form() {
    for size in [[1, 1, 8], [2, 3, 24], [1, 17, 1030]] {
        tch::manual_seed(size[2]);
        let inputs = [randn(&size) * 3.0, randn(&size)];
        let what = format!("{size:?}");
        compare(&what, &inputs[..1], NO_STATES, |op, x, _| {
            vec![relu_square(op, &x[0]).expect("a kernel")]
        });
        compare(&what, &inputs, NO_STATES, |op, x, _| {
            vec![sigmoid_mul(op, &x[0], &x[1]).expect("a kernel")]
        });
    }
}

#[test]
fn the_cross_entropy_equals_its_plain_form() {
    for (n, vocab) in [(1, 2), (5, 67), (33, 5000)] {
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
            for (kind, tolerance) in TOLERANCES {
                let expected = run(Op::Reference, Kind::Double, kind);
                for set in InstructionSet::ALL {
                    let Ok(found) = with_instruction_set(set, || run(Op::Cpu, kind, kind)) else {
                        continue;
                    };
                    for (x, reference) in found.iter().zip(&expected) {
                        let error = relative_error(x, reference);
                        assert!(error <= tolerance, "{n} x {vocab} {kind:?} {set:?}: {error:e}");
                    }
                    // Losses are not rounded.
                    let error = relative_error(&found[0], &expected[0]);
                    assert!(error < 1e-6, "{n} x {vocab} {kind:?} {set:?}: losses {error:e}");
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
            let losses = cross_entropy(Op::Cpu, &mut logits.copy(), &targets, None, None);
            assert!(losses.expect("a kernel").double_value(&[0]).is_nan(), "{value} at {at}");
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
