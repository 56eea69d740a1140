//! A run as a row of a table, with all values for conditions and sorting.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use statetune_core::plan::{Reach, reach};
use statetune_core::records::{ProbeRate, ReadRunError, RunRecord, SuiteHistory, local_time};
use statetune_core::store::{Annotations, StoredRun};

/// Columns of `runs ls` for conditions and sorting, besides the settings.
pub(super) const COLUMNS: [&str; 14] = [
    "id",
    "name",
    "directory",
    "status",
    "steps",
    "val_loss",
    "validation",
    "best_step",
    "probe",
    "suite",
    "age",
    "tag",
    "pinned",
    "note",
];

/// The values of a stored run that a list of runs needs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Row {
    pub(crate) id: String,
    pub(crate) name: String,
    pub(crate) directory: String,
    pub(crate) path: std::path::PathBuf,
    /// State of the run.
    #[serde(rename = "standing")]
    pub(crate) state: &'static str,
    /// Optimizer steps done.
    pub(crate) steps: u64,
    /// Tags of the experiment file and tags added later.
    pub(crate) tags: Vec<String>,
    pub(crate) pinned: bool,
    pub(crate) note: String,
    /// The letter of its validation documents among those of the table; absent where all runs have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) validation: Option<String>,
    /// The first metric of each suite at the newest evaluation, named.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) suites: BTreeMap<String, f64>,
    /// The letter of the items of its first suite among those of the table; absent where all runs have the same.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) suite_items: Option<String>,
    /// Which items of the first suite were asked how.
    #[serde(skip)]
    pub(crate) asked: Option<String>,
    /// Settings that differ from the row above, with this run's values.
    pub(crate) changed: BTreeMap<String, String>,
    /// The content of `status.json`.
    pub(crate) record: RunRecord,
    /// Displayed value of each setting by dotted key.
    #[serde(skip)]
    pub(crate) settings: BTreeMap<String, String>,
}

impl Row {
    /// Reads a run.
    ///
    /// # Errors
    /// When status, annotations or settings cannot be read.
    pub(crate) fn read(path: &Path) -> Result<Row, ReadRunError> {
        let run = StoredRun::open(path)?;
        let Annotations { pinned, tags, note } = run.annotations()?;
        let resolved = run.settings()?;
        let flat = resolved.flat();
        let of_file = flat.get("tags").and_then(|tags| tags.as_array()).into_iter().flatten();
        let mut all_tags: Vec<String> =
            of_file.filter_map(|tag| Some(tag.as_str()?.to_string())).collect();
        all_tags.extend(tags.into_iter().filter(|tag| !all_tags.contains(tag)).collect::<Vec<_>>());
        let (suites, asked) = suites(&SuiteHistory::load(path)?);
        Ok(Row {
            id: run.id(),
            name: run.name(),
            directory: run.directory(),
            path: path.to_path_buf(),
            state: run.state().name(),
            steps: run.steps()?,
            tags: all_tags,
            pinned,
            note,
            validation: None,
            suites,
            suite_items: None,
            asked,
            changed: BTreeMap::new(),
            record: run.record().clone(),
            settings: flat.into_iter().map(|(key, value)| (key, shown(value))).collect(),
        })
    }

    /// The lowest validation loss, otherwise the newest.
    pub(crate) fn val_loss(&self) -> Option<f64> {
        self.record.best.and_then(|best| best.val_loss).or(self.record.val_loss)
    }

    /// [`Row::val_loss`] in a table, with the letter of the validation documents.
    pub(crate) fn val_loss_shown(&self) -> Option<String> {
        let letter = self.validation.iter().map(|letter| format!(" {letter}"));
        Some(format!("{:.4}{}", self.val_loss()?, letter.collect::<String>()))
    }

    /// The metric of the first suite.
    pub(crate) fn suite(&self) -> Option<f64> {
        self.suites.values().next().copied()
    }

    /// [`Row::suite`] in a table, with its name and the letter of the items.
    pub(crate) fn suite_shown(&self) -> Option<String> {
        let (name, value) = self.suites.first_key_value()?;
        let letter = self.suite_items.iter().map(|letter| format!(" {letter}"));
        Some(format!("{name} {value:.3}{}", letter.collect::<String>()))
    }

    /// The first probe.
    pub(crate) fn probe(&self) -> Option<f64> {
        self.record.probes.first().and_then(|ProbeRate { tuned, .. }| *tuned)
    }

    /// Seconds since the start; `None` when the recorded time is not valid or in the future.
    pub(crate) fn age_secs(&self) -> Option<u64> {
        let age = local_time().signed_duration_since(self.record.started()?);
        u64::try_from(age.num_seconds()).ok()
    }

    /// The values for `key`: a column or the dotted key of a setting. Tags have several values.
    pub(super) fn values(&self, key: &str) -> Vec<String> {
        let one = |value: Option<String>| value.into_iter().collect();
        match key {
            "id" => vec![self.id.clone()],
            "directory" => vec![self.directory.clone()],
            "status" => vec![self.state.to_string()],
            "steps" => vec![self.steps.to_string()],
            "val_loss" => one(self.val_loss().map(|loss| loss.to_string())),
            "validation" => one(self.validation.clone()),
            "best_step" => one(self.record.best.map(|best| best.steps.to_string())),
            "probe" => one(self.probe().map(|rate| rate.to_string())),
            "suite" => one(self.suite().map(|value| value.to_string())),
            "age" => one(self.age_secs().map(|secs| secs.to_string())),
            "tag" => self.tags.clone(),
            "pinned" => vec![self.pinned.to_string()],
            "note" => vec![self.note.clone()],
            _ => one(self.settings.get(key).cloned()),
        }
    }

    /// Records the settings that differ from those of `above`, if numbers depend on them.
    pub(crate) fn compare(&mut self, above: &Row) {
        let matters = |key: &str| reach(key) != Reach::Nothing;
        let keys = self.settings.keys().chain(above.settings.keys());
        self.changed = keys
            .filter(|key| matters(key) && self.settings.get(*key) != above.settings.get(*key))
            .map(|key| {
                let now = self.settings.get(key).map_or("none", String::as_str);
                (key.clone(), now.to_string())
            })
            .collect();
    }

    /// The settings of [`Row::compare`] in short form: `lr_init 1.0, micro_bsz 4`.
    pub(crate) fn changed_in_short(&self) -> String {
        let short = |(key, value): (&String, &String)| {
            let last = key.rsplit('.').next().unwrap_or(key);
            format!("{last} {value}")
        };
        self.changed.iter().map(short).collect::<Vec<_>>().join(", ")
    }
}

/// The first metric of each suite at its newest evaluation, named, and which items of the first one were asked how.
fn suites(history: &SuiteHistory) -> (BTreeMap<String, f64>, Option<String>) {
    let (mut values, mut asked) = (BTreeMap::new(), BTreeMap::new());
    for name in history.names() {
        let Some((_, scores)) = history.newest(name) else { continue };
        if let Some((metric, value)) = scores.metrics().next() {
            values.insert(format!("{name} {metric}"), value);
            asked.insert(format!("{name} {metric}"), scores.asked());
        }
    }
    (values, asked.into_values().next())
}

/// The displayed value of a setting: text without quotes, a number as a person writes it.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Float(number) => format!("{number:?}"),
        other => other.to_string(),
    }
}
