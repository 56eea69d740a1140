//! The manual of the keys in Chinese: texts of two catalogues in the place of the English ones.
//!
//! A catalogue has a heading for each subject, a text below it, and a line `- WORD → TEXT` for each of its
//! words: of a key its choices, of a kind of fact the English phrases.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::manual::KeyManual;
use crate::diagnostic::sections;

/// What each key does, and each of its choices.
const KEYS: &str = include_str!("keys.zh.md");
/// Types, defaults, ranges and units, which many keys share.
const PHRASES: &str = include_str!("phrases.zh.md");

/// What a catalogue has below one heading.
struct Entry {
    about: &'static str,
    words: HashMap<&'static str, &'static str>,
}

type Catalogue = HashMap<&'static str, Entry>;

/// Read when the first key is shown in Chinese.
static CATALOGUES: LazyLock<(Catalogue, Catalogue)> =
    LazyLock::new(|| (catalogue(KEYS), catalogue(PHRASES)));

fn catalogue(text: &'static str) -> Catalogue {
    sections(text).map(|(heading, text)| (heading, entry(text))).collect()
}

fn entry(text: &'static str) -> Entry {
    let lines = || text.lines().filter(|line| !line.is_empty());
    Entry {
        about: lines().find(|line| !line.starts_with("- ")).unwrap_or_default(),
        words: lines().filter_map(word).collect(),
    }
}

/// The word of a line and its text.
fn word(line: &'static str) -> Option<(&'static str, &'static str)> {
    line.strip_prefix("- ")?.split_once(" → ")
}

/// What a key does; empty where nobody says it.
fn about(key: &str) -> &'static str {
    CATALOGUES.0.get(key).map_or("", |entry| entry.about)
}

/// What the choice `word` of a key does.
fn choice(key: &str, word: &str) -> &'static str {
    CATALOGUES.0.get(key).and_then(|entry| entry.words.get(word).copied()).unwrap_or_default()
}

/// A phrase of the facts of a `kind`: `type`, `default`, `range` or `unit`. Values stay what they are.
fn phrase(kind: &str, english: &str) -> String {
    let known = CATALOGUES.1.get(kind).and_then(|entry| entry.words.get(english).copied());
    known.unwrap_or(english).to_owned()
}

/// The manual of a key in Chinese. What a program reads, the key and its values, stays.
pub(super) fn in_chinese(english: &KeyManual) -> KeyManual {
    let key = &english.key;
    let translated = |list: &[(String, String)], text: &dyn Fn(&str) -> &'static str| {
        list.iter().map(|(word, _)| (word.clone(), text(word).to_owned())).collect()
    };
    KeyManual {
        key: key.clone(),
        about: about(key).to_owned(),
        types: phrase("type", &english.types),
        default: phrase("default", &english.default),
        range: english.range.as_deref().map(|range| phrase("range", range)),
        unit: english.unit.as_deref().map(|unit| phrase("unit", unit)),
        choices: translated(&english.choices, &|word| choice(key, word)),
        used_by: english.used_by.clone(),
        keys: translated(&english.keys, &|word| sentence(about(&format!("{key}.{word}")))),
    }
}

/// The first sentence about a key, without the full stop; nothing for a key that does not exist.
pub(super) fn about_in_chinese(key: &str) -> Option<&'static str> {
    // Every entry of a list is as the first.
    let entry = |step: &str| {
        step.split_once('[').map_or_else(|| step.into(), |(list, _)| format!("{list}[0]"))
    };
    let key: Vec<String> = key.split('.').map(entry).collect();
    Some(sentence(CATALOGUES.0.get(&*key.join("."))?.about).trim_end_matches('。'))
}

