//! The records of a run that a report shows.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::chart::Point;
use crate::data::Coverage;
use crate::objective::Rewards;
use crate::records::{
    Event, EventLine, Fact, Lock, Metrics, ReadRunError, RunDir, RunRecord, SuiteHistory,
    ValLosses, suite_values,
};
use crate::store::{Annotations, RunState, SampleLine, StoredRun};
use crate::suite::Comparison;

/// A run in a report.
#[derive(Debug)]
pub(super) struct RunData {
    /// Name of the run directory.
    pub(super) directory: String,
    /// The run's id, which names curves and columns.
    pub(super) id: String,
    /// Path of the run directory, as given by the user.
    pub(super) path: String,
    pub(super) state: RunState,
    pub(super) record: RunRecord,
    pub(super) annotations: Annotations,
    /// Settings by dotted key.
    pub(super) settings: BTreeMap<String, Setting>,
    /// Text of the experiment file.
    pub(super) experiment: String,
    pub(super) lock: Option<Lock>,
    pub(super) facts: Vec<Fact>,
    pub(super) coverage: Option<Coverage>,
    pub(super) metrics: Vec<Metrics>,
    /// Validation losses by step.
    pub(super) val_losses: Vec<Point>,
    /// How validation answers are judged at the newest evaluation.
    pub(super) rewards: Option<Rewards>,
    /// Losses of validation documents at each evaluation.
    pub(super) val_losses_by_document: Option<ValLosses>,
    /// For each probe the share of matching answers by step, from 0 to 1.
    pub(super) probe_rates: BTreeMap<String, Vec<Point>>,
    /// For each suite the first metric by step, named.
    pub(super) suite_values: BTreeMap<String, Vec<Point>>,
    /// Each suite before training beside its newest evaluation, with the steps done then.
    pub(super) suites: Vec<(u64, Comparison)>,
    /// Peak memory of the newest process: of the GPU's tensors, and resident.
    pub(super) peak_gpu_bytes: Option<u64>,
    pub(super) peak_resident_bytes: Option<u64>,
    pub(super) events: Vec<EventLine>,
    /// Prompts and answers by file name: `base`, `tuned`, `step-0000120`.
    pub(super) samples: BTreeMap<String, Vec<SampleLine>>,
    /// Training time up to the last checkpoint, in seconds.
    pub(super) trained_secs: Option<f64>,
}

/// A setting of a run.
#[derive(Debug)]
pub(super) struct Setting {
    /// The value, as TOML.
    pub(super) value: String,
    /// The origin, as in `resolved.toml`.
    pub(super) origin: String,
}

impl RunData {
    /// Reads the records of a run.
    ///
    /// # Errors
    /// The first record that cannot be read.
    pub(super) fn read(run: &StoredRun) -> Result<RunData, ReadRunError> {
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
        let peaks = events.iter().rev().find_map(known_at_end).unwrap_or_default();
        Ok(RunData {
            directory: run.directory(),
            id: run.id(),
            path: run.path().display().to_string(),
            state: run.state(),
            record: run.record().clone(),
            annotations: run.annotations()?,
            settings,
            experiment,
            lock: run.lock(),
            facts,
            coverage,
            metrics: run.metrics()?,
            val_losses: evaluated(&events, |event| match event {
                Event::Eval { val_loss, .. } => *val_loss,
                _ => None,
            }),
            rewards: events.iter().rev().find_map(|line| match &line.event {
                Event::Eval { rewards, .. } => *rewards,
                _ => None,
            }),
            val_losses_by_document: ValLosses::load(run.path())?,
            probe_rates: rates(&events, |event| match event {
                Event::Eval { probes, .. } => probes.clone(),
                _ => BTreeMap::new(),
            }),
            suite_values: rates(&events, |event| match event {
                Event::Eval { suites, .. } => suite_values(suites).collect(),
                _ => BTreeMap::new(),
            }),
            suites: SuiteHistory::load(run.path())?.comparisons(),
            peak_gpu_bytes: peaks.0,
            peak_resident_bytes: peaks.1,
            events,
            samples: run.samples()?,
            trained_secs: run.checkpoints().last().map(|last| last.record.totals.trained_secs),
        })
    }

    /// The value of a setting as text; `None` without the setting or when it is empty.
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

fn known_at_end(line: &EventLine) -> Option<(Option<u64>, Option<u64>)> {
    match &line.event {
        Event::End { peak_gpu_bytes, peak_gpu_reserved_bytes, peak_resident_bytes, .. } => {
            Some((peak_gpu_reserved_bytes.or(*peak_gpu_bytes), *peak_resident_bytes))
        }
        _ => None,
    }
}

/// Values of evaluations by name and step.
fn rates(
    events: &[EventLine],
    values: impl Fn(&Event) -> BTreeMap<String, f64>,
) -> BTreeMap<String, Vec<Point>> {
    let names: BTreeSet<String> =
        events.iter().flat_map(|line| values(&line.event).into_keys()).collect();
    let points = |name: String| {
        let points = evaluated(events, |event| values(event).get(&name).copied());
        (name, points)
    };
    names.into_iter().map(points).collect()
}

/// The `value` of evaluations by step, without those after a checkpoint from which a later process resumed.
fn evaluated(events: &[EventLine], value: impl Fn(&Event) -> Option<f64>) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    for line in events {
        match &line.event {
            Event::Eval { steps, .. } => {
                points.extend(value(&line.event).map(|value| (*steps as f64, value)));
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
    fn repeated_evaluations_count_once() {
        let eval = |steps, val_loss| Event::Eval {
            steps,
            epochs: 0,
            val_loss: Some(val_loss),
            suites: BTreeMap::new(),
            rewards: None,
            probes: BTreeMap::from([("emoji".to_string(), val_loss / 10.0)]),
            counts: Vec::new(),
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
        let val_loss = |event: &Event| match event {
            Event::Eval { val_loss, .. } => *val_loss,
            _ => None,
        };
        assert_eq!(evaluated(&events, val_loss), [(0.0, 5.0), (2.0, 4.0), (4.0, 3.0)]);
        let probes = |event: &Event| match event {
            Event::Eval { probes, .. } => probes.clone(),
            _ => BTreeMap::new(),
        };
        assert_eq!(rates(&events, probes)["emoji"], [(0.0, 0.5), (2.0, 0.4), (4.0, 0.3)]);
    }
}
