//! What the schema says about a key, for `statetune explain` and for the reference page.

use serde_json::{Map, Value, json};

use super::culprit::{bounds, expected};
use super::keys::{self, KeyPath, Keys, below, dotted, header, is_table, types, words};
use super::schema::TAG;
use crate::diagnostic::msg;

/// Unit of a number, in the schema.
pub(super) const UNIT: &str = "x-unit";
/// What holds where an optional key is absent and no constant says it, in the schema.
pub(super) const ABSENT: &str = "x-default";

/// Everything that is to be known about a key.
#[derive(Clone, Debug)]
pub struct KeyManual {
    /// `schedule.lr_init`; a list is entered at `[0]`.
    pub key: String,
    /// What it does.
    pub about: String,
    /// `a number`, `a string or a table`.
    pub types: String,
    /// What holds without it: a value, or words.
    pub default: String,
    /// `above 0`; absent where any value of the type will do.
    pub range: Option<String>,
    /// Absent for all but numbers.
    pub unit: Option<String>,
    /// The words that it may be, each with what it does.
    pub choices: Vec<(String, String)>,
    /// The setting under which it has a meaning, `peft.type`, with the values; absent: always.
    pub used_by: Option<(String, Vec<String>)>,
    /// The keys of a table, each with the first sentence about it.
    pub keys: Vec<(String, String)>,
}

/// The manual of every key, tables before what stands in them, in the order of the schema.
pub fn manual() -> Vec<KeyManual> {
    let keys = Keys::new();
    keys.all().into_iter().map(|(table, key)| of_key(&keys, &table, key)).collect()
}

/// The manual of the keys that `name` names: `schedule.lr_init`, or `lr_init` in whatever tables.
pub fn find_manual(name: &str) -> Vec<KeyManual> {
    let name = plain_path(name);
    let mut found = manual();
    if found.iter().any(|one| plain_path(&one.key) == name) {
        found.retain(|one| plain_path(&one.key) == name);
    } else {
        let end = format!(".{name}");
        found.retain(|one| plain_path(&one.key).ends_with(&end));
    }
    found
}

/// The path of a key without the entries of lists.
fn plain_path(key: &str) -> String {
    key.replace("[0]", "").replace("[]", "").trim_matches(['[', ']']).to_owned()
}

fn of_key(keys: &Keys, table: &KeyPath, key: &str) -> KeyManual {
    let path = below(table, key);
    let tags: Vec<String> =
        keys.tags_with(table, key, &json!({})).iter().map(ToString::to_string).collect();
    let all_tags = keys.choices(&below(table, TAG), &json!({}));
    let is_of_some = key != TAG && !tags.is_empty() && tags.len() < all_tags.len();
    let document = match tags.first() {
        Some(tag) => with_tag(table, tag),
        None => json!({}),
    };
    let node = keys.find(&path, &document).unwrap_or(&Value::Null);
    let is_required = keys
        .find(table, &document)
        .map(|node| variant(node, tags.first()))
        .is_some_and(|node| has_required(node, key));
    let choices = match key == TAG && !tags.is_empty() {
        true => tagged_choices(keys, table, &all_tags),
        false => choices(node),
    };
    let mut types = expected(&types(node)).to_string();
    if node.get("items").is_some_and(is_table_list) {
        types = msg!(A_LIST_OF_TABLES).to_string();
    }
    KeyManual {
        key: dotted(&path),
        about: match key == TAG && !tags.is_empty() {
            true => format!("Which kind of `{}` this is.", header(table)),
            false => text(node, "description").unwrap_or_default(),
        },
        types,
        default: default(node, is_required),
        range: range(node),
        unit: text(node, UNIT),
        choices,
        used_by: is_of_some.then(|| (dotted(&below(table, TAG)), tags)),
        keys: if is_table(node) { sentences(keys, &path) } else { Vec::new() },
    }
}

fn is_table_list(items: &Value) -> bool {
    items.get("$ref").is_some() || is_table(items)
}

/// A document in which the table has this tag.
fn with_tag(table: &[String], tag: &str) -> Value {
    let mut document = Value::Object(Map::new());
    keys::put(&below(table, TAG), tag.into(), &mut document);
    document
}

