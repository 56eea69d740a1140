//! The schema as a tree of keys: which keys exist and what each may hold.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::chinese::first_sentence;
use super::schema::schema;
use crate::diagnostic::{Join, Text, msg};
use crate::tagged::TAG;

/// The steps from the top of the file to a value; an index of a list is written `[0]`.
pub(in crate::config) type KeyPath = Vec<String>;

/// The path in messages: `sample.probe[0].name`.
pub(in crate::config) fn dotted(path: &[String]) -> String {
    let mut text = String::new();
    for step in path {
        if !text.is_empty() && !step.starts_with('[') {
            text.push('.');
        }
        text.push_str(step);
    }
    text
}

/// `[train]` or `[[sample.probe]]`: the header of the table at `path`, empty for the top of the file.
pub(in crate::config) fn header(path: &[String]) -> String {
    match path {
        [] => String::new(),
        [table @ .., index] if index.starts_with('[') => format!("[[{}]]", table.join(".")),
        table => format!("[{}]", table.join(".")),
    }
}

/// The path of `key` in the table at `path`.
pub(in crate::config) fn below(path: &[String], key: &str) -> KeyPath {
    path.iter().cloned().chain([key.to_owned()]).collect()
}

/// The value at `path`.
pub(in crate::config) fn value<'a>(path: &[String], document: &'a Value) -> Option<&'a Value> {
    path.iter().try_fold(document, |value, step| child(value, step))
}

/// Sets the value at `path`; false if there is no table to set it in.
pub(in crate::config) fn put(path: &[String], value: Value, document: &mut Value) -> bool {
    let Some((step, below)) = path.split_first() else {
        *document = value;
        return true;
    };
    let entry = match document {
        Value::Object(map) if step.starts_with('[') => map.get_mut(step),
        Value::Object(map) => Some(map.entry(step.clone()).or_insert_with(|| Map::new().into())),
        Value::Array(list) => index(step).and_then(|index| list.get_mut(index)),
        _ => None,
    };
    entry.is_some_and(|entry| put(below, value, entry))
}

/// Removes the entry of a table at `path`.
pub(in crate::config) fn take(path: &[String], document: &mut Value) -> Option<Value> {
    let (key, table) = path.split_last()?;
    let table = table.iter().try_fold(document, |value, step| match value {
        Value::Object(map) => map.get_mut(step),
        Value::Array(list) => list.get_mut(index(step)?),
        _ => None,
    });
    table?.as_object_mut()?.shift_remove(key)
}

/// The number in `[0]`.
pub(in crate::config) fn index(step: &str) -> Option<usize> {
    step.trim_matches(['[', ']']).parse().ok()
}

/// One step down from `value`.
fn child<'a>(value: &'a Value, step: &str) -> Option<&'a Value> {
    match value {
        Value::Object(map) => map.get(step),
        Value::Array(list) => list.get(index(step)?),
        _ => None,
    }
}

/// All keys of the experiment file, with their schemas.
pub(in crate::config) struct Keys {
    root: &'static Value,
    rules: &'static Validator,
}

/// The schema, shared by all uses.
static ROOT: LazyLock<Value> = LazyLock::new(schema);
static RULES: LazyLock<Validator> =
    LazyLock::new(|| jsonschema::draft7::new(&ROOT).expect("a test builds this very validator"));

impl Keys {
    pub(in crate::config) fn new() -> Self {
        Self { root: &ROOT, rules: &RULES }
    }

    /// The schema as a validator of documents.
    pub(in crate::config) fn rules(&self) -> &Validator {
        self.rules
    }

    /// The schema of the value at `path`. `document` tells which variant of a tagged table is meant.
    pub(in crate::config) fn find(&self, path: &[String], document: &Value) -> Option<&Value> {
        let mut node = self.root;
        let mut written = Some(document);
        for step in path {
            let below = match items(node) {
                Some(items) => items,
                None => match entries(node, written).into_iter().find(|(key, _)| key == step) {
                    Some((_, known)) => known,
                    // A table with free keys has one schema for all of them.
                    None => node.get("additionalProperties").filter(|below| below.is_object())?,
                },
            };
            node = self.resolve(below);
            written = written.and_then(|value| child(value, step));
        }
        Some(node)
    }

