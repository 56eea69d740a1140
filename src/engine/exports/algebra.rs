//! Linear combinations and differences of states.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use statetune_core::diagnostic::{Text, msg};
use statetune_core::peft::StatePart;
use tch::{Kind, Tensor};

use super::{ExportKind, Passport, PassportError};
use crate::model::{ModelError, Shift, TimeState};

/// A state with its passport.
#[derive(Debug)]
pub struct StateFile {
    /// The file.
    pub path: PathBuf,
    /// The tensors.
    pub state: TimeState,
    /// `None` for a file without a passport.
    pub passport: Option<Passport>,
}

/// States could not be read or combined.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.text())]
pub enum AlgebraError {
    /// A state file.
    #[error(transparent)]
    State(#[from] ModelError),
    /// The passport of a state.
    #[error(transparent)]
    Passport(#[from] PassportError),
    /// Two states fit models of different sizes.
    Shapes {
        /// The first state.
        first: PathBuf,
        /// Sizes of the first state, for people.
        first_shape: String,
        /// A state with different sizes.
        other: PathBuf,
        /// Sizes of the other state, for people.
        other_shape: String,
    },
    /// Two states have different base weights or versions of RWKV.
    Bases {
        /// The first state.
        first: PathBuf,
        /// A state of other weights.
        other: PathBuf,
    },
}

impl AlgebraError {
    /// The error as a message.
    pub fn text(&self) -> Text {
        match self {
            Self::State(error) => error.text(),
            Self::Passport(error) => error.text(),
            Self::Shapes { first, first_shape, other, other_shape } => {
                msg!(STATE_SHAPES_DIFFER, first, first_shape, other, other_shape)
            }
            Self::Bases { first, other } => msg!(STATE_BASES_DIFFER, first, other),
        }
    }
}

impl StateFile {
    /// Reads a state file and its passport.
    ///
    /// # Errors
    /// A file that cannot be read or is not a state.
    pub fn load(path: &Path) -> Result<StateFile, AlgebraError> {
        let (state, passport) = (TimeState::read(path)?, Passport::of(path)?);
        Ok(StateFile { path: path.to_path_buf(), state, passport })
    }

    /// `24 layers x 32 heads x 64 x 64`.
    pub fn shape(&self) -> String {
        let (layers, size) = (self.state.wkv.len(), self.state.wkv[0].size());
        format!("{layers} layers x {} heads x {} x {}", size[0], size[1], size[2])
    }
}

/// Refuses states of models of different sizes, and of different weights where both passports name the weights.
///
/// # Errors
/// The first state that does not match `states[0]`.
pub fn check_alike(states: &[StateFile]) -> Result<(), AlgebraError> {
    let Some((first, others)) = states.split_first() else { return Ok(()) };
    for other in others {
        if first.shape() != other.shape() {
            return Err(AlgebraError::Shapes {
                first: first.path.clone(),
                first_shape: first.shape(),
                other: other.path.clone(),
                other_shape: other.shape(),
            });
        }
        let (Some(ours), Some(theirs)) = (&first.passport, &other.passport) else { continue };
        let fingerprint = |one: &Passport| one.base.as_ref().map(|base| base.fingerprint.clone());
        let version = |one: &Passport| one.model.as_ref().map(|model| model.version.clone());
        let differ = |x: Option<String>, y: Option<String>| x.zip(y).is_some_and(|(x, y)| x != y);
        if differ(fingerprint(ours), fingerprint(theirs)) || differ(version(ours), version(theirs))
        {
            return Err(AlgebraError::Bases {
                first: first.path.clone(),
                other: other.path.clone(),
            });
        }
    }
    Ok(())
}

/// `sum_i weights[i] * states[i]`, summed in float64, with a passport that names `operation`.
///
/// # Errors
/// Those of [`check_alike`].
///
/// # Panics
/// When `states` is empty or `weights` has another length.
pub fn combine(
    states: &[StateFile],
    weights: &[f64],
    operation: &str,
) -> Result<(TimeState, Passport), AlgebraError> {
    assert_eq!(states.len(), weights.len(), "a weight for each state");
    check_alike(states)?;
    let sum = weighted_sum(states, weights);
    let of: Vec<Value> = states
        .iter()
        .zip(weights)
        .map(|(one, weight)| {
            let file = one.path.file_name().unwrap_or_default().to_string_lossy();
            let run = one.passport.as_ref().and_then(|passport| passport.run.as_ref());
            json!({ "file": file, "weight": weight, "run": run })
        })
        .collect();
    let passports: Vec<Option<Passport>> = states.iter().map(|one| one.passport.clone()).collect();
    let mut method = json!({ "type": "state", "made_by": operation, "of": of });
    if sum.shift.is_some() {
        method["parts"] = json!([StatePart::Wkv, StatePart::Shift]);
    }
    Ok((sum, Passport::of_all(&passports, ExportKind::State, method)))
}

/// Channels of the shift states, where one of the states has them.
fn n_embd<'a>(states: impl IntoIterator<Item = &'a TimeState>) -> Option<i64> {
    states.into_iter().find_map(|state| state.shift.as_ref()?[0].att.size().pop())
}

/// `sum_i weights[i] * states[i]`, in float64. A state without shift states counts as one with zeros.
fn weighted_sum(states: &[StateFile], weights: &[f64]) -> TimeState {
    let n_embd = n_embd(states.iter().map(|one| &one.state));
    let term = |(one, &weight): (&StateFile, &f64)| {
        let term = one.state.map(|s| s.to_kind(Kind::Double) * weight);
        match n_embd {
            Some(n_embd) => term.with_shift(n_embd),
            None => term,
        }
    };
    let sum = states.iter().zip(weights).map(term).reduce(|sum, term| sum.plus(&term));
    sum.expect("at least one state").map(|s| s.to_kind(Kind::Float))
}

/// How the matrices of a layer or a head differ between two states. Norms are Frobenius norms.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StateDifference {
    /// Norm in the first state.
    pub first: f64,
    /// Norm in the second state.
    pub second: f64,
    /// Norm of the difference.
    pub between: f64,
    /// Cosine similarity; `None` where either is zero.
    pub cosine: Option<f64>,
}

