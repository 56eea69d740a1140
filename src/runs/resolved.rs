//! `resolved.toml`: every setting in force, each with where it came from.

use std::collections::BTreeMap;

use toml_edit::{Document, DocumentMut, Item, Table, Value};

use super::absolute;
use crate::config::{Loaded, Origin};

/// What stands between a value and where it came from.
const COMMENT: &str = "  # ";

/// The settings as TOML, a comment behind each value. Paths are absolute, so that they hold in the run
/// directory too.
///
/// # Panics
/// Never on settings that were loaded: they are plain tables, numbers and texts.
pub fn resolved_toml(loaded: &Loaded) -> String {
    let mut config = loaded.config.clone();
    for (_, path) in config.paths_mut() {
        *path = absolute(path);
    }
    let text = toml::to_string(&config).expect("settings are plain data");
    let mut document: DocumentMut =
        Document::parse(text).expect("what was just written").into_mut();
    annotate(document.as_table_mut(), "", loaded);
    document.to_string()
}

fn annotate(table: &mut Table, prefix: &str, loaded: &Loaded) {
    for (key, item) in table.iter_mut() {
        let path = if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
        match item {
            Item::Value(value) => comment(value, &path, loaded),
            Item::Table(table) => annotate(table, &path, loaded),
            Item::ArrayOfTables(tables) => {
                for table in tables.iter_mut() {
                    for (_, item) in table.iter_mut() {
                        if let Item::Value(value) = item {
                            comment(value, &path, loaded);
                        }
                    }
                }
            }
            Item::None => {}
        }
    }
}

fn comment(value: &mut Value, path: &str, loaded: &Loaded) {
    let origin = loaded.origins.get(path).unwrap_or(&Origin::Default);
    value.decor_mut().set_suffix(format!("{COMMENT}{origin}"));
}

/// Collects what [`comment`] wrote.
fn read_comments(table: &Table, prefix: &str, origins: &mut BTreeMap<String, String>) {
    for (key, item) in table.iter() {
        let path = if prefix.is_empty() { key.to_string() } else { format!("{prefix}.{key}") };
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

/// Settings as `resolved.toml` holds them.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// The settings.
    pub values: toml::Table,
    text: String,
}

impl Resolved {
    /// Reads the text of `resolved.toml`.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub fn parse(text: String) -> Result<Resolved, String> {
        let values = toml::from_str(&text).map_err(|error| error.message().to_string())?;
        Ok(Resolved { values, text })
    }

    /// Where each value came from, as it is shown, by dotted key. A list counts as one value; of a list of
    /// tables the first value tells.
    pub fn origins(&self) -> BTreeMap<String, String> {
        let mut origins = BTreeMap::new();
        if let Ok(document) = self.text.parse::<DocumentMut>() {
            read_comments(document.as_table(), "", &mut origins);
        }
        origins
    }

    /// The values with their dotted keys; a list counts as one value.
    pub fn flat(&self) -> BTreeMap<String, &toml::Value> {
        fn add<'a>(
            prefix: &str,
            table: &'a toml::Table,
            into: &mut BTreeMap<String, &'a toml::Value>,
        ) {
            for (key, value) in table {
                let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
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
        let resolved = Resolved::parse(resolved_toml(&loaded)).expect("TOML");
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
}
