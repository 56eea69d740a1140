//! The structs of this module as JSON Schema, for editors and for the checks of `load`.

use schemars::Schema;
use schemars::generate::SchemaSettings;
use schemars::transform::RecursiveTransform;
use serde_json::{Map, Value, json};

use super::Config;

/// Key by which the variants of a tagged enum are told apart.
pub(super) const TAG: &str = "type";

/// The experiment file as JSON Schema, draft 7.
pub fn schema() -> Value {
    SchemaSettings::draft07()
        .with_transform(RecursiveTransform(tidy))
        .into_generator()
        .into_root_schema_for::<Config>()
        .to_value()
}

/// [`schema`] as the text of `schemas/experiment.schema.json`. It is about one file, not about all layers: what
/// a file must say may come from the one that it extends or from its recipe.
pub fn schema_text() -> String {
    let mut schema = schema();
    let table = schema.as_object_mut().expect("a schema is a table");
    let required = table.shift_remove("required").expect("a file must say something");
    let alone = json!({ "required": required });
    let layered = ["extends", "recipe"].map(|key| json!({ "required": [key] }));
    table.insert("anyOf".to_owned(), layered.into_iter().chain([alone]).collect());
    format!("{schema:#}\n")
}

/// Makes the first variant of a tagged enum the one that is meant where no `type` is written.
pub(super) fn first_type_is_default(schema: &mut Schema) {
    let first = schema.get_mut("oneOf").and_then(|variants| variants.get_mut(0));
    let Some(first) = first.and_then(Value::as_object_mut) else { return };
    first.shift_remove("required");
    if let Some(tag) = first.get_mut("properties").and_then(|properties| properties.get_mut(TAG)) {
        tag["default"] = tag["const"].clone();
    }
}

/// Says in the plainest terms what the derived schema means, so that editors show it well and each
/// fault has one cause: there is no null in TOML, a choice is an `enum`, a bound is a number.
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

/// Absent is the only way to leave an option out.
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

/// Turns a `oneOf` of constants into an `enum`; the texts go where TOML editors look for them.
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

/// Tells editors which keys a new table begins with, and that keys stand in the order of the struct.
fn arrange_table(schema: &mut Map<String, Value>) {
    if !schema.get("properties").is_some_and(Value::is_object) {
        return;
    }
    if let Some(required) = schema.get("required").cloned() {
        schema.insert("x-taplo".to_owned(), json!({ "initKeys": required }));
    }
    schema.insert("x-tombi-table-keys-order".to_owned(), json!("schema"));
}

/// Writes the width of an integer as a bound, because `format` is only a comment to validators.
fn bound_integer(schema: &mut Map<String, Value>) {
    if schema.shift_remove("format") == Some(json!("uint32")) {
        schema.entry("maximum").or_insert(json!(u32::MAX));
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_schema_file_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas/experiment.schema.json");
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
    fn the_schema_is_draft_7() {
        assert_eq!(schema()["$schema"], "http://json-schema.org/draft-07/schema#");
        assert!(schema()["definitions"]["Train"].is_object());
        jsonschema::draft7::new(&schema()).expect("a valid schema");
    }

    #[test]
    fn a_choice_is_an_enum_with_a_text_for_each_word() {
        let precision = &schema()["definitions"]["Train"]["properties"]["precision"];
        assert_eq!(precision["enum"], json!(["fp32", "tf32", "bf16", "fp16"]));
        assert_eq!(precision["default"], "bf16");
        assert_eq!(precision["x-taplo"]["docs"]["enumValues"].as_array().map(Vec::len), Some(4));
        let preset = &schema()["definitions"]["Model"]["properties"]["preset"];
        assert_eq!(preset["enum"][0], "rwkv5-0.1b");
    }
}
