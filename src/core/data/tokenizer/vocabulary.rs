//! Reads a vocabulary file: lines of `<id> <Python literal> <byte length>`.

use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;

use crate::data::error::{DataError, place};
use crate::data::fault::VocabularyFault as Fault;
use crate::diagnostic::{Text, msg};

/// The highest valid id: a million embedding rows are more than any vocabulary needs.
const MAX_ID: u32 = (1 << 20) - 1;

/// An error and the bytes of the line that it is about.
type LineError = (Range<usize>, Fault);

/// The bytes of every token, indexed by id; empty for ids that the file does not have.
///
/// `text` is the content of `file` with LF line ends.
///
/// # Errors
/// [`DataError::Vocabulary`] for the first invalid line, [`DataError::MissingBytes`] when a single byte is not a token.
pub(crate) fn parse(file: &Path, text: &[u8]) -> Result<Vec<Box<[u8]>>, DataError> {
    let mut tokens: Vec<Box<[u8]>> = Vec::new();
    let mut line_of_id: HashMap<u32, usize> = HashMap::new();
    let mut id_of_bytes: HashMap<Box<[u8]>, u32> = HashMap::new();

    let lines = text.strip_suffix(b"\n").unwrap_or(text).split(|&byte| byte == b'\n');
    let lines = (1..).zip(lines).take_while(|_| !text.is_empty());
    for (number, line) in lines {
        let fail = |(range, fault)| DataError::Vocabulary {
            place: place(file, number, line, range),
            fault,
        };
        let Ok(line) = str::from_utf8(line) else {
            return Err(fail((0..line.len(), Fault::NotUtf8)));
        };
        let (id, bytes) = parse_line(line).map_err(fail)?;

        let id_range = 0..line.find(' ').unwrap_or(line.len());
        if let Some(first) = line_of_id.insert(id, number) {
            return Err(fail((id_range, Fault::RepeatedId { first })));
        }
        if let Some(first) = id_of_bytes.insert(bytes.clone(), id) {
            return Err(fail((literal_range(line), Fault::RepeatedBytes { first })));
        }
        let index = id as usize;
        if tokens.len() <= index {
            tokens.resize_with(index + 1, Box::default);
        }
        tokens[index] = bytes;
    }

    let missing: Vec<u8> =
        (0..=u8::MAX).filter(|&byte| !id_of_bytes.contains_key(&[byte][..])).collect();
    if !missing.is_empty() {
        return Err(DataError::MissingBytes { file: file.into(), bytes: missing });
    }
    Ok(tokens)
}

fn parse_line(line: &str) -> Result<(u32, Box<[u8]>), LineError> {
    let literal = literal_range(line);
    if literal.is_empty() {
        return Err((0..line.len(), Fault::Form));
    }
    let id_range = 0..literal.start - 1;
    let id = decimal(&line[id_range.clone()]).ok_or((id_range.clone(), Fault::NotAnId))?;
    if id == 0 {
        return Err((id_range, Fault::IdZero));
    }
    if id > MAX_ID {
        return Err((id_range, Fault::IdTooLarge { max: MAX_ID }));
    }

    let bytes = parse_literal(&line[literal.clone()]).map_err(|(range, fault)| {
        (literal.start + range.start..literal.start + range.end, fault)
    })?;
    if bytes.is_empty() {
        return Err((literal, Fault::Empty));
    }
    let length_range = literal.end + 1..line.len();
    match decimal(&line[length_range.clone()]) {
        Some(length) if length as usize == bytes.len() => Ok((id, bytes.into())),
        Some(stated) => Err((length_range, Fault::Length { stated, found: bytes.len() })),
        None => Err((length_range, Fault::NotALength)),
    }
}

/// The range between the first and the last space of a line. The literal may contain spaces.
fn literal_range(line: &str) -> Range<usize> {
    match (line.find(' '), line.rfind(' ')) {
        (Some(first), Some(last)) if first < last => first + 1..last,
        _ => 0..0,
    }
}

