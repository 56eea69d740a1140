//! The native CPU kernels of all three recurrences, with every instruction set of this machine.

use statetune_engine::kernels::reference::relative_error;
use statetune_engine::kernels::{HEAD_SIZE, InstructionSet, KernelError, Op, with_instruction_set};
use tch::{Kind, Tensor};

use crate::wkv::{Case, Version, assert_close, call};

/// (B, T, H, N).
type Shape = [i64; 4];

/// Where a document begins: (row, token).
type Place = (i64, i64);

/// Shapes, and where documents begin besides the first of a row.
const SHAPES: [(Shape, &[Place]); 10] = [
    ([1, 1, 1, 64], &[]),
    ([2, 16, 1, 8], &[(1, 15)]),
    ([2, 21, 2, 16], &[]),
    ([1, 19, 2, 24], &[(0, 3), (0, 4)]),
    ([1, 18, 2, 32], &[(0, 17)]),
    ([1, 33, 3, 64], &[(0, 16), (0, 17), (0, 32)]),
    ([2, 47, 2, 64], &[(0, 0), (0, 1), (1, 20), (1, 46)]),
    ([1, 35, 1, 96], &[(0, 8), (0, 31)]),
    ([2, 18, 1, 128], &[(0, 9)]),
    ([1, 20, 1, 256], &[(0, 5)]),
];

fn cases() -> impl Iterator<Item = Case> {
    Version::ALL.into_iter().flat_map(|version| {
        SHAPES.into_iter().enumerate().map(move |(seed, (shape, places))| {
            let case = Case::random(version, seed as i64, shape);
            if places.is_empty() { case } else { case.with_restarts(places) }
        })
    })
}

/// Runs `work` with each instruction set, and prints those that this machine lacks.
fn on_instruction_sets(work: impl Fn(InstructionSet)) {
    for set in InstructionSet::ALL {
        if with_instruction_set(set, || work(set)).is_err() {
            eprintln!("skipped {set:?}: this machine does not have it");
        }
    }
}

/// Compares the kernels with the reference in float64, on operands of `kind`.
fn matches_reference(kind: Kind, tolerance: f64, state_tolerance: f64) {
    for case in cases() {
        let case = case.rounded(kind);
        let expected = case.run(Op::Reference, Kind::Double);
        on_instruction_sets(|set| {
            let what = format!("{:?} {:?} {set:?}", case.version, case.dy.size());
            let found = case.run(Op::Cpu, kind);
            let worst = assert_close(&case, &found, &expected, tolerance, &what);
            // States stay in their own dtype, without the rounding of the others.
            let states = [1, found.len() - 1].map(|i| relative_error(&found[i], &expected[i]));
            assert!(states.iter().all(|&error| error <= state_tolerance), "{what}: {states:?}");
            println!("{what} {kind:?}: {worst:.1e}, states {:.1e}", states[0].max(states[1]));
        });
    }
}

#[test]
fn kernels_match_the_reference_in_float64() {
    matches_reference(Kind::Double, 1e-13, 1e-13);
}

#[test]
fn kernels_match_the_reference_in_float32() {
    matches_reference(Kind::Float, 1e-6, 1e-6);
}

#[test]
fn kernels_match_the_reference_with_bf16_operands() {
    matches_reference(Kind::BFloat16, 5e-3, 1e-6);
}

/// A row of 512 tokens: errors do not grow with the length of the state's memory. In WKV-5 a channel has the same
/// decay at every token, so the rounding error of that number accumulates over its memory, about `exp(-w)` tokens: up
/// to a hundred here.
#[test]
fn long_rows_stay_accurate_in_float32() {
    for (version, tolerance) in [(Version::V5, 5e-6), (Version::V6, 1e-6), (Version::V7, 1e-6)] {
        let case = Case::random(version, 5, [1, 512, 1, HEAD_SIZE]).rounded(Kind::Float);
        let expected = case.run(Op::Reference, Kind::Double);
        let found = case.run(Op::Cpu, Kind::Float);
        let worst = assert_close(&case, &found, &expected, tolerance, &format!("{version:?}"));
        println!("{version:?} T=512: {worst:.1e}");
    }
}