    /// The keys of the table at `path`, with their schemas. Of a tagged table without a valid tag,
    /// the keys of all variants.
    pub(in crate::config) fn table(
        &self,
        path: &[String],
        document: &Value,
    ) -> Vec<(&str, &Value)> {
        let node = self.find(path, document);
        let entries = node.map(|node| entries(node, value(path, document))).unwrap_or_default();
        entries.into_iter().map(|(key, node)| (key, self.resolve(node))).collect()
    }

    /// The choices of the value at `path`; empty if any value is allowed.
    pub(in crate::config) fn choices(&self, path: &[String], document: &Value) -> Vec<&str> {
        let tagged = match path {
            [table @ .., key] if key == TAG => self.find(table, document).unwrap_or(&Value::Null),
            _ => &Value::Null,
        };
        if tagged.get("oneOf").is_none() {
            return self.find(path, document).map(words).unwrap_or_default();
        }
        let tags = variants(tagged).iter().map(|variant| &variant["properties"][TAG]["const"]);
        tags.filter_map(Value::as_str).collect()
    }

    /// The tags under which the tagged table at `path` has `key`; empty for a table without tags.
    pub(in crate::config) fn tags_with(
        &self,
        path: &[String],
        key: &str,
        document: &Value,
    ) -> Vec<&str> {
        let node = self.find(path, document).filter(|node| node.get("oneOf").is_some());
        let variants = node.map(variants).unwrap_or_default().iter();
        let with_key = variants.filter(|variant| variant["properties"].get(key).is_some());
        with_key.filter_map(|variant| variant["properties"][TAG]["const"].as_str()).collect()
    }

    /// The default of every key; tags in `document` choose the variants.
    pub(in crate::config) fn defaults(&self, document: &Value) -> Value {
        self.defaults_of(self.root, Some(document))
    }

    fn defaults_of(&self, node: &Value, written: Option<&Value>) -> Value {
        let mut defaults = Map::new();
        for (key, property) in table(node, written).into_iter().flatten() {
            let property = self.resolve(property);
            if is_table(property) {
                let below = written.and_then(|table| table.get(key));
                defaults.insert(key.clone(), self.defaults_of(property, below));
            } else if let Some(default) = property.get("default") {
                defaults.insert(key.clone(), default.clone());
            }
        }
        Value::Object(defaults)
    }

    /// Every key, each with the path of its table, in which lists are entered at `[0]`.
    pub(in crate::config) fn all(&self) -> Vec<(KeyPath, &str)> {
        let mut all = Vec::new();
        self.collect(self.root, &mut Vec::new(), &mut all);
        all
    }

    fn collect<'a>(
        &'a self,
        node: &'a Value,
        path: &mut KeyPath,
        all: &mut Vec<(KeyPath, &'a str)>,
    ) {
        for (key, property) in variants(node).iter().flat_map(properties) {
            if !all.iter().any(|(table, known)| table == path && known == key) {
                all.push((path.clone(), key));
            }
            let depth = path.len();
            path.push(key.clone());
            let mut below = self.resolve(property);
            if let Some(items) = below.get("items") {
                path.push("[0]".to_owned());
                below = self.resolve(items);
            }
            self.collect(below, path, all);
            path.truncate(depth);
        }
    }

    /// The schema that a reference names.
    fn resolve<'a>(&'a self, node: &'a Value) -> &'a Value {
        let target = node.get("allOf").and_then(|all| all.get(0)).unwrap_or(node);
        let target = target.get("$ref").and_then(Value::as_str);
        target.and_then(|path| self.root.pointer(path.trim_start_matches('#'))).unwrap_or(node)
    }
}

