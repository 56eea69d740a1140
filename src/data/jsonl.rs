//! Reads JSONL: one JSON object per line, of which the key `text` is a document.

use std::fs;
use std::mem::discriminant;
use std::ops::Range;
use std::path::Path;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use crate::diagnostic::Span;

use super::error::{DataError, LineFault, OtherLines, place};

/// One document of a JSONL file.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Document {
    /// The line it stands on, counted from 1.
    pub line: usize,
    /// The value of `text`; never empty.
    pub text: String,
}

#[derive(Deserialize)]
struct Record {
    text: String,
}

/// The documents of a JSONL file in its order. Blank lines and a byte order mark are skipped, keys
/// other than `text` are ignored.
///
/// # Errors
/// [`DataError::Read`], [`DataError::NoDocuments`], or [`DataError::Line`] for the first line that is
/// no document, with a count of the others.
pub fn read_documents(file: &Path) -> Result<Vec<Document>, DataError> {
    let bytes = fs::read(file).map_err(|source| DataError::Read { file: file.into(), source })?;
    parse_documents(file, &bytes)
}

/// Like [`read_documents`], from the content of `file`.
pub(super) fn parse_documents(file: &Path, bytes: &[u8]) -> Result<Vec<Document>, DataError> {
    let mut documents = Vec::new();
    let mut first_fault: Option<Fault> = None;
    let mut others = OtherLines::default();
    for line in lines(file, bytes) {
        match (line, &first_fault) {
            (Ok(document), _) => documents.push(document),
            (Err(fault), None) => first_fault = Some(fault),
            (Err(fault), Some(first))
                if discriminant(&fault.fault) == discriminant(&first.fault) =>
            {
                others.same += 1;
                if others.first.len() < 2 {
                    others.first.push(fault.place.line());
                }
            }
            (Err(_), Some(_)) => {}
        }
    }

    if let Some(Fault { place, fault }) = first_fault {
        others.fine = documents.len();
        return Err(DataError::Line { place, fault, others });
    }
    if documents.is_empty() {
        return Err(DataError::NoDocuments { file: file.into() });
    }
    Ok(documents)
}

/// A line that is no document.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Fault {
    /// The line and what of it is wrong.
    pub place: Box<Span>,
    /// What is wrong.
    pub fault: LineFault,
}

/// Every line of a JSONL file but the blank ones, as a document or as what is wrong with it.
pub fn lines<'a>(
    file: &'a Path,
    bytes: &'a [u8],
) -> impl Iterator<Item = Result<Document, Fault>> + 'a {
    const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
    let bytes = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(bytes);
    let numbered = (1..).zip(bytes.split(|&byte| byte == b'\n'));
    numbered.filter(|(_, line)| !line.trim_ascii().is_empty()).map(|(number, line)| {
        let parsed = parse_line(line).map(|text| Document { line: number, text });
        parsed.map_err(|(range, fault)| Fault { place: place(file, number, line, range), fault })
    })
}

/// The text of one line, or what is wrong in which of its bytes.
fn parse_line(line: &[u8]) -> Result<String, (Range<usize>, LineFault)> {
    let line = str::from_utf8(line).map_err(|error| {
        let start = error.valid_up_to();
        (start..start + 1, LineFault::NotUtf8 { byte: line[start] })
    })?;
    let is_object = line.trim_ascii_start().starts_with('{'); // serde takes a list for a struct, too
    match serde_json::from_str::<Record>(line) {
        Ok(record) if is_object && !record.text.is_empty() => Ok(record.text),
        _ => Err(explain(line)),
    }
}