#[test]
fn gradients_match_finite_differences() {
    for version in Version::ALL {
        let case = Case::random(version, 11, [2, 19, 1, 40]).with_restarts(&[(0, 7), (1, 16)]);
        let gradients = case.run(Op::Cpu, Kind::Double);
        let loss = |inputs: &[Tensor]| {
            let (y, s_last) = case.call(Op::Cpu, inputs).expect("valid operands");
            case.loss(&y, &s_last).double_value(&[])
        };
        for (input, name) in version.inputs().iter().enumerate() {
            // The derivative along a random direction tests every entry at once.
            let direction = case.inputs[input].randn_like();
            let shifted = |h: f64| {
                let mut inputs: Vec<Tensor> =
                    case.inputs.iter().map(Tensor::shallow_clone).collect();
                inputs[input] = &inputs[input] + &direction * h;
                loss(&inputs)
            };
            let h = 1e-5;
            let numeric = (shifted(h) - shifted(-h)) / (2.0 * h);
            let analytic = (&gradients[input + 2] * &direction).sum(Kind::Double).double_value(&[]);
            let error = (numeric - analytic).abs() / analytic.abs().max(1.0);
            assert!(error < 1e-7, "{version:?} d{name}: {analytic} against {numeric}");
        }
    }
}

#[test]
fn packed_documents_equal_separate_ones() {
    for version in Version::ALL {
        let ends = [[0, 5, 16, 17, 50], [0, 1, 32, 49, 50]];
        let places: Vec<Place> = ends
            .iter()
            .zip(0..)
            .flat_map(|(row, b)| row[1..4].iter().map(move |&t| (b, t)))
            .collect();
        let packed = Case::random(version, 21, [2, 50, 2, HEAD_SIZE]).with_restarts(&places);
        let found = packed.run(Op::Cpu, Kind::Float);

        // The documents of a row, one after the other, and the rows of the batch.
        let mut rows = Vec::new();
        for (row, batch) in ends.iter().zip(0..) {
            let documents: Vec<Vec<Tensor>> = row
                .windows(2)
                .map(|at| {
                    packed.document(batch, at[0], at[1], at[1] == 50).run(Op::Cpu, Kind::Float)
                })
                .collect();
            rows.push(joined(&packed, &documents, 1));
        }
        let expected = joined(&packed, &rows, 0);
        assert_close(&packed, &found, &expected, 1e-6, &format!("{version:?}"));
        for (i, name) in ["y", "s_T"].iter().enumerate() {
            assert!(found[i].equal(&expected[i]), "{version:?}: {name} differs");
        }
    }
}

/// Results of parts of a case, concatenated along the tokens (1) or the batch (0). Gradients of operands that the
/// parts share are summed.
fn joined(case: &Case, parts: &[Vec<Tensor>], dim: i64) -> Vec<Tensor> {
    let sum = |all: &[&Tensor]| all[1..].iter().fold(all[0].copy(), |sum, &x| sum + x);
    let join = |(i, name): (usize, String)| {
        let all: Vec<&Tensor> = parts.iter().map(|part| &part[i]).collect();
        match (name.as_str(), dim) {
            ("s_T", 1) => all[all.len() - 1].copy(),
            ("ds0", 1) => sum(&all),
            ("s_T" | "ds0", _) => Tensor::cat(&all, 0),
            _ if all[0].dim() == 2 => sum(&all),
            _ => Tensor::cat(&all, dim),
        }
    };
    case.outputs().into_iter().enumerate().map(join).collect()
}

