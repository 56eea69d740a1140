//! The first step in which two runs differ, and the part of the step that differs.

use serde::Serialize;

use crate::records::Link;

/// A part of a step, in the order of computation, or the end of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The batches: token ids, target positions, targets.
    Batch,
    /// Loss or gradient norm, from equal batches.
    Loss,
    /// Trainable parameters after the update, from equal loss and gradient norm.
    Update,
    /// Only one run has this step.
    Length,
}

/// The first difference between two runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Divergence {
    /// A step that both runs have differs.
    Parted {
        /// The step, counted from 1.
        step: u64,
        /// The first part that differs.
        part: Part,
    },
    /// One run ends; all steps of the shorter run are equal.
    Ended {
        /// Steps of the shorter run.
        steps: u64,
    },
    /// All steps are equal.
    Same {
        /// Steps of both runs.
        steps: u64,
    },
    /// Neither run recorded a step.
    Unknown,
}

impl Divergence {
    /// Compares two chains.
    pub fn between(one: &[Link], other: &[Link]) -> Divergence {
        let shared = one.len().min(other.len());
        let parted = one.iter().zip(other).position(|(one, other)| one != other);
        match parted {
            Some(index) => {
                let (a, b) = (one[index], other[index]);
                let part = if a.batch != b.batch {
                    Part::Batch
                } else if a.loss != b.loss {
                    Part::Loss
                } else {
                    Part::Update
                };
                Divergence::Parted { step: index as u64 + 1, part }
            }
            None if one.len() == other.len() => Divergence::Same { steps: shared as u64 },
            None => Divergence::Ended { steps: shared as u64 },
        }
    }

    /// The first step that differs or that only one run has, and the part.
    pub fn first(&self) -> Option<(u64, Part)> {
        match *self {
            Divergence::Parted { step, part } => Some((step, part)),
            Divergence::Ended { steps } => Some((steps + 1, Part::Length)),
            Divergence::Same { .. } | Divergence::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three steps.
    fn chain() -> Vec<Link> {
        (1..=3).map(|i| Link { batch: i, loss: 10 + i, running: 100 + u64::from(i) }).collect()
    }

    fn parted(change: impl Fn(&mut Link)) -> Divergence {
        let (one, mut other) = (chain(), chain());
        change(&mut other[1]);
        other[1].running += 7;
        other[2].running += 7;
        Divergence::between(&one, &other)
    }

    #[test]
    fn finds_the_first_part_of_the_first_differing_step() {
        let expected = |part| Divergence::Parted { step: 2, part };
        assert_eq!(parted(|_| ()), expected(Part::Update));
        assert_eq!(parted(|link| link.loss += 1), expected(Part::Loss));
        assert_eq!(
            parted(|link| {
                link.batch += 1;
                link.loss += 1;
            }),
            expected(Part::Batch)
        );
    }

    #[test]
    fn equal_up_to_the_shorter_run() {
        let chain = chain();
        assert_eq!(Divergence::between(&chain, &chain), Divergence::Same { steps: 3 });
        let ended = Divergence::between(&chain, &chain[..2]);
        assert_eq!(ended, Divergence::Ended { steps: 2 });
        assert_eq!(ended.first(), Some((3, Part::Length)));
        assert_eq!(Divergence::between(&[], &chain), Divergence::Ended { steps: 0 });
    }
}
