//! `metrics.jsonl` and `times.jsonl`: metrics and throughput of each interval.

use std::path::Path;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ReadRunError, read_records};
use crate::objective::Rewards;

/// A line of `metrics.jsonl`: the interval since the previous line. Runs that compute the same numbers have equal lines;
/// throughput is in `times.jsonl`. Earlier versions wrote both to `metrics.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(title = "statetune metrics")]
pub struct Metrics {
    /// Optimizer steps done.
    pub step: u64,
    /// Mini-epoch of the last step, counted from 0.
    pub epoch: u64,
    /// Mean loss of the steps, in nats: that of the objective; `null` when every step was skipped.
    #[serde(deserialize_with = "null_is_nan")]
    pub loss: f64,
    /// Learning rate of the last step.
    pub lr: f64,
    /// Gradient norm of the last step before clipping; `null` when the step was skipped.
    #[serde(deserialize_with = "null_is_nan")]
    #[schemars(with = "Option<f64>")]
    pub grad_norm: f64,
    /// Steps without an update: gradients overflowed under the loss scale of float16, numbers were not finite, or the
    /// step was skipped on request.
    pub skipped_steps: u64,
    /// Target tokens of all steps so far.
    pub learned_tokens: u64,
    /// How the answers of the steps were judged, on average; only with an objective that compares answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rewards: Option<Rewards>,
    /// As in [`Times`]; NaN when unknown.
    #[serde(default = "unknown", skip_serializing)]
    #[schemars(skip)]
    pub positions_per_s: f64,
    /// As in [`Times`]; NaN when unknown.
    #[serde(default = "unknown", skip_serializing)]
    #[schemars(skip)]
    pub data_wait: f64,
}

impl Metrics {
    /// Name of the file.
    pub const FILE: &str = "metrics.jsonl";
}

fn null_is_nan<'de, D: serde::Deserializer<'de>>(value: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(value)?.unwrap_or(f64::NAN))
}

fn unknown() -> f64 {
    f64::NAN
}

/// A line of `times.jsonl`: throughput of an interval of `metrics.jsonl`.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[schemars(title = "statetune times")]
pub struct Times {
    /// Optimizer steps done.
    pub step: u64,
    /// Positions per second, padding included.
    pub positions_per_s: f64,
    /// Share of the time spent waiting for batches, from 0 to 1.
    pub data_wait: f64,
}

impl Times {
    /// Name of the file.
    pub const FILE: &str = "times.jsonl";

    /// The times of an interval.
    pub fn of(metrics: &Metrics) -> Times {
        let Metrics { step, positions_per_s, data_wait, .. } = *metrics;
        Times { step, positions_per_s, data_wait }
    }

    /// Fills in the times of their interval among `metrics`, sorted by step; returns whether the interval was found.
    pub(crate) fn put_into(&self, metrics: &mut [Metrics]) -> bool {
        let found = metrics.binary_search_by_key(&self.step, |line| line.step);
        if let Ok(at) = found {
            metrics[at].positions_per_s = self.positions_per_s;
            metrics[at].data_wait = self.data_wait;
        }
        found.is_ok()
    }
}

/// The intervals of the run at `run` with their times, without broken lines.
///
/// # Errors
/// When a file cannot be read.
pub fn read_metrics(run: &Path) -> Result<Vec<Metrics>, ReadRunError> {
    let mut metrics: Vec<Metrics> = read_records(&run.join(Metrics::FILE))?;
    // A live run writes the times first: every interval read above has its times.
    for times in read_records::<Times>(&run.join(Times::FILE))? {
        times.put_into(&mut metrics);
    }
    Ok(metrics)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A line of a run of an earlier version.
    const BEFORE: &str = r#"{"step":2,"epoch":0,"loss":1.5,"lr":0.1,"grad_norm":null,"skipped_steps":0,"learned_tokens":9,"positions_per_s":100.0,"data_wait":0.25}"#;

    #[test]
    fn both_files_and_old_runs_are_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let write = |name: &str, text: String| {
            std::fs::write(folder.path().join(name), text).expect("written");
        };
        let read = || -> Vec<(u64, f64, f64)> {
            let lines = read_metrics(folder.path()).expect("lines");
            lines.iter().map(|line| (line.step, line.positions_per_s, line.data_wait)).collect()
        };
        assert_eq!(read(), []);
        write(Metrics::FILE, format!("{BEFORE}\n"));
        assert_eq!(read(), [(2, 100.0, 0.25)]);
        let old: Metrics = serde_json::from_str(BEFORE).expect("a line");
        let next = Metrics { step: 4, positions_per_s: 50.0, data_wait: 0.5, ..old };
        let line = serde_json::to_string(&next).expect("plain data");
        assert_eq!(
            line,
            r#"{"step":4,"epoch":0,"loss":1.5,"lr":0.1,"grad_norm":null,"skipped_steps":0,"learned_tokens":9}"#
        );
        write(Metrics::FILE, format!("{BEFORE}\n{line}\n"));
        assert!(read()[1].1.is_nan(), "its times are missing");
        let times = serde_json::to_string(&Times::of(&next)).expect("plain data");
        // The times of the next interval come before it.
        write(Times::FILE, format!("{times}\n{}\n", times.replace(":4", ":6")));
        assert_eq!(read(), [(2, 100.0, 0.25), (4, 50.0, 0.5)]);
    }
}