#[test]
fn gradient_of_the_state_alone_equals_that_of_the_full_backward_pass() {
    for case in cases() {
        let full = case.run(Op::Cpu, Kind::Float);
        let expected = &full[full.len() - 1];
        on_instruction_sets(|set| {
            for others_learn in [false, true] {
                let mut inputs = case.inputs_of(Kind::Float);
                let s0 = inputs.pop().expect("s0 is the last input").set_requires_grad(true);
                let mut inputs: Vec<Tensor> =
                    inputs.into_iter().map(|x| x.set_requires_grad(others_learn)).collect();
                inputs.push(s0.shallow_clone());
                let (y, s_last) = case.call(Op::Cpu, &inputs).expect("valid operands");
                let loss = case.loss(&y, &s_last);
                let found = &Tensor::run_backward(&[loss], &[s0], false, false)[0];
                let error = relative_error(found, expected);
                assert!(
                    error <= 1e-6,
                    "{:?} {:?} {set:?}: {error:e}",
                    case.version,
                    case.dy.size()
                );
            }
        });
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    let threads = tch::get_num_threads();
    for version in Version::ALL {
        let case = Case::random(version, 3, [2, 70, 3, HEAD_SIZE]).with_restarts(&[(1, 31)]);
        let runs = [1, 2, 3].map(|n| {
            tch::set_num_threads(n);
            case.run(Op::Cpu, Kind::Float)
        });
        for other in &runs[1..] {
            for ((name, x), y) in case.outputs().iter().zip(&runs[0]).zip(other) {
                assert!(x.equal(y), "{version:?}: {name} differs between thread counts");
            }
        }
    }
    tch::set_num_threads(threads);
}

#[test]
fn one_call_equals_two_calls_with_the_carried_state() {
    for version in Version::ALL {
        let case = Case::random(version, 8, [2, 30, 2, HEAD_SIZE]);
        let inputs = case.inputs_of(Kind::Float);
        let (y, s_last) = case.call(Op::Cpu, &inputs).expect("valid operands");
        let part = |start: i64, len: i64, s0: &Tensor| {
            let (_, ops) = inputs.split_last().expect("s0 is the last input");
            let cut = |x: &Tensor| if x.dim() == 4 { x.narrow(1, start, len) } else { x.copy() };
            let part: Vec<Tensor> = ops.iter().map(cut).chain([s0.shallow_clone()]).collect();
            call(version, Op::Cpu, &part, None).expect("valid operands")
        };
        let (y1, s1) = part(0, 11, &inputs[inputs.len() - 1]);
        let (y2, s2) = part(11, 19, &s1);
        assert!(Tensor::cat(&[y1, y2], 1).equal(&y), "{version:?}: y differs");
        assert!(s2.equal(&s_last), "{version:?}: s_T differs");
    }
}

#[test]
fn second_derivatives_are_refused() {
    let case = Case::random(Version::V7, 1, [1, 4, 1, 8]);
    let inputs: Vec<Tensor> =
        case.inputs_of(Kind::Float).into_iter().map(|x| x.set_requires_grad(true)).collect();
    let (y, s_last) = case.call(Op::Cpu, &inputs).expect("valid operands");
    let refused = Tensor::f_run_backward(&[case.loss(&y, &s_last)], &inputs, true, true);
    assert!(
        refused.expect_err("a graph of the gradients").to_string().contains("second derivatives")
    );
}

/// The message for a case whose input `name` is replaced.
fn refusal(case: &Case, op: Op, name: &str, x: &Tensor) -> String {
    let mut inputs = case.inputs_of(Kind::Float);
    let i = case.version.inputs().iter().position(|&input| input == name).expect("an input");
    inputs[i] = x.shallow_clone();
    match call(case.version, op, &inputs, case.restarts.as_ref()) {
        Err(error @ KernelError::Operand { .. }) => error.to_string(),
        other => panic!("{name} is wrong, but the answer was {other:?}"),
    }
}

#[test]
fn wrong_operands_are_named() {
    let case = Case::random(Version::V7, 1, [1, 4, 2, HEAD_SIZE]);
    let float = |shape: &[i64]| Tensor::zeros(shape, (Kind::Float, tch::Device::Cpu));
    assert_eq!(
        refusal(&case, Op::Cpu, "k", &float(&[1, 3, 2, 64])),
        "wkv7: operand k is Float [1, 3, 2, 64] on Cpu, expected Float [1, 4, 2, 64] on Cpu"
    );
    assert_eq!(
        refusal(&case, Op::Cpu, "s0", &float(&[1, 2, 64, 64]).to_kind(Kind::Double)),
        "wkv7: operand s0 is Double [1, 2, 64, 64] on Cpu, expected Float [1, 2, 64, 64] on Cpu"
    );
    assert_eq!(
        refusal(&case, Op::Cuda, "r", &float(&[1, 4, 2, 64])),
        "wkv7: operand r is Float [1, 4, 2, 64] on Cpu, expected a CUDA tensor"
    );
    assert_eq!(
        refusal(&case, Op::Cpu, "r", &float(&[1, 4, 2, 12])),
        "wkv7: operand r is Float [1, 4, 2, 12] on Cpu, expected a head size that is a multiple of 8, up to 256"
    );
    let case = Case::random(Version::V5, 1, [1, 4, 2, HEAD_SIZE]);
    assert_eq!(
        refusal(&case, Op::Cpu, "w", &float(&[1, 4, 2, 64])),
        "wkv5: operand w is Float [1, 4, 2, 64] on Cpu, expected Float [2, 64] on Cpu"
    );
    let mut case = Case::random(Version::V6, 1, [1, 4, 2, HEAD_SIZE]).with_restarts(&[]);
    assert_eq!(
        refusal(&case, Op::Reference, "u", &float(&[64])),
        "wkv6: operand u is Float [64] on Cpu, expected Float [2, 64] on Cpu"
    );
    case.restarts = Some(float(&[1, 4]));
    let Err(error) = case.call(Op::Cpu, &case.inputs_of(Kind::Float)) else {
        panic!("restarts are no floats")
    };
    assert_eq!(
        error.to_string(),
        "wkv6: operand restarts is Float [1, 4] on Cpu, expected Bool [1, 4] on Cpu"
    );
}
