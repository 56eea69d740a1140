//! The rows of a file of records, in any container.

use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::data::error::{DataError, Origin, place};
use crate::data::shapes::RecordText;
use crate::data::threads;
use crate::diagnostic::Span;

use super::containers::{self, At, Container, RowPlace, RowReader};
use super::format::{BadLine, Batches, Body, Document, LineError};

/// Records that are parsed at a time, in bytes; a longer one is parsed alone.
const BATCH_BYTES: usize = 4 << 20;
/// Records that are looked through at a time, in bytes.
const BUFFER_BYTES: usize = 1 << 20;

/// Reads a file in batches of whole rows.
struct Rows {
    file: PathBuf,
    reader: Box<dyn RowReader>,
}

/// Consecutive rows.
struct RowBatch {
    file: PathBuf,
    json: Vec<u8>,
    rows: Vec<(Range<usize>, RowPlace)>,
}

/// A record of a file.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    file: &'a Path,
    json: &'a [u8],
    place: &'a RowPlace,
}

impl<'a> Row<'a> {
    /// The line or row, counted from 1.
    pub fn number(&self) -> u64 {
        self.place.at.number()
    }

    /// The record as JSON without line breaks.
    pub fn json(&self) -> &'a [u8] {
        self.json
    }

    /// What `parse` makes of the record.
    ///
    /// # Errors
    /// Those of `parse`; the fault of the row, if the row is not a valid record.
    pub fn parse<T>(
        &self,
        parse: impl FnOnce(&'a [u8]) -> Result<T, LineError>,
    ) -> Result<T, LineError> {
        match &self.place.fault {
            Some(fault) => Err((0..0, fault.clone())),
            None => parse(self.json),
        }
    }

    /// Bytes of the record as a place in its file.
    pub fn place(&self, range: Range<usize>) -> Box<Span> {
        let RowPlace { at, column, breaks, .. } = self.place;
        let (line, row) = match *at {
            At::Line(line) => (line, None),
            At::Row(row, line) => (line, Some(row as usize)),
        };
        let mut text = vec![b' '; *column];
        text.extend_from_slice(self.json);
        for at in breaks {
            text[column + at] = b'\n';
        }
        let range = column + range.start..column + range.end;
        Box::new(Span { row, ..*place(self.file, line as usize, &text, range) })
    }
}

impl RowBatch {
    fn rows(&self) -> Vec<Row<'_>> {
        let mut rows = Vec::with_capacity(self.rows.len());
        for (range, place) in &self.rows {
            rows.push(Row { file: &self.file, json: &self.json[range.clone()], place });
        }
        rows
    }
}

impl Rows {
    /// Opens a file; its first bytes, or its name, tell the container.
    fn open(file: &Path, asked: Option<Container>) -> Result<Self, DataError> {
        Ok(Self { file: file.into(), reader: containers::open(file, asked)? })
    }

    /// The next rows, of about `bytes` bytes in total, or one longer row; `None` at the end of the file.
    fn batch(&mut self, bytes: usize) -> Result<Option<RowBatch>, DataError> {
        let mut batch = RowBatch { file: self.file.clone(), json: Vec::new(), rows: Vec::new() };
        while batch.json.len() < bytes {
            let start = batch.json.len();
            let Some(place) = self.reader.next(&mut batch.json)? else { break };
            batch.rows.push((start..batch.json.len(), place));
        }
        Ok((!batch.rows.is_empty()).then_some(batch))
    }
}

/// The records of a file, parsed by all CPU cores. `parse` returns the record as text, `None` for a blank line.
///
/// # Errors
/// A file that cannot be read or is not of the container `asked`.
pub(crate) fn records<'a>(
    file: &Path,
    asked: Option<Container>,
    parse: impl Fn(&[u8]) -> Result<Option<RecordText>, LineError> + Sync + 'a,
) -> Result<Batches<'a>, DataError> {
    let mut rows = Rows::open(file, asked)?;
    let record = move |row: &Row<'_>| match row.parse(&parse).transpose()? {
        Ok(record) => Some(Ok(Document { number: row.number(), body: Body::Record(record) })),
        Err((range, fault)) => Some(Err(BadLine { place: row.place(range), fault })),
    };
    Ok(Box::new(iter::from_fn(move || {
        let batch = rows.batch(BATCH_BYTES).transpose()?;
        let records = |batch: RowBatch| threads::map(&batch.rows(), &record);
        Some(batch.map(|batch| records(batch).into_iter().flatten().collect()))
    })))
}