fn decimal(text: &str) -> Option<u32> {
    // `parse` alone would accept a plus sign.
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

/// The bytes of a Python `str` literal, encoded as UTF-8, or of a `bytes` literal.
fn parse_literal(literal: &str) -> Result<Vec<u8>, LineError> {
    let not_a_literal = || (0..literal.len(), Fault::Literal(msg!(LITERAL_MISSING)));
    let is_bytes = literal.starts_with('b');
    let start = usize::from(is_bytes) + 1;
    let quote = literal[start - 1..].chars().next().filter(|c| matches!(c, '\'' | '"'));
    let quote = quote.ok_or_else(not_a_literal)?;
    if literal.len() <= start || !literal.ends_with(quote) {
        return Err(not_a_literal());
    }
    let body = &literal[start..literal.len() - 1];

    let mut bytes = Vec::with_capacity(body.len());
    let mut rest = body;
    while let Some(c) = rest.chars().next() {
        let at = start + body.len() - rest.len();
        let length = if c == '\\' {
            let (code, length) = escape(rest, is_bytes)
                .map_err(|(length, problem)| (at..at + length, Fault::Literal(problem)))?;
            push(&mut bytes, code, is_bytes);
            length
        } else {
            let problem = match c {
                c if c == quote => Some(msg!(LITERAL_UNESCAPED_QUOTE)),
                c if is_bytes && !c.is_ascii() => Some(msg!(LITERAL_NON_ASCII)),
                _ => None,
            };
            if let Some(problem) = problem {
                return Err((at..at + c.len_utf8(), Fault::Literal(problem)));
            }
            push(&mut bytes, c, is_bytes);
            c.len_utf8()
        };
        rest = &rest[length..];
    }
    Ok(bytes)
}

/// Appends a character as UTF-8, or, in a `bytes` literal, the one byte that it stands for.
fn push(bytes: &mut Vec<u8>, c: char, is_bytes: bool) {
    match u8::try_from(c) {
        Ok(byte) if is_bytes => bytes.push(byte),
        _ => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
    }
}

/// The character of the escape at the start of `text` and the escape's length, or the length of what
/// is wrong and why.
fn escape(text: &str, is_bytes: bool) -> Result<(char, usize), (usize, Text)> {
    let Some(kind) = text[1..].chars().next() else {
        return Err((1, msg!(LITERAL_ENDS_IN_ESCAPE)));
    };
    let digits = match kind {
        '\\' | '\'' | '"' => return Ok((kind, 2)),
        'n' => return Ok(('\n', 2)),
        'r' => return Ok(('\r', 2)),
        't' => return Ok(('\t', 2)),
        'x' => 2,
        'u' if !is_bytes => 4,
        'U' if !is_bytes => 8,
        _ => return Err((1 + kind.len_utf8(), msg!(LITERAL_UNKNOWN_ESCAPE))),
    };
    let code = text
        .get(2..2 + digits)
        .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
        .and_then(|hex| u32::from_str_radix(hex, 16).ok())
        .and_then(char::from_u32);
    match code {
        Some(c) => Ok((c, 2 + digits)),
        None => Err((2, msg!(LITERAL_NO_CHARACTER))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The 256 single bytes as lines, id = byte + 1.
    fn single_bytes() -> String {
        (0..=255).map(|byte| format!("{} b'\\x{byte:02x}' 1\n", byte + 1)).collect()
    }

    fn message(line: &str) -> String {
        let text = single_bytes() + line + "\n";
        match parse(Path::new("v.txt"), text.as_bytes()) {
            Ok(_) => "no error".into(),
            Err(DataError::Vocabulary { place, fault }) => format!("{place}: {fault}"),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn literals_are_pythons() {
        let cases: [(&str, &[u8]); 9] = [
            ("'a b'", b"a b"),
            ("\"it's\"", b"it's"),
            (r"'\'\\\n\r\t'", b"'\\\n\r\t"),
            (r"'\x80'", "\u{80}".as_bytes()),
            (r"b'\x80'", b"\x80"),
            (r"'\u2002'", "\u{2002}".as_bytes()),
            (r"'\U0001f600'", "😀".as_bytes()),
            ("'你好'", "你好".as_bytes()),
            ("b\"'\"", b"'"),
        ];
        for (literal, bytes) in cases {
            assert_eq!(parse_literal(literal).as_deref(), Ok(bytes), "{literal}");
        }
    }

    #[test]
    fn a_faulty_line_is_named_with_its_column() {
        let cases = [
            ("300 'ab' 2", "no error"),
            ("", "v.txt:257:1: is not `<id> <literal> <byte length>`"),
            ("300 2", "v.txt:257:1: is not `<id> <literal> <byte length>`"),
            ("+3 'ab' 2", "v.txt:257:1: does not begin with an id"),
            ("0 'ab' 2", "v.txt:257:1: uses id 0, which means end of document"),
            ("1048576 'ab' 2", "v.txt:257:1: has an id above 1048575"),
            ("7 'ab' 2", "v.txt:257:1: repeats the id of line 7"),
            ("300 'a' 1", "v.txt:257:5: repeats the bytes of token 98"),
            ("300 'ab' 3", "v.txt:257:10: states 3 bytes, but its token has 2"),
            ("300 '你' 1", "v.txt:257:9: states 1 bytes, but its token has 3"),
            ("300 'ab' x", "v.txt:257:10: does not end with a byte length"),
            ("300 '' 0", "v.txt:257:5: has a token without bytes"),
            ("300 ab 2", "v.txt:257:5: has no Python string or bytes literal"),
            ("300 'ab 2", "v.txt:257:5: has no Python string or bytes literal"),
            ("300 ' 2", "v.txt:257:5: has no Python string or bytes literal"),
            ("300 b 2", "v.txt:257:5: has no Python string or bytes literal"),
            ("300 'a'b' 3", "v.txt:257:7: has an unescaped quote inside its literal"),
            (r"300 'a\q' 2", "v.txt:257:7: has an unknown escape"),
            (r"300 'a\' 2", "v.txt:257:7: ends its literal within an escape"),
            (r"300 'a\x4' 2", "v.txt:257:7: has an escape that is not a valid character"),
            (r"300 '\ud800' 3", "v.txt:257:6: has an escape that is not a valid character"),
            (r"300 b'\u2002' 3", "v.txt:257:7: has an unknown escape"),
            ("300 b'é' 2", "v.txt:257:7: has a non-ASCII character inside b''"),
        ];
        for (line, expected) in cases {
            assert_eq!(message(line), expected, "{line}");
        }
    }

    #[test]
    fn not_utf8_is_an_error() {
        let error = parse(Path::new("v.txt"), b"1 '\xff' 1").unwrap_err();
        assert_eq!(error.to_string(), "line 1 of `v.txt` is not valid UTF-8");
    }

    #[test]
    fn every_single_byte_needs_a_token() {
        let text = single_bytes().replace("66 b'\\x41' 1\n", "");
        let error = parse(Path::new("v.txt"), text.as_bytes()).unwrap_err();
        assert_eq!(error.to_string(), "`v.txt` has no token for byte 0x41");
        let error = parse(Path::new("v.txt"), b"").unwrap_err();
        assert_eq!(error.to_string(), "`v.txt` has no token for byte 0x00 and 255 other bytes");
    }
}
