//! `resolved.toml`: every setting in force, each with where it came from.

use toml_edit::{Document, DocumentMut, Item, Table, Value};

use super::absolute;
use crate::config::{Loaded, Origin};

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
    value.decor_mut().set_suffix(format!("  # {origin}"));
}
