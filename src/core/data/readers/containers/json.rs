//! JSON that is not line by line: a list, an object around a list, or objects one after another.

use std::path::{Path, PathBuf};

use crate::data::container_fault::ContainerFault;
use crate::data::error::{DataError, place};
use crate::data::fault::LineFault;
use crate::diagnostic::{Text, msg};

use super::decode::{self, Input};
use super::outline::{ELEMENT_BYTES, Outline, is_records_beside};
use super::row::{At, MAX_RECORD, RowPlace, RowReader};
use super::scan::Scan;

/// Columns up to which an excerpt begins at the real column.
const MAX_COLUMN: usize = 200;

/// Reads the objects of a JSON text.
pub(super) struct Json {
    file: PathBuf,
    scan: Scan,
    outline: Outline,
    /// The rows read so far; `None` before the list.
    rows: Option<u64>,
    is_done: bool,
}

impl Json {
    pub(super) fn new(file: &Path, input: Input, outline: Outline) -> Self {
        Self { file: file.into(), scan: Scan::new(input), outline, rows: None, is_done: false }
    }

    /// The next byte that is not white space.
    fn peek(&mut self) -> Result<Option<u8>, DataError> {
        self.scan.next().map_err(|source| decode::unreadable(&self.file, source))
    }

    fn skip(&mut self) -> Result<(), DataError> {
        self.scan.skip(1).map_err(|source| decode::unreadable(&self.file, source))
    }

    /// Reads a value into `out`.
    fn value(&mut self, out: &mut Vec<u8>) -> Result<RowPlace, DataError> {
        let (line, column) = (self.scan.line, self.scan.column);
        let found = self.scan.value(out, MAX_RECORD, MAX_RECORD);
        let found = found.map_err(|source| decode::unreadable(&self.file, source))?;
        if found.is_too_long {
            let fault = ContainerFault::TooLong { line, limit: MAX_RECORD };
            return Err(DataError::Container { file: self.file.clone(), fault });
        }
        let at = At::Row(self.rows.unwrap_or_default(), line);
        let column = if column <= MAX_COLUMN { column } else { 0 };
        Ok(RowPlace { column, breaks: found.breaks, ..RowPlace::new(at) })
    }

    /// Passes a value, and reads its beginning into `start`.
    fn pass(&mut self, start: &mut Vec<u8>) -> Result<(), DataError> {
        let passed = self.scan.value(start, ELEMENT_BYTES, usize::MAX);
        passed.map(|_| ()).map_err(|source| decode::unreadable(&self.file, source))
    }

    /// The error for the byte here.
    fn unexpected(&mut self, problem: Text) -> DataError {
        let (line, column) = (self.scan.line as usize, self.scan.column);
        let shown = self.scan.shown();
        let at = column.min(shown.len());
        let fault = LineFault::Json { problem, after_quote: false, looks_like: None };
        DataError::line(place(&self.file, line, &shown, at..at + 1), fault)
    }

    /// Passes the byte `byte`, or returns an error with the problem.
    fn expect(&mut self, byte: u8, problem: Text) -> Result<(), DataError> {
        if self.peek()? == Some(byte) { self.skip() } else { Err(self.unexpected(problem)) }
    }

    /// Goes to the first element of the list.
    fn begin(&mut self) -> Result<(), DataError> {
        self.rows = Some(0);
        let wanted = match &self.outline {
            Outline::Objects | Outline::Lines => return Ok(()),
            Outline::List => None,
            Outline::Within(key) => Some(key.clone()),
        };
        if let Some(wanted) = wanted {
            self.expect(b'{', msg!(EXPECTED_OBJECT))?;
            while self.key()? != wanted {
                self.peek()?;
                self.pass(&mut Vec::new())?;
                self.expect(b',', msg!(EXPECTED_COMMA))?;
            }
        }
        self.peek()?;
        self.expect(b'[', msg!(EXPECTED_LIST))?;
        if self.peek()? == Some(b']') {
            self.end()?;
        }
        Ok(())
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Result<String, DataError> {
        let mut key = Vec::new();
        self.peek()?;
        self.value(&mut key)?;
        let Ok(key) = serde_json::from_slice(&key) else {
            return Err(self.unexpected(msg!(EXPECTED_KEY)));
        };
        self.expect(b':', msg!(EXPECTED_COLON))?;
        Ok(key)
    }

    /// Passes the end of the list and what may follow.
    fn end(&mut self) -> Result<(), DataError> {
        self.is_done = true;
        self.skip()?;
        if let Outline::Within(records) = self.outline.clone() {
            while self.peek()? == Some(b',') {
                self.skip()?;
                let key = self.key()?;
                self.peek()?;
                let mut start = Vec::new();
                self.pass(&mut start)?;
                if !is_records_beside(&records, &key, &start) {
                    let fault = ContainerFault::SeveralLists { keys: vec![records, key] };
                    return Err(DataError::Container { file: self.file.clone(), fault });
                }
            }
            self.expect(b'}', msg!(EXPECTED_OBJECT_END))?;
        }
        match self.peek()? {
            None => Ok(()),
            Some(_) => Err(self.unexpected(msg!(TEXT_AFTER_LIST))),
        }
    }
}

impl RowReader for Json {
    fn next(&mut self, json: &mut Vec<u8>) -> Result<Option<RowPlace>, DataError> {
        if self.rows.is_none() {
            self.begin()?;
        }
        if self.is_done {
            return Ok(None);
        }
        let is_list = matches!(self.outline, Outline::List | Outline::Within(_));
        match self.peek()? {
            None if is_list => {
                let fault = ContainerFault::ListNotClosed { line: self.scan.line };
                return Err(DataError::Container { file: self.file.clone(), fault });
            }
            None => return Ok(None),
            Some(b',' | b']' | b'}') => return Err(self.unexpected(msg!(EXPECTED_VALUE))),
            Some(_) => {}
        }
        self.rows = self.rows.map(|rows| rows + 1);
        let place = self.value(json)?;
        if is_list {
            match self.peek()? {
                Some(b',') => self.skip()?,
                Some(b']') => self.end()?,
                None => {}
                Some(_) => return Err(self.unexpected(msg!(EXPECTED_COMMA_OR_END))),
            }
        }
        Ok(Some(place))
    }
}
