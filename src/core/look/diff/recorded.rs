//! The records of a stored run that a comparison needs, read once.

use std::collections::BTreeMap;
use std::path::Path;

use super::causes::START;
use super::documents::Documents;
use super::metrics::{Course, Evaluation};
use crate::records::{Event, Link, Lock, ReadRunError, SuiteHistory, suite_values};
use crate::resolved_settings::ResolvedSettings;
use crate::store::{SampleLine, StoredRun};
use crate::suite::Better;

/// Name of the compared samples.
const TUNED: &str = "tuned";

/// The compared records of a stored run.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The run's id.
    pub id: String,
    /// The experiment's name.
    pub name: String,
    /// Value, as TOML, and origin of each setting by dotted key.
    pub settings: BTreeMap<String, (String, String)>,
    /// Inputs and environment; `None` when the run ended before it read its inputs.
    pub lock: Option<Lock>,
    /// The checkpoint of another run that the run started from (`--from`).
    pub start: Option<String>,
    /// The documents; `None` when not recorded.
    pub documents: Option<Documents>,
    /// Digests of the steps.
    pub chain: Vec<Link>,
    /// Losses, probes, throughput.
    pub course: Course,
    /// Answers after training.
    pub samples: Vec<SampleLine>,
}

/// Value and origin of each setting by dotted key. Sources are told apart: `data.source[1].weight`. Keys that a run of an
/// earlier version lacks have the value that the run used.
fn settings(resolved: &ResolvedSettings) -> BTreeMap<String, (String, String)> {
    let (flat, origins) = (resolved.flat(), resolved.origins());
    let mut settings = BTreeMap::new();
    for (key, value) in &flat {
        let origin = origins.get(key).cloned().unwrap_or_default();
        let tables = value.as_array().filter(|_| key == "data.source");
        match tables {
            Some(tables) => {
                for (i, table) in tables.iter().enumerate() {
                    for (name, value) in table.as_table().into_iter().flatten() {
                        let key = format!("{key}[{i}].{name}");
                        settings.insert(key, (value.to_string(), origin.clone()));
                    }
                }
            }
            None => {
                settings.insert(key.clone(), (value.to_string(), origin));
            }
        }
    }
    let default = |value: String| (value, "default".to_string());
    if let Some((seed, _)) = settings.get("train.random_seed").cloned() {
        settings.entry("data.val_seed".to_string()).or_insert(default(seed));
    }
    settings.entry("eval.limit".to_string()).or_insert(default("0".to_string()));
    settings.entry("eval.suites".to_string()).or_insert(default("[]".to_string()));
    settings
}

/// For the first metric of each suite which items were asked how, and which value is better.
fn asked(history: &SuiteHistory) -> BTreeMap<String, (String, Better)> {
    let of = |name: &str| {
        let (_, scores) = history.newest(name)?;
        let metric = scores.kind.metrics().first()?;
        Some((format!("{name} {}", metric.name), (scores.asked(), metric.better)))
    };
    history.names().into_iter().filter_map(of).collect()
}

impl Recorded {
    /// Reads the records of a run.
    ///
    /// # Errors
    /// The first record that cannot be read.
    pub fn read(run: &StoredRun) -> Result<Recorded, ReadRunError> {
        Recorded::read_with(run, run.path())
    }

    /// Reads the records of a run, but settings and lock from `folder`: one of its past settings.
    ///
    /// # Errors
    /// The first record that cannot be read.
    pub fn read_with(run: &StoredRun, folder: &Path) -> Result<Recorded, ReadRunError> {
        let resolved = StoredRun::settings_in(folder)?;
        let flat = resolved.flat();
        let number = |key: &str| {
            let value = flat.get(key).and_then(|value| value.as_integer());
            value.and_then(|value| u64::try_from(value).ok()).unwrap_or(1)
        };
        let samples_per_step = number("train.micro_bsz") * number("train.accumulate_grad_batches");
        let limit = flat.get("eval.limit").and_then(|limit| limit.as_integer()).unwrap_or(0);
        let copies = run.copies()?;
        let documents = run.documents()?.map(|digests| {
            Documents::new(digests, copies, usize::try_from(limit).unwrap_or(usize::MAX))
        });
        let mut recorded = Recorded {
            id: run.id(),
            name: run.name(),
            settings: settings(&resolved),
            lock: Lock::load(folder),
            start: None,
            documents,
            chain: run.chain()?,
            course: Course {
                metrics: run.metrics()?,
                samples_per_step,
                suites: asked(&SuiteHistory::load(run.path())?),
                ..Course::default()
            },
            samples: run.samples()?.remove(TUNED).unwrap_or_default(),
        };
        for line in run.events()? {
            match line.event {
                Event::Values { checkpoint } => {
                    recorded.start = Some(checkpoint.display().to_string());
                }
                Event::Eval { steps, val_loss, probes, suites, .. } => {
                    let suites = suite_values(&suites).collect();
                    recorded.course.evals.push(Evaluation { steps, val_loss, probes, suites });
                }
                _ => {}
            }
        }
        Ok(recorded)
    }

    /// The lines of the environment: name and value.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut lines = self
            .lock
            .as_ref()
            .map_or(Vec::new(), |lock| [&lock.machine()[..], &lock.inputs()].concat());
        if let Some(start) = &self.start {
            lines.push((START, start.clone()));
        }
        lines
    }
}