fn properties(node: &Value) -> impl Iterator<Item = (&String, &Value)> {
    node.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// The variants of a tagged table, or the alternatives of a value that may be a table; any other schema
/// is its own only variant.
fn variants(node: &Value) -> &[Value] {
    match node.get("oneOf").or_else(|| node.get("anyOf")) {
        Some(Value::Array(variants)) => variants,
        _ => std::slice::from_ref(node),
    }
}

/// The keys of a table. Of a tagged one, those of the variant whose tag is written, or else of the
/// variant that is the default.
fn table<'a>(node: &'a Value, written: Option<&Value>) -> Option<&'a Map<String, Value>> {
    let variants = variants(node);
    let variant = match written.and_then(|table| table.get(TAG)) {
        _ if node.get("oneOf").is_none() => variants.first(),
        Some(tag) => variants.iter().find(|variant| variant["properties"][TAG]["const"] == *tag),
        None => variants.iter().find(|variant| variant["properties"][TAG].get("default").is_some()),
    };
    variant?.get("properties")?.as_object()
}

/// The keys of a table, or of all variants if the tag names none.
fn entries<'a>(node: &'a Value, written: Option<&Value>) -> Vec<(&'a str, &'a Value)> {
    let entries: Vec<_> = match table(node, written) {
        Some(keys) => keys.iter().collect(),
        None => variants(node).iter().flat_map(properties).collect(),
    };
    entries.into_iter().map(|(key, node)| (key.as_str(), node)).collect()
}

/// The entries of a list, or of the alternative of a value that is a list.
fn items(node: &Value) -> Option<&Value> {
    let branches = node.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    std::iter::once(node).chain(branches).find_map(|node| node.get("items"))
}

/// Whether the value is a table.
pub(in crate::config) fn is_table(node: &Value) -> bool {
    node.get("oneOf").is_some() || node.get("type").is_some_and(|one| one == "object")
}

/// The choices of a value; empty if any value is allowed.
pub(in crate::config) fn words(node: &Value) -> Vec<&str> {
    let words = node.get("enum").and_then(Value::as_array).into_iter().flatten();
    let branches = node.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    words.filter_map(Value::as_str).chain(branches.flat_map(self::words)).collect()
}

/// The types of a value, in the words of JSON Schema.
pub(in crate::config) fn types(node: &Value) -> Vec<&str> {
    let branches = node.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    match node.get("type").and_then(Value::as_str) {
        Some(one) => vec![one],
        None if is_table(node) => vec!["object"],
        None => branches.flat_map(types).collect(),
    }
}

/// Whether the key takes values of the kind of `value`.
pub(in crate::config) fn takes(node: &Value, value: &Value) -> bool {
    let kind = match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(number) if number.is_f64() => "number",
        Value::Number(_) => "integer",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    };
    let kinds = types(node);
    if kinds.is_empty() {
        return kind == "string"; // a choice of words
    }
    kinds.contains(&kind) || (kind == "integer" && kinds.contains(&"number"))
}

/// A valid value: the default, or an example.
pub(in crate::config) fn example(node: &Value) -> Option<&Value> {
    node.get("default")
        .or_else(|| node.get("examples")?.get(0))
        .or_else(|| node.get("enum")?.get(0))
}

/// The bounds of a number in words. The width of the integer type is named only if `value` exceeds it.
pub(in crate::config) fn bounds(node: &Value, value: &Value) -> Text {
    let branches = node.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let has_bound =
        |node: &&Value| ["minimum", "exclusiveMinimum"].iter().any(|key| node.get(key).is_some());
    let bounded = branches.chain([node]).find(has_bound).unwrap_or(node);
    let bound = |key: &str| bounded.get(key)?.as_f64();
    let is_within_width = value.as_f64() <= Some(f64::from(u32::MAX));
    let is_width = bounded.get("maximum") == Some(&u32::MAX.into());
    let at_least = bound("minimum").map(|n| msg!(AT_LEAST, n));
    let above = bound("exclusiveMinimum").map(|n| msg!(ABOVE, n));
    let at_most = bound("maximum").filter(|_| !(is_width && is_within_width));
    let at_most = at_most.map(|n| msg!(AT_MOST, n));
    let below = bound("exclusiveMaximum").map(|n| msg!(BELOW, n));
    Text::list(Join::And, [at_least.or(above), at_most.or(below)].into_iter().flatten())
}

