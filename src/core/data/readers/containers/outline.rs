//! What a text that may be JSON is: objects line by line, a list, an object around a list, or objects one after another.

use std::path::Path;

use serde_json::Value;

use crate::data::container_fault::ContainerFault;
use crate::data::error::DataError;

use super::decode::{self, Text};
use super::scan::Scan;

/// How the records of a JSON text are arranged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Outline {
    /// Something else, or an object on each line.
    Lines,
    /// One list.
    List,
    /// One object, with the list at this key.
    Within(String),
    /// Objects one after another, each on several lines or several on a line.
    Objects,
}

/// The keys of lists that are parts of a record.
const TURN_KEYS: [&str; 3] = ["role", "from", "speaker"];
/// The keys of the list of records, when there are several lists.
const RECORD_KEYS: [&str; 2] = ["train", "data"];
/// Bytes of a list from which its first element is known.
pub(super) const ELEMENT_BYTES: usize = 1 << 16;
/// Bytes of a list of objects behind which no other list is looked for: the reader finds it when it comes to it.
const LIST_BYTES: usize = 16 << 20;

impl Outline {
    /// The outline of the text of `file`.
    ///
    /// # Errors
    /// A file that cannot be read, or an object with several lists of which none is known to be the records.
    pub(super) fn of(file: &Path, text: &Text) -> Result<Self, DataError> {
        let head = text.head.trim_ascii_start();
        let line_end = memchr::memchr(b'\n', head);
        let (line, rest) = head.split_at(line_end.unwrap_or(head.len()));
        let is_first_line_whole = line_end.is_some() || text.is_whole;
        let line = line.trim_ascii();
        let depth = depth_at_end(line);
        let is_only_line = rest.trim_ascii().is_empty() && text.is_whole;
        match head.first() {
            Some(b'[') => {
                let element = head[1..].trim_ascii_start().first();
                let is_list = matches!(element, Some(b'{' | b']')) || line == b"[";
                let is_line = is_first_line_whole && depth == Some(0) && !is_only_line;
                Ok(if is_list && !is_line { Self::List } else { Self::Lines })
            }
            Some(b'{') if !is_first_line_whole || (depth == Some(0) && is_only_line) => {
                match outer_object(file, LIST_BYTES)? {
                    Some(Self::Within(key)) => Ok(Self::Within(key)),
                    _ if depth == Some(0) && several(line) => Ok(Self::Objects),
                    _ => Ok(Self::Lines),
                }
            }
            Some(b'{') if depth == Some(0) => {
                Ok(if several(line) { Self::Objects } else { Self::Lines })
            }
            Some(b'{') if is_indented(line, rest, depth) => {
                Ok(outer_object(file, LIST_BYTES)?.unwrap_or(Self::Objects))
            }
            _ => Ok(Self::Lines),
        }
    }
}

