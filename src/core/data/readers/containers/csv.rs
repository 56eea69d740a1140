//! Tables as text: a header with the names of the columns, then a record on each row.

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::{cell::Cell, io::Cursor};

use ::csv::{ByteRecord, Reader, ReaderBuilder, Trim};
use serde_json::Value;

use crate::data::container_fault::ContainerFault;
use crate::data::error::DataError;
use crate::data::fault::LineFault;
use crate::diagnostic::{Text, msg};

use super::decode::{self, Input};
use super::row::{At, MAX_RECORD, RowPlace, RowReader};

/// Columns whose cells may hold a list in JSON, such as the messages of a conversation.
const LISTS: [&str; 7] =
    ["messages", "conversations", "conversation", "history", "tools", "chosen", "rejected"];
/// Follows the last row. A quote that is not closed takes it into its cell.
const LAST_ROW: &str = "\n\u{1}end of table\u{1}\n";
/// The longest name of a column.
const MAX_NAME: usize = 200;

/// Reads the rows of a table.
pub(super) struct Csv {
    file: PathBuf,
    reader: Reader<Limited>,
    /// The bytes read for the current row.
    taken: Rc<Cell<usize>>,
    columns: Vec<String>,
    record: ByteRecord,
    /// Whether rows end with `\r\n`, which is then a line break within a cell, too.
    has_returns: bool,
}

impl Csv {
    /// Reads the header. `head` is the start of the table; without `delimiter` the header shows it.
    ///
    /// # Errors
    /// [`DataError::Container`] without a header.
    pub(super) fn new(
        file: &Path,
        head: &[u8],
        input: Input,
        delimiter: Option<u8>,
    ) -> Result<Self, DataError> {
        let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let delimiter = delimiter.unwrap_or_else(|| delimiter_of(line));
        let taken = Rc::new(Cell::new(0));
        let input = Box::new(BufReader::new(input.chain(Cursor::new(LAST_ROW.as_bytes()))));
        let reader = ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .trim(Trim::None)
            .from_reader(Limited { input, taken: Rc::clone(&taken) });
        let has_returns = line.ends_with(b"\r");
        let (file, record) = (file.to_path_buf(), ByteRecord::new());
        let mut csv = Self { file, reader, taken, columns: Vec::new(), record, has_returns };
        csv.columns = match csv.read()? {
            Some(_) => {
                csv.header().map_err(|problem| csv.fault(ContainerFault::Header { problem }))?
            }
            None => Vec::new(),
        };
        Ok(csv)
    }

    /// The names of the columns, or what is wrong with them.
    fn header(&self) -> Result<Vec<String>, Text> {
        let mut columns: Vec<String> = Vec::new();
        for (number, cell) in (1..).zip(&self.record) {
            let name = String::from_utf8_lossy(cell).trim().to_owned();
            if name.is_empty() {
                return Err(msg!(COLUMN_WITHOUT_NAME, number));
            }
            if name.len() > MAX_NAME || name.contains('\n') {
                return Err(msg!(COLUMN_NAME_IS_TEXT, number));
            }
            if columns.contains(&name) {
                return Err(msg!(COLUMN_TWICE, name));
            }
            columns.push(name);
        }
        Ok(columns)
    }

    /// Reads a row into `record`; returns its line, or `None` at the end.
    fn read(&mut self) -> Result<Option<u64>, DataError> {
        self.taken.set(0);
        let line = self.reader.position().line();
        let is_row = self.reader.read_byte_record(&mut self.record).map_err(|error| match error
            .into_kind()
        {
            ::csv::ErrorKind::Io(source) if source.kind() == io::ErrorKind::FileTooLarge => {
                let limit = MAX_RECORD;
                DataError::Container {
                    file: self.file.clone(),
                    fault: ContainerFault::TooLong { line, limit },
                }
            }
            ::csv::ErrorKind::Io(source) => decode::unreadable(&self.file, source),
            other => self.fault(ContainerFault::Broken {
                container: "CSV",
                problem: Text::library(format!("{other:?}")),
            }),
        })?;
        let line = self.record.position().map_or(line, ::csv::Position::line);
        let last = LAST_ROW.trim().as_bytes();
        match self.record.iter().next_back() {
            None if !is_row => Ok(None),
            Some(cell) if self.record.len() == 1 && cell == last => Ok(None),
            Some(cell) if cell.trim_ascii_end().ends_with(last) => {
                Err(self.fault(ContainerFault::QuoteNotClosed { line }))
            }
            _ => Ok(Some(line)),
        }
    }

