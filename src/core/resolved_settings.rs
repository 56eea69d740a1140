//! `resolved.toml`: every setting with its origin; `overrides.toml`: the settings that did not come from the experiment
//! file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use toml_edit::{Document, DocumentMut, Item, Table, Value};

use crate::config::{Loaded, Origin};
use crate::diagnostic::Text;
use crate::recorded_paths::{absolute, path_of_record, recorded_path};

/// Separator between a value and its origin.
const COMMENT: &str = "  # ";
/// Table and key of each path; a source of documents has the key of the first one.
const PATHS: [(&str, &str); 5] = [
    ("data", "data_file"),
    ("data", "source"),
    ("model", "load_model"),
    ("model", "tokenizer"),
    ("peft", "init_file"),
];
/// Prefixes of origins other than the experiment file.
const OVERRIDES: [&str; 4] = ["--set", "environment ", "profile ", "ctl "];

/// The settings as TOML, each value followed by its origin as a comment. Paths are absolute, so that they are valid in
/// any folder.
pub fn resolved_toml(loaded: &Loaded) -> String {
    annotated(loaded, &BTreeMap::new(), absolute)
}

/// As [`resolved_toml`], for the `resolved.toml` of the run at `run`: paths in the same project are relative. Values from
/// a recorded `resolved.toml` keep the origins that it names, as [`ResolvedSettings::origins`] returns them.
pub fn recorded_toml(loaded: &Loaded, origins: &BTreeMap<String, String>, run: &Path) -> String {
    annotated(loaded, origins, |path| recorded_path(path, run))
}

fn annotated(
    loaded: &Loaded,
    origins: &BTreeMap<String, String>,
    written: impl Fn(&Path) -> PathBuf,
) -> String {
    let mut config = loaded.config.clone();
    for (_, path) in config.paths_mut() {
        *path = written(path);
    }
    let text = toml::to_string(&config).expect("settings are plain data");
    let mut document: DocumentMut =
        Document::parse(text).expect("what was just written").into_mut();
    annotate(document.as_table_mut(), "", &|path| {
        let origin = loaded.origins.get(path).unwrap_or(&Origin::Default);
        match (origin, origins.get(path)) {
            (Origin::File { .. }, Some(first)) => first.clone(),
            _ => origin.to_string(),
        }
    });
    document.to_string()
}

fn annotate(table: &mut Table, prefix: &str, origin: &dyn Fn(&str) -> String) {
    for (key, item) in table.iter_mut() {
        let path = below(prefix, &key);
        match item {
            Item::Value(value) => comment(value, &origin(&path)),
            Item::Table(table) => annotate(table, &path, origin),
            Item::ArrayOfTables(tables) => {
                for table in tables.iter_mut() {
                    for (_, item) in table.iter_mut() {
                        if let Item::Value(value) = item {
                            comment(value, &origin(&path));
                        }
                    }
                }
            }
            Item::None => {}
        }
    }
}

fn comment(value: &mut Value, origin: &str) {
    // The name of a profile may contain line breaks.
    let origin = origin.replace(char::is_control, " ");
    value.decor_mut().set_suffix(format!("{COMMENT}{origin}"));
}

/// The dotted key of `key` in a table.
fn below(prefix: &str, key: &str) -> String {
    if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") }
}

/// The text of `overrides.toml` for a text of [`resolved_toml`]: the values set by profiles, the environment, the command
/// line or a request to the live run, in the same order, each with its origin.
///
/// # Panics
/// When `resolved` is not valid TOML.
pub fn overrides_toml(resolved: &str) -> String {
    let document = Document::parse(resolved.to_string()).expect("settings are TOML");
    let mut document = document.into_mut();
    keep_overrides(document.as_table_mut());
    match document.to_string() {
        empty if empty.is_empty() => "# nothing was set over the experiment file\n".to_string(),
        values => format!("# set over the experiment file\n{values}"),
    }
}

