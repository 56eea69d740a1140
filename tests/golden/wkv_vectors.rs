//! WKV-6 and WKV-7 against vectors that were computed independently, in double precision, and printed
//! with seven to ten digits: one head of two channels, three tokens.

use statetune_engine::kernels::Op;
use tch::{Kind, Tensor};

use crate::wkv::{Case, Version};

/// Channels of the printed operands.
const N: i64 = 2;

/// The operands in heads of `n` channels; those beyond [`N`] are zero, which does not change the results.
fn vectors(version: Version, n: i64) -> Case {
    let grow = |x: Tensor| x.constant_pad_nd([0, n - N]);
    let rows = |x: [[f64; 2]; 3]| grow(Tensor::from_slice2(&x).view([1, 3, 1, N]));
    let inputs =
        version.inputs().iter().map(|&name| match name {
            "r" => rows([[0.5, -1.0], [0.25, 0.75], [-0.5, 1.0]]),
            "w" => rows([[-1.0, -0.5], [-2.0, 0.25], [-0.75, -1.5]]),
            "k" => rows([[1.0, 0.5], [-0.5, 0.25], [0.75, -1.0]]),
            "v" => rows([[0.2, -0.4], [1.0, 0.3], [-0.6, 0.8]]),
            "u" => grow(Tensor::from_slice2(&[[0.5, -0.25]])),
            "a" => rows([[-0.6, -0.8], [-1.0, 0.0], [-0.8, 0.6]]),
            "b" => rows([[0.3, 0.4], [0.5, 0.0], [0.4, -0.3]]),
            _ => Tensor::from_slice2(&[[0.1, -0.2], [0.3, 0.4]])
                .view([1, 1, N, N])
                .constant_pad_nd([0, n - N, 0, n - N]),
        });
    Case {
        version,
        inputs: inputs.collect(),
        restarts: None,
        dy: rows([[1.0, 0.5], [-0.5, 2.0], [0.25, -1.0]]),
        ds_last: Tensor::zeros([1, 1, n, n], (Kind::Double, tch::Device::Cpu)),
    }
}

fn expected(version: Version) -> &'static [(&'static str, &'static [f64])] {
    match version {
        Version::V6 => &[
            ("y", &[0.325, -0.4, -0.0488558661, -0.0673256894, 0.3424229685, 0.2890080725]),
            ("s_T", &[-0.6151449388, 0.7979982262, 0.4017228060, -0.7359902924]),
            ("dr", &[0.25, 0.0, -0.5442897, 0.0344653, -0.1044702, -0.2556374]),
            ("dw", &[-0.0655958, -0.182015, 0.0153457, 0.0072386, 0.0, 0.0]),
            ("dk", &[-0.4215202, -0.5503858, 0.0375, -0.06875, 0.2375, 0.2375]),
            ("dv", &[-0.0120628, 1.7357513, 0.1796875, -0.71875, 0.015625, -0.0625]),
            ("du", &[0.34375, 0.96875]),
            ("ds0", &[0.3379019, -1.1667177, 0.8983923, 0.166871]),
        ],
        Version::V7 => &[
            (
                "y",
                &[
                    0.1186578738,
                    0.0107344094,
                    0.0968623761,
                    -0.0509891443,
                    0.9200289199,
                    -1.1122019419,
                ],
            ),
            ("s_T", &[-0.5057907939, 0.6671335230, 0.5215798552, -0.8514120143]),
            ("dw", &[-0.0425984, -0.04121, 0.0203034, 0.0674309, 0.0266215, -0.0071431]),
            ("da", &[-0.0193538, 0.0706029, -0.0858823, -0.0390438, -0.0903857, -0.0200079]),
            ("db", &[-0.1557248, 0.0046184, 0.1717646, 0.4171404, 0.0603038, -0.1206077]),
            ("ds0", &[0.4930262, -0.3516067, 0.2603468, -0.1471497]),
        ],
        Version::V5 => unreachable!("no vectors of WKV-5 were printed"),
    }
}

fn matches_printed_vectors(version: Version, op: Op, n: i64, kind: Kind, tolerance: f64) {
    let case = vectors(version, n);
    let out = case.run(op, kind);
    let names = case.outputs();
    for (name, values) in expected(version) {
        let x = &out[names.iter().position(|x| x == name).expect("an output of the version")];
        let x = x.narrow(-1, 0, N).to_kind(Kind::Double);
        let x = if ["s_T", "ds0"].contains(name) { x.narrow(-2, 0, N) } else { x };
        let found = Vec::<f64>::try_from(x.contiguous().view(-1)).expect("a vector");
        for (found, expected) in found.iter().zip(*values) {
            let is_close = (found - expected).abs() <= tolerance;
            assert!(is_close, "{op:?} {version:?} {kind:?} {name}: {found}, not {expected}");
        }
    }
}

#[test]
fn printed_vectors_float64() {
    for version in [Version::V6, Version::V7] {
        matches_printed_vectors(version, Op::Reference, N, Kind::Double, 6e-8);
        matches_printed_vectors(version, Op::Cpu, 8, Kind::Double, 6e-8);
    }
}

#[test]
fn printed_vectors_float32() {
    for version in [Version::V6, Version::V7] {
        matches_printed_vectors(version, Op::Reference, N, Kind::Float, 3e-7);
        matches_printed_vectors(version, Op::Cpu, 64, Kind::Float, 3e-7);
    }
}
