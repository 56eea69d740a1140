//! Repairs JSONL lines whose intended content is unambiguous.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::data::{LineFault, RecordForm};

/// The result of repairing a line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fixed {
    /// Nothing was wrong, or nothing could be repaired.
    Kept,
    /// The line as it should be.
    Repaired(String),
    /// The line held nothing.
    Dropped,
}

/// A line that has a text and no other key.
static ONLY_TEXT: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(r#"(?s)^\s*\{\s*"text"\s*:\s*"(.*)"\s*\}\s*$"#).expect("a valid expression")
});

/// Where a text may end and another key begin.
static OTHER_KEY: LazyLock<Regex> =
    LazyLock::new(|| Regex::new(r#""\s*,\s*"[^"]*"\s*:"#).expect("a valid expression"));

/// Repairs one line of `form` where its intended content is unambiguous:
///
/// - quotes, tabs and carriage returns within the text of a line that has nothing but a text get their backslash;
/// - a literal `\n` in a text without line breaks becomes a line break;
/// - a line whose text is empty is dropped.
pub fn fix(line: &[u8], form: &RecordForm<'_>) -> Fixed {
    match form.parse(line) {
        Ok(None) => Fixed::Kept,
        Ok(Some(_)) => with_breaks(line).map_or(Fixed::Kept, Fixed::Repaired),
        Err((_, LineFault::EmptyText { .. })) => Fixed::Dropped,
        Err((_, LineFault::Json { .. })) => {
            let repaired = str::from_utf8(line).ok().and_then(with_backslashes);
            let sound = repaired.filter(|line| matches!(form.parse(line.as_bytes()), Ok(Some(_))));
            sound.map_or(Fixed::Kept, Fixed::Repaired)
        }
        Err(_) => Fixed::Kept,
    }
}

/// The line with escaped quotes, tabs and carriage returns within its only text.
fn with_backslashes(line: &str) -> Option<String> {
    let inner = ONLY_TEXT.captures(line)?.get(1)?;
    if OTHER_KEY.is_match(inner.as_str()) {
        return None;
    }
    let mut fixed = line[..inner.start()].to_owned();
    let mut escaped = false;
    for character in inner.as_str().chars() {
        match character {
            '"' if !escaped => fixed.push_str("\\\""),
            '\t' => fixed.push_str("\\t"),
            '\r' => fixed.push_str("\\r"),
            other => fixed.push(other),
        }
        escaped = character == '\\' && !escaped;
    }
    fixed.push_str(&line[inner.end()..]);
    Some(fixed)
}

/// The line with line breaks for `\n` in its text, if it has these alone.
fn with_breaks(line: &[u8]) -> Option<String> {
    let mut record: Value = serde_json::from_slice(line).ok()?;
    let Some(Value::String(text)) = record.get_mut("text") else { return None };
    if !text.contains("\\n") || text.contains('\n') {
        return None;
    }
    *text = text.replace("\\n", "\n");
    Some(record.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Template;

    fn fixed(line: &str) -> Fixed {
        let template = Template::rwkv_qa();
        fix(line.as_bytes(), &RecordForm { sft_field: None, template: &template })
    }

    fn repaired(line: &str) -> Fixed {
        Fixed::Repaired(line.to_owned())
    }

    #[test]
    fn quotes_within_the_text_get_a_backslash() {
        assert_eq!(
            fixed(r#"{"text": "User: What does "ok" mean?\n\nAssistant: \"yes\" 👌"}"#),
            repaired(r#"{"text": "User: What does \"ok\" mean?\n\nAssistant: \"yes\" 👌"}"#)
        );
        assert_eq!(fixed("{\"text\": \"a\tb\"}"), repaired(r#"{"text": "a\tb"}"#));
        // Which of these quotes ends the text is a matter of opinion.
        assert_eq!(fixed(r#"{"text": "a "b" c", "id": "d"}"#), Fixed::Kept);
        assert_eq!(fixed(r#"{"text": "a"#), Fixed::Kept);
    }

    #[test]
    fn escaped_line_breaks_become_line_breaks() {
        assert_eq!(
            fixed(r#"{"id": 1, "text": "User: a\\n\\nAssistant: b"}"#),
            repaired(r#"{"id":1,"text":"User: a\n\nAssistant: b"}"#)
        );
        // This one writes line breaks and speaks of `\n`.
        assert_eq!(fixed(r#"{"text": "User: a\n\nAssistant: use \\n"}"#), Fixed::Kept);
    }

    #[test]
    fn empty_texts_are_dropped_and_the_rest_is_kept() {
        assert_eq!(fixed(r#"{"text": ""}"#), Fixed::Dropped);
        for line in ["", r#"{"text": "a"}"#, r#"{"txt": "a"}"#, "[1]"] {
            assert_eq!(fixed(line), Fixed::Kept, "{line}");
        }
    }
}
