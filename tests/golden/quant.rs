//! Packed weights: against bitsandbytes and libtorch, against each other, and in whole models.

use std::path::{Path, PathBuf};
use std::process::Command;

use statetune_core::tensorfile::TensorFile;
use statetune_engine::kernels::quant::Scales;
use statetune_engine::kernels::{InstructionSet, Op, with_instruction_set};
use statetune_engine::model::{Matrix, Model, Shape, TimeState, Version, Weights};
use statetune_engine::quant::{Format, PackError, Packed, bytes, quantise};
use tch::{Device, Kind, Tensor};

use super::files::with_torch;

/// All formats.
const FORMATS: [Format; 6] = [
    Format::Int8,
    Format::Nf4 { double: false },
    Format::Nf4 { double: true },
    Format::Fp4 { double: false },
    Format::Fp4 { double: true },
    Format::Fp8,
];

fn random(size: [i64; 2], seed: i64) -> Tensor {
    tch::manual_seed(seed);
    Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.05
}

fn pack(matrix: &Tensor, format: Format) -> Packed {
    Packed::pack(matrix, format).expect("finite numbers")
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    Vec::try_from(tensor.to_kind(Kind::Float).contiguous().view(-1)).expect("a vector")
}

fn plain_scales(packed: &Packed) -> Vec<f32> {
    match &packed.codes().scales {
        Scales::Plain(scales) => numbers(scales),
        Scales::Quantised { .. } => panic!("the scales are quantised"),
    }
}

#[test]
fn the_error_of_int8_is_at_most_half_a_step() {
    let matrix = random([33, 70], 1);
    let dense = numbers(&pack(&matrix, Format::Int8).dense(Kind::Float));
    for (row, (found, expected)) in dense.chunks(70).zip(numbers(&matrix).chunks(70)).enumerate() {
        let absmax = expected.iter().fold(0f32, |max, x| max.max(x.abs()));
        // A margin for the rounding of float32.
        let allowed = absmax / 254.0 * (1.0 + 1e-5);
        for (x, w) in found.iter().zip(expected) {
            assert!((x - w).abs() <= allowed, "row {row}: {w} became {x}, allowed {allowed}");
        }
        let largest = found.iter().fold(0f32, |max, x| max.max(x.abs()));
        assert_eq!(largest, absmax, "the largest number stays as it is");
    }
}

#[test]
fn fp8_rounds_as_libtorch_does() {
    let matrix = random([33, 70], 2);
    let packed = pack(&matrix, Format::Fp8);
    let absmax = matrix.abs().amax([1], true);
    let scaled = &matrix * (absmax.reciprocal() * 448.0);
    let theirs = scaled.to_kind(Kind::Float8e4m3fn).to_kind(Kind::Float);
    let expected = &theirs / 448.0 * &absmax;
    assert!(packed.dense(Kind::Float).equal(&expected));
    assert_eq!(plain_scales(&packed), numbers(&absmax));
}

#[test]
fn every_dtype_has_the_same_numbers_rounded() {
    for format in FORMATS {
        for matrix in [random([24, 136], 3), random([3, 43], 4)] {
            let packed = pack(&matrix, format);
            let exact = packed.dense(Kind::Float);
            for kind in [Kind::Double, Kind::BFloat16, Kind::Half] {
                assert!(packed.dense(kind).equal(&exact.to_kind(kind)), "{format} {kind:?}");
            }
        }
    }
}

#[test]
fn bfloat16_weights_are_packed_without_another_rounding() {
    let matrix = random([16, 128], 5).to_kind(Kind::BFloat16);
    for format in FORMATS {
        let dense = pack(&matrix, format).dense(Kind::Float);
        assert!(dense.equal(&pack(&matrix.to_kind(Kind::Float), format).dense(Kind::Float)));
    }
}

#[test]
fn instruction_sets_agree_to_the_bit() {
    for format in FORMATS {
        for matrix in [random([24, 136], 6), random([3, 43], 7)] {
            let run = |set| {
                with_instruction_set(set, || {
                    let packed = pack(&matrix, format);
                    let kinds = [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Half];
                    (packed.codes().codes.shallow_clone(), kinds.map(|kind| packed.dense(kind)))
                })
            };
            let (codes, dense) = run(InstructionSet::Baseline).expect("every machine has it");
            for set in InstructionSet::ALL {
                match run(set) {
                    Ok((other_codes, other)) => {
                        assert!(other_codes.equal(&codes), "{format} {set:?}");
                        assert!(
                            other.iter().zip(&dense).all(|(x, y)| x.equal(y)),
                            "{format} {set:?}"
                        );
                    }
                    Err(error) => eprintln!("not checked: {error}"),
                }
            }
        }
    }
}