    fn fault(&self, fault: ContainerFault) -> DataError {
        DataError::Container { file: self.file.clone(), fault }
    }
}

impl RowReader for Csv {
    fn next(&mut self, json: &mut Vec<u8>) -> Result<Option<RowPlace>, DataError> {
        let Some(line) = self.read()? else { return Ok(None) };
        let (found, expected) = (self.record.len(), self.columns.len());
        json.push(b'{');
        for (column, cell) in self.columns.iter().zip(&self.record) {
            if !json.ends_with(b"{") {
                json.extend_from_slice(b", ");
            }
            write_string(json, column.as_bytes());
            json.extend_from_slice(b": ");
            self.write_cell(json, column, cell);
        }
        json.push(b'}');
        let at = At::Line(line);
        Ok(Some(match found == expected {
            true => RowPlace::new(at),
            false => RowPlace::faulty(at, LineFault::Cells { found, expected }),
        }))
    }
}

impl Csv {
    fn write_cell(&self, json: &mut Vec<u8>, column: &str, cell: &[u8]) {
        let list = LISTS.contains(&column).then(|| serde_json::from_slice(cell));
        match list {
            Some(Ok(list @ Value::Array(_))) => json.extend_from_slice(list.to_string().as_bytes()),
            _ if self.has_returns && memchr::memmem::find(cell, b"\r\n").is_some() => {
                let mut plain = Vec::with_capacity(cell.len());
                for part in cell.split_inclusive(|byte| *byte == b'\n') {
                    plain.extend_from_slice(part.strip_suffix(b"\r\n").unwrap_or(part));
                    if part.ends_with(b"\r\n") {
                        plain.push(b'\n');
                    }
                }
                write_string(json, &plain);
            }
            _ => write_string(json, cell),
        }
    }
}

/// Appends a JSON string of bytes, which need not be UTF-8.
pub(super) fn write_string(json: &mut Vec<u8>, bytes: &[u8]) {
    json.push(b'"');
    for &byte in bytes {
        match byte {
            b'"' => json.extend_from_slice(b"\\\""),
            b'\\' => json.extend_from_slice(b"\\\\"),
            b'\n' => json.extend_from_slice(b"\\n"),
            b'\r' => json.extend_from_slice(b"\\r"),
            b'\t' => json.extend_from_slice(b"\\t"),
            0..0x20 => json.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            _ => json.push(byte),
        }
    }
    json.push(b'"');
}

/// The delimiter that occurs most often in a header, outside quotes; a comma if none does.
fn delimiter_of(header: &[u8]) -> u8 {
    let mut quoted = false;
    let mut counts = [(b',', 0), (b';', 0), (b'\t', 0), (b'|', 0)];
    for byte in header {
        quoted ^= *byte == b'"';
        for (delimiter, count) in &mut counts {
            *count += usize::from(!quoted && byte == delimiter);
        }
    }
    let most = counts.into_iter().rev().max_by_key(|(_, count)| *count);
    most.map_or(b',', |(delimiter, _)| delimiter)
}

/// Counts the bytes of a row and refuses too many.
struct Limited {
    input: Input,
    taken: Rc<Cell<usize>>,
}

impl Read for Limited {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.taken.set(self.taken.get() + read);
        if self.taken.get() > MAX_RECORD {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        Ok(read)
    }
}