impl StateDifference {
    fn of(x: &Tensor, y: &Tensor) -> StateDifference {
        let (x, y) = (x.to_kind(Kind::Double), y.to_kind(Kind::Double));
        let norm = |x: &Tensor| x.square().sum(Kind::Double).sqrt().double_value(&[]);
        let (first, second, between) = (norm(&x), norm(&y), norm(&(&x - &y)));
        let dot = (&x * &y).sum(Kind::Double).double_value(&[]);
        let product = first * second;
        let cosine = (product > 0.0).then(|| dot / product);
        StateDifference { first, second, between, cosine }
    }
}

/// The difference of the shift states of each layer: of the time mix, and of the channel mix. `None` where neither state
/// has them.
pub fn shift_differences(
    first: &TimeState,
    second: &TimeState,
) -> Option<Vec<[StateDifference; 2]>> {
    let n_embd = n_embd([first, second])?;
    let [x, y] = [first, second].map(|state| state.share().with_shift(n_embd).shift);
    let pairs = x.into_iter().flatten().zip(y.into_iter().flatten());
    let of = |(x, y): (Shift, Shift)| {
        [StateDifference::of(&x.att, &y.att), StateDifference::of(&x.ffn, &y.ffn)]
    };
    Some(pairs.map(of).collect())
}

/// The difference of the WKV states of each layer and of each of its heads.
pub fn differences(
    first: &TimeState,
    second: &TimeState,
) -> Vec<(StateDifference, Vec<StateDifference>)> {
    let heads = |x: &Tensor, y: &Tensor| {
        let heads = (0..x.size()[0]).map(|head| StateDifference::of(&x.get(head), &y.get(head)));
        (StateDifference::of(x, y), heads.collect())
    };
    first.wkv.iter().zip(&second.wkv).map(|(x, y)| heads(x, y)).collect()
}
