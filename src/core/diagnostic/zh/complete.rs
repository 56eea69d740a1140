//! Catalogue and source against each other: what a message can say is in the catalogue, and nothing else is.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

use super::{COMPOSED, PAIRS, Pair, Template};

/// Where the source gives a text to a message: calls, errors that become messages, and names that such texts have
/// before they get there. The first group is there where the text is a format string, the second is the text.
const GIVEN: &str = r#"(?xs)
    (?: Diagnostic::(?:error|warning)\(\s* (?:"ST\d{4}"|[\w.()]+) ,\s*
      | \.(?:note|help|label|fix)\(\s*
      | \.also\([^";]*,\s*
      | let\ (?:message|note|help|label|does|why|reason)\ =\s*
      | (\#\[error\(\s*)
    )
    &? (format!\(\s*)? "((?:[^"\\]|\\.)*)"
"#;

/// A string of the source; what could be taken for one matches without the group.
const STRING: &str = r##"(?xs)
    //[^\n]* | '(?:\\'|\\[^']+|[^'\\])' | r\#".*?"\# | r"[^"]*" | "((?:[^"\\]|\\.)*)"
"##;

/// Texts that stand in such a place and are no part of a message: clap's own form, the progress of a sweep, a
/// column of a table.
const OTHERS: [&str; 3] = [
    r"invalid value '{unknown}' for '{VARIABLE}'\n  [possible values: en, zh]",
    "member {} of {}: {}",
    "went on after step",
];

/// What is no source of messages: remarks in imported files, and this test.
const OTHER_FILES: [&str; 2] = ["src/import/script/", "src/diagnostic/zh/complete.rs"];

/// The source of the program without its tests, by file.
fn source() -> Vec<(PathBuf, String)> {
    let tests = Regex::new(r"#\[cfg\(test\)\]\n(pub\(super\) )?mod tests").expect("valid");
    let mut folders = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                folders.push(path);
            } else if !OTHER_FILES.iter().any(|other| path.to_string_lossy().contains(other))
                && path.extension().is_some_and(|end| end == "rs")
            {
                let text = fs::read_to_string(&path).expect("UTF-8");
                let end = tests.find(&text).map_or(text.len(), |found| found.start());
                files.push((path, text[..end].to_owned()));
            }
        }
    }
    files
}

/// A string of the source with a mark for its holes, where it is a format string.
fn form(string: &str, is_format: bool) -> String {
    let mut lines = string.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    let string = lines.fold(first, |string, line| string + line.trim_start()).replace("\\\"", "\"");
    let string = match is_format {
        true => string,
        false => string.replace('{', "{{").replace('}', "}}"),
    };
    marked(&Template::parse(&string))
}

/// The text with one mark for holes that follow each other.
fn marked(template: &Template) -> String {
    let texts = template.texts.iter().enumerate();
    let is_between = |index| 0 < index && index + 1 < template.texts.len();
    let texts = texts.filter(|(index, text)| !(text.is_empty() && is_between(*index)));
    texts.map(|(_, text)| &**text).collect::<Vec<_>>().join("\0")
}

/// The English texts of the catalogue.
fn known() -> BTreeSet<String> {
    PAIRS.iter().map(|pair| marked(&pair.english)).collect()
}

#[test]
fn every_text_of_a_message_is_in_the_catalogue() {
    let given = Regex::new(GIVEN).expect("valid");
    let (known, mut tried, mut missing) = (known(), 0, Vec::new());
    for (file, text) in source() {
        for found in given.captures_iter(&text) {
            let is_format = found.get(1).or(found.get(2)).is_some();
            let form = form(&found[3], is_format);
            // Only holes: another error speaks.
            let says_something = form.contains(char::is_alphabetic);
            tried += 1;
            if says_something && !OTHERS.contains(&&found[3]) && !known.contains(&form) {
                missing.push(format!("{}: {}", file.display(), &found[3]));
            }
        }
    }
    assert!(tried > 500, "{tried}");
    assert!(missing.is_empty(), "not in the catalogue:\n{}", missing.join("\n"));
}

#[test]
fn every_text_of_the_catalogue_is_in_the_source() {
    let string = Regex::new(STRING).expect("valid");
    let mut forms = BTreeSet::new();
    for (_, text) in source() {
        for found in string.captures_iter(&text).filter_map(|found| found.get(1)) {
            forms.extend([true, false].map(|is_format| form(found.as_str(), is_format)));
        }
    }
    let texts = PAIRS.iter().filter(|pair| pair.heading != COMPOSED);
    let texts = texts.map(|pair| marked(&pair.english));
    let stale: Vec<String> = texts.filter(|text| !forms.contains(text)).collect();
    assert!(stale.is_empty(), "no text of the program: {stale:#?}");
}

#[test]
fn both_languages_have_the_same_holes() {
    let names = |template: &Template| -> BTreeSet<String> {
        template.holes.iter().map(|name| (*name).to_owned()).collect()
    };
    for Pair { english, chinese, .. } in PAIRS.iter() {
        assert_eq!(names(english), names(chinese), "{}", marked(english));
        assert!(english.fitness(&[]).0 > 0, "one hole alone fits every text");
    }
}

#[test]
fn no_text_is_there_twice() {
    let mut met = BTreeSet::new();
    for pair in PAIRS.iter() {
        assert!(met.insert((pair.heading, marked(&pair.english))), "{}", marked(&pair.english));
    }
}
