//! `metrics.jsonl` and `times.jsonl`: loss, learning rate and gradient norm of each interval, and its speed.

use std::path::Path;

use super::{Kept, Sink};
use crate::records::{Event, Metrics, RunDir, RunDirError, Times};

/// A line of [`Metrics`] and a line of [`Times`] per interval.
#[derive(Debug)]
pub(super) struct Jsonl;

impl Sink for Jsonl {
    fn add(&mut self, run: &RunDir, event: &Event) -> Result<(), RunDirError> {
        let Event::Interval(metrics) = event else { return Ok(()) };
        // Times first, so that a reader finds the times of every line of metrics.
        let times = serde_json::to_string(&Times::of(metrics)).expect("times are plain data");
        run.append(Times::FILE, &times)?;
        let line = serde_json::to_string(metrics).expect("metrics are plain data");
        run.append(Metrics::FILE, &line)
    }

    fn rewind(&self, run: &RunDir, kept: Kept) -> Result<(), RunDirError> {
        let is_kept = |step: Option<u64>| step.is_some_and(|step| step <= kept.steps);
        run.keep_lines(Times::FILE, |line| {
            is_kept(serde_json::from_str::<Times>(line).ok().map(|times| times.step))
        })?;
        run.keep_lines(Metrics::FILE, |line| {
            is_kept(serde_json::from_str::<Metrics>(line).ok().map(|metrics| metrics.step))
        })
    }

    fn files(&self, _: &Path) -> Vec<String> {
        vec![Times::FILE.to_string(), Metrics::FILE.to_string()]
    }
}
