//! The first step in which two runs part, and what of it differs.

use serde::Serialize;

use crate::records::Link;

/// A part of a step, in the order in which a step computes them; or the end of a run.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// What the step learns from: token ids, learned positions, targets.
    Batch,
    /// Its loss and the norm of its gradients, from the same batches.
    Loss,
    /// What learns, after an update with the same loss and gradient norm.
    Update,
    /// One run has this step, the other one has ended.
    Length,
}

/// Where two runs part.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Divergence {
    /// In this step, which both have.
    Parted {
        /// Counted from 1, as in all that people read.
        step: u64,
        /// The first part of it that differs.
        part: Part,
    },
    /// Nowhere before one of them ends.
    Ended {
        /// Steps of the shorter one.
        steps: u64,
    },
    /// Nowhere.
    Same {
        /// Steps of both.
        steps: u64,
    },
    /// At least one has no chain that can be read.
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

    /// The first step that only one of them has, or that differs, and its part.
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

    /// Three steps; the running digest of a step says that of the one before, too.
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
    fn the_first_part_of_the_first_step_that_differs() {
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
    fn equal_as_far_as_both_go() {
        let chain = chain();
        assert_eq!(Divergence::between(&chain, &chain), Divergence::Same { steps: 3 });
        let ended = Divergence::between(&chain, &chain[..2]);
        assert_eq!(ended, Divergence::Ended { steps: 2 });
        assert_eq!(ended.first(), Some((3, Part::Length)));
        assert_eq!(Divergence::between(&[], &chain), Divergence::Ended { steps: 0 });
    }
}
