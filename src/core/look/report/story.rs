//! All that a report says about one run, read from its directory.

use std::collections::BTreeMap;
use std::fs;

use super::thin::Point;
use crate::data::Coverage;
use crate::records::{Event, EventLine, Fact, Lock, Metrics, ReadRunError, RunDir, RunRecord};
use crate::store::{Annotations, RunState, SampleLine, StoredRun};

/// A run in a report.
#[derive(Debug)]
pub(super) struct Story {
    /// The name of its directory.
    pub(super) directory: String,
    /// The letters of its id, by which curves and columns name it.
    pub(super) id: String,
    /// Where it lies, as it was asked for.
    pub(super) path: String,
    pub(super) standing: RunState,
    pub(super) record: RunRecord,
    pub(super) marks: Annotations,
    /// Every setting and where it came from, by dotted key.
    pub(super) settings: BTreeMap<String, Setting>,
    /// The experiment file as it was written.
    pub(super) experiment: String,
    pub(super) lock: Option<Lock>,
    pub(super) facts: Vec<Fact>,
    pub(super) coverage: Option<Coverage>,
    pub(super) metrics: Vec<Metrics>,
    /// Held-out losses by step.
    pub(super) held_out: Vec<Point>,
    pub(super) events: Vec<EventLine>,
    /// Questions and answers by moment.
    pub(super) samples: BTreeMap<String, Vec<SampleLine>>,
    /// Seconds that its saved steps took.
    pub(super) trained_secs: Option<f64>,
}

/// A setting of a run.
#[derive(Debug)]
pub(super) struct Setting {
    /// Its value, as TOML.
    pub(super) value: String,
    /// Where it came from, as `resolved.toml` says it.
    pub(super) origin: String,
}

impl Story {
    /// Reads the run.
    ///
    /// # Errors
    /// The first record that cannot be read.
    pub(super) fn read(run: &StoredRun) -> Result<Story, ReadRunError> {
        let events = run.events()?;
        let resolved = run.settings()?;
        let origins = resolved.origins();
        let settings = resolved.flat().into_iter().map(|(key, value)| {
            let origin = origins.get(&key).cloned().unwrap_or_default();
            (key, Setting { value: value.to_string(), origin })
        });
        let settings = settings.collect();
        let experiment = run.path().join(RunDir::EXPERIMENT);
        let experiment = fs::read_to_string(&experiment)
            .map_err(|source| ReadRunError::Read { path: experiment, source })?;
        let (facts, coverage) = events.iter().rev().find_map(known_at_start).unwrap_or_default();
        Ok(Story {
            directory: run.directory(),
            id: run.id(),
            path: run.path().display().to_string(),
            standing: run.state(),
            record: run.record().clone(),
            marks: run.annotations()?,
            settings,
            experiment,
            lock: run.lock(),
            facts,
            coverage,
            metrics: run.metrics()?,
            held_out: held_out(&events),
            events,
            samples: run.samples()?,
            trained_secs: run.checkpoints().last().map(|last| last.record.totals.trained_secs),
        })
    }

    /// The value of a setting as text; `None` where the run has no such setting, or an empty one.
    pub(super) fn text(&self, key: &str) -> Option<String> {
        let value: toml::Table =
            format!("value = {}", self.settings.get(key)?.value).parse().ok()?;
        value["value"].as_str().filter(|text| !text.is_empty()).map(str::to_string)
    }
}

fn known_at_start(line: &EventLine) -> Option<(Vec<Fact>, Option<Coverage>)> {
    match &line.event {
        Event::Start { facts, coverage, .. } => Some((facts.clone(), *coverage)),
        _ => None,
    }
}

/// The held-out losses of the run as it stands: without those that were taken by a process after the
/// checkpoint that a later process went on from.
fn held_out(events: &[EventLine]) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for line in events {
        match &line.event {
            Event::Eval { steps, val_loss, .. } => {
                points.extend(val_loss.map(|val_loss| (*steps as f64, val_loss)))
            }
            Event::Resume { checkpoint: None, .. } => points.clear(),
            Event::Resume { steps, .. } => points.retain(|(step, _)| *step <= *steps as f64),
            _ => {}
        }
    }
    points
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_that_were_taken_again_count_once() {
        let eval = |steps, val_loss| Event::Eval {
            steps,
            epochs: 0,
            val_loss: Some(val_loss),
            probes: BTreeMap::new(),
        };
        let resume = |checkpoint: Option<&str>, steps| Event::Resume {
            run: None,
            checkpoint: checkpoint.map(str::to_string),
            steps,
            accepted: Vec::new(),
        };
        let events = [
            eval(0, 9.0),
            resume(None, 0),
            eval(0, 5.0),
            eval(2, 4.0),
            eval(4, 3.5),
            resume(Some("epoch-0000"), 2),
            eval(4, 3.0),
        ];
        let line = |event| EventLine { event, time: String::new() };
        let events: Vec<EventLine> = events.into_iter().map(line).collect();
        assert_eq!(held_out(&events), [(0.0, 5.0), (2.0, 4.0), (4.0, 3.0)]);
    }
}
