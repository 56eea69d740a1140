//! Two models on the same items: values, intervals, and the items whose answers changed.
//!
//! The same draws serve both models and their difference, so that the interval of the difference is that of paired items.

use std::fmt;

use serde::Serialize;

use super::interval::{Interval, RESAMPLES, draws, most_exceptions};
use super::item::{ItemText, Kind};
use super::metric::{Better, Metric, SuiteScores};
use crate::words::grouped;

/// A value with its interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Value {
    /// Over all items.
    pub value: f64,
    /// 95 %.
    pub interval: Interval,
}

/// Whether a change is larger than what the choice of items explains.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The interval of the change is on the better side of 0.
    Better,
    /// The interval of the change is on the worse side of 0.
    Worse,
    /// The interval of the change contains 0.
    Unclear,
}

/// A metric of one or two models.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricRow {
    /// Name of the metric.
    pub metric: &'static str,
    /// Which value is better.
    pub better: Better,
    /// Before training; absent without a base.
    pub base: Option<Value>,
    /// After training.
    pub tuned: Value,
    /// `tuned` minus `base`, over paired items; absent without a base.
    pub change: Option<Value>,
    /// What the change means; absent without a base.
    pub verdict: Option<Verdict>,
}

/// An item that is right with one model only.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Flip {
    /// The item.
    #[serde(flatten)]
    pub item: ItemText,
    /// Whether it is right after training.
    pub is_right: bool,
    /// The answer before training; absent where answers are not texts.
    pub base: Option<String>,
    /// The answer after training; absent where answers are not texts.
    pub tuned: Option<String>,
}

/// The scores of one model, or of two side by side.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// Name of the suite.
    pub suite: String,
    /// sha256 of the suite's file.
    pub sha256: String,
    /// What is asked.
    pub kind: Kind,
    /// Number of items.
    pub items: usize,
    /// How questions are written: the name of a template, or `plain`.
    pub form: String,
    /// Examples before each question.
    pub shots: u64,
    /// The metrics, the most telling one first.
    pub metrics: Vec<MetricRow>,
    /// The items that are right with one model only, by the first metric.
    pub flips: Vec<Flip>,
}

/// What the intervals of [`Value`] are, for people.
pub fn intervals() -> String {
    let draws = grouped(RESAMPLES as u64);
    format!(
        "95 % intervals, of shares by Wilson, of other values and of changes by bootstrap over items, {draws} draws"
    )
}

impl Verdict {
    /// The word for people.
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Better => "better",
            Verdict::Worse => "worse",
            Verdict::Unclear => "no clear change",
        }
    }

    fn of(change: Interval, better: Better) -> Verdict {
        let (up, down) = match better {
            Better::Higher => (Verdict::Better, Verdict::Worse),
            Better::Lower => (Verdict::Worse, Verdict::Better),
        };
        match () {
            () if change.low > 0.0 => up,
            () if change.high < 0.0 => down,
            () => Verdict::Unclear,
        }
    }
}

/// `0.633 [0.467, 0.800]`, with fewer decimals for large values.
impl fmt::Display for Value {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Value { value, interval: Interval { low, high } } = self;
        let digits = match high.abs().max(low.abs()) {
            large if large >= 1000.0 => 0,
            large if large >= 100.0 => 1,
            large if large >= 10.0 => 2,
            _ => 3,
        };
        match formatter.sign_plus() {
            true => write!(formatter, "{value:+.digits$} [{low:+.digits$}, {high:+.digits$}]"),
            false => write!(formatter, "{value:.digits$} [{low:.digits$}, {high:.digits$}]"),
        }
    }
}

impl Comparison {
    /// The scores of a model beside those of its base, which are of the same items; `items` are what people see of them.
    pub fn of(base: Option<&SuiteScores>, tuned: &SuiteScores, items: &[ItemText]) -> Comparison {
        let base = base.filter(|base| base.asked() == tuned.asked());
        let draws = draws(tuned.items());
        let row = |metric: &Metric| metric_row(metric, base, tuned, &draws);
        let metrics = tuned.kind.metrics();
        Comparison {
            suite: tuned.suite.clone(),
            sha256: tuned.sha256.clone(),
            kind: tuned.kind,
            items: tuned.items(),
            form: tuned.form.clone(),
            shots: tuned.shots,
            metrics: metrics.iter().map(row).collect(),
            flips: base.map_or_else(Vec::new, |base| flips(&metrics[0], base, tuned, items)),
        }
    }

