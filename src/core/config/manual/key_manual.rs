//! The manual of a key from the schema, for `statetune explain` and the reference page.

use serde_json::{Map, Value, json};

use super::chinese;
use super::keys::{
    self, KeyPath, Keys, below, bounds, dotted, expected, header, is_table, types, words,
};
use crate::diagnostic::{Text, msg};
use crate::lang::Lang;
use crate::tagged::TAG;

/// The schema keyword of a number's unit.
const UNIT: &str = "x-unit";
/// The schema keyword of a default that is not a constant.
const ABSENT: &str = "x-default";

/// The manual of a key.
#[derive(Clone, Debug)]
pub struct KeyManual {
    /// The dotted key: `schedule.lr_init`; `[0]` stands for the entries of a list.
    pub key: String,
    /// What the key does.
    pub about: Text,
    /// `a number`, `a string or a table`.
    pub types: Text,
    /// The default: a value, or words.
    pub default: Text,
    /// `above 0`; absent if the type alone restricts the value.
    pub range: Option<Text>,
    /// The unit of a number.
    pub unit: Option<Text>,
    /// The choices, each with what it does.
    pub choices: Vec<(String, Text)>,
    /// The key `peft.type` and the values under which this key applies; absent if it always applies.
    pub used_by: Option<(String, Vec<String>)>,
    /// The keys of a table, each with the first sentence of its manual.
    pub keys: Vec<(String, Text)>,
}

/// The manual of every key, tables before their keys, in the order of the schema.
pub fn manual() -> Vec<KeyManual> {
    let keys = Keys::new();
    keys.all().into_iter().map(|(table, key)| of_key(&keys, &table, key)).collect()
}

/// The manuals of the key `name`: of `schedule.lr_init`, or of `lr_init` in all tables.
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

/// The path of a key without list indices.
fn plain_path(key: &str) -> String {
    key.replace("[0]", "").replace("[]", "").trim_matches(['[', ']']).to_owned()
}