/// The variant of a tagged table.
fn variant<'a>(node: &'a Value, tag: Option<&String>) -> &'a Value {
    let variants = node.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let tag = tag.map(|tag| json!(tag));
    variants
        .into_iter()
        .find(|one| Some(&one["properties"][TAG]["const"]) == tag.as_ref())
        .unwrap_or(node)
}

fn has_required(node: &Value, key: &str) -> bool {
    let required = node.get("required").and_then(Value::as_array).into_iter().flatten();
    required.into_iter().any(|one| one == key)
}

fn text(node: &Value, key: &str) -> Option<String> {
    node.get(key)?.as_str().map(str::to_owned)
}

fn default(node: &Value, is_required: bool) -> String {
    match (node.get("default"), text(node, ABSENT)) {
        _ if is_required => "none, the file must say it".to_owned(),
        (Some(value), _) => value.to_string(),
        (None, Some(words)) => words,
        (None, None) if is_table(node) => "the defaults of its keys".to_owned(),
        (None, None) => "none".to_owned(),
    }
}

/// The range of a number, the form of a text or the length of a list.
fn range(node: &Value) -> Option<String> {
    if let Some(pattern) = text(node, "pattern") {
        return Some(format!("matches `{pattern}`"));
    }
    let least = node.get("minItems").or(node.get("minLength")).and_then(Value::as_u64);
    if least.is_some_and(|least| least > 0) {
        return Some("not empty".to_owned());
    }
    Some(bounds(node, &Value::Null).to_string()).filter(|bounds| !bounds.is_empty())
}

/// The words of a value that is no tag, each with what it does.
fn choices(node: &Value) -> Vec<(String, String)> {
    let branches = node.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let nodes =
        branches.chain([node]).chain(node.get("items")).filter(|node| node.get("enum").is_some());
    nodes
        .flat_map(|node| {
            let docs = node["x-taplo"]["docs"]["enumValues"].as_array();
            words(node).into_iter().enumerate().map(move |(index, word)| {
                let doc = docs.and_then(|docs| docs.get(index)).and_then(Value::as_str);
                (word.to_owned(), doc.unwrap_or_default().to_owned())
            })
        })
        .collect()
}

/// The tags of a table, each with what it does.
fn tagged_choices(keys: &Keys, table: &[String], tags: &[&str]) -> Vec<(String, String)> {
    let node = keys.find(table, &json!({})).unwrap_or(&Value::Null);
    let about = |tag: &str| text(variant(node, Some(&tag.to_owned())), "description");
    tags.iter().map(|tag| ((*tag).to_owned(), about(tag).unwrap_or_default())).collect()
}

/// The keys of a table, each with the first sentence about it.
fn sentences(keys: &Keys, table: &KeyPath) -> Vec<(String, String)> {
    let all = keys.all();
    let own = all.iter().filter(|(other, _)| other == table);
    own.map(|(table, key)| {
        let about = of_key(keys, table, key).about;
        let end = about.find(". ").map_or(about.len(), |end| end + 1);
        ((*key).to_owned(), about[..end].to_owned())
    })
    .collect()
}

/// The reference page: a section for each table, a row for each key.
pub fn reference() -> String {
    let mut page =
        "# The experiment file\n\n<!-- Generated from src/config; a test compares it. -->\n\n\
         `statetune explain KEY` says the same about one key, and what each of its choices does.\n"
            .to_owned();
    let all = manual();
    let table_of =
        |one: &KeyManual| one.key.rsplit_once('.').map_or("", |(table, _)| table).to_owned();
    let mut tables: Vec<String> = Vec::new();
    for table in all.iter().map(table_of) {
        if !tables.contains(&table) {
            tables.push(table);
        }
    }
    for table in tables {
        let path: KeyPath = table.replace('[', ".[").split('.').map(str::to_owned).collect();
        let title = match &*table {
            "" => "The top of the file".to_owned(),
            _ => format!("`{}`", header(&path)),
        };
        page +=
            &format!("\n## {title}\n\n| key | type | default | range | unit | what it does |\n");
        page += "| --- | --- | --- | --- | --- | --- |\n";
        for one in all.iter().filter(|one| table_of(one) == table) {
            page += &row(one.key.rsplit('.').next().unwrap_or_default(), one);
        }
    }
    page
}