    /// How many items became right, and how many wrong.
    pub fn flipped(&self) -> (usize, usize) {
        let right = self.flips.iter().filter(|flip| flip.is_right).count();
        (right, self.flips.len() - right)
    }

    /// Where items are right or wrong and none flipped: the largest share of other items that flip, with 95 % confidence.
    pub fn most_flips(&self) -> Option<f64> {
        let row = self.metrics.first()?;
        let is_known = self.kind.metrics()[0].is_share() && row.base.is_some();
        (is_known && self.items > 0 && self.flips.is_empty()).then(|| most_exceptions(self.items))
    }
}

fn metric_row(
    metric: &Metric,
    base: Option<&SuiteScores>,
    tuned: &SuiteScores,
    draws: &[Vec<usize>],
) -> MetricRow {
    let drawn = |scores: &SuiteScores| -> Vec<f64> {
        draws.iter().map(|draw| metric.value(scores, draw)).collect()
    };
    let value = |scores: &SuiteScores, drawn: &[f64]| Value {
        value: metric.of_all(scores),
        interval: match metric.right(scores) {
            Some(right) => Interval::of_share(right, scores.items() as u64),
            None => Interval::of_draws(drawn.to_vec()),
        },
    };
    let of_tuned = drawn(tuned);
    let of_base = base.map(|base| (base, drawn(base)));
    let tuned_value = value(tuned, &of_tuned);
    let base_value = of_base.as_ref().map(|(base, drawn)| value(base, drawn));
    let change = of_base.as_ref().zip(base_value).map(|((base, drawn), was)| Value {
        value: tuned_value.value - was.value,
        interval: match equal_change(metric, base, tuned) {
            Some(change) => Interval::of_equal_changes(change, tuned.items()),
            None => {
                Interval::of_draws(of_tuned.iter().zip(drawn).map(|(now, was)| now - was).collect())
            }
        },
    });
    MetricRow {
        metric: metric.name,
        better: metric.better,
        base: base_value,
        tuned: tuned_value,
        change,
        verdict: change.map(|change| Verdict::of(change.interval, metric.better)),
    }
}

/// The change of a right or wrong answer from the base, where all items have the same.
fn equal_change(metric: &Metric, base: &SuiteScores, tuned: &SuiteScores) -> Option<f64> {
    let change = |at: usize| metric.value(tuned, &[at]) - metric.value(base, &[at]);
    let mut changes = (0..tuned.items()).map(change).filter(|_| metric.is_share());
    let first = changes.next()?;
    changes.all(|other| other == first).then_some(first)
}

