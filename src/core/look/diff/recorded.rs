//! What a comparison needs of a stored run, read once.

use std::collections::BTreeMap;
use std::path::Path;

use crate::records::{Event, Link, Lock, ReadRunError};
use crate::store::{SampleLine, StoredRun};

use super::causes::START;
use super::metrics::Course;

/// The moment of which samples are compared.
const TUNED: &str = "tuned";

/// A stored run as far as it is compared.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The letters of its id.
    pub id: String,
    /// The experiment's name.
    pub name: String,
    /// Each setting: its value as TOML, and where it came from.
    pub settings: BTreeMap<String, (String, String)>,
    /// What it depended on; absent before its inputs were read.
    pub lock: Option<Lock>,
    /// The checkpoint of another run whose values it began with.
    pub start: Option<String>,
    /// Digests of its documents in the order of the sources; absent where they were not recorded.
    pub documents: Option<Vec<u64>>,
    /// Digests of its steps.
    pub chain: Vec<Link>,
    /// Losses, probes, speed.
    pub course: Course,
    /// What the tuned model answered.
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

    /// Reads the records of a run, settings and lock from another folder of it.
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

    /// The lines of its environment, by name: what computed, beside its data.
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
