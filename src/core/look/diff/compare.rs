//! Several runs side by side.

use std::collections::BTreeSet;

use serde::Serialize;

use super::causes::{DATA, causes, chooses_documents};
use super::metrics::metric_rows;
use super::{Align, Cause, DataChange, Divergence, Documents, MetricRows, Recorded};

/// Several runs side by side; the others are compared with the first run.
#[derive(Clone, Debug, Serialize)]
pub struct Diff {
    /// The runs.
    pub runs: Vec<Name>,
    /// The settings that differ, sorted by key.
    pub settings: Vec<SettingRow>,
    /// Number of settings that are equal.
    pub equal_settings: usize,
    /// Number of documents that the first run learned from; `None` when not recorded.
    pub documents: Option<u64>,
    /// Lines of the environment that differ.
    pub environment: Vec<EnvironmentRow>,
    /// Metrics of all runs.
    pub metrics: MetricRows,
    /// Comparison of each other run with the first run.
    pub pairs: Vec<Pair>,
    /// Number of prompts that all runs answered.
    pub prompts: usize,
    /// Prompts whose answers differ.
    pub samples: Vec<SampleRow>,
}

/// Id and name of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Name {
    /// The run's id.
    pub id: String,
    /// The experiment's name.
    pub name: String,
}

/// A setting that differs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SettingRow {
    /// Dotted key.
    pub key: String,
    /// The value of each run, as TOML; `None` for a run without the setting.
    pub values: Vec<Option<String>>,
    /// Origin of each value: `file line 58`, `--set`, `default`.
    pub origins: Vec<Option<String>>,
}

/// A line of the environment that differs.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct EnvironmentRow {
    /// `libtorch`, `threads`, ...
    pub name: &'static str,
    /// The value of each run; `None` when not recorded.
    pub values: Vec<Option<String>>,
}

/// Comparison of a run with the first run.
#[derive(Clone, Debug, Serialize)]
pub struct Pair {
    /// Differences of the documents learned from.
    pub data: DataChange,
    /// Whether both runs measure the validation loss on the same documents.
    pub validation: Validation,
    /// The settings and inputs that choose other documents.
    pub data_causes: Vec<String>,
    /// The first step that differs.
    pub divergence: Divergence,
    /// The differences that can cause the divergence.
    pub causes: Vec<Cause>,
}

/// Whether two runs measure the validation loss on the same documents.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Validation {
    /// They do, or neither has validation documents.
    Same,
    /// They do not.
    Other {
        /// Number of documents of the first run.
        first: u64,
        /// Number of documents of the other run.
        other: u64,
    },
    /// A run of an earlier version did not record them.
    Unknown,
}

/// A prompt with different answers.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct SampleRow {
    /// The prompt.
    pub prompt: String,
    /// The answer of each run.
    pub answers: Vec<String>,
}

impl Diff {
    /// Compares at least two runs.
    pub fn of(runs: &[Recorded], align: Align) -> Diff {
        let all: Vec<&Recorded> = runs.iter().collect();
        let courses: Vec<_> = runs.iter().map(|run| &run.course).collect();
        let (settings, equal_settings) = setting_rows(&all);
        let environment = environment_rows(&all);
        let (prompts, samples) = sample_rows(runs);
        let first = &runs[0];
        let pairs: Vec<Pair> = runs[1..].iter().map(|run| Pair::of(first, run)).collect();
        let same_validation = pairs.iter().all(|pair| pair.validation == Validation::Same);
        Diff {
            runs: runs
                .iter()
                .map(|run| Name { id: run.id.clone(), name: run.name.clone() })
                .collect(),
            documents: first.documents.as_ref().map(Documents::learned_count),
            metrics: metric_rows(&courses, align, same_validation),
            pairs,
            settings,
            equal_settings,
            environment,
            prompts,
            samples,
        }
    }

    /// Whether everything is equal except for timing.
    pub fn is_same(&self) -> bool {
        let same = |pair: &Pair| {
            pair.data == DataChange::Same
                && pair.validation == Validation::Same
                && matches!(pair.divergence, Divergence::Same { .. })
        };
        self.settings.is_empty()
            && self.environment.is_empty()
            && self.samples.is_empty()
            && self.pairs.iter().all(same)
    }
}

