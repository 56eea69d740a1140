//! The tables as JSON Schema, for editors and for the checks.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value, json};

use super::flat::{OPEN, flatten, join_types};
use crate::config::tables::Config;

/// The experiment file as JSON Schema, draft 7.
pub fn schema() -> Value {
    SchemaSettings::draft07()
        .with_transform(RecursiveTransform(tidy))
        .into_generator()
        .into_root_schema_for::<Config>()
        .to_value()
}

/// [`schema`] as the text of `schemas/experiment.schema.json`. The text describes one file and not all layers: a profile,
/// and a file that extends another one or names a recipe, may leave required keys to the other layers.
pub fn schema_text() -> String {
    let mut schema = schema();
    let definitions = take_table(&mut schema, "definitions");
    let mut layered = definitions.clone();
    let table = schema.as_object_mut().expect("a schema is a table");
    let tables: Vec<(String, String)> = properties(table).filter_map(reference).collect();
    let mut alone = Map::new();
    for (key, name) in tables {
        let demands = require_nothing(layered.get_mut(&name).expect("what is named is there"));
        alone.extend(demands.map(|demands| (key, demands)));
    }
    layered.insert("Profile".to_owned(), profile(table));
    table["properties"]["profile"]["additionalProperties"] =
        json!({ "$ref": "#/definitions/Profile" });
    let required = table.shift_remove("required").expect("a file must say something");
    let names_layer = ["extends", "recipe"].map(|key| json!({ "required": [key], OPEN: true }));
    table.insert("if".to_owned(), json!({ "anyOf": names_layer, OPEN: true }));
    table.insert("then".to_owned(), json!({ OPEN: true }));
    table.insert(
        "else".to_owned(),
        json!({ "required": required, "properties": alone, OPEN: true }),
    );
    table.insert("definitions".to_owned(), layered.into());
    join_types(&mut schema);
    format!("{schema:#}\n")
}

fn take_table(schema: &mut Value, key: &str) -> Map<String, Value> {
    match schema.as_object_mut().and_then(|table| table.shift_remove(key)) {
        Some(Value::Object(table)) => table,
        _ => Map::new(),
    }
}

/// The keys of a table with their schemas.
pub(super) fn properties(schema: &Map<String, Value>) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// A key whose value is a table, with the name of its definition.
fn reference((key, property): (&String, &Value)) -> Option<(String, String)> {
    let target = property["allOf"][0]["$ref"].as_str()?;
    Some((key.clone(), target.trim_start_matches("#/definitions/").to_owned()))
}

/// Removes the required keys of a table, and returns the requirements of a file without other layers. A tagged table gets
/// the form that editors show best.
fn require_nothing(table: &mut Value) -> Option<Value> {
    let required = table.as_object_mut()?.shift_remove("required");
    if let Some(required) = required {
        return Some(json!({ "required": required, OPEN: true }));
    }
    flatten(table)
}

/// The tables of a profile: those of the file except for the keys that add layers.
fn profile(file: &Map<String, Value>) -> Value {
    let mut own: Map<String, Value> =
        properties(file).map(|(key, property)| (key.clone(), property.clone())).collect();
    own.retain(|key, _| !["extends", "profile"].contains(&key.as_str()));
    json!({
        "type": "object",
        "description": "The settings of a profile, checked together with the file that they override.",
        OPEN: false,
        "properties": own,
        "x-tombi-table-keys-order": "schema",
    })
}

/// Simplifies a derived schema, so that editors show it well and each error has one cause: TOML has no null, a choice is
/// an `enum`, a bound is a number.
fn tidy(schema: &mut Schema) {
    let Some(schema) = schema.as_object_mut() else { return };
    drop_null(schema);
    name_choices(schema);
    bound_integer(schema);
    arrange_table(schema);
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = text.replace('\n', " ");
    }
    // Each key of a table has its own default.
    if schema.get("default").is_some_and(Value::is_object) {
        schema.shift_remove("default");
    }
}

/// Removes null: an option is left out by leaving out its key.
fn drop_null(schema: &mut Map<String, Value>) {
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|one| one != "null");
        if let [one] = types.as_slice() {
            schema["type"] = one.clone();
        }
    }
    let Some(Value::Array(branches)) = schema.get_mut("anyOf") else { return };
    branches.retain(|branch| *branch != json!({ "type": "null" }));
    if let [Value::Object(only)] = branches.as_slice() {
        let only = only.clone();
        schema.shift_remove("anyOf");
        for (key, value) in only {
            schema.entry(key).or_insert(value);
        }
    }
}

/// Turns a `oneOf` of constants into an `enum`, with the descriptions where TOML editors look for them.
fn name_choices(schema: &mut Map<String, Value>) {
    let Some(Value::Array(branches)) = schema.get("oneOf") else { return };
    let all = |key| branches.iter().map(|branch| branch.get(key).cloned()).collect();
    let (Some(choices), Some(docs)): (Option<Vec<Value>>, Option<Vec<Value>>) =
        (all("const"), all("description"))
    else {
        return;
    };
    schema.shift_remove("oneOf");
    schema.insert("type".to_owned(), json!("string"));
    schema.insert("enum".to_owned(), choices.into());
    schema.insert("x-taplo".to_owned(), json!({ "docs": { "enumValues": docs } }));
}

