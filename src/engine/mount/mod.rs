//! States for other programs: what each of them wants, and the proof that it gets it.
//!
//! A state that is transposed, or read into the wrong model, is loaded by every one of these programs
//! without a word. So [`prove`] reads the written file by the program's own rule, computes with it in that
//! program's layout, by code that shares nothing with [`crate::model`], and compares.

mod engine;
mod target;

pub use engine::Engine;
pub use target::{Mounted, Target};

use std::path::Path;

use tch::{Kind, Tensor};

use crate::kernels::{KernelError, Op};
use crate::model::{Model, TimeState, Weights};
use crate::score::{Reading, score};
use statetune_core::diagnostic::Text;

/// The largest difference of a log-probability that rounding explains: float16 in a `.st`, and sums of
/// float32 in another order.
pub const TOLERANCE: f64 = 0.01;

/// How far the log-probabilities of the next token are apart, in nats, over the whole vocabulary.
#[derive(Clone, Copy, Debug)]
pub struct Proof {
    /// Between our model with the state, and the other program with the file.
    pub difference: f64,
    /// The same if the file's matrices were transposed: what the comparison would have shown.
    pub if_transposed: f64,
    /// Tokens that were read.
    pub tokens: usize,
}

/// Why there is no proof.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum ProofError {
    /// Our own forward pass.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The other program would refuse the file, for the reason given.
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

/// Compares our model with `state` and what `target` makes of `file`, after reading `ids`; all in float32.
///
/// # Errors
/// A file that the program would refuse, and what our forward pass refuses.
pub fn prove(
    target: Target,
    weights: &Weights,
    state: &TimeState,
    file: &Path,
    ids: &[i64],
) -> Result<Proof, ProofError> {
    let _guard = tch::no_grad_guard();
    let model = Model::new(weights, Kind::Float, Op::Cpu);
    let ours = score(&model, state, ids, Reading::Whole)?.last_logits;
    drop(model);
    let engine = Engine::mount(target, weights, file).map_err(ProofError::Refused)?;
    let distance = |engine: &Engine<'_>| {
        let theirs = engine.last_logits(ids).log_softmax(-1, Kind::Float);
        let ours: Tensor = ours.log_softmax(-1, Kind::Float);
        (ours - theirs).abs().max().double_value(&[])
    };
    Ok(Proof {
        difference: distance(&engine),
        if_transposed: distance(&engine.transposed()),
        tokens: ids.len(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tch::Device;

    use super::*;
    use crate::model::{Shape, Version};
    use crate::output::{Passport, Product, Sizes};

    /// A small model whose time mix says something, and a state without symmetry.
    fn model(version: Version) -> (Weights, TimeState) {
        let shape = Shape::for_scratch(version, 2, 128, 40);
        let new = Weights::scratch(shape, 5);
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Float, Device::Cpu));
        // Everything of a new model that is zero or alike would hide mistakes.
        let weights = Weights::from_fn(shape, |name, size| {
            new.get(name, Kind::Float) + random(size) * if size.len() > 1 { 0.1 } else { 0.05 }
        });
        let zeros = TimeState::zeros(&shape, Kind::Float, Device::Cpu);
        (weights, TimeState(zeros.0.iter().map(Tensor::randn_like).collect()))
    }

    const TARGETS: [Target; 3] = [Target::RwkvRunner, Target::Ai00, Target::RwkvPip];
    const IDS: [i64; 9] = [1, 5, 9, 2, 31, 7, 7, 3, 0];

    #[test]
    fn every_program_computes_what_we_do() {
        for version in Version::ALL {
            let (weights, state) = model(version);
            let sizes = Sizes::from(weights.shape());
            let passport = Passport::new(Product::State, sizes, json!({ "type": "state" }));
            for target in TARGETS {
                let folder = tempfile::tempdir().expect("a temporary folder");
                let file =
                    target.write(&state, folder.path(), "s", &passport).expect("written").file;
                let proof = prove(target, &weights, &state, &file, &IDS).expect("a proof");
                let name = target.name();
                let limit = if target == Target::Ai00 { 2e-3 } else { 5e-5 };
                assert!(proof.difference < limit, "{version} {name}: {proof:?}");
                assert!(proof.if_transposed > 0.05, "{version} {name}: {proof:?}");

                // The file that another program wants does not do, or has the other order.
                let turned = state.transposed();
                let file =
                    target.write(&turned, folder.path(), "t", &passport).expect("written").file;
                let proof = prove(target, &weights, &state, &file, &IDS).expect("a proof");
                assert!(proof.difference > TOLERANCE, "{version} {name}: {proof:?}");
            }
        }
    }

    #[test]
    fn what_a_program_refuses_is_refused() {
        let (weights, state) = model(Version::V6);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let sizes = Sizes::from(weights.shape());
        let passport = Passport::new(Product::State, sizes, json!({ "type": "state" }));
        let pth =
            Target::RwkvPip.write(&state, folder.path(), "s", &passport).expect("written").file;
        let refused = |target| {
            let error = prove(target, &weights, &state, &pth, &IDS).expect_err("refused");
            error.to_string()
        };
        assert_eq!(
            refused(Target::Ai00),
            "data type mismatch: tensor `blocks.0.att.time_state` is float32"
        );
        let short = TimeState(vec![state.0[0].shallow_clone()]);
        Target::RwkvPip.write(&short, folder.path(), "s", &passport).expect("written");
        assert_eq!(refused(Target::RwkvRunner), "state shape mismatch: 1 tensors for 2 layers");
    }
}