/// Finds out why `line` is no document.
fn explain(line: &str) -> (Range<usize>, LineFault) {
    let value = match serde_json::from_str::<Value>(line) {
        Ok(value) => value,
        Err(error) => return explain_json(line, &error),
    };
    let start = line.len() - line.trim_ascii_start().len();
    let Value::Object(object) = value else {
        return (
            start..line.trim_ascii_end().len(),
            LineFault::NotAnObject { found: type_of(&value) },
        );
    };
    let fault = match object.get("text") {
        None => {
            let keys = object.keys().cloned().collect();
            return (start..start + 1, LineFault::NoText { keys });
        }
        Some(Value::String(text)) if text.is_empty() => LineFault::EmptyText,
        Some(Value::String(_)) => LineFault::TextTwice,
        Some(other) => LineFault::TextType { found: type_of(other) },
    };
    (text_value(line).unwrap_or(start..start + 1), fault)
}

fn explain_json(line: &str, error: &serde_json::Error) -> (Range<usize>, LineFault) {
    let position = format!(" at line {} column {}", error.line(), error.column());
    let problem = error.to_string();
    let problem = problem.strip_suffix(&position).unwrap_or(&problem);
    let problem = problem.replace("EOF while parsing", "the line ends within");

    let end = line.trim_ascii_end().len();
    if error.is_eof() {
        return (end..end, LineFault::Json { problem, after_quote: false });
    }
    let start = line.floor_char_boundary(error.column().saturating_sub(1).min(end));
    let length = line[start..].chars().next().map_or(0, char::len_utf8);
    let after_quote =
        problem.starts_with("expected `,` or") && line[..start].trim_ascii_end().ends_with('"');
    (start..start + length, LineFault::Json { problem, after_quote })
}

/// Where the first value of the key `text` stands in `line`, which is a valid JSON object.
fn text_value(line: &str) -> Option<Range<usize>> {
    let mut at = line.find('{')? + 1;
    loop {
        let key_end = at + value_length(&line[at..])?;
        let key: String = serde_json::from_str(&line[at..key_end]).ok()?;
        at = key_end + line[key_end..].find(':')? + 1;
        let end = at + value_length(&line[at..])?;
        if key == "text" {
            return Some(end - line[at..end].trim_ascii_start().len()..end);
        }
        at = end + line[end..].find(',')? + 1;
    }
}

/// The length of the JSON value at the start of `text`, with the blanks before it.
fn value_length(text: &str) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

