//! `metrics.jsonl`: what happened in each interval.

use std::path::Path;

use super::{Entry, Kept, Sink};
use crate::runs::{Metrics, RunDir, RunDirError};

/// A line of [`Metrics`] an interval.
#[derive(Debug)]
pub(super) struct Jsonl;

impl Sink for Jsonl {
    fn add(&mut self, run: &RunDir, entry: &Entry<'_>) -> Result<(), RunDirError> {
        let Entry::Interval(metrics) = entry else { return Ok(()) };
        let line = serde_json::to_string(metrics).expect("metrics are plain data");
        run.append(Metrics::FILE, &line)
    }

    fn rewind(&self, run: &RunDir, kept: Kept) -> Result<(), RunDirError> {
        let step =
            |line: &str| serde_json::from_str::<Metrics>(line).ok().map(|metrics| metrics.step);
        run.keep_lines(Metrics::FILE, |line| step(line).is_some_and(|step| step <= kept.steps))
    }

    fn files(&self, _: &Path) -> Vec<String> {
        vec![Metrics::FILE.to_string()]
    }
}
