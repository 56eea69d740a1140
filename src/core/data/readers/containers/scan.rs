//! Values of a JSON text, found without being held: a value ends where its brackets and quotes do.

use std::io::{self, BufRead};

use super::decode::Input;

/// Bytes of the current line that are kept to be shown.
const SHOWN: usize = 200;

/// A place in a JSON text that is read once.
pub(super) struct Scan {
    input: Input,
    /// The current line, counted from 1.
    pub(super) line: u64,
    /// Bytes of the current line before this place.
    pub(super) column: usize,
    /// The first bytes of the current line.
    shown: Vec<u8>,
}

/// A value that was read.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Its bytes that were line breaks, in order.
    pub(super) breaks: Vec<usize>,
    /// Its bytes.
    pub(super) length: usize,
    /// Whether it is longer than allowed. The rest of it was not read.
    pub(super) is_too_long: bool,
}

impl Scan {
    pub(super) fn new(input: Input) -> Self {
        Self { input, line: 1, column: 0, shown: Vec::new() }
    }

    /// The next byte that is not white space, which stays unread; `None` at the end.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(super) fn next(&mut self) -> io::Result<Option<u8>> {
        loop {
            let Some(&byte) = self.input.fill_buf()?.first() else { return Ok(None) };
            if !byte.is_ascii_whitespace() {
                return Ok(Some(byte));
            }
            self.skip(1)?;
        }
    }

    /// Passes `count` bytes, which the input has.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(super) fn skip(&mut self, count: usize) -> io::Result<()> {
        let buffer = self.input.fill_buf()?;
        let passed = &buffer[..count.min(buffer.len())];
        let lines = memchr::memchr_iter(b'\n', passed).count();
        let start = memchr::memrchr(b'\n', passed).map_or(0, |at| at + 1);
        if lines > 0 {
            self.line += lines as u64;
            self.column = 0;
            self.shown.clear();
        }
        let kept = SHOWN.saturating_sub(self.shown.len()).min(passed.len() - start);
        self.shown.extend_from_slice(&passed[start..start + kept]);
        self.column += passed.len() - start;
        self.input.consume(count);
        Ok(())
    }

    /// The current line up to this place and a little further, for messages.
    pub(super) fn shown(&mut self) -> Vec<u8> {
        let mut shown = std::mem::take(&mut self.shown);
        let rest = self.input.fill_buf().unwrap_or_default();
        let rest = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
        shown.extend_from_slice(&rest[..rest.len().min(SHOWN)]);
        shown
    }

    /// Reads the value that begins here, and appends its first `keep` bytes to `out`, with blanks for line breaks. The
    /// value ends early at the end of the input, and once it has more than `limit` bytes.
    ///
    /// # Errors
    /// The input cannot be read.
    pub(super) fn value(
        &mut self,
        out: &mut Vec<u8>,
        keep: usize,
        limit: usize,
    ) -> io::Result<Found> {
        let mut found = Found::default();
        let mut end = End::default();
        loop {
            let buffer = self.input.fill_buf()?;
            if buffer.is_empty() {
                return Ok(found);
            }
            let read = end.find(buffer);
            let length = read.unwrap_or(buffer.len());
            for (at, &byte) in (found.length..).zip(&buffer[..length]) {
                if at >= keep {
                    break;
                }
                // A line break within a string stays an error.
                let is_break = byte == b'\n' || byte == b'\r';
                if byte == b'\n' {
                    found.breaks.push(at);
                }
                out.push(match is_break {
                    true if end.is_broken_string(at) => 1,
                    true => b' ',
                    false => byte,
                });
            }
            found.length += length;
            self.skip(length)?;
            found.is_too_long = found.length > limit;
            if read.is_some() || found.is_too_long {
                return Ok(found);
            }
        }
    }
}

/// Looks for the end of a value.
#[derive(Default)]
struct End {
    depth: usize,
    in_string: bool,
    is_escaped: bool,
    /// Whether the first byte was seen, and was not a bracket or a quote.
    is_bare: bool,
    is_begun: bool,
    /// The bytes seen in earlier buffers.
    seen: usize,
    /// Line breaks within strings.
    broken: Vec<usize>,
}

impl End {
    /// Bytes of `buffer` up to the end of the value; `None` if the value continues.
    fn find(&mut self, buffer: &[u8]) -> Option<usize> {
        for (at, &byte) in buffer.iter().enumerate() {
            if self.in_string {
                match byte {
                    _ if self.is_escaped => self.is_escaped = false,
                    b'\\' => self.is_escaped = true,
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 {
                            return Some(at + 1);
                        }
                    }
                    b'\n' | b'\r' => self.broken.push(self.seen + at),
                    _ => {}
                }
                continue;
            }
            let ends_bare = matches!(byte, b',' | b']' | b'}') || byte.is_ascii_whitespace();
            if self.is_bare && ends_bare {
                return Some(at);
            }
            match byte {
                b'"' if !self.is_bare => self.in_string = true,
                b'{' | b'[' if !self.is_bare => self.depth += 1,
                b'}' | b']' => {
                    self.depth = self.depth.saturating_sub(1);
                    if self.depth == 0 {
                        return Some(at + 1);
                    }
                }
                _ if !self.is_begun => self.is_bare = true,
                _ => {}
            }
            self.is_begun = true;
        }
        self.seen += buffer.len();
        None
    }

    fn is_broken_string(&self, at: usize) -> bool {
        self.broken.binary_search(&at).is_ok()
    }
}
