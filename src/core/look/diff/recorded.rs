//! The records of a stored run that a comparison needs, read once.

use std::collections::BTreeMap;
use std::path::Path;

use super::causes::START;
use super::metrics::Course;
use crate::records::{Event, Link, Lock, ReadRunError};
use crate::store::{SampleLine, StoredRun};

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
    /// Digests of the documents in the order of the sources; `None` when not recorded.
    pub documents: Option<Vec<u64>>,
    /// Digests of the steps.
    pub chain: Vec<Link>,
    /// Losses, probes, throughput.
    pub course: Course,
    /// Answers after training.
    pub samples: Vec<SampleLine>,
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
        let origins = resolved.origins();
        let origin = |key: &String| origins.get(key).cloned().unwrap_or_default();
        let settings =
            flat.iter().map(|(key, value)| (key.clone(), (value.to_string(), origin(key))));
        let mut recorded = Recorded {
            id: run.id(),
            name: run.name(),
            settings: settings.collect(),
            lock: Lock::load(folder),
            start: None,
            documents: run.documents()?,
            chain: run.chain()?,
            course: Course { metrics: run.metrics()?, samples_per_step, ..Course::default() },
            samples: run.samples()?.remove(TUNED).unwrap_or_default(),
        };
        for line in run.events()? {
            match line.event {
                Event::Values { checkpoint } => {
                    recorded.start = Some(checkpoint.display().to_string());
                }
                Event::Eval { steps, val_loss, .. } => {
                    recorded.course.evals.extend(val_loss.map(|val_loss| (steps, val_loss)));
                }
                Event::End { probes, .. } => {
                    let rates = probes.into_iter().filter_map(|p| Some((p.name, p.tuned?)));
                    recorded.course.probes = rates.collect();
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
