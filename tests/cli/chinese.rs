//! Messages in Chinese: what asks for them, that they are whole, and that what programs read stays as it is.

use regex::Regex;

use crate::case::{Case, STATE};
use crate::experiments::{case, compare, corpus, shown};

const NO_FILE: &str = "\
错误[ST1101]: 无法读取实验文件 `nowhere.toml`
  |
  = 说明: 没有这个文件或目录 (os error 2)
  = 建议: 此处的实验文件：`full.toml`、`state.toml`";

#[test]
fn the_language_is_that_of_the_flag_then_of_the_environment() {
    let case = Case::new();
    let asked = |arguments: &[&str], environment: &[(&str, &str)]| {
        let output = case.statetune_with(arguments, environment);
        assert_eq!(output.code, Some(2), "{output:?}");
        output.stderr.trim_end() == NO_FILE
    };
    let check = ["check", "nowhere.toml"];
    assert!(!asked(&check, &[]));
    assert!(asked(&["check", "nowhere.toml", "--lang", "zh"], &[]));
    assert!(asked(&["--lang=zh", "check", "nowhere.toml"], &[]));
    // The program with tensors knows it too.
    assert!(asked(&["plan", "nowhere.toml", "--lang", "zh"], &[]));
    assert!(asked(&check, &[("STATETUNE_LANG", "zh")]));
    assert!(asked(&check, &[("STATETUNE_LANG", ""), ("LC_ALL", "zh_CN.UTF-8")]));
    assert!(!asked(&check, &[("STATETUNE_LANG", ""), ("LC_ALL", "C"), ("LANG", "zh_CN.UTF-8")]));
    assert!(!asked(&["--lang", "en", "check", "nowhere.toml"], &[("STATETUNE_LANG", "zh")]));
}

#[test]
fn an_unknown_language_is_refused() {
    let case = Case::new();
    let flag = case.statetune(&["check", STATE, "--lang", "fr"]);
    assert_eq!(flag.code, Some(2));
    let expected = "error: invalid value 'fr' for '--lang <LANG>'\n  [possible values: en, zh]\n";
    assert!(flag.stderr.starts_with(expected), "{}", flag.stderr);
    let variable = case.statetune_with(&["check", STATE], &[("STATETUNE_LANG", "fr")]);
    assert_eq!((variable.code, &*variable.stdout), (Some(2), ""));
    let expected = "error: invalid value 'fr' for 'STATETUNE_LANG'\n  [possible values: en, zh]\n";
    assert!(variable.stderr.starts_with(expected), "{}", variable.stderr);
}

/// The lines that people read of what `check` says, without the excerpts, and whether each begins a text.
fn texts(said: &str) -> Vec<(&str, bool)> {
    let excerpt = Regex::new(r"^ *\d+ \||^ *-->|^\.\.\.$").expect("valid");
    let frame = Regex::new(r"^ *\|[ |^_-]*").expect("valid");
    let part = Regex::new(r"^ *= ").expect("valid");
    let lines = said.lines().filter(|line| !excerpt.is_match(line) && !line.trim().is_empty());
    let texts = lines.map(|line| match (frame.find(line), part.find(line)) {
        (Some(found), _) | (_, Some(found)) => (&line[found.end()..], true),
        _ => (line, !line.starts_with(' ')),
    });
    texts.filter(|(text, _)| !text.is_empty()).collect()
}

/// Every text of every message of the corpus is Chinese, but for words in backticks.
#[test]
fn no_text_of_the_corpus_stays_english() {
    let case = case();
    let chinese = Regex::new(r"\p{Han}").expect("valid");
    let quoted = Regex::new("`[^`]*`").expect("valid");
    let english = Regex::new(r"[a-z]{2,} [a-z]+ [a-z]+").expect("valid");
    let mut left = Vec::new();
    for name in corpus() {
        let output = case.statetune(&["check", &name, "--lang", "zh"]);
        let said = [output.stdout, output.stderr].concat();
        for (text, begins) in texts(&said) {
            let words = quoted.replace_all(text, "``");
            if begins && !chinese.is_match(&words) || english.is_match(&words) {
                left.push(format!("{name}: {text}"));
            }
        }
    }
    assert!(left.is_empty(), "{}", left.join("\n"));
}

#[test]
fn json_has_no_language() {
    let case = case();
    let corpus = corpus();
    let mut arguments = vec!["check", "--format", "json"];
    arguments.extend(corpus.iter().map(|name| &**name));
    let english = case.statetune(&arguments);
    arguments.extend(["--lang", "zh"]);
    let chinese = case.statetune(&arguments);
    assert!(english.stdout.len() > 10_000);
    assert!(english.stdout == chinese.stdout);
    assert_eq!(english.code, chinese.code);
}

#[test]
fn the_gallery_in_chinese() {
    let case = case();
    for name in [
        "gallery_01_misspelt_key",
        "gallery_02_wrong_table",
        "gallery_03_number_as_text",
        "gallery_04_unknown_choice",
        "gallery_05_keys_of_another_method",
        "gallery_07_escape_in_single_quotes",
        "gallery_08_tiny_rate",
        "many_faults",
    ] {
        let output = case.statetune(&["check", &format!("{name}.toml"), "--lang", "zh"]);
        compare(&format!("zh_{name}"), &shown(&output));
    }
    let output =
        case.statetune(&["check", STATE, "--set", "schedule.lr_final=fast", "--lang", "zh"]);
    compare("zh_gallery_15_bad_override", &shown(&output));
}

#[test]
fn documents_in_chinese() {
    let case = Case::new();
    let data = case.read("data.jsonl");
    let broken = "{\"text\": \"User: What does \"ok\" mean?\\n\\nAssistant: 👌🙂\"}\n";
    case.write("data.jsonl", format!("{data}{broken}"));
    let output = case.statetune(&["run", STATE, "--lang", "zh"]);
    compare("zh_gallery_09_broken_line", &shown(&output));
    case.write("data.jsonl", data.replacen("Assistant:", "Bot:", 1));
    let output = case.statetune(&["run", STATE, "--lang", "zh"]);
    compare("zh_gallery_10_mask_selects_nothing", &shown(&output));
}