/// The record with this number, which must exist, as the origin of a document.
pub(crate) fn origin(file: &Path, asked: Option<Container>, number: u64) -> Origin {
    let mut found = None;
    let searched = find(file, asked, |row| {
        let is_wanted = row.number() == number;
        if is_wanted {
            found = Some(row.place(0..0));
        }
        is_wanted
    });
    // A file that has changed since is named with the number alone.
    let known = searched.ok().and(found);
    Origin::Jsonl(known.unwrap_or_else(|| place(file, number as usize, b"", 0..0)))
}

/// Calls `each` with every record of a file.
///
/// # Errors
/// A file that cannot be read or is not of the container `asked`.
pub(crate) fn for_each(
    file: &Path,
    asked: Option<Container>,
    mut each: impl FnMut(Row<'_>),
) -> Result<(), DataError> {
    find(file, asked, |row| {
        each(row);
        false
    })
}

/// Calls `is_last` with the records of a file until it returns `true`.
///
/// # Errors
/// A file that cannot be read or is not of the container `asked`.
pub(crate) fn find(
    file: &Path,
    asked: Option<Container>,
    mut is_last: impl FnMut(Row<'_>) -> bool,
) -> Result<(), DataError> {
    let mut rows = Rows::open(file, asked)?;
    while let Some(batch) = rows.batch(BUFFER_BYTES)? {
        if batch.rows().into_iter().any(&mut is_last) {
            break;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    const TEXT: &[u8] = "\u{feff}one\n\ntwo\r\nthree".as_bytes();

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    /// The lines of a file with this content, in batches of this size.
    fn read(content: &[u8], bytes: usize) -> Result<Vec<(u64, String)>, DataError> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d");
        fs::write(&file, content).unwrap();
        let mut reader = Rows::open(&file, None)?;
        let mut lines = Vec::new();
        while let Some(batch) = reader.batch(bytes)? {
            let text = |row: &Row<'_>| String::from_utf8(row.json().to_vec()).unwrap();
            lines.extend(batch.rows().iter().map(|row| (row.number(), text(row))));
        }
        let line_at = |number| match origin(&file, None, number) {
            Origin::Jsonl(place) => (place.line() as u64, place.text),
            other => panic!("{other}"),
        };
        for (number, line) in &lines {
            assert_eq!(line_at(*number), (*number, line.trim_end().to_owned()));
        }
        let after = lines.len() as u64 + 1;
        assert_eq!(line_at(after), (after, String::new()));
        Ok(lines)
    }

    #[test]
    fn compressed_or_not_the_lines_are_the_same() {
        let expected =
            [(1, "one".into()), (2, String::new()), (3, "two\r".into()), (4, "three".into())];
        let (first, rest) = TEXT.split_at(7);
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 3).unwrap();
        let forms = [
            TEXT.to_vec(),
            gzip(TEXT),
            [gzip(first), gzip(rest)].concat(),
            zstd(TEXT),
            [zstd(first), zstd(rest)].concat(),
        ];
        for form in forms {
            for bytes in [1, 5, 1000] {
                assert_eq!(read(&form, bytes).unwrap(), expected);
            }
        }
    }

    #[test]
    fn a_cut_compressed_file_is_an_error() {
        let long = b"some text\n".repeat(1000);
        for form in [gzip(&long), zstd::encode_all(&long[..], 3).unwrap()] {
            let error = read(&form[..form.len() - 6], 1000).unwrap_err();
            assert_eq!(error.code(), "ST3005", "{error}");
        }
        assert!(read(b"", 10).unwrap().is_empty());
    }
}
