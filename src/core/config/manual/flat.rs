//! Alternatives as editors show them best: a tagged table as one flat list of keys, with which of them each type has, and
//! a value of several types as one schema.
//!
//! taplo reports a `oneOf` as one error over the whole table and proposes every key as often as variants have it. With
//! `if` and `then` for each type it names the key that does not belong to the type. The rules form a chain of `else`: of a
//! table with a list of rules, `allOf`, taplo completes no key at all.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use crate::tagged::TAG;

/// Whether a table may have other keys. A part of a schema that only requires something leaves the table open, because
/// tombi takes every part for the whole.
pub(super) const OPEN: &str = "additionalProperties";

/// Writes a table of variants as one list of keys with a rule for each type. Returns what a file without other layers
/// must say: the type, where the first variant is not the default, or else a type for keys that the first variant lacks.
/// `None` for other tables, which stay.
pub(super) fn flatten(table: &mut Value) -> Option<Value> {
    let table = table.as_object_mut()?;
    if !table.get("oneOf")?[0]["properties"].is_object() {
        return None;
    }
    let Some(Value::Array(variants)) = table.shift_remove("oneOf") else { return None };
    let variants: Vec<Variant<'_>> = variants.iter().filter_map(Variant::new).collect();
    let mut all: Map<String, Value> = Map::new();
    all.insert(TAG.to_owned(), tag(&variants));
    for key in variants.iter().flat_map(|variant| variant.keys.keys()) {
        if !all.contains_key(key) {
            all.insert(key.clone(), common(key, &variants));
        }
    }
    let rules: Vec<Value> = variants.iter().filter_map(|variant| variant.rule(&all)).collect();
    let first = variants.first()?;
    let demands = match first.is_default {
        _ if variants.len() == 1 => None,
        false => Some(json!({ "required": [TAG], OPEN: true })),
        true => {
            let foreign = all.keys().filter(|key| !first.keys.contains_key(*key));
            let needs_tag: Map<String, Value> =
                foreign.map(|key| (key.clone(), json!([TAG]))).collect();
            Some(json!({ "dependencies": needs_tag, OPEN: true }))
        }
    };
    table.insert("type".to_owned(), json!("object"));
    table.insert(OPEN.to_owned(), json!(false));
    table.insert("properties".to_owned(), all.into());
    if let Some(Value::Object(rules)) = chain(rules) {
        table.extend(rules);
    }
    table.insert("x-taplo".to_owned(), json!({ "initKeys": [TAG] }));
    table.insert("x-tombi-table-keys-order".to_owned(), json!("schema"));
    demands
}

/// Rules as one: each applies where none before does. `None` without rules.
fn chain(rules: Vec<Value>) -> Option<Value> {
    rules.into_iter().rev().reduce(|mut later, mut rule| {
        later[OPEN] = json!(true);
        rule["else"] = later;
        rule
    })
}

/// Writes values of several types, such as a number or a word, as one schema: taplo proposes a key as often as its value has
/// alternatives, and reports a wrong value as none of them. A word is a `pattern`, as an `enum` would refuse the other type.
pub(super) fn join_types(schema: &mut Value) {
    match schema {
        Value::Object(table) => {
            join(table);
            table.values_mut().for_each(join_types);
        }
        Value::Array(list) => list.iter_mut().for_each(join_types),
        _ => {}
    }
}

/// See [`join_types`]; alternatives of one type stay.
fn join(table: &mut Map<String, Value>) {
    let Some(Value::Array(alternatives)) = table.get("anyOf") else { return };
    let types: Option<Vec<&str>> = alternatives.iter().map(|one| one["type"].as_str()).collect();
    let Some(types) = types else { return };
    if types.iter().collect::<BTreeSet<_>>().len() < types.len() {
        return;
    }
    let types = json!(types);
    let Some(Value::Array(alternatives)) = table.shift_remove("anyOf") else { return };
    table.insert("type".to_owned(), types);
    for mut one in alternatives {
        let Some(one) = one.as_object_mut() else { continue };
        if let Some(Value::Array(words)) = one.shift_remove("enum") {
            add_words(table, &words, one.shift_remove("x-taplo"));
        }
        for (key, value) in std::mem::take(one) {
            table.entry(key).or_insert(value);
        }
    }
}

