//! A record, as JSON, to a text.

use std::fmt;
use std::ops::Range;

use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

use crate::data::fault::{LineFault, NotJson};
use crate::data::shapes::{RecordForm, RecordText, ShapeFault, text_of_record, type_of};
use crate::diagnostic::{Text, msg};

use super::format::LineError;

/// The keys of a record, and those that the line has more than once.
struct Keys {
    record: Map<String, Value>,
    repeated: Vec<String>,
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Keys, D::Error> {
        deserializer.deserialize_map(KeysVisitor)
    }
}

struct KeysVisitor;

impl<'de> Visitor<'de> for KeysVisitor {
    type Value = Keys;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Keys, A::Error> {
        let mut keys = Keys { record: Map::new(), repeated: Vec::new() };
        while let Some((key, value)) = access.next_entry::<String, Value>()? {
            if keys.record.contains_key(&key) {
                keys.repeated.push(key.clone());
            }
            keys.record.insert(key, value);
        }
        Ok(keys)
    }
}

impl RecordForm<'_> {
    /// The record of one line as text; `None` for a blank line.
    ///
    /// # Errors
    /// The error and the bytes of the line that it is about.
    pub fn parse(&self, line: &[u8]) -> Result<Option<RecordText>, LineError> {
        let Some((line, Keys { record, repeated })) = keys_of_line(line)? else { return Ok(None) };
        let start = line.len() - line.trim_ascii_start().len();
        let text = text_of_record(self, record).map_err(|ShapeFault { key, fault }| {
            let range = match (&fault, key) {
                (LineFault::NoShape { misspelt: Some(misspelt), .. }, _) => {
                    key_name(line, &misspelt[0])
                }
                (_, Some(key)) => key_value(line, &key),
                (_, None) => start..start + 1,
            };
            (range, fault)
        })?;
        match repeated.into_iter().find(|key| !text.unused.contains(key)) {
            Some(key) => Err((key_value(line, &key), LineFault::TextTwice { key })),
            None => Ok(Some(text)),
        }
    }
}

/// The text of one line and the keys of its record; `None` for a blank line.
fn keys_of_line(line: &[u8]) -> Result<Option<(&str, Keys)>, LineError> {
    if line.trim_ascii().is_empty() {
        return Ok(None);
    }
    let line = str::from_utf8(line).map_err(|error| {
        let start = error.valid_up_to();
        (start..start + 1, LineFault::NotUtf8 { byte: line[start] })
    })?;
    let start = line.len() - line.trim_ascii_start().len();
    let end = line.trim_ascii_end().len();
    if !line[start..].starts_with('{') {
        let value: Value =
            serde_json::from_str(line).map_err(|error| explain_json(line, &error))?;
        return Err((start..end, LineFault::NotAnObject { found: type_of(&value) }));
    }
    let keys = serde_json::from_str(line).map_err(|error| explain_json(line, &error))?;
    Ok(Some((line, keys)))
}

/// The text of a line and its record.
pub(crate) type LineRecord<'a> = (&'a str, Map<String, Value>);

/// The text of one line and its record, no key of which stands twice; `None` for a blank line.
///
/// # Errors
/// The error and the bytes of the line that it is about.
pub(crate) fn record_of_line(line: &[u8]) -> Result<Option<LineRecord<'_>>, LineError> {
    let Some((line, Keys { record, repeated })) = keys_of_line(line)? else { return Ok(None) };
    match repeated.into_iter().next() {
        Some(key) => Err((key_value(line, &key), LineFault::TextTwice { key })),
        None => Ok(Some((line, record))),
    }
}

