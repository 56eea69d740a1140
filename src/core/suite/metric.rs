//! The numbers of each item, and the metrics that they add up to.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::item::Kind;
use super::read::Suite;

/// Which of two values is better.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// The lower value.
    Lower,
    /// The higher value.
    Higher,
}

/// What becomes of a sum over items divided by another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Function {
    Mean,
    Exp,
    Bits,
}

/// A metric: a sum of numbers over all items, divided by another sum or by the number of items.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Metric {
    /// The name in records.
    pub name: &'static str,
    /// Which value is better.
    pub better: Better,
    sum: &'static str,
    /// Absent: the number of items.
    divisor: Option<&'static str>,
    function: Function,
}

/// The share of the items whose number in this column is 1.
const fn share(name: &'static str) -> Metric {
    let (better, function) = (Better::Higher, Function::Mean);
    Metric { name, better, sum: name, divisor: None, function }
}

/// A function of the mean negative log-likelihood.
const fn of_nll(name: &'static str, divisor: Option<&'static str>, function: Function) -> Metric {
    Metric { name, better: Better::Lower, sum: "nll", divisor, function }
}

impl Kind {
    /// The metrics of the kind, the most telling one first.
    pub fn metrics(self) -> &'static [Metric] {
        match self {
            Kind::Choice => &const { [share("acc"), share("acc_norm"), share("acc_bytes")] },
            Kind::Cloze => &const { [share("acc"), of_nll("perplexity", None, Function::Exp)] },
            Kind::Generate => &const { [share("exact_match")] },
            Kind::Text => {
                &const {
                    [
                        of_nll("bits_per_byte", Some("bytes"), Function::Bits),
                        of_nll("byte_perplexity", Some("bytes"), Function::Exp),
                        of_nll("token_perplexity", Some("tokens"), Function::Exp),
                    ]
                }
            }
        }
    }
}

impl Metric {
    /// Whether each item is either right or wrong.
    pub(super) fn is_share(&self) -> bool {
        self.function == Function::Mean
    }

    /// The number of right items of a share; `None` for other metrics.
    pub(super) fn right(&self, scores: &SuiteScores) -> Option<u64> {
        let column = scores.numbers.get(self.sum).filter(|_| self.is_share());
        column.map(|column| column.iter().filter(|number| **number == 1.0).count() as u64)
    }

    /// The value over all items.
    pub(super) fn of_all(&self, scores: &SuiteScores) -> f64 {
        self.value(scores, &(0..scores.items()).collect::<Vec<_>>())
    }

    /// The value over the items `of`, each named as often as it counts.
    pub(super) fn value(&self, scores: &SuiteScores, of: &[usize]) -> f64 {
        let sum = |name: &str| -> f64 {
            let column = scores.numbers.get(name).map_or(&[][..], Vec::as_slice);
            of.iter().filter_map(|at| column.get(*at)).sum()
        };
        let ratio = sum(self.sum) / self.divisor.map_or(of.len() as f64, sum);
        match self.function {
            Function::Mean => ratio,
            Function::Exp => ratio.exp(),
            Function::Bits => ratio / std::f64::consts::LN_2,
        }
    }
}

/// The numbers of each item of a suite with a model.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
pub struct SuiteScores {
    /// Name of the suite.
    pub suite: String,
    /// sha256 of the suite's file.
    pub sha256: String,
    /// What is asked.
    pub kind: Kind,
    /// How questions were written: the name of a template, or `plain`.
    pub form: String,
    /// Examples before each question.
    pub shots: u64,
    /// By name the number of each item: `acc`, `acc_norm`, `acc_bytes` and `exact_match` are 1 for a right answer; `nll` is the
    /// negative log-likelihood in nats of `tokens` tokens with `bytes` bytes.
    pub numbers: BTreeMap<String, Vec<f64>>,
    /// The beginning of the answer to each item: the choice, or what the model wrote; empty for other kinds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<String>,
}

impl SuiteScores {
    pub(super) fn new(suite: &Suite, form: &str) -> SuiteScores {
        SuiteScores {
            suite: suite.name.clone(),
            sha256: suite.sha256.clone(),
            kind: suite.kind,
            form: form.to_owned(),
            shots: suite.shots() as u64,
            numbers: BTreeMap::new(),
            answers: Vec::new(),
        }
    }

    /// Adds the number of the next item, to six decimals.
    pub(super) fn add(&mut self, name: &str, number: f64) {
        let rounded = (number * 1e6).round() / 1e6;
        self.numbers.entry(name.to_owned()).or_default().push(rounded);
    }

    /// Number of items.
    pub fn items(&self) -> usize {
        self.numbers.values().next().map_or(0, Vec::len)
    }

    /// The metrics of all items by name.
    pub fn metrics(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        self.kind.metrics().iter().map(|metric| (metric.name, metric.of_all(self)))
    }

    /// Which items were asked how: equal for scores that may be compared.
    pub fn asked(&self) -> String {
        format!("{} {} items, form {}", self.sha256, self.items(), self.form)
    }
}