fn row(key: &str, one: &KeyManual) -> String {
    let cell = |text: &str| text.replace('|', "\\|");
    let choices: Vec<String> = one.choices.iter().map(|(word, _)| format!("`{word}`")).collect();
    let types = if choices.is_empty() { one.types.clone() } else { choices.join(", ") };
    let used_by = one.used_by.as_ref().map(|(setting, values)| {
        let key = setting.rsplit('.').next().unwrap_or_default();
        format!("With `{key}` {}. ", values.join(", "))
    });
    let about = format!("{}{}", used_by.unwrap_or_default(), one.about);
    let cells = [
        format!("`{key}`"),
        types,
        one.default.clone(),
        one.range.clone().unwrap_or_default(),
        one.unit.clone().unwrap_or_default(),
        about,
    ];
    format!("| {} |\n", cells.map(|text| cell(&text)).join(" | "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::lang::Lang;

    #[test]
    fn the_reference_page_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../schemas/experiment.md");
        if std::env::var_os("STATETUNE_BLESS").is_some_and(|value| value == "1") {
            std::fs::write(&file, reference()).expect("the page can be written");
        }
        let stored = std::fs::read_to_string(&file).unwrap_or_default();
        assert!(stored == reference(), "run the tests with STATETUNE_BLESS=1 to write {file:?}");
    }

    #[test]
    fn a_key_is_found_by_its_last_word() {
        let names = |name| find_manual(name).into_iter().map(|one| one.key).collect::<Vec<_>>();
        assert_eq!(names("lr_init"), ["schedule.lr_init"]);
        assert_eq!(
            names("random_seed"),
            ["train.random_seed", "sample.random_seed", "sweep.random_seed"]
        );
        assert_eq!(names("sample.probe.regex"), ["sample.probe[0].regex"]);
        assert_eq!(names("train"), ["train"]);
        assert!(names("frobnicate").is_empty());
    }

    #[test]
    fn a_manual_has_what_the_schema_says() {
        let [rank] = &find_manual("peft.rank")[..] else { panic!("one key") };
        assert_eq!(
            rank.used_by.as_ref().expect("of some").1,
            ["lora", "pissa", "disha", "miss", "bone"]
        );
        assert_eq!((&*rank.default, rank.range.as_deref()), ("32", Some("at least 1")));
        let expected = "\
schedule.lr_schedule

  Curve from `lr_init` to `lr_final`.

  type     a string
  default  \"cos\"

  choices
    cos       Half a cosine wave.";
        let found = find_manual("lr_schedule")[0].render(Lang::En);
        assert!(found.starts_with(expected), "{found}");
        let [kind] = &find_manual("quant.type")[..] else { panic!("one key") };
        assert_eq!(kind.choices[1].0, "int8");
        assert!(kind.choices[1].1.contains("whole numbers"), "{kind:?}");
        assert_eq!(find_manual("schedule.lr_init")[0].default, "none, the file must say it");
    }

    /// Numbers that may be anything.
    const UNBOUNDED: [&str; 2] = ["sample.presence_penalty", "sample.frequency_penalty"];

    #[test]
    fn every_key_has_a_text_a_default_a_range_and_a_unit() {
        for one in manual() {
            let key = &one.key;
            assert!(
                one.about.ends_with('.'),
                "{key}: its text ends with a full stop: {}",
                one.about
            );
            assert_ne!(one.default, "none", "{key}: say what holds without it, with `{ABSENT}`");
            if one.types.contains("number") || one.types.contains("integer") {
                assert!(one.unit.is_some(), "{key}: say what it counts, with `{UNIT}`");
                let is_bounded = one.range.is_some() || UNBOUNDED.contains(&&**key);
                assert!(is_bounded, "{key}: say its range, with `range`");
            }
            assert!(
                one.choices
                    .iter()
                    .all(|(_, about)| !about.is_empty() || key == "train.epoch_steps"),
                "{one:?}"
            );
        }
    }
}