/// Adds words that a value may be, as a pattern, as examples, which tombi proposes, and with the description of each.
fn add_words(table: &mut Map<String, Value>, words: &[Value], taplo: Option<Value>) {
    let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
    let pattern = words.iter().map(|word| regex::escape(word)).collect::<Vec<_>>().join("|");
    table.insert("pattern".to_owned(), format!("^({pattern})$").into());
    if let Value::Array(examples) = table.entry("examples").or_insert_with(|| json!([])) {
        examples.extend(words.iter().map(|word| json!(word)));
    }
    let docs = taplo.unwrap_or_default();
    let docs = docs["docs"]["enumValues"].as_array().into_iter().flatten();
    let lines = words.iter().zip(docs).filter_map(|(word, doc)| Some((word, doc.as_str()?)));
    for (word, doc) in lines {
        if let Some(Value::String(text)) = table.get_mut("description") {
            text.push_str(&format!("\n\n`{word}`: {doc}"));
        }
    }
}

/// One type of a tagged table.
struct Variant<'a> {
    name: &'a Value,
    description: &'a str,
    /// Whether the type applies where the table has none.
    is_default: bool,
    /// All keys, [`TAG`] included.
    keys: &'a Map<String, Value>,
}

impl<'a> Variant<'a> {
    fn new(schema: &'a Value) -> Option<Variant<'a>> {
        let keys = schema["properties"].as_object()?;
        Some(Variant {
            name: &keys.get(TAG)?["const"],
            description: schema["description"].as_str().unwrap_or_default(),
            is_default: schema.get("required").is_none(),
            keys,
        })
    }

    /// What a table of this type may hold; `None` where each type has every key in the same form.
    fn rule(&self, all: &Map<String, Value>) -> Option<Value> {
        let own: Map<String, Value> = self
            .keys
            .iter()
            .map(|(key, property)| {
                let differs = key != TAG && all.get(key) != Some(property);
                (key.clone(), if differs { property.clone() } else { json!({}) })
            })
            .collect();
        let is_plain = own.len() == all.len() && own.values().all(|one| *one == json!({}));
        if is_plain {
            return None;
        }
        let named = json!({ TAG: { "const": self.name } });
        Some(json!({
            "if": { "properties": named, "required": [TAG], OPEN: true },
            "then": { "properties": own, OPEN: false },
        }))
    }
}

/// The key that names the type, with the description of each type.
fn tag(variants: &[Variant<'_>]) -> Value {
    let names: Vec<&Value> = variants.iter().map(|variant| variant.name).collect();
    let docs: Vec<&str> = variants.iter().map(|variant| variant.description).collect();
    let list = variants.iter().map(|one| match one.name.as_str() {
        Some(name) if !one.description.is_empty() => format!("`{name}`: {}", one.description),
        name => format!("`{}`", name.unwrap_or_default()),
    });
    let mut tag = json!({
        "type": "string",
        "description": list.collect::<Vec<_>>().join("\n\n"),
        "enum": names,
        "x-taplo": { "docs": { "enumValues": docs } },
    });
    if let Some(default) = variants.iter().find(|variant| variant.is_default) {
        tag["default"] = default.name.clone();
    }
    tag
}

/// What all variants with the key say about it. Where descriptions differ, each stands with its types.
fn common(key: &str, variants: &[Variant<'_>]) -> Value {
    let having =
        || variants.iter().filter_map(|one| Some((one.name.as_str()?, one.keys.get(key)?)));
    let Some((_, Value::Object(first))) = having().next() else { return json!({}) };
    let mut common = first.clone();
    common.retain(|word, value| having().all(|(_, other)| other.get(&**word) == Some(value)));
    if !common.contains_key("description") {
        let mut texts: Vec<(&str, Vec<&str>)> = Vec::new();
        for (name, property) in having() {
            let text = property["description"].as_str().unwrap_or_default();
            match texts.iter_mut().find(|(known, _)| *known == text) {
                Some((_, names)) => names.push(name),
                None => texts.push((text, vec![name])),
            }
        }
        let texts: Vec<String> =
            texts.iter().map(|(text, names)| format!("`{}`: {text}", names.join("`, `"))).collect();
        common.insert("description".to_owned(), texts.join("\n\n").into());
    }
    common.into()
}

#[cfg(test)]
mod tests {
    use super::super::schema::{properties, schema_text};
    use super::*;

    /// taplo proposes a key once for each alternative.
    #[test]
    fn a_value_of_several_types_is_one_schema() {
        fn alternatives(node: &Value) -> usize {
            let own = match node {
                Value::Object(table) => {
                    let keys = properties(table).map(|(_, key)| key).chain(table.get("items"));
                    keys.filter(|key| key.get("anyOf").or(key.get("oneOf")).is_some()).count()
                }
                _ => 0,
            };
            let nodes: Vec<&Value> = match node {
                Value::Object(table) => table.values().collect(),
                Value::Array(list) => list.iter().collect(),
                _ => Vec::new(),
            };
            own + nodes.into_iter().map(alternatives).sum::<usize>()
        }
        let schema: Value = serde_json::from_str(&schema_text()).expect("JSON");
        assert_eq!(alternatives(&schema), 0);
        let template = &schema["definitions"]["Data"]["properties"]["template"];
        assert_eq!(template["type"], json!(["string", "object"]));
        assert_eq!(template["examples"][0], "rwkv-qa");
        assert!(template["description"].as_str().is_some_and(|text| text.contains("\n\n`g1`: ")));
        let rules = jsonschema::draft7::new(&schema).expect("a valid schema");
        let is_valid = |table: &str, key: &str, value: Value| {
            let mut file = json!({ "extends": "a.toml" });
            file[table] = json!({ key: value });
            rules.is_valid(&file)
        };
        for (table, key, right, wrong) in [
            ("train", "epoch_steps", [json!(7), json!("pass")], [json!(0), json!("passes")]),
            ("schedule", "lr_init", [json!(1e-3), json!("auto")], [json!(0.0), json!("-auto")]),
            (
                "data",
                "template",
                [json!("g1"), json!({ "extends": "g1" })],
                [json!("g"), json!({ "extend": "g1" })],
            ),
        ] {
            assert!(right.into_iter().all(|value| is_valid(table, key, value)), "{key}");
            assert!(!wrong.into_iter().any(|value| is_valid(table, key, value)), "{key}");
        }
    }

    #[test]
    fn a_tagged_table_is_one_list_of_keys_with_rules() {
        let schema: Value = serde_json::from_str(&schema_text()).expect("JSON");
        let peft = &schema["definitions"]["Peft"];
        assert_eq!(peft.get("oneOf"), None);
        let types = peft["properties"][TAG]["enum"].as_array().expect("names").clone();
        let docs = &peft["properties"][TAG]["x-taplo"]["docs"]["enumValues"];
        assert_eq!((types.len(), docs.as_array().map(Vec::len)), (7, Some(7)));
        let later = |rule: &Value| rule.get("else").cloned();
        let rules: Vec<Value> = std::iter::successors(Some(peft.clone()), later).collect();
        assert_eq!(rules.len(), types.len(), "a rule for each type");
        assert!(rules[1..].iter().all(|rule| rule[OPEN] == true && rule["then"][OPEN] == false));
        let of_state = rules.iter().find(|rule| rule["if"]["properties"][TAG]["const"] == "state");
        let keys = properties(of_state.expect("a rule")["then"].as_object().expect("a table"));
        let keys: Vec<&String> = keys.map(|(key, _)| key).collect();
        let own = ["type", "init", "init_file", "init_prompt", "parts", "layers", "lr_scale"];
        assert_eq!(keys, own);
        let rank = &peft["properties"]["rank"];
        assert_eq!((&rank["minimum"], rank.get("default")), (&json!(1), None));
        let text = rank["description"].as_str().expect("a text");
        assert!(text.contains("`disha`, `miss`, `bone`: Rows of the block D"), "{text}");
        // One type and no rule.
        let optimizer = &schema["definitions"]["Optimizer"];
        assert_eq!(optimizer["properties"][TAG]["enum"], json!(["adam"]));
        assert_eq!(optimizer.get("if"), None);
        let tables = schema["definitions"].as_object().expect("definitions").values();
        let lists = tables.filter(|table| table["allOf"][0].get("if").is_some());
        assert_eq!(lists.count(), 0, "taplo completes nothing there");
    }
}
