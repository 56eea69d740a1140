//! States for other programs, and a check that each program computes the right thing with its file.
//!
//! Every one of these programs silently loads a state that is transposed or belongs to another model. So [`prove`]
//! reads the written file by the program's rules and runs it in that program's memory layout, with code that shares
//! nothing with [`crate::model`], and compares the results.

mod emulator;
mod program;

pub use emulator::Emulator;
pub use program::{MountFile, Program, Usage};

use std::path::Path;

use statetune_core::diagnostic::Text;
use tch::{Device, Kind, Tensor};

use crate::kernels::{KernelError, Op};
use crate::model::{Model, TimeState, Weights};

/// Largest difference of a log-probability that rounding explains: float16 in a `.st`, and float32 sums in another
/// order.
pub const TOLERANCE: f64 = 0.01;

/// How much larger than the difference that of a transposed state must be to tell the two apart.
const CLEARLY: f64 = 10.0;
/// Differences of log-probabilities below this are rounding.
const ROUNDING: f64 = 1e-5;

/// Largest differences between two programs of the log-probabilities of the next token, in nats over the vocabulary and
/// all positions of a text.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    /// Between our model with the state and the other program with the file.
    pub difference: f64,
    /// The same with the matrices of the file transposed: the size of a difference that the check would catch.
    pub if_transposed: f64,
    /// Between the model that was trained, where its weights are not those of the other program, and that program.
    pub to_trained: Option<f64>,
    /// Positions compared.
    pub tokens: usize,
}

impl Proof {
    /// Whether the comparison tells a transposed state from the right one. States without effect, and symmetric ones, do
    /// not show the order of their axes.
    pub fn shows_order(&self) -> bool {
        self.if_transposed > CLEARLY * self.difference.max(ROUNDING)
    }
}

/// The comparison could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum ProofError {
    /// Our forward pass failed.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The other program would refuse the file, with this reason.
    Refused(Text),
}

impl ProofError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::Kernel(error) => error.text(),
            Self::Refused(reason) => reason.clone(),
        }
    }
}

/// Compares our model with `state` to `program` with `file`, after each of `ids`, in float32 on the CPU. `weights` are
/// those that the program loads; `trained` is the model that was trained, where it computes with others.
///
/// # Errors
/// A file that the program would refuse, or a forward pass that fails.
///
/// # Panics
/// When `ids` is empty or has an unknown id.
pub fn prove(
    program: Program,
    weights: &Weights,
    trained: Option<&Model>,
    state: &TimeState,
    file: &Path,
    ids: &[i64],
) -> Result<Proof, ProofError> {
    let _guard = tch::no_grad_guard();
    let ours = log_probabilities(&Model::new(weights, Kind::Float, Op::Cpu), state, ids)?;
    let emulator = Emulator::mount(program, weights, file).map_err(ProofError::Refused)?;
    let theirs = |emulator: &Emulator<'_>| emulator.logits(ids).log_softmax(-1, Kind::Float);
    let distance = |x: &Tensor, y: &Tensor| (x - y).abs().max().double_value(&[]);
    let mounted = theirs(&emulator);
    let to_trained = match trained {
        Some(model) => Some(distance(&log_probabilities(model, state, ids)?, &mounted)),
        None => None,
    };
    Ok(Proof {
        difference: distance(&ours, &mounted),
        if_transposed: distance(&ours, &theirs(&emulator.transposed())),
        to_trained,
        tokens: ids.len(),
    })
}