#[test]
fn zeros_stay_zeros() {
    for format in FORMATS {
        let dense = pack(&Tensor::zeros([4, 64], (Kind::Float, Device::Cpu)), format);
        assert!(numbers(&dense.dense(Kind::Float)).iter().all(|&x| x == 0.0), "{format}");
    }
}

#[test]
fn numbers_that_are_not_finite_are_refused() {
    for format in FORMATS {
        for number in [f64::NAN, f64::INFINITY] {
            let matrix = random([4, 64], 8);
            let _ = matrix.get(2).get(5).fill_(number);
            let error = Packed::pack(&matrix, format).expect_err("to be refused");
            assert!(matches!(error, PackError::NotFinite), "{format} {error}");
        }
    }
}

#[test]
fn bytes_are_predicted() {
    for format in FORMATS {
        for size in [[24, 136], [3, 43], [128, 512], [320, 256]] {
            let packed = pack(&random(size, 9), format);
            assert_eq!(packed.bytes(), format.bytes(size), "{format} {size:?}");
            assert_eq!(packed.shape(), size);
        }
    }
    // Bits per number of a large matrix.
    let bits = |format: Format| format.bytes([4096, 4096]) as f64 * 8.0 / (4096.0 * 4096.0);
    let found = FORMATS.map(bits);
    let expected = [8.0, 4.5, 4.127, 4.5, 4.127, 8.0];
    assert!(found.iter().zip(expected).all(|(x, y)| (x - y).abs() < 0.01), "{found:?}");
}

// ---- bitsandbytes ---------------------------------------------------------------------------

/// The output of `tests/data/make_quant.py`.
const FIXTURE: &str = "tests/data/quant/bitsandbytes.safetensors";
const BITSANDBYTES: &str = "bitsandbytes==0.50.2";

fn fixture_file() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(FIXTURE)
}

/// The numbers that the script packs.
fn known_numbers([rows, columns]: [i64; 2]) -> Tensor {
    let mut state = 12345u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) as i32
    };
    let sums = (0..rows * columns).map(|_| (0..4).map(|_| next()).sum::<i32>() - 2 * 65535);
    let numbers: Vec<f32> = sums.map(|sum| sum as f32 / 2f32.powi(20)).collect();
    Tensor::from_slice(&numbers).view([rows, columns])
}

/// Compares our codes of the known numbers with a file of the script.
fn matches_bitsandbytes(file: &TensorFile) {
    let bytes = |name: &str| file.get(name).unwrap_or_else(|| panic!("{name}")).bytes();
    let floats = |name: &str| -> Vec<f32> {
        let of = |x: &[u8]| f32::from_le_bytes(x.try_into().expect("four bytes"));
        bytes(name).chunks(4).map(of).collect()
    };
    let codes = |x: &Tensor| Vec::<u8>::try_from(x).expect("a vector");
    for (matrix, size) in [("large", [300, 64]), ("small", [8, 72]), ("odd", [5, 67])] {
        let weight = known_numbers(size);
        for (name, format) in [
            ("nf4", (|double| Format::Nf4 { double }) as fn(bool) -> Format),
            ("fp4", |double| Format::Fp4 { double }),
        ] {
            let name = format!("{matrix}.{name}");
            let packed = pack(&weight, format(false));
            assert_eq!(codes(&packed.codes().codes), *bytes(&format!("{name}.codes")), "{name}");
            assert_eq!(plain_scales(&packed), floats(&format!("{name}.absmax")), "{name}");
            if matrix != "large" {
                let dense = numbers(&packed.dense(Kind::Float));
                assert_eq!(dense, floats(&format!("{name}.dense")), "{name}");
            }
            let packed = pack(&weight, format(true));
            let Scales::Quantised { codes: scale_codes, levels, scales, offset } =
                &packed.codes().scales
            else {
                panic!("the scales are quantised")
            };
            assert_eq!([*offset], *floats(&format!("{name}.scale_offset")), "{name}");
            assert_eq!(numbers(scales), floats(&format!("{name}.scale_absmax")), "{name}");
            assert_eq!(numbers(levels), floats("scale_levels"));
            assert_eq!(codes(scale_codes), *bytes(&format!("{name}.scale_codes")), "{name}");
        }
    }
}

#[test]
fn codes_are_those_of_bitsandbytes() {
    matches_bitsandbytes(&TensorFile::open(fixture_file()).expect("a file of this repository"));
}

#[test]
#[ignore = "fetches bitsandbytes; part of `make test-full`"]
fn bitsandbytes_gives_these_codes() {
    let site = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bitsandbytes");
    if !site.join("bitsandbytes").exists() {
        // Its dependencies besides torch, which is present.
        let packages = [BITSANDBYTES, "numpy", "packaging"];
        let pip = Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"])
            .arg("--target")
            .arg(&site)
            .args(packages)
            .status();
        if !pip.is_ok_and(|status| status.success()) {
            eprintln!("skipped: `python3 -m pip` cannot install {BITSANDBYTES}");
            return;
        }
    }
    let made = site.join("made.safetensors");
    if with_torch("make_quant.py", &[&made, &site]).is_some() {
        matches_bitsandbytes(&TensorFile::open(&made).expect("a sound file"));
    }
}

