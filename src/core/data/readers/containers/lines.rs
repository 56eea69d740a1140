//! Text with a JSON object on each line.

use std::io::{self, BufRead};
use std::path::{Path, PathBuf};

use crate::data::container_fault::ContainerFault;
use crate::data::error::DataError;
use crate::data::fault::LineFault;

use super::decode::{self, Input};
use super::row::{At, MAX_RECORD, RowPlace, RowReader};

/// Bytes of a line that is too long which are kept to be shown.
const KEPT: usize = 200;

/// Multiples of the limit after which the end of a line is no longer looked for.
const GIVE_UP: usize = 4;

/// Reads lines without their line feed.
pub(super) struct Lines {
    file: PathBuf,
    input: Input,
    /// The lines read so far.
    count: u64,
    /// The most bytes of a line.
    limit: usize,
}

impl Lines {
    pub(super) fn new(file: &Path, input: Input) -> Self {
        Self { file: file.into(), input, count: 0, limit: MAX_RECORD }
    }
}

impl RowReader for Lines {
    fn next(&mut self, json: &mut Vec<u8>) -> Result<Option<RowPlace>, DataError> {
        let start = json.len();
        let read = read_line(&mut self.input, json, self.limit);
        let length = read.map_err(|source| decode::unreadable(&self.file, source))?;
        if length == 0 {
            return Ok(None);
        }
        self.count += 1;
        let at = At::Line(self.count);
        if length > GIVE_UP * self.limit {
            let fault = ContainerFault::TooLong { line: self.count, limit: self.limit };
            return Err(DataError::Container { file: self.file.clone(), fault });
        }
        if length > self.limit {
            json.truncate(start + KEPT.min(self.limit));
            return Ok(Some(RowPlace::faulty(at, LineFault::TooLong { limit: self.limit })));
        }
        if json[start..].ends_with(b"\n") {
            json.pop();
        }
        Ok(Some(RowPlace::new(at)))
    }
}

/// Appends a line with its line feed, or its first `limit` bytes; returns the bytes of the whole line, or of a line that is
/// far too long the bytes read so far.
fn read_line(input: &mut Input, line: &mut Vec<u8>, limit: usize) -> io::Result<usize> {
    let mut length = 0;
    loop {
        let buffer = input.fill_buf()?;
        let end = memchr::memchr(b'\n', buffer).map(|at| at + 1);
        let read = end.unwrap_or(buffer.len());
        line.extend_from_slice(&buffer[..read.min(limit.saturating_sub(length))]);
        length += read;
        input.consume(read);
        if end.is_some() || read == 0 || length > GIVE_UP * limit {
            return Ok(length);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_not_held() {
        let text = format!("{}\nshort\n{}", "x".repeat(3000), "y".repeat(999));
        let input: Input = Box::new(io::Cursor::new(text.into_bytes()));
        let mut lines = Lines { limit: 1000, ..Lines::new(Path::new("d"), input) };
        let mut json = Vec::new();
        let mut faults = Vec::new();
        while let Some(place) = lines.next(&mut json).unwrap() {
            faults.push((place.at.number(), place.fault.is_some()));
            assert!(json.capacity() < 4000);
        }
        assert_eq!(faults, [(1, true), (2, false), (3, false)]);
        assert_eq!(json.len(), KEPT + 5 + 999);
    }

    #[test]
    fn a_line_without_an_end_is_given_up() {
        let input: Input = Box::new(io::BufReader::new(io::repeat(0)));
        let mut lines = Lines { limit: 1 << 16, ..Lines::new(Path::new("d"), input) };
        let error = lines.next(&mut Vec::new()).unwrap_err().to_string();
        assert_eq!(error, "`d` has a record that begins on line 1 and is too long");
    }
}
