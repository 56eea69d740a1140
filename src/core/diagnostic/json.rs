//! Messages for editors and programs.

use std::ops::Range;

use serde_json::{Value, json};

use super::{Diagnostic, Edit, Severity, Span, Text};

impl Diagnostic {
    /// The message as an object of the kind `statetune.diagnostic/1`:
    ///
    /// - `code`, `severity` (`error` or `warning`), `message`, `file` (null where no place is known);
    /// - `spans`: the places, that of the message first and `primary`, each with its `label`, as bytes and as
    ///   lines and columns, which count from 1, columns in characters;
    /// - `notes` and `helps`: texts;
    /// - `fix`: edits of `file` that together fix the problem, each a place and the `text` that replaces it;
    /// - `explain`: what `statetune explain` tells more about.
    ///
    /// In a text without lines, such as an argument, `line` is 0.
    pub fn to_json(&self) -> Value {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        let (mut spans, mut fix) = (Vec::new(), Vec::new());
        if let Some(span) = &self.span {
            spans.push(mark(span, &span.range, &self.label, true));
            let others = self.others.iter();
            spans.extend(others.map(|(range, label)| mark(span, range, label, false)));
            fix.extend(self.fix.iter().map(|Edit { range, text }| {
                let mut edit = place(span, range);
                edit["text"] = text.as_str().into();
                edit
            }));
        }
        json!({
            "schema": "statetune.diagnostic/1",
            "code": self.code,
            "severity": severity,
            "message": self.message.to_string(),
            "file": self.span.as_ref().map(|span| span.file.to_string_lossy()),
            "spans": spans,
            "notes": english(&self.notes),
            "helps": english(&self.helps),
            "fix": fix,
            "explain": self.code,
        })
    }
}

/// Texts in English, as programs read them.
pub fn english(texts: &[Text]) -> Vec<String> {
    texts.iter().map(Text::to_string).collect()
}

fn mark(span: &Span, range: &Range<usize>, label: &Text, primary: bool) -> Value {
    let mut mark = place(span, range);
    mark["label"] = label.to_string().into();
    mark["primary"] = primary.into();
    mark
}

/// A range of the text of `span`: from the byte `start` to before the byte `end`.
fn place(span: &Span, range: &Range<usize>) -> Value {
    let end = Span { range: range.end..range.end, ..span.clone() };
    let start = Span { range: range.clone(), ..span.clone() };
    json!({
        "start": range.start,
        "end": range.end,
        "line": start.line(),
        "column": start.column(),
        "end_line": end.line(),
        "end_column": end.column(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warning(code: &'static str, message: &str) -> Diagnostic {
        Diagnostic { severity: Severity::Warning, ..Diagnostic::of(code, message) }
    }

    #[test]
    fn every_part_of_a_message_is_in_its_object() {
        let text = "a = 1\né = 22\n";
        let span = Span {
            file: "x.toml".into(),
            text: text.to_owned(),
            first_line: 1,
            row: None,
            range: 6..8,
        };
        let message = Diagnostic::of("ST1001", "unknown key")
            .at(span)
            .label(Text::verbatim("here"))
            .also(0..1, Text::verbatim("there"))
            .note(Text::verbatim("a note"))
            .fix(Text::verbatim("renames it"), vec![Edit::replace(6..8, "e")]);
        let expected = json!({
            "schema": "statetune.diagnostic/1",
            "code": "ST1001",
            "severity": "error",
            "message": "unknown key",
            "file": "x.toml",
            "spans": [
                { "start": 6, "end": 8, "line": 2, "column": 1, "end_line": 2, "end_column": 2,
                  "label": "here", "primary": true },
                { "start": 0, "end": 1, "line": 1, "column": 1, "end_line": 1, "end_column": 2,
                  "label": "there", "primary": false },
            ],
            "notes": ["a note"],
            "helps": ["`statetune check x.toml --fix` renames it"],
            "fix": [{ "start": 6, "end": 8, "line": 2, "column": 1, "end_line": 2, "end_column": 2,
                      "text": "e" }],
            "explain": "ST1001",
        });
        assert_eq!(message.to_json(), expected);
        let bare = warning("ST2301", "w").to_json();
        assert_eq!((&bare["file"], &bare["spans"]), (&Value::Null, &json!([])));
    }
}