impl Pair {
    /// Compares two runs.
    pub fn of(first: &Recorded, other: &Recorded) -> Pair {
        let pair = [first, other];
        let data = data_change(first, other);
        let mut differing: Vec<String> =
            setting_rows(&pair).0.into_iter().map(|row| row.key).collect();
        differing.extend(environment_rows(&pair).into_iter().map(|row| row.name.to_string()));
        if data != DataChange::Same && !same_files(first, other) {
            differing.push(DATA.to_string());
        }
        let divergence = match (&first.chain[..], &other.chain[..]) {
            ([], []) => Divergence::Unknown,
            (one, other) => Divergence::between(one, other),
        };
        let causes = causes(&differing, &divergence);
        let validation = validation(first, other);
        let is_same = data == DataChange::Same && validation == Validation::Same;
        differing.retain(|name| !is_same && chooses_documents(name));
        Pair { data, validation, data_causes: differing, divergence, causes }
    }
}

/// Whether both runs read the same data files.
fn same_files(first: &Recorded, other: &Recorded) -> bool {
    let files = |run: &Recorded| -> Option<Vec<String>> {
        Some(run.lock.as_ref()?.data.iter().map(|file| file.sha256.clone()).collect())
    };
    files(first) == files(other)
}

/// Compares the documents learned from; without a record of them, the data files.
fn data_change(first: &Recorded, other: &Recorded) -> DataChange {
    match (&first.documents, &other.documents) {
        (Some(was), Some(now)) => was.change_to(now),
        _ if same_files(first, other) => DataChange::Same,
        _ => DataChange::Unknown,
    }
}

/// Compares the validation documents; without a record of them, everything that chooses them.
fn validation(first: &Recorded, other: &Recorded) -> Validation {
    let known = first.documents.as_ref().zip(other.documents.as_ref());
    let known = known.and_then(|(one, two)| {
        let same = one.same_validation(two)?;
        let count = |documents: &Documents| documents.validation_count();
        Some((same, count(one)?, count(two)?))
    });
    let chosen_alike = || {
        let rows = setting_rows(&[first, other]).0;
        same_files(first, other) && !rows.iter().any(|row| chooses_documents(&row.key))
    };
    match known {
        Some((true, ..)) => Validation::Same,
        Some((false, first, other)) => Validation::Other { first, other },
        None if chosen_alike() => Validation::Same,
        None => Validation::Unknown,
    }
}

/// The settings that differ, and the number of equal ones.
fn setting_rows(runs: &[&Recorded]) -> (Vec<SettingRow>, usize) {
    let keys: BTreeSet<&String> = runs.iter().flat_map(|run| run.settings.keys()).collect();
    let all = keys.len();
    let row = |key: &String| {
        let of = |run: &&Recorded| run.settings.get(key).cloned();
        let (values, origins) = runs.iter().map(|run| of(run).unzip()).unzip();
        SettingRow { key: key.clone(), values, origins }
    };
    let rows = keys.into_iter().map(row).filter(|row| !all_equal(&row.values));
    let rows: Vec<SettingRow> = rows.collect();
    let equal = all - rows.len();
    (rows, equal)
}

/// The lines of the environment that differ, in the order of the lock.
fn environment_rows(runs: &[&Recorded]) -> Vec<EnvironmentRow> {
    let lines: Vec<_> = runs.iter().map(|run| run.environment()).collect();
    let mut names: Vec<&'static str> = Vec::new();
    for (name, _) in lines.iter().flatten() {
        if !names.contains(name) {
            names.push(name);
        }
    }
    let row = |name: &'static str| {
        let of = |lines: &Vec<(&str, String)>| {
            lines.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone())
        };
        EnvironmentRow { name, values: lines.iter().map(of).collect() }
    };
    names.into_iter().map(row).filter(|row| !all_equal(&row.values)).collect()
}

/// The number of prompts that all runs answered, and the prompts with different answers.
fn sample_rows(runs: &[Recorded]) -> (usize, Vec<SampleRow>) {
    let mut prompts = 0;
    let mut rows = Vec::new();
    for line in &runs[0].samples {
        let answer = |run: &Recorded| {
            let mut lines = run.samples.iter();
            lines.find(|one| one.prompt == line.prompt).map(|one| one.answer.clone())
        };
        let Some(answers) = runs.iter().map(answer).collect::<Option<Vec<String>>>() else {
            continue;
        };
        prompts += 1;
        if !all_equal(&answers) {
            rows.push(SampleRow { prompt: line.prompt.clone(), answers });
        }
    }
    (prompts, rows)
}

fn all_equal<T: PartialEq>(values: &[T]) -> bool {
    values.windows(2).all(|pair| pair[0] == pair[1])
}