fn explain_json(line: &str, error: &serde_json::Error) -> (Range<usize>, LineFault) {
    let position = format!(" at line {} column {}", error.line(), error.column());
    let problem = error.to_string();
    let problem = problem.strip_suffix(&position).unwrap_or(&problem);
    let after_comma = problem.starts_with("expected `,` or");
    let problem = match problem.strip_prefix("EOF while parsing ") {
        Some("a string") => msg!(LINE_ENDS_IN_STRING),
        Some("a list") => msg!(LINE_ENDS_IN_LIST),
        Some("an object") => msg!(LINE_ENDS_IN_OBJECT),
        Some(_) => msg!(LINE_ENDS_IN_VALUE),
        None => Text::library(problem),
    };

    let end = line.trim_ascii_end().len();
    if error.is_eof() {
        return (end..end, LineFault::Json { problem, after_quote: false, looks_like: None });
    }
    let start = line.floor_char_boundary(error.column().saturating_sub(1).min(end));
    let length = line[start..].chars().next().map_or(0, char::len_utf8);
    let after_quote = after_comma && line[..start].trim_ascii_end().ends_with('"');
    let looks_like = not_json(line);
    (start..start + length, LineFault::Json { problem, after_quote, looks_like })
}

/// What a line is that is not JSON, if known.
fn not_json(line: &str) -> Option<NotJson> {
    if without_comma(line).is_some() {
        return Some(NotJson::CommaBehind);
    }
    let inside = line.trim_start().strip_prefix('{')?.trim_start();
    (inside.starts_with('\'') && inside.contains("':")).then_some(NotJson::PythonDict)
}

/// A line without the comma behind its record, if that makes it JSON.
pub(crate) fn without_comma(line: &str) -> Option<&str> {
    let record = line.trim_end().strip_suffix(',')?;
    serde_json::from_str::<Map<String, Value>>(record).is_ok().then_some(record)
}

/// The range of the name of `key` in `line`, which is a valid JSON object.
fn key_name(line: &str, key: &str) -> Range<usize> {
    let quoted = Value::from(key).to_string();
    let start = line.find(&quoted).unwrap_or(line.len() - line.trim_ascii_start().len());
    start..start + line[start..].len().min(quoted.len())
}

/// The range of the first value of `key` in `line`, which is a valid JSON object.
pub(crate) fn key_value(line: &str, key: &str) -> Range<usize> {
    let start = line.len() - line.trim_ascii_start().len();
    values(line, key).next().unwrap_or(start..start + 1)
}

/// The ranges of the values of `key` in `line`, which is a valid JSON object.
fn values<'a>(line: &'a str, key: &'a str) -> impl Iterator<Item = Range<usize>> + 'a {
    let mut at = line.find('{').map(|brace| brace + 1);
    std::iter::from_fn(move || {
        loop {
            let key_start = at?;
            let key_end = key_start + value_length(&line[key_start..])?;
            let found: String = serde_json::from_str(&line[key_start..key_end]).ok()?;
            let start = key_end + line[key_end..].find(':')? + 1;
            let end = start + value_length(&line[start..])?;
            at = line[end..].find(',').map(|comma| end + comma + 1);
            if found == key {
                return Some(end - line[start..end].trim_ascii_start().len()..end);
            }
        }
    })
}