/// Log-probabilities (T, V) of the token after each of `ids`, by our model.
fn log_probabilities(model: &Model, state: &TimeState, ids: &[i64]) -> Result<Tensor, KernelError> {
    let all = Tensor::arange(ids.len() as i64, (Kind::Int64, Device::Cpu));
    let ids = Tensor::from_slice(ids).unsqueeze(0); // (1, T)
    let (hidden, _) = model.forward(&ids, &model.start(state, 1), None)?;
    Ok(model.logits(&hidden.at(&all)).log_softmax(-1, Kind::Float))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exports::{ExportKind, ModelSizes, Passport};
    use crate::model::{Shape, Version};
    use serde_json::json;

    /// A small model with a time mix that matters, and a state without symmetry.
    fn model(version: Version) -> (Weights, TimeState) {
        let shape = Shape::for_scratch(version, 2, 128, 40);
        let new = Weights::scratch(shape, 5);
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        // Zeros and equal values of a new model would hide mistakes.
        let weights = Weights::from_fn(shape, |name, size| {
            new.get(name, Kind::Float) + random(size) * if size.len() > 1 { 0.1 } else { 0.05 }
        });
        let zeros = TimeState::zeros(&shape, Kind::Float, Device::Cpu);
        (weights, TimeState::of_wkv(zeros.wkv.iter().map(Tensor::randn_like).collect()))
    }

    const PROGRAMS: [Program; 3] = [Program::RwkvRunner, Program::Ai00, Program::RwkvPip];
    const IDS: [i64; 9] = [1, 5, 9, 2, 31, 7, 7, 3, 0];

    #[test]
    fn every_program_computes_the_same() {
        for version in Version::ALL {
            let (weights, state) = model(version);
            let sizes = ModelSizes::from(weights.shape());
            let passport = Passport::new(ExportKind::State, sizes, json!({ "type": "state" }));
            for program in PROGRAMS {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let file =
                    program.write(&state, folder.path(), "s", &passport).expect("written").file;
                let proof = prove(program, &weights, None, &state, &file, &IDS).expect("a proof");
                let name = program.name();
                let limit = if program == Program::Ai00 { 2e-3 } else { 5e-5 };
                assert!(proof.difference < limit, "{version} {name}: {proof:?}");
                assert!(proof.if_transposed > 0.05, "{version} {name}: {proof:?}");
                assert!(proof.shows_order() && proof.to_trained.is_none(), "{version} {name}");

                // A state with the other index order must show.
                let turned = state.transposed();
                let file =
                    program.write(&turned, folder.path(), "t", &passport).expect("written").file;
                let proof = prove(program, &weights, None, &state, &file, &IDS).expect("a proof");
                assert!(proof.difference > TOLERANCE, "{version} {name}: {proof:?}");
            }
        }
    }

    /// Code of its own agrees on shift states in every version, and no file of a program that does not read them is proved.
    #[test]
    fn the_package_computes_the_same_from_shift_states() {
        for version in Version::ALL {
            let (weights, state) = model(version);
            let sizes = ModelSizes::from(weights.shape());
            let passport = Passport::new(ExportKind::State, sizes, json!({ "type": "state" }));
            let shifted = state.share().with_shift(weights.shape().n_embd).map(Tensor::randn_like);
            let folder = tempfile::tempdir().expect("a temporary folder");
            let mut proved = Vec::new();
            for program in PROGRAMS {
                let file = program.write(&shifted, folder.path(), "s", &passport);
                let file = file.expect("written").file;
                let proof = prove(program, &weights, None, &shifted, &file, &IDS);
                if proof.is_ok_and(|proof| proof.difference < 5e-5 && proof.shows_order()) {
                    proved.push(program);
                }
            }
            let reads = |program: &Program| program.reader().refusal().is_none();
            let expected: Vec<Program> = PROGRAMS.into_iter().filter(reads).collect();
            assert_eq!(proved, expected, "{version}");
        }
    }

    /// Only an early position shows the order of the axes of a state that decays fast.
    #[test]
    fn a_state_that_decays_fast_is_told_from_a_transposed_one() {
        let (weights, state) = model(Version::V6);
        let shape = *weights.shape();
        let forgets = Weights::from_fn(shape, |name, _| {
            let tensor = weights.get(name, Kind::Float);
            if name.ends_with("time_decay") { tensor.full_like(2.0) } else { tensor }
        });
        let passport = Passport::new(ExportKind::State, ModelSizes::from(&shape), json!({}));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = Program::RwkvPip;
        let file = program.write(&state, folder.path(), "s", &passport).expect("written").file;
        let proof = prove(program, &forgets, None, &state, &file, &IDS).expect("a proof");
        assert!(proof.difference < 5e-5 && proof.shows_order(), "{proof:?}");

        let ours = |state| {
            let model = Model::new(&forgets, Kind::Float, Op::Cpu);
            log_probabilities(&model, state, &IDS).expect("computed").get(IDS.len() as i64 - 1)
        };
        let last = (ours(&state) - ours(&state.transposed())).abs().max().double_value(&[]);
        assert!(last < TOLERANCE, "the last position alone shows nothing: {last}");
    }

    #[test]
    fn states_without_effect_show_no_order() {
        let (weights, state) = model(Version::V7);
        let zeros = weights.initial_states();
        let symmetric =
            TimeState::of_wkv(state.wkv.iter().map(|s| s + s.transpose(1, 2)).collect());
        let passport =
            Passport::new(ExportKind::State, ModelSizes::from(weights.shape()), json!({}));
        let folder = tempfile::tempdir().expect("a temporary folder");
        for state in [zeros, symmetric] {
            for program in PROGRAMS {
                let file = program.write(&state, folder.path(), "s", &passport).expect("written");
                let proof = prove(program, &weights, None, &state, &file.file, &IDS);
                let proof = proof.expect("a proof");
                assert!(proof.difference < 2e-3 && !proof.shows_order(), "{proof:?}");
            }
        }
    }

    /// Weights that were packed for training are others than those that a program loads.
    #[test]
    fn the_trained_model_is_compared_with_the_mounted_one() {
        let (weights, state) = model(Version::V7);
        let other = model(Version::V7).0.to_kind(Kind::BFloat16);
        let trained = Model::new(&other, Kind::Float, Op::Cpu);
        let passport =
            Passport::new(ExportKind::State, ModelSizes::from(weights.shape()), json!({}));
        let folder = tempfile::tempdir().expect("a temporary folder");
        let program = Program::RwkvPip;
        let file = program.write(&state, folder.path(), "s", &passport).expect("written").file;
        let proof = prove(program, &weights, Some(&trained), &state, &file, &IDS);
        let proof = proof.expect("a proof");
        assert!(proof.difference < 5e-5, "{proof:?}");
        assert!(proof.to_trained.expect("compared") > 1e-3, "{proof:?}");
    }

    #[test]
    fn files_that_a_program_refuses() {
        let (weights, state) = model(Version::V6);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sizes = ModelSizes::from(weights.shape());
        let passport = Passport::new(ExportKind::State, sizes, json!({ "type": "state" }));
        let pth =
            Program::RwkvPip.write(&state, folder.path(), "s", &passport).expect("written").file;
        let refused = |program| {
            let error = prove(program, &weights, None, &state, &pth, &IDS).expect_err("refused");
            error.to_string()
        };
        assert_eq!(
            refused(Program::Ai00),
            "data type mismatch: tensor `blocks.0.att.time_state` is float32"
        );
        let short = TimeState::of_wkv(vec![state.wkv[0].shallow_clone()]);
        Program::RwkvPip.write(&short, folder.path(), "s", &passport).expect("written");
        assert_eq!(refused(Program::RwkvRunner), "state shape mismatch: 1 tensors for 2 layers");
    }
}