/// The first sentence.
fn sentence(text: &'static str) -> &'static str {
    text.split_inclusive('。').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;
    use crate::config::manual;
    use crate::lang::Lang;

    /// How often each thing that `expression` finds in a text is in it.
    fn counted<'a>(expression: &str, text: &'a str) -> BTreeMap<&'a str, usize> {
        let mut counts = BTreeMap::new();
        let expression = regex::Regex::new(expression).expect("a valid expression");
        for found in expression.find_iter(text) {
            *counts.entry(found.as_str()).or_default() += 1;
        }
        counts
    }

    /// Whether a Chinese text has the code and the numbers of the English one, and Chinese besides.
    fn check(place: &str, english: &str, chinese: &str) {
        let han = regex::Regex::new(r"\p{Han}").expect("a valid expression");
        assert!(han.is_match(chinese), "{place}: {english:?} is {chinese:?} in Chinese");
        let code = "`[^`]*`";
        assert_eq!(counted(code, chinese), counted(code, english), "{place}: {chinese}");
        // Chinese counts parameters in hundreds of millions.
        if place != "model.preset" {
            let number = r"[0-9](?:[0-9.,:]*[0-9])?";
            assert_eq!(counted(number, chinese), counted(number, english), "{place}: {chinese}");
        }
    }

    #[test]
    fn every_key_and_choice_has_a_text_and_none_is_stale() {
        let all = manual();
        let written: Vec<&str> = sections(KEYS).map(|(key, _)| key).collect();
        let known: Vec<&str> = all.iter().map(|one| &*one.key).collect();
        assert_eq!(written, known, "src/config/keys.zh.md has the keys in the order of the schema");
        for (one, (_, text)) in all.iter().zip(sections(KEYS)) {
            check(&one.key, &one.about, about(&one.key));
            let words: Vec<&str> = text.lines().filter_map(word).map(|(word, _)| word).collect();
            let choices: Vec<&str> = one.choices.iter().map(|(word, _)| &**word).collect();
            assert_eq!(words, choices, "src/config/keys.zh.md: choices of `{}`", one.key);
            for (word, english) in &one.choices {
                let chinese = choice(&one.key, word);
                if english.is_empty() {
                    assert!(chinese.ends_with('。'), "{}: {word}: {chinese}", one.key);
                } else {
                    check(&one.key, english, chinese);
                }
            }
            let lines = text.lines().filter(|line| !line.is_empty());
            assert_eq!(lines.count(), 1 + choices.len(), "{}: a line for each text", one.key);
            assert!(
                text.lines().all(|line| line.is_empty() || line.ends_with('。')),
                "{}",
                one.key
            );
        }
    }

    #[test]
    fn every_phrase_has_a_text_and_none_is_stale() {
        type Fact = fn(&KeyManual) -> Option<&str>;
        let all = manual();
        let facts: [(&str, Fact); 4] = [
            ("type", |one| Some(&*one.types)),
            ("default", |one| Some(&*one.default)),
            ("range", |one| one.range.as_deref()),
            ("unit", |one| one.unit.as_deref()),
        ];
        let kinds: Vec<&str> = sections(PHRASES).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, facts.map(|(kind, _)| kind));
        for ((kind, fact), (_, text)) in facts.into_iter().zip(sections(PHRASES)) {
            let is_value = |text: &str| serde_json::from_str::<Value>(text).is_ok();
            let mut said: Vec<&str> =
                all.iter().filter_map(fact).filter(|one| !is_value(one)).collect();
            said.sort_unstable();
            said.dedup();
            let written: Vec<&str> = text.lines().filter_map(word).map(|(word, _)| word).collect();
            assert_eq!(written, said, "src/config/phrases.zh.md: `{kind}`, sorted");
            for english in said {
                check(kind, english, &phrase(kind, english));
            }
        }
    }

    #[test]
    fn a_table_tells_the_first_sentence_about_each_key() {
        let found = crate::config::find_manual("hardware")[0].render(Lang::Zh);
        let expected = "\
hardware

  `[hardware]`：用什么计算。

  类型    表
  默认值  其中各键的默认值

  键
    accelerator  模型放在哪里、在哪里计算。
    devices      设备的个数：1，因为一个运行只用一个设备。";
        assert_eq!(found, expected);
    }
}