// ---- the linear layer -----------------------------------------------------------------------

#[test]
fn a_packed_layer_computes_as_the_dense_one_with_its_gradient() {
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16] {
        for format in FORMATS {
            let packed = pack(&random([48, 72], 10), format);
            let dense = packed.dense(kind);
            tch::manual_seed(11);
            let x = Tensor::randn([2, 5, 72], (kind, Device::Cpu));
            let dy = Tensor::randn([2, 5, 48], (kind, Device::Cpu));
            let run = |linear: &dyn Fn(&Tensor) -> Tensor| {
                let x = x.copy().set_requires_grad(true);
                let y = linear(&x);
                (&y * &dy).sum(kind).backward();
                (y.detach(), x.grad())
            };
            let (y, dx) = run(&|x| packed.linear(x));
            let (expected_y, expected_dx) = run(&|x| x.linear::<&Tensor>(&dense, None));
            assert!(y.equal(&expected_y) && dx.equal(&expected_dx), "{format} {kind:?}");
        }
    }
}

/// A small model without zero matrices, unlike a new one.
fn weights(version: Version, seed: i64) -> Weights {
    let shape = Shape::for_scratch(version, 2, 64, 48);
    let new = Weights::scratch(shape, seed);
    let linears = shape.linears();
    Weights::from_fn(shape, |name, size| match linears.iter().any(|(linear, _)| linear == name) {
        true => Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.1,
        false => new.get(name, Kind::Float),
    })
}

/// Logits and the gradients of the initial states, of some tokens.
fn run(weights: &Weights, kind: Kind) -> (Tensor, Vec<Tensor>) {
    let model = Model::new(weights, kind, Op::Cpu);
    let state = TimeState::zeros(model.shape(), Kind::Float, Device::Cpu);
    let state =
        TimeState::of_wkv(state.wkv.into_iter().map(|s| s.set_requires_grad(true)).collect());
    let ids = Tensor::arange(20, (Kind::Int64, Device::Cpu)).view([2, 10]);
    let (hidden, _) = model.forward(&ids, &model.start(&state, 2), None).expect("a model");
    let logits = model.logits(&hidden);
    logits.logsumexp([-1], false).sum(kind).backward();
    (logits.detach(), state.wkv.iter().map(Tensor::grad).collect())
}

#[test]
fn a_packed_model_computes_as_its_dense_weights() {
    for version in [Version::V5, Version::V6, Version::V7] {
        let original = weights(version, 12);
        for format in FORMATS {
            for kind in [Kind::Float, Kind::BFloat16] {
                let mut packed = original.to_kind(Kind::Float);
                quantise(&mut packed, format, |_| false).expect("finite weights");
                // `get` makes packed matrices dense.
                let dense = Weights::from_fn(*packed.shape(), |name, _| packed.get(name, kind));
                let (logits, gradients) = run(&packed, kind);
                let (expected, expected_gradients) = run(&dense, kind);
                let what = format!("{version} {format} {kind:?}");
                assert!(logits.equal(&expected), "{what}");
                let mut pairs = gradients.iter().zip(&expected_gradients);
                assert!(pairs.all(|(x, y)| x.equal(y)), "{what}");
                assert!(!logits.equal(&run(&original, kind).0), "{what}: something was packed");
                for (name, _) in packed.shape().linears() {
                    assert!(!packed.get(&name, kind).equal(&original.get(&name, kind)), "{name}");
                }
                for (name, tensor) in packed.iter() {
                    assert!(tensor.equal(&original.get(name, Kind::Float)), "{name} stays");
                }
            }
        }
    }
}

#[test]
fn a_model_has_the_predicted_size() {
    for version in [Version::V5, Version::V6, Version::V7] {
        for format in FORMATS {
            let mut weights = weights(version, 13);
            let dense: usize = weights.iter().map(|(_, x)| x.numel() * 2).sum();
            assert_eq!(bytes(weights.shape(), 2, None), dense as u64);
            quantise(&mut weights, format, |_| false).expect("finite weights");
            let others: usize = weights.iter().map(|(_, x)| x.numel() * 2).sum();
            let packed: u64 = weights
                .shape()
                .linears()
                .iter()
                .map(|(_, size)| {
                    let [rows, columns] = size[..] else { panic!("a matrix") };
                    format.bytes([rows, columns])
                })
                .sum();
            let found = bytes(weights.shape(), 2, Some(format));
            assert_eq!(found, others as u64 + packed, "{version} {format}");
        }
    }
}