/// The length of the JSON value at the start of `text`, with the white space before it.
fn value_length(text: &str) -> Option<usize> {
    let mut values = serde_json::Deserializer::from_str(text).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    Some(values.byte_offset())
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::LazyLock;

    use super::super::format::{BadLine, Tally};
    use super::*;
    use crate::data::conversation::Template;
    use crate::data::error::{DataError, OtherLines, place};

    static TEMPLATE: LazyLock<Template> = LazyLock::new(Template::rwkv_qa);

    fn form() -> RecordForm<'static> {
        RecordForm::new(&TEMPLATE)
    }

    /// The documents of a file with this content, with their line numbers.
    fn parse_as(
        form: RecordForm<'_>,
        text: impl AsRef<[u8]>,
    ) -> Result<Vec<(u64, String)>, DataError> {
        let (mut documents, mut tally) = (Vec::new(), Tally::default());
        for (number, line) in (1..).zip(text.as_ref().split(|&byte| byte == b'\n')) {
            match form.parse(line) {
                Ok(None) => {}
                Ok(Some(record)) => {
                    tally.add_valid();
                    documents.push((number, record.text));
                }
                Err((range, fault)) => {
                    let place = place(Path::new("d.jsonl"), number as usize, line, range);
                    tally.add_invalid(&BadLine { place, fault });
                }
            }
        }
        tally.result().map(|()| documents)
    }

    fn parse(text: impl AsRef<[u8]>) -> Result<Vec<(u64, String)>, DataError> {
        parse_as(form(), text)
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
        let text = "{\"text\": \"a\\u0000b\", \"meta\": {\"text\": 1}}\r\n\n \t\r\n  {\"id\": 7, \"text\": \"你好\"}";
        let documents = parse(text).unwrap();
        assert_eq!(documents, [(1, "a\0b".into()), (4, "你好".into())]);
    }

    #[test]
    fn broken_json_points_at_the_break() {
        let line = r#"{"text": "User: What does "ok" mean?\n\nAssistant: 👌🙂"}"#;
        let (place, marked, fault) = fault(format!("{{\"text\": \"a\"}}\n{line}\n"));
        assert_eq!((place.as_str(), marked.as_str()), ("d.jsonl:2:28", "o"));
        let problem = Text::verbatim("expected `,` or `}`");
        assert_eq!(fault, LineFault::Json { problem, after_quote: true, looks_like: None });
    }

    #[test]
    fn every_fault_has_its_place() {
        let json = |problem: &'static str| LineFault::Json {
            problem: Text::verbatim(problem),
            after_quote: false,
            looks_like: None,
        };
        let like = |problem: &'static str, looks_like| LineFault::Json {
            problem: Text::verbatim(problem),
            after_quote: false,
            looks_like: Some(looks_like),
        };
        let no_shape = |keys: &[&str], misspelt: Option<[&str; 2]>| LineFault::NoShape {
            keys: keys.iter().map(|key| (*key).to_owned()).collect(),
            texts: None,
            misspelt: misspelt.map(|keys| Box::new(keys.map(str::to_owned))),
        };
        let null =
            |key: &str| LineFault::TextType { key: key.to_owned(), found: Text::verbatim("null") };
        let cases = [
            (
                "{'text': 'a'}",
                "d.jsonl:1:2",
                "'",
                like("key must be a string", NotJson::PythonDict),
            ),
            (
                "{\"text\": \"a\"},",
                "d.jsonl:1:14",
                ",",
                like("trailing characters", NotJson::CommaBehind),
            ),
            ("{\"question\": \"a\", \"answer\": null}", "d.jsonl:1:29", "null", null("answer")),
            (
                "{\"question\": \"a\", \"id\": 1}",
                "d.jsonl:1:1",
                "{",
                LineFault::NoText {
                    key: "answer".into(),
                    keys: vec!["question".into(), "id".into()],
                },
            ),
            ("{\"text\": \"a\"", "d.jsonl:1:13", "", json("the line ends within an object")),
            ("{\"text\": \"你\"} x", "d.jsonl:1:15", "x", json("trailing characters")),
            (
                "[\"a\"]",
                "d.jsonl:1:1",
                "[\"a\"]",
                LineFault::NotAnObject { found: Text::verbatim("an array") },
            ),
            (
                " \"a\" ",
                "d.jsonl:1:2",
                "\"a\"",
                LineFault::NotAnObject { found: Text::verbatim("a string") },
            ),
            ("{}", "d.jsonl:1:1", "{", no_shape(&[], None)),
            (
                "{\"Text\": \"a\", \"q\": {\"text\": \"a\"}}",
                "d.jsonl:1:2",
                "\"Text\"",
                no_shape(&["Text", "q"], Some(["Text", "text"])),
            ),
            (
                "{\"n\": [{\"text\": 1}, \",\"] , \"text\" : 12 }",
                "d.jsonl:1:37",
                "12",
                LineFault::TextType { key: "text".into(), found: Text::verbatim("a number") },
            ),
            (
                "{\"text\": null}",
                "d.jsonl:1:10",
                "null",
                LineFault::TextType { key: "text".into(), found: Text::verbatim("null") },
            ),
            (
                "{\"text\": \"\"}",
                "d.jsonl:1:10",
                "\"\"",
                LineFault::EmptyText { key: "text".into() },
            ),
            (
                "{\"te\\u0078t\": \"a\", \"text\": \"b\"}",
                "d.jsonl:1:15",
                "\"a\"",
                LineFault::TextTwice { key: "text".into() },
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
  |                ^ the string ended at the quote before this
  |
  = note: quotes inside the text need a backslash: `\"`
  = note: 1 other line is fine; 1 more has the same problem (3)"#;
        assert_eq!(message(text), expected.trim_start());
        let expected = r#"
error[ST3003]: line 1 of `d.jsonl` has no text and no conversation of a known shape
 --> d.jsonl:1:1
  |
1 | {"prompt": "a", "answer": "b"}
  | ^ keys found: `prompt`, `answer`
  |
  = note: shapes that are read: `text`; `messages`; `conversations`; `instruction` and `output`; `prompt` and `completion`; `question` and `answer`
  = help: set `data.sft_field = ["prompt", "answer"]`"#;
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
    fn conversations_are_rendered() {
        let line = r#"{"messages": [{"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hi\n\nthere"}, {"role": "assistant", "content": " Yo "}]}"#;
        let documents = parse(line.replace('\n', "")).unwrap();
        assert_eq!(documents[0].1, "System: Be kind.\n\nUser: Hi\n\nthere\n\nAssistant: Yo");
        let field = ["q".to_owned(), "a".to_owned()];
        let form = RecordForm { sft_field: &field, ..form() };
        let documents = parse_as(form, r#"{"a": "4", "text": "no", "q": "2+2?"}"#).unwrap();
        assert_eq!(documents[0].1, "User: 2+2?\n\nAssistant: 4");
        let error = parse_as(form, r#"{"q": "2+2?"}"#).unwrap_err();
        assert_eq!(error.to_string(), "line 1 of `d.jsonl` has no key `a`");
        let error = parse_as(form, r#"{"q": "2+2?", "a": ""}"#).unwrap_err();
        assert_eq!(error.to_string(), "line 1 of `d.jsonl` has an empty `a`");
    }

    #[test]
    fn text_comes_before_messages() {
        assert_eq!(parse(r#"{"messages": 1, "text": "a"}"#).unwrap(), [(1, "a".to_owned())]);
    }

    #[test]
    fn faulty_messages_are_named() {
        let user = r#"{"role": "user", "content": "a"}"#;
        let cases = [
            ("7".to_owned(), "found a number, expected an array"),
            ("[]".to_owned(), "the list has no messages"),
            (format!("[{user}, 5]"), "message 2 has no `role`"),
            (r#"[{"role": "user"}]"#.to_owned(), "message 1 has no `content`"),
            (
                r#"[{"role": "user", "content": null}]"#.to_owned(),
                "message 1 has null as `content`",
            ),
            (r#"[{"role": "robot", "content": "a"}]"#.to_owned(), "message 1 has the role `robot`"),
            (
                r#"[{"role": "tool", "content": "a"}]"#.to_owned(),
                "the template `rwkv-qa` has no role `tool`",
            ),
            (
                r#"[{"role": "user", "content": "a\n\nUser: b"}]"#.to_owned(),
                "message 1 contains `User:`, which would start another turn",
            ),
            (
                format!(r#"[{user}, {{"role": "assistant", "content": "\n"}}]"#),
                "message 2 has an empty `content`",
            ),
        ];
        for (messages, problem) in cases {
            let (place, marked, fault) = fault(format!("{{\"id\": 1, \"messages\": {messages}}}"));
            assert_eq!((place.as_str(), marked.as_str()), ("d.jsonl:1:23", messages.as_str()));
            let LineFault::Messages { problem: found, .. } = fault else { panic!("{fault}") };
            assert_eq!(found.to_string(), problem);
        }
    }
}
