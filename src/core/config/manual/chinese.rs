//! The manual of the keys in Chinese, from two catalogues.
//!
//! A catalogue has a heading for each subject, a text below it, and lines `- WORD → TEXT`: for a key its choices, for a
//! kind of fact the English phrases.

use std::collections::HashMap;
use std::sync::LazyLock;

use crate::diagnostic::{Text, sections};

/// What each key does, and each of its choices.
const KEYS: &str = include_str!("keys.zh.md");
/// Defaults and units, shared by many keys.
const PHRASES: &str = include_str!("phrases.zh.md");

/// The text below one heading of a catalogue.
struct Section {
    about: &'static str,
    words: HashMap<&'static str, &'static str>,
}

type Catalogue = HashMap<&'static str, Section>;

/// Read when the first key is shown in Chinese.
static CATALOGUES: LazyLock<(Catalogue, Catalogue)> =
    LazyLock::new(|| (catalogue(KEYS), catalogue(PHRASES)));

fn catalogue(text: &'static str) -> Catalogue {
    sections(text).map(|(heading, text)| (heading, section(text))).collect()
}

fn section(text: &'static str) -> Section {
    let lines = || text.lines().filter(|line| !line.is_empty());
    Section {
        about: lines().find(|line| !line.starts_with("- ")).unwrap_or_default(),
        words: lines().filter_map(word).collect(),
    }
}

/// The word of a line and its text.
fn word(line: &'static str) -> Option<(&'static str, &'static str)> {
    line.strip_prefix("- ")?.split_once(" → ")
}

/// What a key does; `None` for an unknown key.
pub(super) fn about(key: &str) -> Option<&'static str> {
    Some(CATALOGUES.0.get(key)?.about)
}

/// What the choice `word` of a key does.
pub(super) fn choice(key: &str, word: &str) -> Option<&'static str> {
    CATALOGUES.0.get(key)?.words.get(word).copied()
}

/// A phrase of a `kind` of fact, `default` or `unit`, in both languages.
pub(super) fn phrase(kind: &str, english: String) -> Text {
    let chinese = CATALOGUES.1.get(kind).and_then(|entry| entry.words.get(&*english).copied());
    Text::translated(english, chinese)
}

/// The first sentence about a key, without the full stop; `None` for an unknown key.
pub(super) fn first_sentence(key: &str) -> Option<&'static str> {
    // The catalogue describes the entries of a list as `[0]`.
    let entry = |step: &str| {
        step.split_once('[').map_or_else(|| step.into(), |(list, _)| format!("{list}[0]"))
    };
    let key: Vec<String> = key.split('.').map(entry).collect();
    Some(sentence(about(&key.join("."))?).trim_end_matches('。'))
}

/// The first sentence of a text.
pub(super) fn sentence(text: &'static str) -> &'static str {
    text.split_inclusive('。').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use serde_json::Value;

    use super::*;
    use crate::config::{manual, schema};
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

    /// Checks that a Chinese text has the code and the numbers of the English text, and Chinese characters.
    fn check(place: &str, english: &str, chinese: &str) {
        let han = regex::Regex::new(r"\p{Han}").expect("a valid expression");
        assert!(han.is_match(chinese), "{place}: {english:?} is {chinese:?} in Chinese");
        let code = "`[^`]*`";
        assert_eq!(counted(code, chinese), counted(code, english), "{place}: {chinese}");
        // Chinese counts parameters in tens of thousands and in hundreds of millions.
        if !["model.preset", "hardware.strategy"].contains(&place) {
            let number = r"[0-9](?:[0-9.,:]*[0-9])?";
            assert_eq!(counted(number, chinese), counted(number, english), "{place}: {chinese}");
        }
    }

    #[test]
    fn every_key_and_choice_has_a_text_and_none_is_stale() {
        let all = manual();
        let written: Vec<&str> = sections(KEYS).map(|(key, _)| key).collect();
        let known: Vec<&str> = all.iter().map(|one| &*one.key).collect();
        assert_eq!(
            written, known,
            "src/core/config/manual/keys.zh.md has the keys in the order of the schema"
        );
        for (one, (_, text)) in all.iter().zip(sections(KEYS)) {
            check(&one.key, &one.about.to_string(), about(&one.key).expect(&one.key));
            let words: Vec<&str> = text.lines().filter_map(word).map(|(word, _)| word).collect();
            let choices: Vec<&str> = one.choices.iter().map(|(word, _)| &**word).collect();
            assert_eq!(
                words, choices,
                "src/core/config/manual/keys.zh.md: choices of `{}`",
                one.key
            );
            for (word, english) in &one.choices {
                let chinese = choice(&one.key, word).expect(word);
                if english.is_empty() {
                    assert!(chinese.ends_with('。'), "{}: {word}: {chinese}", one.key);
                } else {
                    check(&one.key, &english.to_string(), chinese);
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

    /// The values of a keyword anywhere in the schema.
    fn values_of<'a>(keyword: &str, node: &'a Value, found: &mut BTreeSet<&'a str>) {
        match node {
            Value::Object(table) => {
                found.extend(table.get(keyword).and_then(Value::as_str));
                table.values().for_each(|node| values_of(keyword, node, found));
            }
            Value::Array(list) => list.iter().for_each(|node| values_of(keyword, node, found)),
            _ => {}
        }
    }

    #[test]
    fn every_phrase_has_a_text_and_none_is_stale() {
        let schema = schema();
        let kinds: Vec<&str> = sections(PHRASES).map(|(kind, _)| kind).collect();
        assert_eq!(kinds, ["default", "unit"]);
        for (kind, text) in sections(PHRASES) {
            let mut used = BTreeSet::new();
            values_of(&format!("x-{kind}"), &schema, &mut used);
            let written: Vec<(&str, &str)> = text.lines().filter_map(word).collect();
            let english: Vec<&str> = written.iter().map(|(english, _)| *english).collect();
            let used: Vec<&str> = used.into_iter().collect();
            assert_eq!(english, used, "src/core/config/manual/phrases.zh.md: `{kind}`, sorted");
            written.iter().for_each(|(english, chinese)| check(kind, english, chinese));
        }
    }

    #[test]
    fn a_table_shows_the_first_sentence_about_each_key() {
        let found = crate::config::find_manual("hardware")[0].render(Lang::Zh);
        let expected = "\
hardware

  `[hardware]`：所用的设备。

  类型    表
  默认值  其中各键的默认值

  键
    accelerator        存放模型并进行计算的设备。
    devices            每台机器上的进程；它们各有整个模型，轮流处理一步中的各遍，在 GPU 上各用一块 GPU。
    strategy           多个设备怎样分担一步的计算和内存。
    num_nodes          运行所用的机器数。
    rdzv_timeout_secs  开始时设备互相等待的时间。
    threads            参与计算的 CPU 线程数，至少 1。
    stream             是否在每遍中逐块从文件读取冻结的权重，使权重不必全部放进内存：`true`、`false` 或 `auto`（权重大于空闲内存时）。";
        assert_eq!(found, expected);
    }
}
