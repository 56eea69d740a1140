//! The lines of a text file, plain or compressed with gzip or zstd.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::iter;
use std::ops::Range;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use crate::data::error::{DataError, Origin, place};
use crate::data::shapes::RecordText;
use crate::data::threads;

use super::format::{BadLine, Batches, Body, Document, LineError};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();
const BUFFER_BYTES: usize = 1 << 20;
/// Text that is parsed at a time; a longer line is parsed alone.
const BATCH_BYTES: usize = 4 << 20;

/// Reads a file in batches of whole lines.
struct Lines {
    file: PathBuf,
    reader: Box<dyn BufRead>,
    /// The lines read so far.
    count: u64,
}

/// Consecutive lines.
struct LineBatch {
    bytes: Vec<u8>,
    /// Each line without its line feed.
    lines: Vec<Range<usize>>,
    /// The number of the first line, counted from 1.
    first: u64,
}

impl LineBatch {
    /// The lines with their numbers.
    fn lines(&self) -> Vec<(u64, &[u8])> {
        (self.first..).zip(self.lines.iter().map(|range| &self.bytes[range.clone()])).collect()
    }
}

impl Lines {
    /// Opens a file; its first bytes tell the compression.
    fn open(file: &Path) -> Result<Self, DataError> {
        let reader = open(file).map_err(|source| DataError::Read { file: file.into(), source })?;
        Ok(Self { file: file.into(), reader, count: 0 })
    }

    /// The next lines, of about `bytes` bytes in total, or one longer line; `None` at the end of the file. A byte order
    /// mark is skipped.
    fn batch(&mut self, bytes: usize) -> Result<Option<LineBatch>, DataError> {
        let mut batch = LineBatch { bytes: Vec::new(), lines: Vec::new(), first: self.count + 1 };
        while batch.bytes.len() < bytes {
            let mut start = batch.bytes.len();
            let read = self.reader.read_until(b'\n', &mut batch.bytes);
            let read =
                read.map_err(|source| DataError::Read { file: self.file.clone(), source })?;
            if read == 0 {
                break;
            }
            self.count += 1;
            let line = &batch.bytes[start..];
            let end = batch.bytes.len() - usize::from(line.ends_with(b"\n"));
            if self.count == 1 && line.starts_with(BYTE_ORDER_MARK) {
                start += BYTE_ORDER_MARK.len();
            }
            batch.lines.push(start..end);
        }
        Ok((!batch.lines.is_empty()).then_some(batch))
    }
}

fn open(file: &Path) -> io::Result<Box<dyn BufRead>> {
    let mut plain = BufReader::with_capacity(BUFFER_BYTES, File::open(file)?);
    let start = plain.fill_buf()?;
    Ok(if start.starts_with(GZIP) {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(plain)))
    } else if start.starts_with(ZSTD) {
        Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::Decoder::with_buffer(plain)?))
    } else {
        Box::new(plain)
    })
}

/// The records of a file, parsed by all CPU cores. `parse` returns the record of a line, `None` for a blank one.
///
/// # Errors
/// [`DataError::Read`].
pub(crate) fn records<'a>(
    file: &Path,
    parse: impl Fn(&[u8]) -> Result<Option<RecordText>, LineError> + Sync + 'a,
) -> Result<Batches<'a>, DataError> {
    let mut lines = Lines::open(file)?;
    let file = file.to_path_buf();
    let record = move |&(number, line): &(u64, &[u8])| match parse(line).transpose()? {
        Ok(record) => Some(Ok(Document { number, body: Body::Record(record) })),
        Err((range, fault)) => {
            Some(Err(BadLine { place: place(&file, number as usize, line, range), fault }))
        }
    };
    Ok(Box::new(iter::from_fn(move || {
        let batch = lines.batch(BATCH_BYTES).transpose()?;
        let records = |batch: LineBatch| threads::map(&batch.lines(), &record);
        Some(batch.map(|batch| records(batch).into_iter().flatten().collect()))
    })))
}

/// Line `number` of a file as the origin of a document.
pub(crate) fn origin(file: &Path, number: u64) -> Origin {
    Origin::Jsonl(place(file, number as usize, &line(file, number), 0..0))
}

/// Calls `each` with the number, counted from 1, and the bytes of every line of a file, plain or compressed with gzip
/// or zstd.
///
/// # Errors
/// [`DataError::Read`].
pub fn for_each_line(file: &Path, mut each: impl FnMut(u64, &[u8])) -> Result<(), DataError> {
    let mut lines = Lines::open(file)?;
    while let Some(batch) = lines.batch(BUFFER_BYTES)? {
        batch.lines().into_iter().for_each(|(number, line)| each(number, line));
    }
    Ok(())
}

/// Line `number` of a file, counted from 1; empty when the file has no such line or cannot be read.
fn line(file: &Path, number: u64) -> Vec<u8> {
    let find = || {
        let mut lines = Lines::open(file).ok()?;
        while let Some(batch) = lines.batch(BUFFER_BYTES).ok()? {
            if let Some(&(_, line)) = batch.lines().iter().find(|(n, _)| *n == number) {
                return Some(line.to_vec());
            }
        }
        None
    };
    find().unwrap_or_default()
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
        let mut reader = Lines::open(&file)?;
        let mut lines = Vec::new();
        while let Some(batch) = reader.batch(bytes)? {
            lines.extend(
                batch
                    .lines()
                    .into_iter()
                    .map(|(number, line)| (number, String::from_utf8(line.to_vec()).unwrap())),
            );
        }
        for (number, line) in &lines {
            assert_eq!(super::line(&file, *number), line.as_bytes());
        }
        assert_eq!(super::line(&file, lines.len() as u64 + 1), b"");
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