fn of_key(keys: &Keys, table: &KeyPath, key: &str) -> KeyManual {
    let path = below(table, key);
    let name = dotted(&path);
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
    let choices = choices.into_iter().map(|(word, english)| {
        let about = Text::translated(english, chinese::choice(&name, &word));
        (word, about)
    });
    let about = match key == TAG && !tags.is_empty() {
        true => format!("The kind of `{}`.", header(table)),
        false => text(node, "description").unwrap_or_default(),
    };
    KeyManual {
        about: Text::translated(about, chinese::about(&name)),
        types: match node.get("items").is_some_and(is_table_list) {
            true => msg!(A_LIST_OF_TABLES),
            false => expected(&types(node)),
        },
        default: default(node, is_required),
        range: range(node),
        unit: text(node, UNIT).map(|unit| chinese::phrase("unit", unit)),
        choices: choices.collect(),
        used_by: is_of_some.then(|| (dotted(&below(table, TAG)), tags)),
        keys: if is_table(node) { sentences(keys, &path) } else { Vec::new() },
        key: name,
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

fn default(node: &Value, is_required: bool) -> Text {
    match (node.get("default"), text(node, ABSENT)) {
        _ if is_required => msg!(NO_DEFAULT_REQUIRED),
        (Some(value), _) => Text::verbatim(value.to_string()),
        (None, Some(words)) => chinese::phrase("default", words),
        (None, None) if is_table(node) => msg!(DEFAULTS_OF_KEYS),
        (None, None) => Text::default(),
    }
}

/// The range of a number, the pattern of a text or the length of a list.
fn range(node: &Value) -> Option<Text> {
    if let Some(pattern) = text(node, "pattern") {
        return Some(msg!(MATCHES_PATTERN, pattern));
    }
    let least = node.get("minItems").or(node.get("minLength")).and_then(Value::as_u64);
    if least.is_some_and(|least| least > 0) {
        return Some(msg!(NOT_EMPTY));
    }
    Some(bounds(node, &Value::Null)).filter(|bounds| !bounds.is_empty())
}

/// The choices of a value that is not a tag, each with what it does.
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

/// The keys of a table, each with the first sentence of its manual.
fn sentences(keys: &Keys, table: &KeyPath) -> Vec<(String, Text)> {
    let all = keys.all();
    let own = all.iter().filter(|(other, _)| other == table);
    own.map(|(table, key)| {
        let about = of_key(keys, table, key).about.to_string();
        let end = about.find(". ").map_or(about.len(), |end| end + 1);
        let chinese = chinese::about(&dotted(&below(table, key))).map(chinese::sentence);
        ((*key).to_owned(), Text::translated(&about[..end], chinese))
    })
    .collect()
}

/// The headings of a manual.
struct Headings {
    types: &'static str,
    default: &'static str,
    range: &'static str,
    unit: &'static str,
    used_by: &'static str,
    choices: &'static str,
    keys: &'static str,
}

/// The facts form one column, so their headings are padded to the longest.
const ENGLISH: Headings = Headings {
    types: "type    ",
    default: "default ",
    range: "range   ",
    unit: "unit    ",
    used_by: "used by ",
    choices: "choices",
    keys: "keys",
};

const CHINESE: Headings = Headings {
    types: "类型   ",
    default: "默认值 ",
    range: "范围   ",
    unit: "单位   ",
    used_by: "适用于 ",
    choices: "选项",
    keys: "键",
};

impl KeyManual {
    /// The manual as text.
    pub fn render(&self, lang: Lang) -> String {
        let headings = match lang {
            Lang::En => ENGLISH,
            Lang::Zh => CHINESE,
        };
        let about = format!("  {}", self.about.render(lang));
        let mut lines = vec![self.key.clone(), String::new(), about, String::new()];
        let used_by = self.used_by.as_ref();
        let used_by = used_by
            .map(|(setting, values)| Text::verbatim(format!("{setting} = {}", values.join(", "))));
        let facts = [
            (headings.types, Some(&self.types)),
            (headings.default, Some(&self.default)),
            (headings.range, self.range.as_ref()),
            (headings.unit, self.unit.as_ref()),
            (headings.used_by, used_by.as_ref()),
        ];
        let known = facts.into_iter().filter_map(|(name, fact)| Some((name, fact?)));
        lines.extend(known.map(|(name, fact)| format!("  {name} {}", fact.render(lang))));
        for (title, list) in [(headings.choices, &self.choices), (headings.keys, &self.keys)] {
            if !list.is_empty() {
                lines.extend([String::new(), format!("  {title}")]);
                let width = list.iter().map(|(word, _)| word.len()).max().unwrap_or_default();
                lines.extend(list.iter().map(|(word, about)| {
                    let about = about.render(lang);
                    format!("    {word:<width$}  {about}").trim_end().to_owned()
                }));
            }
        }
        lines.join("\n")
    }

    /// The manual as JSON.
    pub fn to_json(&self) -> Value {
        let list = |list: &[(String, Text)]| -> Value {
            let entries = list.iter().map(|(word, about)| (word.clone(), json!(about.to_string())));
            entries.collect::<Map<_, _>>().into()
        };
        json!({
            "key": self.key,
            "about": self.about.to_string(),
            "type": self.types.to_string(),
            "default": self.default.to_string(),
            "range": self.range.as_ref().map(Text::to_string),
            "unit": self.unit.as_ref().map(Text::to_string),
            "choices": list(&self.choices),
            "used_by": self.used_by.as_ref().map(|(setting, values)| json!({ setting: values })),
            "keys": list(&self.keys),
        })
    }
}

/// The reference page: a section for each table, a row for each key.
pub fn reference() -> String {
    let mut page =
        "# The experiment file\n\n<!-- Generated from src/core/config; a test compares it. -->\n\n\
         `statetune explain KEY` shows one key and what each of its choices does.\n"
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
    let types = if choices.is_empty() { one.types.to_string() } else { choices.join(", ") };
    let optional = |text: &Option<Text>| text.as_ref().map(Text::to_string).unwrap_or_default();
    let used_by = one.used_by.as_ref().map(|(setting, values)| {
        let key = setting.rsplit('.').next().unwrap_or_default();
        format!("With `{key}` {}. ", values.join(", "))
    });
    let about = format!("{}{}", used_by.unwrap_or_default(), one.about);
    let cells = [
        format!("`{key}`"),
        types,
        one.default.to_string(),
        optional(&one.range),
        optional(&one.unit),
        about,
    ];
    format!("| {} |\n", cells.map(|text| cell(&text)).join(" | "))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

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
        assert_eq!(rank.default, "32");
        assert_eq!(rank.range.as_ref().expect("a range"), "at least 1");
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
        assert!(kind.choices[1].1.to_string().contains("Integers"), "{kind:?}");
        assert_eq!(find_manual("schedule.lr_init")[0].default, "none; required");
    }

    /// Numbers without a range.
    const UNBOUNDED: [&str; 2] = ["sample.presence_penalty", "sample.frequency_penalty"];

    #[test]
    fn every_key_has_a_text_a_default_a_range_and_a_unit() {
        for one in manual() {
            let key = &one.key;
            let about = one.about.to_string();
            assert!(about.ends_with('.'), "{key}: the text must end with a full stop: {about}");
            assert!(!one.default.is_empty(), "{key}: describe the default, with `{ABSENT}`");
            let types = one.types.to_string();
            if types.contains("number") || types.contains("integer") {
                assert!(one.unit.is_some(), "{key}: name the unit, with `{UNIT}`");
                let is_bounded = one.range.is_some() || UNBOUNDED.contains(&&**key);
                assert!(is_bounded, "{key}: set the range, with `range`");
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
