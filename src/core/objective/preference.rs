//! What objectives over preferences have in common: answers with their log-probabilities, and what is made of them.

use std::fmt::{self, Debug};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An answer under the model and under the reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Sum of the log-probabilities of its tokens, in nats.
    pub log_prob: f64,
    /// The same under the reference; 0 for an objective without one.
    pub reference: f64,
    /// Its tokens, at least 1.
    pub tokens: u64,
}

impl Answer {
    /// How much likelier the answer is than under the reference, in nats.
    pub fn gain(&self) -> f64 {
        self.log_prob - self.reference
    }

    /// Mean of the log-probabilities of its tokens, in nats.
    pub fn mean(&self) -> f64 {
        self.log_prob / self.tokens as f64
    }
}

/// A record of preferences.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Sample {
    /// The chosen answer, or one that is labelled good.
    pub chosen: Option<Answer>,
    /// The rejected answer, or one that is labelled bad.
    pub rejected: Option<Answer>,
    /// The answer of another record behind the question of this one, for objectives that need one.
    pub mismatched: Option<Answer>,
}

impl Sample {
    /// Both answers of a pair.
    pub fn pair(&self) -> Option<[&Answer; 2]> {
        Some([self.chosen.as_ref()?, self.rejected.as_ref()?])
    }
}

/// The loss of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Judged {
    /// Summed over what `count` counts, in nats.
    pub loss: f64,
    /// Pairs, or answers where each is judged by itself. The loss of a step is a mean over them.
    pub count: u64,
    /// Derivative of the loss by the log-probability of the chosen and of the rejected answer; 0 for an absent one.
    pub slopes: [f64; 2],
    /// Rewards of the chosen and of the rejected answer.
    pub rewards: [Option<f64>; 2],
}

/// An objective that compares answers.
pub trait Preference: Debug {
    /// Whether the objective compares the model with the start of the run.
    fn has_reference(&self) -> bool;

    /// Whether the objective needs answers behind questions of other records.
    fn needs_mismatched(&self) -> bool {
        false
    }

    /// The loss of each record.
    fn judge(&self, samples: &[Sample]) -> Vec<Judged>;
}

/// The loss of each record by that of its pair; a record without one has none.
pub(super) fn judge_pairs(
    samples: &[Sample],
    judge: impl Fn(&Answer, &Answer) -> Judged,
) -> Vec<Judged> {
    let of_record = |sample: &Sample| {
        sample.pair().map_or_else(Judged::default, |[chosen, rejected]| judge(chosen, rejected))
    };
    samples.iter().map(of_record).collect()
}

/// How a step or an evaluation judges answers.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rewards {
    /// Mean reward of the chosen or good answers; absent without such answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen: Option<f64>,
    /// Mean reward of the rejected or bad answers; absent without such answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rejected: Option<f64>,
    /// `chosen` minus `rejected`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub margin: Option<f64>,
    /// The share of pairs whose chosen answer has the higher reward, from 0 to 1. Without pairs: the share of all pairings of a
    /// good and a bad answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f64>,
}

impl Rewards {
    /// The names and the values of those that are known.
    pub fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        let Rewards { chosen, rejected, margin, accuracy } = *self;
        let all = [
            ("chosen", chosen),
            ("rejected", rejected),
            ("margin", margin),
            ("accuracy", accuracy),
        ];
        all.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

impl fmt::Display for Rewards {
    /// `preference accuracy 92 %, reward margin 1.2345 (chosen 0.8112, rejected -0.4233)`
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let accuracy =
            self.accuracy.map(|share| format!("preference accuracy {:.0} %", share * 100.0));
        let margin = self.margin.map(|margin| format!("reward margin {margin:.4}"));
        let whole: Vec<String> = accuracy.into_iter().chain(margin).collect();
        let side = |name, reward: Option<f64>| reward.map(|reward| format!("{name} {reward:.4}"));
        let sides = [side("chosen", self.chosen), side("rejected", self.rejected)];
        let sides = sides.into_iter().flatten().collect::<Vec<_>>().join(", ");
        match whole.is_empty() {
            true => write!(formatter, "rewards: {sides}"),
            false => write!(formatter, "{} ({sides})", whole.join(", ")),
        }
    }
}

/// Means of the rewards of several steps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
pub struct MeanRewards {
    /// Sum and number of each of the four values.
    sums: [(f64, u64); 4],
}

impl MeanRewards {
    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.sums.iter().all(|(_, count)| *count == 0)
    }

    /// Adds those of a step.
    pub fn add(&mut self, rewards: &Rewards) {
        let Rewards { chosen, rejected, margin, accuracy } = *rewards;
        for (sum, value) in self.sums.iter_mut().zip([chosen, rejected, margin, accuracy]) {
            if let Some(value) = value {
                *sum = (sum.0 + value, sum.1 + 1);
            }
        }
    }

    /// The means; `None` without any.
    pub fn means(&self) -> Option<Rewards> {
        let mean = |(sum, count): (f64, u64)| (count > 0).then(|| sum / count as f64);
        let [chosen, rejected, margin, accuracy] = self.sums.map(mean);
        (!self.is_empty()).then_some(Rewards { chosen, rejected, margin, accuracy })
    }
}

/// The sums behind [`Rewards`].
#[derive(Clone, Debug, Default)]
pub struct RewardSums {
    /// Rewards of the chosen and of the rejected answers.
    all: [Vec<f64>; 2],
    /// Pairs, and those whose chosen answer has the higher reward.
    pairs: [u64; 2],
}

impl RewardSums {
    /// Adds a record.
    pub fn add(&mut self, judged: &Judged) {
        for (all, reward) in self.all.iter_mut().zip(judged.rewards) {
            all.extend(reward);
        }
        if let [Some(chosen), Some(rejected)] = judged.rewards {
            self.pairs[0] += 1;
            self.pairs[1] += u64::from(chosen > rejected);
        }
    }

    /// The means; `None` without answers.
    pub fn means(&self) -> Option<Rewards> {
        let mean =
            |all: &Vec<f64>| (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64);
        let [chosen, rejected] = [mean(&self.all[0]), mean(&self.all[1])];
        chosen.or(rejected)?;
        let margin = chosen.zip(rejected).map(|(chosen, rejected)| chosen - rejected);
        Some(Rewards { chosen, rejected, margin, accuracy: self.accuracy() })
    }

    fn accuracy(&self) -> Option<f64> {
        let [pairs, right] = self.pairs;
        if pairs > 0 {
            return Some(right as f64 / pairs as f64);
        }
        // Each good answer beats the bad ones below it.
        let [good, bad] = &self.all;
        let mut bad = bad.clone();
        bad.sort_by(f64::total_cmp);
        let below = |good: &f64| bad.partition_point(|bad| bad < good);
        let all = good.len() * bad.len();
        (all > 0).then(|| good.iter().map(below).sum::<usize>() as f64 / all as f64)
    }
}

/// `1 / (1 + exp(-x))`.
pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

/// `log(1 / (1 + exp(-x)))`, exact far from 0 too.
pub(super) fn log_sigmoid(x: f64) -> f64 {
    x.min(0.0) - (-x.abs()).exp().ln_1p()
}