/// Tells editors which keys a new table begins with, and to order keys as the struct does.
fn arrange_table(schema: &mut Map<String, Value>) {
    if !schema.get("properties").is_some_and(Value::is_object) {
        return;
    }
    if let Some(required) = schema.get("required").cloned() {
        schema.insert("x-taplo".to_owned(), json!({ "initKeys": required }));
    }
    schema.insert("x-tombi-table-keys-order".to_owned(), json!("schema"));
}

/// Writes the width of an integer as a bound, because validators ignore `format`.
fn bound_integer(schema: &mut Map<String, Value>) {
    if schema.shift_remove("format") == Some(json!("uint32")) {
        schema.entry("maximum").or_insert(json!(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::tagged::TAG;

    #[test]
    fn the_schema_file_is_current() {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/experiment.schema.json");
        if std::env::var_os("STATETUNE_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(&file, schema_text()).expect("the schema file can be written");
        }
        let stored = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(stored == schema_text(), "run the tests with STATETUNE_BLESS=1 to write {file:?}");
    }

    #[test]
    fn every_table_is_closed_and_every_key_described() {
        fn check(node: &Value, place: &str) {
            if let Some(properties) = node.get("properties").and_then(Value::as_object) {
                assert_eq!(node["additionalProperties"], false, "{place}");
                for (key, property) in properties.iter().filter(|(key, _)| *key != TAG) {
                    assert!(property["description"].is_string(), "{place}/{key}");
                }
            }
            assert!(node.get("format").is_none(), "{place}");
            assert_ne!(node.get("type"), Some(&json!(["string", "null"])), "{place}");
            let children: Vec<(String, &Value)> = match node {
                Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
                Value::Array(list) => list
                    .iter()
                    .enumerate()
                    .map(|(index, value)| (index.to_string(), value))
                    .collect(),
                _ => Vec::new(),
            };
            for (key, child) in children {
                check(child, &format!("{place}/{key}"));
            }
        }
        let mut schema = schema();
        // The experiment file has a key `format`, which is not the keyword.
        schema["properties"].as_object_mut().expect("an object").remove("format");
        check(&schema, "");
    }

    #[test]
    fn editors_know_what_a_table_begins_with() {
        let schema = schema();
        assert_eq!(schema["x-taplo"]["initKeys"], json!(["name", "data", "peft", "schedule"]));
        let schedule = &schema["definitions"]["Schedule"];
        assert_eq!(schedule["x-taplo"]["initKeys"], json!(["lr_init"]));
        assert_eq!(schedule["x-tombi-table-keys-order"], "schema");
    }

    #[test]
    fn a_profile_and_a_file_with_other_layers_may_leave_keys_out() {
        let rules: Value = serde_json::from_str(&schema_text()).expect("JSON");
        let rules = jsonschema::draft7::new(&rules).expect("a valid schema");
        let whole = json!({
            "name": "x", "data": {}, "peft": { "type": "lora" }, "schedule": { "lr_init": 1.0 },
        });
        let with = |key: &str, value: Value| {
            let mut file = whole.clone();
            file[key] = value;
            file
        };
        let profile = |value: Value| with("profile", json!({ "a": value }));
        for file in [
            whole.clone(),
            json!({ "extends": "a.toml", "peft": { "rank": 8 }, "schedule": {}, "quant": { "double": true } }),
            json!({ "recipe": "state", "name": "x", "data": {} }),
            profile(
                json!({ "peft": { "rank": 8 }, "quant": { "double": true }, "train": { "ctx_len": 8 } }),
            ),
            profile(
                json!({ "name": "y", "peft": { "type": "state", "init": "zeros" }, "quant": {} }),
            ),
        ] {
            assert!(rules.is_valid(&file), "{file}");
        }
        for file in [
            with("peft", json!({ "rank": 8 })),
            with("schedule", json!({})),
            with("quant", json!({ "double": true })),
            json!({ "name": "x", "data": {}, "peft": { "type": "lora" } }),
            json!({ "extends": "a.toml", "peft": { "type": "state", "rank": 8 } }),
            json!({ "recipe": "state", "schedule": { "lr_init": 0.0 } }),
            profile(json!({ "train": { "ctx_length": 8 } })),
            profile(json!({ "train": { "ctx_len": 0 } })),
            profile(json!({ "trains": {} })),
            profile(json!({ "extends": "a.toml" })),
            profile(json!({ "profile": {} })),
            profile(json!({ "peft": { "type": "state", "rank": 8 } })),
        ] {
            assert!(!rules.is_valid(&file), "{file}");
        }
    }

    #[test]
    fn the_schema_is_draft_7() {
        assert_eq!(schema()["$schema"], "http://json-schema.org/draft-07/schema#");
        assert!(schema()["definitions"]["Train"].is_object());
        jsonschema::draft7::new(&schema()).expect("a valid schema");
    }

    #[test]
    fn a_choice_is_an_enum_with_a_text_for_each_word() {
        let precision = &schema()["definitions"]["Train"]["properties"]["precision"];
        assert_eq!(precision["enum"], json!(["auto", "fp32", "tf32", "bf16", "fp16"]));
        assert_eq!(precision["default"], "auto");
        assert_eq!(precision["x-taplo"]["docs"]["enumValues"].as_array().map(Vec::len), Some(5));
        let preset = &schema()["definitions"]["Model"]["properties"]["preset"];
        assert_eq!(preset["enum"][0], "rwkv5-0.1b");
    }
}
