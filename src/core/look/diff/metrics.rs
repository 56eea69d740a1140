//! Metrics of several runs, compared after an equal amount of training.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use crate::records::Metrics;
use crate::suite::Better;

/// Unit of the amount of training.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// Samples seen.
    Samples,
    /// Target tokens seen.
    Tokens,
}

/// A metric of all runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricRow {
    /// `val_loss`, the name of a probe, ...
    pub name: String,
    /// One value per run; `None` when the run has none.
    pub values: Vec<Option<f64>>,
    /// Which value is better; `None` without a verdict: for probes, for losses over other validation
    /// documents, and for suites with other items.
    pub better: Option<Better>,
}

/// Metrics of several runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct MetricRows {
    /// Unit of `until`.
    pub align: Align,
    /// Amount of training that all runs reached, at which they are compared.
    pub until: u64,
    /// The metrics.
    pub rows: Vec<MetricRow>,
    /// Whether the evaluation of a run is from before its first step, so that its losses have no verdict.
    #[serde(skip)]
    pub is_untrained: bool,
    /// The suites whose items are not those of all runs, so that their metrics have no verdict.
    #[serde(skip)]
    pub other_suites: Vec<String>,
}

/// Recorded metrics of a run.
#[derive(Clone, Debug, Default)]
pub struct Course {
    /// The lines of `metrics.jsonl`.
    pub metrics: Vec<Metrics>,
    /// The evaluations.
    pub evals: Vec<Evaluation>,
    /// Samples per step.
    pub samples_per_step: u64,
    /// For each metric of a suite which items were asked how, and which value is better.
    pub suites: BTreeMap<String, (String, Better)>,
}

/// A recorded evaluation.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Steps done.
    pub steps: u64,
    /// In nats; `None` without validation documents.
    pub val_loss: Option<f64>,
    /// Rate of each probe.
    pub probes: BTreeMap<String, f64>,
    /// The first metric of each suite, named.
    pub suites: BTreeMap<String, f64>,
}

impl Course {
    /// Amount of training after `steps` steps; target tokens as of the last line of metrics up to there.
    fn seen(&self, steps: u64, align: Align) -> u64 {
        match align {
            Align::Samples => steps * self.samples_per_step,
            Align::Tokens => {
                let reported = self.metrics.partition_point(|line| line.step <= steps);
                self.metrics[..reported].last().map_or(0, |line| line.learned_tokens)
            }
        }
    }

    /// Amount of training of the whole run.
    fn end(&self, align: Align) -> u64 {
        self.metrics.last().map_or(0, |line| self.seen(line.step, align))
    }

    /// The evaluation with the lowest validation loss up to an amount of training; without losses, the last one.
    fn best(&self, align: Align, until: u64) -> Option<&Evaluation> {
        let evals = || self.evals.iter().filter(|eval| self.seen(eval.steps, align) <= until);
        let losses = evals().filter_map(|eval| Some((eval.val_loss?, eval)));
        let best = losses.min_by(|(one, _), (other, _)| one.total_cmp(other));
        best.map(|(_, eval)| eval).or_else(|| evals().next_back())
    }

    /// The training loss of the last line up to an amount of training.
    fn loss(&self, align: Align, until: u64) -> Option<f64> {
        let mut lines = self.metrics.iter().rev();
        lines.find(|line| self.seen(line.step, align) <= until).map(|line| line.loss)
    }

    /// The median throughput, which a pause or a slow first step does not change.
    fn speed(&self) -> Option<f64> {
        let speeds = self.metrics.iter().map(|line| line.positions_per_s);
        let mut speeds: Vec<f64> = speeds.filter(|speed| speed.is_finite()).collect();
        speeds.sort_by(f64::total_cmp);
        speeds.get(speeds.len() / 2).copied()
    }
}

/// The metrics of several runs side by side. Validation loss and probes are those of the same evaluation. Losses over
/// other validation documents, or from before the first step of a run, have no verdict. Where a run is longer, its last
/// validation loss stands below.
pub fn metric_rows(courses: &[&Course], align: Align, same_validation: bool) -> MetricRows {
    let until = courses.iter().map(|course| course.end(align)).min().unwrap_or(0);
    let row = |name: &str, better, value: &dyn Fn(&Course) -> Option<f64>| MetricRow {
        name: name.to_string(),
        values: courses.iter().map(|course| value(course)).collect(),
        better,
    };
    let best: Vec<Option<&Evaluation>> =
        courses.iter().map(|course| course.best(align, until)).collect();
    let of_best = |name: &str, better, value: &dyn Fn(&Evaluation) -> Option<f64>| MetricRow {
        name: name.to_string(),
        values: best.iter().map(|eval| eval.and_then(value)).collect(),
        better,
    };
    let lower = Some(Better::Lower);
    let mut rows = Vec::new();
    let steps = of_best(STEPS, None, &|eval| Some(eval.steps as f64));
    if steps.values.windows(2).any(|pair| pair[0] != pair[1]) {
        rows.push(steps);
    }
    let is_untrained = best.iter().flatten().any(|eval| eval.steps == 0);
    let verdict = lower.filter(|_| same_validation && !is_untrained);
    rows.push(of_best("val_loss", verdict, &|eval| eval.val_loss));
    let last = |course: &Course| course.evals.iter().rev().find_map(|eval| eval.val_loss);
    let goes_on =
        |course: &Course| course.evals.iter().any(|eval| course.seen(eval.steps, align) > until);
    if courses.iter().any(|course| goes_on(course)) {
        rows.push(row(LAST_LOSS, None, &last));
    }
    let names = courses.iter().flat_map(|course| &course.evals).flat_map(|eval| eval.probes.keys());
    let mut probes: Vec<&str> = Vec::new();
    for name in names {
        if !probes.contains(&name.as_str()) {
            probes.push(name);
        }
    }
    for name in probes {
        rows.push(of_best(name, None, &|eval| eval.probes.get(name).copied()));
    }
    let mut other_suites = Vec::new();
    for name in courses.iter().flat_map(|course| course.suites.keys()).collect::<BTreeSet<_>>() {
        let asked: Vec<_> = courses.iter().map(|course| course.suites.get(name)).collect();
        let same = asked.windows(2).all(|pair| pair[0] == pair[1]);
        if !same && asked.iter().all(Option::is_some) {
            other_suites.push(name.clone());
        }
        let better = asked[0].map(|(_, better)| *better).filter(|_| same && !is_untrained);
        rows.push(of_best(name, better, &|eval| eval.suites.get(name).copied()));
    }
    rows.push(row("loss", lower, &|course| course.loss(align, until)));
    rows.push(row(SPEED, Some(Better::Higher), &Course::speed));
    rows.retain(|row| row.values.iter().any(Option::is_some));
    MetricRows { align, until, rows, is_untrained, other_suites }
}

