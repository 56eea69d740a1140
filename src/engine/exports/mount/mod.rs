//! States for other programs, and a check that each program computes the right thing with its file.
//!
//! Every one of these programs silently loads a state that is transposed or belongs to another model. So [`prove`]
//! reads the written file by the program's rules and runs it in that program's memory layout, with code that shares
//! nothing with [`crate::model`], and compares the results.

mod emulator;
mod program;

pub use emulator::Emulator;
pub use program::{MountFile, Program};

use std::path::Path;

use statetune_core::diagnostic::Text;
use tch::{Kind, Tensor};

use crate::kernels::{KernelError, Op};
use crate::model::{Model, TimeState, Weights};

/// Largest difference of a log-probability that rounding explains: float16 in a `.st`, and float32 sums in another
/// order.
pub const TOLERANCE: f64 = 0.01;

/// Largest difference between two programs of the log-probabilities of the next token, in nats over the vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    /// Between our model with the state and the other program with the file.
    pub difference: f64,
    /// The same with the matrices of the file transposed: the size of a difference that the check would catch.
    pub if_transposed: f64,
    /// Tokens read.
    pub tokens: usize,
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

/// Compares our model with `state` to `program` with `file`, after reading `ids`, in float32 on the CPU.
///
/// # Errors
/// A file that the program would refuse, or a forward pass that fails.
///
/// # Panics
/// When `ids` is empty or has an unknown id.
pub fn prove(
    program: Program,
    weights: &Weights,
    state: &TimeState,
    file: &Path,
    ids: &[i64],
) -> Result<Proof, ProofError> {
    let _guard = tch::no_grad_guard();
    let ours = last_log_probabilities(weights, state, ids)?;
    let emulator = Emulator::mount(program, weights, file).map_err(ProofError::Refused)?;
    let distance = |emulator: &Emulator<'_>| {
        let theirs = emulator.last_logits(ids).log_softmax(-1, Kind::Float);
        (&ours - theirs).abs().max().double_value(&[])
    };
    Ok(Proof {
        difference: distance(&emulator),
        if_transposed: distance(&emulator.transposed()),
        tokens: ids.len(),
    })
}

/// Log-probabilities (V) of the token after `ids`, by our model.
fn last_log_probabilities(
    weights: &Weights,
    state: &TimeState,
    ids: &[i64],
) -> Result<Tensor, KernelError> {
    let model = Model::new(weights, Kind::Float, Op::Cpu);
    let last = Tensor::from_slice(&[ids.len() as i64 - 1]);
    let ids = Tensor::from_slice(ids).unsqueeze(0); // (1, T)
    let (hidden, _) = model.forward(&ids, &model.start(state, 1), None)?;
    Ok(model.logits(&hidden.at(&last)).squeeze_dim(0).log_softmax(-1, Kind::Float))
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tch::Device;

    use super::*;
    use crate::exports::{ExportKind, ModelSizes, Passport};
    use crate::model::{Shape, Version};

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
        (weights, TimeState(zeros.0.iter().map(Tensor::randn_like).collect()))
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
                let proof = prove(program, &weights, &state, &file, &IDS).expect("a proof");
                let name = program.name();
                let limit = if program == Program::Ai00 { 2e-3 } else { 5e-5 };
                assert!(proof.difference < limit, "{version} {name}: {proof:?}");
                assert!(proof.if_transposed > 0.05, "{version} {name}: {proof:?}");

                // A state with the other index order must show.
                let turned = state.transposed();
                let file =
                    program.write(&turned, folder.path(), "t", &passport).expect("written").file;
                let proof = prove(program, &weights, &state, &file, &IDS).expect("a proof");
                assert!(proof.difference > TOLERANCE, "{version} {name}: {proof:?}");
            }
        }
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
            let error = prove(program, &weights, &state, &pth, &IDS).expect_err("refused");
            error.to_string()
        };
        assert_eq!(
            refused(Program::Ai00),
            "data type mismatch: tensor `blocks.0.att.time_state` is float32"
        );
        let short = TimeState(vec![state.0[0].shallow_clone()]);
        Program::RwkvPip.write(&short, folder.path(), "s", &passport).expect("written");
        assert_eq!(refused(Program::RwkvRunner), "state shape mismatch: 1 tensors for 2 layers");
    }
}