fn type_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: impl AsRef<[u8]>) -> Result<Vec<Document>, DataError> {
        parse_documents(Path::new("d.jsonl"), text.as_ref())
    }

    fn fault(text: impl AsRef<[u8]>) -> (String, String, LineFault) {
        match parse(text).unwrap_err() {
            DataError::Line { place, fault, .. } => {
                (place.to_string(), place.text[place.range.clone()].to_owned(), fault)
            }
            other => panic!("{other}"),
        }
    }

    #[test]
    fn only_the_key_text_is_read() {
        let text = "\u{feff}{\"text\": \"a\\u0000b\", \"meta\": {\"text\": 1}}\r\n\n \t\r\n  {\"id\": 7, \"text\": \"你好\"}";
        let documents = parse(text).unwrap();
        assert_eq!(
            documents,
            [Document { line: 1, text: "a\0b".into() }, Document { line: 4, text: "你好".into() }]
        );
    }

    #[test]
    fn broken_json_points_at_the_break() {
        let line = r#"{"text": "User: What does "ok" mean?\n\nAssistant: 👌🙂"}"#;
        let (place, marked, fault) = fault(format!("{{\"text\": \"a\"}}\n{line}\n"));
        assert_eq!((place.as_str(), marked.as_str()), ("d.jsonl:2:28", "o"));
        let problem = "expected `,` or `}`".to_owned();
        assert_eq!(fault, LineFault::Json { problem, after_quote: true });
    }

    #[test]
    fn every_fault_has_its_place() {
        let json = |problem: &str| LineFault::Json { problem: problem.into(), after_quote: false };
        let cases = [
            ("{'text': 'a'}", "d.jsonl:1:2", "'", json("key must be a string")),
            ("{\"text\": \"a\"", "d.jsonl:1:13", "", json("the line ends within an object")),
            ("{\"text\": \"你\"} x", "d.jsonl:1:15", "x", json("trailing characters")),
            ("[\"a\"]", "d.jsonl:1:1", "[\"a\"]", LineFault::NotAnObject { found: "an array" }),
            (" \"a\" ", "d.jsonl:1:2", "\"a\"", LineFault::NotAnObject { found: "a string" }),
            ("{}", "d.jsonl:1:1", "{", LineFault::NoText { keys: vec![] }),
            (
                "{\"Text\": \"a\", \"q\": {\"text\": \"a\"}}",
                "d.jsonl:1:1",
                "{",
                LineFault::NoText { keys: vec!["Text".into(), "q".into()] },
            ),
            (
                "{\"n\": [{\"text\": 1}, \",\"] , \"text\" : 12 }",
                "d.jsonl:1:37",
                "12",
                LineFault::TextType { found: "a number" },
            ),
            ("{\"text\": null}", "d.jsonl:1:10", "null", LineFault::TextType { found: "null" }),
            ("{\"text\": \"\"}", "d.jsonl:1:10", "\"\"", LineFault::EmptyText),
            (
                "{\"te\\u0078t\": \"a\", \"text\": \"b\"}",
                "d.jsonl:1:15",
                "\"a\"",
                LineFault::TextTwice,
            ),
        ];
        for (text, place, marked, expected) in cases {
            assert_eq!(fault(text), (place.into(), marked.into(), expected), "{text}");
        }
    }

    #[test]
    fn not_utf8_names_the_byte() {
        let (place, marked, fault) = fault(b"{\"text\": \"\xe4\xbd\xa0\xff\"}\n");
        assert_eq!((place.as_str(), marked.as_str()), ("d.jsonl:1:12", "\u{fffd}"));
        assert_eq!(fault, LineFault::NotUtf8 { byte: 0xff });
    }

    #[test]
    fn messages_show_the_line() {
        let message = |text: &str| parse(text).unwrap_err().diagnostic().render(false);
        let text = "{\"text\": \"a\"}\n{\"text\": \"Say \"ok\" 👌\"}\n{\"text\": \"b\"\n";
        let expected = r#"
error[ST3001]: line 2 of `d.jsonl` is not valid JSON
 --> d.jsonl:2:16
  |
2 | {"text": "Say "ok" 👌"}
  |                ^ the text ended at the quote before this
  |
  = note: quotes inside the text need a backslash: `\"`
  = note: 1 other line is fine; 1 more has the same problem (3)"#;
        assert_eq!(message(text), expected.trim_start());
        let expected = r#"
error[ST3003]: line 1 of `d.jsonl` has no key `text`
 --> d.jsonl:1:1
  |
1 | {"prompt": "a", "answer": "b"}
  | ^ keys found: `prompt`, `answer`"#;
        assert_eq!(message("{\"prompt\": \"a\", \"answer\": \"b\"}\n"), expected.trim_start());
    }

    #[test]
    fn lines_with_the_same_problem_are_counted() {
        let text = "{\"text\": \"a\"}\n{\n[1]\n{\"text\": \"b\"}\n{\n{\n{\n";
        let DataError::Line { place, others, .. } = parse(text).unwrap_err() else { panic!() };
        assert_eq!(place.line(), 2);
        assert_eq!(others, OtherLines { fine: 2, same: 3, first: vec![5, 6] });
    }

    #[test]
    fn a_file_without_documents_is_an_error() {
        for text in ["", "\n \r\n\t"] {
            assert_eq!(parse(text).unwrap_err().to_string(), "`d.jsonl` holds no documents");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let folder = tempfile::tempdir().unwrap();
        for path in [folder.path(), &folder.path().join("missing.jsonl")] {
            let error = read_documents(path).unwrap_err();
            assert_eq!(error.code(), "ST3005");
            assert_eq!(error.to_string(), format!("cannot read `{}`", path.display()));
        }
    }
}