/// The open brackets at the end of a line; `None` within a string.
fn depth_at_end(line: &[u8]) -> Option<usize> {
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    for byte in line {
        match byte {
            _ if is_escaped => is_escaped = false,
            b'\\' if in_string => is_escaped = true,
            b'"' => in_string = !in_string,
            b'{' | b'[' if !in_string => depth += 1,
            b'}' | b']' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    (!in_string).then_some(depth)
}

/// Whether a line holds several objects.
fn several(line: &[u8]) -> bool {
    let mut objects = serde_json::Deserializer::from_slice(line).into_iter::<Value>();
    let first = objects.next();
    matches!(first, Some(Ok(Value::Object(_))))
        && line[objects.byte_offset()..].trim_ascii_start().starts_with(b"{")
}

/// Whether an object that the first line does not end continues in the lines after it.
fn is_indented(line: &[u8], rest: &[u8], depth: Option<usize>) -> bool {
    let goes_on = matches!(line.last(), Some(b'{' | b'[' | b',' | b':'));
    let next = rest.trim_ascii_start().first();
    depth.is_some_and(|depth| depth > 0)
        && match line {
            b"{" => !matches!(next, Some(b'{' | b'[')),
            _ => goes_on || matches!(next, Some(b'}' | b']' | b',')),
        }
}

/// [`Outline::Within`] for an object that is the whole text and holds the list of records, [`Outline::Objects`] for
/// others; `None` for a text that does not begin with a whole object. A list of objects with more than `most` bytes is not
/// read to its end.
fn outer_object(file: &Path, most: usize) -> Result<Option<Outline>, DataError> {
    let unreadable = |source| decode::unreadable(file, source);
    let mut scan = Scan::new(decode::open(file)?.input());
    let mut lists = Vec::new();
    let mut has_turns = false;
    let skip = |scan: &mut Scan, byte: u8| -> std::io::Result<bool> {
        let is_there = scan.next()? == Some(byte);
        if is_there {
            scan.skip(1)?;
        }
        Ok(is_there)
    };
    if !skip(&mut scan, b'{').map_err(unreadable)? {
        return Ok(None);
    }
    loop {
        let mut key = Vec::new();
        if scan.next().map_err(unreadable)? != Some(b'"') {
            break;
        }
        scan.value(&mut key, ELEMENT_BYTES, ELEMENT_BYTES).map_err(unreadable)?;
        let Ok(key) = serde_json::from_slice::<String>(&key) else { return Ok(None) };
        if !skip(&mut scan, b':').map_err(unreadable)? {
            return Ok(None);
        }
        let mut start = Vec::new();
        let next = scan.next().map_err(unreadable)?;
        if next.is_none() {
            return Ok(None);
        }
        let limit = if next == Some(b'[') { most } else { usize::MAX };
        let value = scan.value(&mut start, ELEMENT_BYTES, limit).map_err(unreadable)?;
        match List::of(&start) {
            List::Objects if value.is_too_long => {
                lists.push(key);
                return within(file, lists).map(Some);
            }
            _ if value.is_too_long => return outer_object(file, usize::MAX),
            List::Objects => lists.push(key),
            List::Turns => has_turns = true,
            List::Other => {}
        }
        if !skip(&mut scan, b',').map_err(unreadable)? {
            break;
        }
    }
    if !skip(&mut scan, b'}').map_err(unreadable)? {
        return Ok(None);
    }
    let is_all = scan.next().map_err(unreadable)?.is_none();
    if !is_all || has_turns || lists.is_empty() {
        return Ok(Some(Outline::Objects));
    }
    within(file, lists).map(Some)
}

/// The outline of an object with these lists, of which one holds the records.
///
/// # Errors
/// Several lists of which none is known to be the records.
fn within(file: &Path, lists: Vec<String>) -> Result<Outline, DataError> {
    let known = RECORD_KEYS.iter().find(|key| lists.iter().any(|list| list == **key));
    match (known, &lists[..]) {
        (Some(key), _) => Ok(Outline::Within((*key).to_owned())),
        (None, [list]) => Ok(Outline::Within(list.clone())),
        (None, _) => {
            let fault = ContainerFault::SeveralLists { keys: lists };
            Err(DataError::Container { file: file.into(), fault })
        }
    }
}

/// Whether the list at `key` holds the records although a list at `other` follows, which begins with `start`.
pub(super) fn is_records_beside(key: &str, other: &str, start: &[u8]) -> bool {
    let rank = |key| RECORD_KEYS.iter().position(|known| *known == key);
    List::of(start) != List::Objects
        || rank(key).is_some_and(|own| rank(other).is_none_or(|other| own <= other))
}

/// What a value of an object is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum List {
    /// A list of objects that are turns of a conversation.
    Turns,
    /// A list of other objects.
    Objects,
    /// Another value.
    Other,
}

impl List {
    /// What the value that begins with `start` is.
    fn of(start: &[u8]) -> List {
        let element = start.strip_prefix(b"[").map(<[u8]>::trim_ascii_start);
        let Some(element) = element.filter(|element| element.starts_with(b"{")) else {
            return List::Other;
        };
        match serde_json::Deserializer::from_slice(element).into_iter::<Value>().next() {
            Some(Ok(Value::Object(object)))
                if object.keys().any(|key| TURN_KEYS.contains(&&**key)) =>
            {
                List::Turns
            }
            _ => List::Objects,
        }
    }
}
