//! How the manual of a key looks: to people in their language, to programs as JSON.

use serde_json::{Map, Value, json};

use super::manual::KeyManual;
use super::manual_zh::in_chinese;
use crate::lang::Lang;

/// The words around what the schema says.
struct Headings {
    types: &'static str,
    default: &'static str,
    range: &'static str,
    unit: &'static str,
    used_by: &'static str,
    choices: &'static str,
    keys: &'static str,
}

/// Facts stand in one column, so their words are as wide as the longest.
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
    /// The manual for people.
    pub fn render(&self, lang: Lang) -> String {
        match lang {
            Lang::En => self.lines(&ENGLISH),
            Lang::Zh => in_chinese(self).lines(&CHINESE),
        }
        .join("\n")
    }

    fn lines(&self, headings: &Headings) -> Vec<String> {
        let mut lines =
            vec![self.key.clone(), String::new(), format!("  {}", self.about), String::new()];
        let used_by = self.used_by.as_ref();
        let used_by = used_by.map(|(setting, values)| format!("{setting} = {}", values.join(", ")));
        let facts = [
            (headings.types, Some(&self.types)),
            (headings.default, Some(&self.default)),
            (headings.range, self.range.as_ref()),
            (headings.unit, self.unit.as_ref()),
            (headings.used_by, used_by.as_ref()),
        ];
        let known = facts.into_iter().filter_map(|(name, fact)| Some((name, fact?)));
        lines.extend(known.map(|(name, fact)| format!("  {name} {fact}")));
        for (title, list) in [(headings.choices, &self.choices), (headings.keys, &self.keys)] {
            if !list.is_empty() {
                lines.extend([String::new(), format!("  {title}")]);
                let width = list.iter().map(|(word, _)| word.len()).max().unwrap_or_default();
                lines.extend(list.iter().map(|(word, about)| {
                    format!("    {word:<width$}  {about}").trim_end().to_owned()
                }));
            }
        }
        lines
    }

    /// The manual for programs.
    pub fn to_json(&self) -> Value {
        let list = |list: &[(String, String)]| -> Value {
            list.iter()
                .map(|(word, about)| (word.clone(), json!(about)))
                .collect::<Map<_, _>>()
                .into()
        };
        json!({
            "key": self.key,
            "about": self.about,
            "type": self.types,
            "default": self.default,
            "range": self.range,
            "unit": self.unit,
            "choices": list(&self.choices),
            "used_by": self.used_by.as_ref().map(|(setting, values)| json!({ setting: values })),
            "keys": list(&self.keys),
        })
    }
}