fn keep_overrides(table: &mut Table) {
    let is_override = |value: &Value| {
        commented(value)
            .is_some_and(|origin| OVERRIDES.iter().any(|start| origin.starts_with(start)))
    };
    table.retain(|_, item| match item {
        Item::Value(value) => is_override(value),
        Item::Table(table) => {
            keep_overrides(table);
            !table.is_empty()
        }
        Item::ArrayOfTables(tables) => {
            let mut values = tables.iter().flat_map(|table| table.iter());
            values.any(|(_, item)| item.as_value().is_some_and(is_override))
        }
        Item::None => false,
    });
}

/// Collects the origins that [`comment`] wrote.
fn read_comments(table: &Table, prefix: &str, origins: &mut BTreeMap<String, String>) {
    for (key, item) in table.iter() {
        let path = below(prefix, key);
        let origin = match item {
            Item::Value(value) => commented(value),
            Item::Table(table) => {
                read_comments(table, &path, origins);
                None
            }
            Item::ArrayOfTables(tables) => {
                let values = tables.iter().flat_map(|table| table.iter());
                values.filter_map(|(_, item)| commented(item.as_value()?)).next()
            }
            Item::None => None,
        };
        if let Some(origin) = origin {
            origins.insert(path, origin);
        }
    }
}

fn commented(value: &Value) -> Option<String> {
    let origin = value.decor().suffix()?.as_str()?.strip_prefix(COMMENT)?;
    Some(origin.trim_end().to_string())
}

/// The content of `resolved.toml`.
#[derive(Clone, Debug, Default)]
pub struct ResolvedSettings {
    /// The settings.
    pub values: toml::Table,
    text: String,
}

impl ResolvedSettings {
    /// Parses the text of `resolved.toml`.
    ///
    /// # Errors
    /// What is wrong with the TOML.
    pub fn parse(text: String) -> Result<ResolvedSettings, Text> {
        let values = toml::from_str(&text).map_err(|error| Text::library(error.message()))?;
        Ok(ResolvedSettings { values, text })
    }

    /// Makes the paths absolute that are relative to the run at `run`, as [`recorded_toml`] writes them.
    pub(crate) fn resolve_paths(&mut self, run: &Path) {
        for (table, key) in PATHS {
            let value = self.values.get_mut(table).and_then(|table| table.get_mut(key));
            let tables = match value {
                Some(toml::Value::Array(sources)) => {
                    sources.iter_mut().filter_map(|source| source.get_mut(PATHS[0].1)).collect()
                }
                value => Vec::from_iter(value),
            };
            for value in tables {
                if let toml::Value::String(path) = value
                    && path.starts_with("../")
                {
                    let found = absolute(&path_of_record(path.as_ref(), run));
                    *path = found.to_string_lossy().into_owned();
                }
            }
        }
    }

    /// The origin of each value by dotted key. A list counts as one value; the origin of a list of tables is that of its
    /// first value.
    pub fn origins(&self) -> BTreeMap<String, String> {
        let mut origins = BTreeMap::new();
        if let Ok(document) = self.text.parse::<DocumentMut>() {
            read_comments(document.as_table(), "", &mut origins);
        }
        origins
    }

