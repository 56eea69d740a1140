//! Repairs JSONL lines whose intended content is unambiguous.

use std::sync::LazyLock;

use regex::Regex;
use serde_json::Value;

use crate::data::{LineFault, Mask, RecordForm, Template, with_openings, without_comma};
use crate::plan::Plan;

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

/// Repairs of JSONL lines whose intended content is unambiguous:
///
/// - quotes, tabs and carriage returns within the text of a line that has nothing but a text get their backslash;
/// - a comma behind a record is removed;
/// - a literal `\n` in a text without line breaks becomes a line break;
/// - a line whose text is empty is dropped;
/// - where answers are target text, role words are written as the template writes them, answers get the think block
///   of the template, and questions and system prompts lose their blank lines if the template expects none.
#[derive(Clone, Copy, Debug)]
pub struct Repair<'a> {
    form: RecordForm<'a>,
    /// The template of the answers that are target text, if any.
    turns: Option<&'a Template>,
}

impl<'a> Repair<'a> {
    /// Repairs for the documents of an experiment.
    pub fn new(plan: &'a Plan) -> Repair<'a> {
        let turns = match &plan.data.mask {
            Mask::Assistant(template) => Some(template),
            Mask::All | Mask::Between { .. } => None,
        };
        Repair { form: plan.data.form(), turns }
    }

    /// Repairs one line.
    pub fn line(&self, line: &[u8]) -> Fixed {
        match self.form.parse(line) {
            Ok(None) => Fixed::Kept,
            Ok(Some(_)) => match with_breaks(line) {
                Some(broken) => {
                    let turned = self.with_turns(broken.as_bytes());
                    Fixed::Repaired(turned.unwrap_or(broken))
                }
                None => self.with_turns(line).map_or(Fixed::Kept, Fixed::Repaired),
            },
            Err((_, LineFault::EmptyText { .. })) => Fixed::Dropped,
            Err((_, LineFault::Json { .. })) => {
                let text = str::from_utf8(line).ok();
                let repaired = text.and_then(|line| {
                    without_comma(line).map(str::to_owned).or_else(|| with_backslashes(line))
                });
                let is_sound =
                    |line: &String| matches!(self.form.parse(line.as_bytes()), Ok(Some(_)));
                match repaired.filter(is_sound) {
                    Some(sound) => {
                        Fixed::Repaired(self.with_turns(sound.as_bytes()).unwrap_or(sound))
                    }
                    None => Fixed::Kept,
                }
            }
            Err(_) => Fixed::Kept,
        }
    }

    /// The line with its turns repaired; `None` if nothing is to be repaired.
    fn with_turns(&self, line: &[u8]) -> Option<String> {
        let template = self.turns?;
        let mut record: Value = serde_json::from_slice(line).ok()?;
        if self.form.sft_field.is_empty()
            && let Some(Value::String(text)) = record.get_mut("text")
        {
            *text = fixed_turns(template, text)?;
            return Some(record.to_string());
        }
        if !template.expects_clean_turns() || template.clean_turns {
            return None; // the template writes the turns of other records
        }
        let mut is_changed = false;
        for text in self.form.questions(&mut record) {
            let cleaned = Template::clean(text).into_owned();
            is_changed |= cleaned != text.trim();
            *text = cleaned;
        }
        is_changed.then(|| record.to_string())
    }
}

/// `text` with its turns as the template writes them; `None` if they are.
fn fixed_turns(template: &Template, text: &str) -> Option<String> {
    let opened = with_openings(template, text);
    let now = opened.as_deref().unwrap_or(text);
    let blocked = template.with_think_blocks(now);
    let now = blocked.as_deref().unwrap_or(now);
    let has_blank_line = template.expects_clean_turns() && template.blank_line(now).is_some();
    let now = if has_blank_line { template.without_blank_lines(now) } else { now.into() };
    (now != text).then(|| now.into_owned())
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

    fn fixed(line: &str) -> Fixed {
        fixed_by(Template::rwkv_qa(), line)
    }

    fn fixed_by(template: Template, line: &str) -> Fixed {
        let form = RecordForm::new(&template);
        Repair { form, turns: Some(&template) }.line(line.as_bytes())
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
    #[test]
    fn turns_are_written_as_the_template_writes_them() {
        assert_eq!(
            fixed(r#"{"id": 1, "text": "User: a?\n\nAssistant: b\nUser: c?\nAssistant：d"}"#),
            repaired(r#"{"id":1,"text":"User: a?\n\nAssistant: b\n\nUser: c?\n\nAssistant: d"}"#)
        );
        // An answer may quote a word.
        assert_eq!(fixed(r#"{"text": "User: a?\n\nAssistant: b\nUser: c?"}"#), Fixed::Kept);
        assert_eq!(
            fixed(r#"{"text": "User: a\n\nb\n\nAssistant: c\n\nd"}"#),
            repaired(r#"{"text":"User: a\nb\n\nAssistant: c\n\nd"}"#)
        );
        let line = r#"{"messages": [{"role": "user", "content": "a\n\n\nb"}, {"role": "assistant", "content": "c\n\nd"}]}"#;
        assert_eq!(
            fixed(line),
            repaired(
                r#"{"messages":[{"role":"user","content":"a\nb"},{"role":"assistant","content":"c\n\nd"}]}"#
            )
        );
        assert_eq!(fixed_by(Template::g1(), line), Fixed::Kept, "the template cleans the turns");
        assert_eq!(
            fixed_by(Template::g1(), r#"{"text": "User: a\n\nAssistant: b"}"#),
            repaired(r#"{"text":"User: a\n\nAssistant: <think>\n</think>\nb"}"#)
        );
    }
}
