//! What an edit of the settings means for a run that is to be continued.

use serde_json::Value;

use crate::config::Config;

/// How far a changed setting reaches.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reach {
    /// No number of the run depends on it: names, records, samples, which files are kept.
    Nothing,
    /// The run gets longer or shorter, and the learning rates that are still to come change with it.
    Length,
    /// Every later step would be another one.
    Everything,
}

/// Settings, or whole tables, that no number of a run depends on. Contents of files are compared by
/// themselves, so their paths are free.
const FREE: [&str; 21] = [
    "checkpoint",
    "data.data_file",
    "description",
    "eval.every_steps",
    "export",
    "extends",
    "format",
    "guard",
    "hardware",
    "log",
    "model.load_model",
    "model.tokenizer",
    "name",
    "peft.init_file",
    "profile",
    "recipe",
    "sample",
    "sweep",
    "tags",
    "train.epoch_begin",
    "train.resume_from",
];

/// Settings that say how long a run is, also within what is free otherwise.
const LENGTH: [&str; 4] = ["eval.metric", "eval.patience", "sample.probe", "train.epoch_count"];

/// A setting that differs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Change {
    /// Dotted key.
    pub key: String,
    /// Its value in the run, as JSON; `none` where there was none.
    pub was: String,
    /// Its value now.
    pub now: String,
    /// What depends on it.
    pub reach: Reach,
}

/// The settings that differ between those of a run and those of now, sorted by key.
pub fn changes(was: &Config, now: &Config) -> Vec<Change> {
    let (was, now) = (flat(was), flat(now));
    let keys: std::collections::BTreeSet<&String> =
        was.iter().chain(&now).map(|(key, _)| key).collect();
    let value = |of: &[(String, Value)], key: &str| {
        let found = of.iter().find(|(name, _)| name == key);
        found.map_or("none".to_string(), |(_, value)| value.to_string())
    };
    keys.into_iter()
        .filter_map(|key| {
            let (was, now) = (value(&was, key), value(&now, key));
            (was != now).then(|| Change { key: key.clone(), was, now, reach: reach(key) })
        })
        .collect()
}

/// The settings that the numbers of a run depend on, a line `key = value` each, sorted by key.
pub fn settings_of_numbers(config: &Config) -> String {
    let mut settings = flat(config);
    settings.retain(|(key, _)| reach(key) != Reach::Nothing);
    settings.sort_by(|(a, _), (b, _)| a.cmp(b));
    settings.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
}

/// What depends on the setting `key`.
pub fn reach(key: &str) -> Reach {
    let of = |list: &[&str]| {
        list.iter().any(|one| {
            key.strip_prefix(one).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
    };
    match () {
        () if of(&LENGTH) => Reach::Length,
        () if of(&FREE) => Reach::Nothing,
        () => Reach::Everything,
    }
}

/// The settings with their dotted keys; a list counts as one value.
fn flat(config: &Config) -> Vec<(String, Value)> {
    fn add(prefix: &str, value: Value, into: &mut Vec<(String, Value)>) {
        match value {
            Value::Object(table) => {
                for (key, value) in table {
                    let key = if prefix.is_empty() { key } else { format!("{prefix}.{key}") };
                    add(&key, value, into);
                }
            }
            value => into.push((prefix.to_string(), value)),
        }
    }
    let mut settings = Vec::new();
    let all = serde_json::to_value(config).expect("settings are plain data");
    add("", all, &mut settings);
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, parse};

    #[test]
    fn names_and_paths_are_no_part_of_the_numbers() {
        let of = |name: &str, data_file: &str, ctx_len: u32| {
            let text = format!(
                "name = \"{name}\"\npeft = {{ type = \"full\" }}\n\
                 data = {{ data_file = \"{data_file}\" }}\ntrain = {{ ctx_len = {ctx_len} }}\n\
                 schedule = {{ lr_schedule = \"constant\", lr_init = 1.0 }}\n"
            );
            let loaded = parse("a.toml".as_ref(), text, &Overrides::default());
            settings_of_numbers(&loaded.expect("a valid experiment file").config)
        };
        assert_eq!(of("a", "b.jsonl", 64), of("c", "d.jsonl", 64));
        assert_ne!(of("a", "b.jsonl", 64), of("a", "b.jsonl", 128));
        let settings = of("a", "b.jsonl", 64);
        assert!(settings.contains("\ntrain.epoch_count = 1\n"), "{settings}");
        assert!(settings.lines().is_sorted());
    }
}