    /// The values by dotted key; a list counts as one value.
    pub fn flat(&self) -> BTreeMap<String, &toml::Value> {
        fn add<'a>(
            prefix: &str,
            table: &'a toml::Table,
            into: &mut BTreeMap<String, &'a toml::Value>,
        ) {
            for (key, value) in table {
                let key = below(prefix, key);
                match value {
                    toml::Value::Table(table) => add(&key, table, into),
                    value => {
                        into.insert(key, value);
                    }
                }
            }
        }
        let mut flat = BTreeMap::new();
        add("", &self.values, &mut flat);
        flat
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Overrides, parse};

    #[test]
    fn values_and_origins_are_read_back() {
        let file = "\
name = \"a\"
data = { data_file = \"a.jsonl\" }
peft = { type = \"state\" }
schedule = { lr_init = 1.0, lr_final = 0.01 }

[sample]
prompts = [\"User: a = b  # c\\n\\nAssistant:\", \"two\"]

[[sample.probe]]
name = \"emoji\"
regex = \"x\"
";
        let set = vec!["train.ctx_len=64".to_string()];
        let overrides = Overrides { set, ..Overrides::default() };
        let loaded = parse("a.toml".as_ref(), file.to_string(), &overrides).expect("valid");
        let resolved = ResolvedSettings::parse(resolved_toml(&loaded)).expect("TOML");
        let (flat, origins) = (resolved.flat(), resolved.origins());
        assert_eq!(flat["train.ctx_len"].as_integer(), Some(64));
        assert_eq!(flat["sample.prompts"].as_array().map(Vec::len), Some(2));
        for (key, origin) in [
            ("name", "file line 1"),
            ("train.ctx_len", "--set"),
            ("train.op", "default"),
            ("sample.prompts", "file line 7"),
            ("sample.probe", "file line 9"),
        ] {
            assert_eq!(origins.get(key).map(String::as_str), Some(origin), "{key}");
        }
        assert!(flat.keys().eq(origins.keys()));
    }

    #[test]
    fn overrides_are_the_values_from_elsewhere() {
        let file = "\
name = \"a\"
peft = { type = \"state\" }
schedule = { lr_init = 1.0, lr_final = 0.01 }

[data]
data_file = \"/a.jsonl\"

[profile.long.train]
epoch_count = 9
ctx_len = 128

[[profile.long.sample.probe]]
name = \"emoji\"
regex = \"x\"
";
        let loaded = |overrides| parse("a.toml".as_ref(), file.into(), &overrides).expect("valid");
        let nothing = overrides_toml(&resolved_toml(&loaded(Overrides::default())));
        assert_eq!(nothing, "# nothing was set over the experiment file\n");
        let overrides = Overrides {
            profiles: vec!["long".to_string()],
            environment: vec![("STATETUNE__SCHEDULE__LR_INIT".to_string(), "0.5".to_string())],
            set: ["train.ctx_len=64", "tags=['a  # b']"].map(str::to_owned).to_vec(),
            ..Overrides::default()
        };
        let expected = "\
# set over the experiment file
tags = [\"a  # b\"]  # --set

[train]
ctx_len = 64  # --set
epoch_count = 9  # profile long, file line 9

[schedule]
lr_init = 0.5  # environment STATETUNE__SCHEDULE__LR_INIT

[sample]

[[sample.probe]]
name = \"emoji\"  # profile long, file line 12
regex = \"x\"  # profile long, file line 12
json = false  # profile long, file line 12
min_chars = 0  # profile long, file line 12
stop = false  # profile long, file line 12
";
        let overrides = overrides_toml(&resolved_toml(&loaded(overrides)));
        assert_eq!(overrides, expected);
        toml::from_str::<toml::Table>(&overrides).expect("TOML");
    }

    #[test]
    fn reloaded_settings_keep_their_origins() {
        let file = "\
name = \"a\"
peft = { type = \"state\" }
schedule = { lr_init = 1.0, lr_final = 0.01 }
data = { data_file = \"/a.jsonl\" }
";
        let set = |set: &str| Overrides { set: vec![set.to_string()], ..Overrides::default() };
        let first = parse("a.toml".as_ref(), file.into(), &set("train.ctx_len=64"));
        let first = resolved_toml(&first.expect("valid"));
        let origins = ResolvedSettings::parse(first.clone()).expect("TOML").origins();
        let run = "/runs/a".as_ref();
        let again = parse("resolved.toml".as_ref(), first.clone(), &Overrides::default());
        assert_eq!(recorded_toml(&again.expect("valid"), &origins, run), first);
        let changed = parse("resolved.toml".as_ref(), first.clone(), &set("schedule.lr_init=0.5"));
        assert_eq!(
            recorded_toml(&changed.expect("valid"), &origins, run),
            first.replace("lr_init = 1.0  # file line 3", "lr_init = 0.5  # --set")
        );
    }
}