fn flips(
    metric: &Metric,
    base: &SuiteScores,
    tuned: &SuiteScores,
    items: &[ItemText],
) -> Vec<Flip> {
    if !metric.is_share() {
        return Vec::new();
    }
    let right = |scores: &SuiteScores, at: usize| metric.value(scores, &[at]) == 1.0;
    let flip = |(at, item): (usize, &ItemText)| {
        let is_right = right(tuned, at);
        (is_right != right(base, at)).then(|| Flip {
            item: item.clone(),
            is_right,
            base: base.answers.get(at).cloned(),
            tuned: tuned.answers.get(at).cloned(),
        })
    };
    items.iter().enumerate().filter_map(flip).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn scores(kind: Kind, numbers: &[(&str, Vec<f64>)]) -> SuiteScores {
        SuiteScores {
            suite: "s".to_owned(),
            sha256: "0".to_owned(),
            kind,
            form: "plain".to_owned(),
            shots: 0,
            numbers: numbers.iter().map(|(name, all)| ((*name).to_owned(), all.clone())).collect(),
            answers: Vec::new(),
        }
    }

    fn items(count: usize) -> Vec<ItemText> {
        let item =
            |i| ItemText { item: format!("s:{i}"), text: String::new(), expected: String::new() };
        (0..count).map(item).collect()
    }

    /// Share of right answers: mean, and interval by the normal approximation.
    #[test]
    fn intervals_of_shares_are_near_the_normal_ones() {
        let right = |share: usize| (0..400).map(|i| f64::from(u8::from(i % 10 < share))).collect();
        let (base, tuned) = (right(5), right(7));
        let [base, tuned] =
            [base, tuned].map(|all| scores(Kind::Generate, &[("exact_match", all)]));
        let found = Comparison::of(Some(&base), &tuned, &items(400));
        let row = &found.metrics[0];
        let near = |value: Value, mean: f64, variance: f64| {
            let half = 1.96 * (variance / 400.0).sqrt();
            assert!((value.value - mean).abs() < 1e-12, "{value}");
            assert!((value.interval.low - (mean - half)).abs() < 0.01, "{value}");
            assert!((value.interval.high - (mean + half)).abs() < 0.01, "{value}");
        };
        near(row.base.expect("a base"), 0.5, 0.25);
        near(row.tuned, 0.7, 0.21);
        // Paired: a fifth of the items turned right, none wrong.
        near(row.change.expect("a change"), 0.2, 0.16);
        assert_eq!(row.verdict, Some(Verdict::Better));
        assert_eq!(found.flipped(), (80, 0));
        assert_eq!(Comparison::of(Some(&base), &tuned, &items(400)), found, "seeded");
        assert_eq!(found.most_flips(), None);
    }

    /// Where the draws cannot differ, an interval still has a width.
    #[test]
    fn items_that_agree_have_intervals() {
        let all = |right: f64| scores(Kind::Generate, &[("exact_match", vec![right; 20])]);
        let row = |base: f64, tuned: f64| {
            let found = Comparison::of(Some(&all(base)), &all(tuned), &items(20));
            let MetricRow { base, tuned, change, verdict, .. } = &found.metrics[0];
            let text =
                format!("{} {} {:+}", base.expect("a base"), tuned, change.expect("a change"));
            (text, *verdict, found.most_flips().map(|most| format!("{most:.4}")))
        };
        let (none, every) = ("0.000 [0.000, 0.161]", "1.000 [0.839, 1.000]");
        assert_eq!(
            row(0.0, 0.0),
            (
                format!("{none} {none} +0.000 [-0.139, +0.139]"),
                Some(Verdict::Unclear),
                Some("0.1391".into())
            )
        );
        assert_eq!(
            row(0.0, 1.0),
            (format!("{none} {every} +1.000 [+0.722, +1.000]"), Some(Verdict::Better), None)
        );
        assert_eq!(
            row(1.0, 0.0),
            (format!("{every} {none} -1.000 [-1.000, -0.722]"), Some(Verdict::Worse), None)
        );
    }

    #[test]
    fn texts_are_weighed_by_their_bytes() {
        let text = |nll: [f64; 2]| {
            let (tokens, bytes) = (vec![4.0, 1.0], vec![8.0, 2.0]);
            scores(Kind::Text, &[("nll", nll.to_vec()), ("tokens", tokens), ("bytes", bytes)])
        };
        let found = Comparison::of(Some(&text([8.0, 2.0])), &text([16.0, 4.0]), &items(2));
        let values: Vec<_> =
            found.metrics.iter().map(|row| (row.metric, row.tuned.value)).collect();
        let bits = 2.0 / std::f64::consts::LN_2;
        let expected = [
            ("bits_per_byte", bits),
            ("byte_perplexity", 2f64.exp()),
            ("token_perplexity", 4f64.exp()),
        ];
        for ((name, value), (known, expected)) in values.into_iter().zip(expected) {
            assert!(name == known && (value - expected).abs() < 1e-9, "{name} {value}");
        }
        // Every draw has the same ratio, so that the intervals are points.
        let change = found.metrics[0].change.expect("a change");
        assert!((change.interval.low - change.value).abs() < 1e-9, "{change}");
        assert_eq!(found.metrics[0].verdict, Some(Verdict::Worse));
        assert!(found.flips.is_empty());
    }

    #[test]
    fn other_items_are_not_compared() {
        let tuned = scores(Kind::Generate, &[("exact_match", vec![1.0, 0.0])]);
        let others = [
            SuiteScores { sha256: "1".to_owned(), ..tuned.clone() },
            SuiteScores { form: "rwkv-qa".to_owned(), ..tuned.clone() },
            scores(Kind::Generate, &[("exact_match", vec![1.0])]),
        ];
        for base in others {
            let found = Comparison::of(Some(&base), &tuned, &items(2));
            assert_eq!((found.metrics[0].base, found.metrics[0].verdict), (None, None));
        }
    }

    #[test]
    fn the_first_metric_is_the_first_by_name() {
        for kind in Kind::ALL {
            let names: Vec<_> = kind.metrics().iter().map(|metric| metric.name).collect();
            assert_eq!(names.iter().min(), names.first(), "records are sorted by name");
            let by_name: BTreeMap<_, _> = names.iter().map(|name| (*name, ())).collect();
            assert_eq!(by_name.len(), names.len());
        }
    }
}