/// Name of the steps before the evaluation whose validation loss and probes are shown.
pub const STEPS: &str = "after step";

/// Name of the validation loss at the end of each run.
pub const LAST_LOSS: &str = "val_loss at end";

/// Name of the throughput, the only metric that depends on the machine.
pub const SPEED: &str = "positions/s";

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(step: u64, loss: f64, positions_per_s: f64) -> Metrics {
        let line = json!({
            "step": step,
            "epoch": 0,
            "loss": loss,
            "lr": 1.0,
            "grad_norm": 1.0,
            "skipped_steps": 0,
            "learned_tokens": 10 * step,
            "positions_per_s": positions_per_s,
            "data_wait": 0.0,
        });
        serde_json::from_value(line).expect("a line of metrics")
    }

    fn eval((steps, val_loss, emoji): (u64, f64, f64)) -> Evaluation {
        let probes = BTreeMap::from([("emoji".to_string(), emoji)]);
        Evaluation { steps, val_loss: Some(val_loss), probes, suites: BTreeMap::new() }
    }

    #[test]
    fn compared_after_an_equal_amount_of_training() {
        let small = Course {
            metrics: (1..=8).map(|step| line(step, 9.0 - step as f64, 100.0)).collect(),
            evals: [(0, 5.0, 0.1), (4, 4.0, 0.5), (8, 3.0, 0.9)].map(eval).to_vec(),
            samples_per_step: 2,
            ..Course::default()
        };
        let large = Course {
            metrics: (1..=2).map(|step| line(step, 6.0, [1.0, 300.0][step as usize - 1])).collect(),
            evals: [(0, 5.0, 0.1), (2, 3.5, 0.2)].map(eval).to_vec(),
            samples_per_step: 4,
            ..Course::default()
        };
        let courses = [&small, &large];
        let found = metric_rows(&courses, Align::Samples, true);
        let values: Vec<_> = found.rows.iter().map(|row| (&*row.name, &row.values[..])).collect();
        assert_eq!(found.until, 8);
        assert_eq!(
            values,
            [
                ("after step", &[Some(4.0), Some(2.0)][..]),
                ("val_loss", &[Some(4.0), Some(3.5)]),
                ("val_loss at end", &[Some(3.0), Some(3.5)]),
                ("emoji", &[Some(0.5), Some(0.2)]),
                ("loss", &[Some(5.0), Some(6.0)]),
                ("positions/s", &[Some(100.0), Some(300.0)]),
            ]
        );
        let by_tokens = metric_rows(&courses, Align::Tokens, false);
        assert_eq!(by_tokens.until, 20);
        let row = |name: &str| by_tokens.rows.iter().find(|row| row.name == name).expect("a row");
        assert_eq!(row("loss").values, [Some(7.0), Some(6.0)]);
        assert_eq!(row("val_loss").better, None, "over other documents");
    }

    #[test]
    fn an_evaluation_before_the_first_step_has_no_verdict() {
        let course = |steps: u64, evals: &[(u64, f64, f64)]| Course {
            metrics: (1..=steps).map(|step| line(step, 1.0, 1.0)).collect(),
            evals: evals.iter().copied().map(eval).collect(),
            samples_per_step: 1,
            ..Course::default()
        };
        let smoke = course(4, &[(0, 4.0, 0.0), (4, 2.8, 0.1)]);
        let whole = course(36, &[(0, 4.0, 0.0), (9, 2.0, 0.5), (36, 1.5, 0.9)]);
        let found = metric_rows(&[&smoke, &whole], Align::Samples, true);
        let losses = found.rows.iter().filter(|row| row.name.starts_with("val_loss"));
        let losses: Vec<_> = losses.map(|row| (&row.values[..], row.better)).collect();
        let expected = [(&[Some(2.8), Some(4.0)][..], None), (&[Some(2.8), Some(1.5)], None)];
        assert_eq!((found.is_untrained, &losses[..]), (true, &expected[..]));
    }

    #[test]
    fn runs_without_steps_have_no_metrics() {
        let nothing = Course::default();
        assert_eq!(metric_rows(&[&nothing, &nothing], Align::Samples, true).rows, []);
    }
}