/// The first sentence of the manual.
pub(in crate::config) fn about(node: &Value) -> Option<&str> {
    let manual = node.get("description")?.as_str()?;
    Some(manual.find(". ").map_or(manual, |end| &manual[..end]).trim_end_matches('.'))
}

/// The first sentence of the manual of a key, as a note.
pub(in crate::config) fn about_key(key: &str, node: &Value) -> Option<Text> {
    let english = about(node)?.to_owned();
    let about = Text::translated(english, first_sentence(key));
    Some(msg!(ABOUT_KEY, key, about))
}

/// Types of JSON Schema in words.
pub(in crate::config) fn expected(types: &[&str]) -> Text {
    let words = types.iter().map(|one| match *one {
        "integer" => msg!(AN_INTEGER),
        "number" => msg!(A_NUMBER),
        "boolean" => msg!(TRUE_OR_FALSE),
        "array" => msg!(A_LIST),
        "object" => msg!(A_TABLE),
        _ => msg!(A_STRING),
    });
    Text::list(Join::Or, words)
}

/// The choices of a value in words, beside the type that it may have instead.
pub(in crate::config) fn all_choices(choices: &[&str], node: &Value) -> Text {
    let choices = list(choices);
    match types(node).iter().find(|kind| **kind != "string") {
        Some(other) => msg!(CHOICES_ARE_WITH_LAST, choices, last = expected(&[other])),
        None => msg!(CHOICES_ARE, choices),
    }
}

pub(in crate::config) fn list(words: &[&str]) -> Text {
    Text::quoted(Join::Comma, words)
}

pub(in crate::config) fn one_of(words: impl IntoIterator<Item = impl std::fmt::Display>) -> Text {
    Text::quoted(Join::Or, words)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn path(dotted: &str) -> KeyPath {
        dotted.split('.').map(str::to_owned).collect()
    }

    #[test]
    fn a_key_is_found_through_references_lists_and_tags() {
        let keys = Keys::new();
        let found = |key| keys.find(&path(key), &json!({})).map(types);
        assert_eq!(found("train.ctx_len"), Some(vec!["integer"]));
        assert_eq!(found("train.epoch_steps"), Some(vec!["integer", "string"]));
        assert_eq!(found("sample.probe.[0].regex"), Some(vec!["string"]));
        assert_eq!(found("sample.prompts.[3]"), Some(vec!["string"]));
        assert_eq!(found("peft.type"), Some(vec!["string"]));
        assert_eq!(found("optimizer.beta1"), Some(vec!["number"]));
        assert_eq!(found("train"), Some(vec!["object"]));
        assert_eq!(found("train.rank"), None);
        assert_eq!(
            keys.choices(&path("peft.type"), &json!({})),
            ["state", "lora", "pissa", "disha", "miss", "bone", "full"]
        );
    }

    #[test]
    fn defaults_follow_the_variant() {
        let keys = Keys::new();
        let optimizer = |document| keys.defaults(&document)["optimizer"].clone();
        assert_eq!(optimizer(json!({}))["beta1"], 0.9);
        assert_eq!(optimizer(json!({}))["type"], "adam");
        assert_eq!(optimizer(json!({ "optimizer": { "type": "lion" } })), json!({}));
    }

    #[test]
    fn every_table_is_listed() {
        let keys = Keys::new();
        let all = keys.all();
        for (table, key) in
            [(vec![], "train"), (path("sample.probe.[0]"), "regex"), (path("peft"), "type")]
        {
            assert_eq!(all.iter().filter(|(at, known)| *at == table && *known == key).count(), 1);
        }
        assert_eq!(header(&path("sample.probe.[0]")), "[[sample.probe]]");
        assert_eq!(dotted(&path("sample.probe.[0].regex")), "sample.probe[0].regex");
    }
}
