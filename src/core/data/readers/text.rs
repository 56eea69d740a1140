//! Plain text: files, and sums that the program makes up for experiments without data.

use std::iter;
use std::path::{Path, PathBuf};

use crate::data::container_fault::{ContainerFault, ForeignFile};
use crate::data::error::{DataError, Origin};

use super::containers::whole_text;
use super::format::{Batches, Body, Content, Document, Format, RecordForm};
use super::unicode::ByteOrder;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Files of plain text, each one document.
pub(crate) struct PlainText(pub(crate) Encoding);

/// How text is stored.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Encoding {
    Utf8,
    /// 16-bit code units, low byte first unless a byte order mark says otherwise.
    Utf16le,
}

impl Format for PlainText {
    fn content(&self) -> Content {
        Content::Text
    }

    fn read<'a>(&self, file: &Path, _form: RecordForm<'a>) -> Result<Batches<'a>, DataError> {
        let text = read(file, self.0)?;
        let document = Document { number: 0, body: Body::Text(text) };
        Ok(Box::new(iter::once(Ok(vec![Ok(document)]))))
    }

    fn origin(&self, file: &Path, _number: u64) -> Origin {
        Origin::Text(file.to_path_buf())
    }
}

/// The text of a file, without a byte order mark.
fn read(file: &Path, encoding: Encoding) -> Result<String, DataError> {
    let bytes = whole_text(file)?;
    let marked = ByteOrder::of_mark(&bytes);
    let order = match encoding {
        Encoding::Utf8 => marked,
        Encoding::Utf16le => marked.or(Some(ByteOrder::Little)),
    };
    let foreign = ForeignFile::recognize(&bytes);
    if order.is_none()
        && foreign.is_none()
        && let Some(order) = ByteOrder::without_mark(&bytes)
    {
        let fault = ContainerFault::Encoding { name: order.name() };
        return Err(DataError::Container { file: file.into(), fault });
    }
    let (encoding, decoded) = match order {
        None => ("UTF-8", utf8(bytes)),
        Some(order) => (order.name(), utf16(&bytes, order)),
    };
    let mut text = match (decoded, foreign) {
        // A web page, or a text that begins as one of those files, is text.
        (Ok(text), None | Some(ForeignFile::WebPage)) => text,
        (Ok(text), Some(kind)) if kind != ForeignFile::LfsPointer => text,
        (Ok(_) | Err(_), Some(kind)) => {
            let fault = ContainerFault::Foreign(kind);
            return Err(DataError::Container { file: file.into(), fault });
        }
        (Err(byte), None) => return Err(DataError::Encoding { file: file.into(), encoding, byte }),
    };
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    if text.trim().is_empty() {
        return Err(DataError::NoDocuments { file: file.into() });
    }
    Ok(text)
}

/// The text, or the index of the first invalid byte.
fn utf8(bytes: Vec<u8>) -> Result<String, usize> {
    String::from_utf8(bytes).map_err(|error| error.utf8_error().valid_up_to())
}

/// The text, or the index of the first invalid byte.
fn utf16(bytes: &[u8], order: ByteOrder) -> Result<String, usize> {
    let (units, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(units.len());
    let mut read = 0;
    for decoded in char::decode_utf16(units.iter().map(|unit| order.unit(*unit))) {
        let c = decoded.map_err(|_| read)?;
        read += 2 * c.len_utf16();
        text.push(c);
    }
    if rest.is_empty() { Ok(text) } else { Err(read) }
}

/// What messages call the file of sums.
pub(crate) const MADE_UP: &str = "dummy";

const SUMS: u64 = 100_000;
const BATCH: usize = 10_000;

/// [`SUMS`] documents such as `.12+144=156.`, without a file.
pub(crate) struct Sums;

impl Format for Sums {
    fn content(&self) -> Content {
        Content::Text
    }

    fn find(&self, _path: &Path) -> Result<Vec<PathBuf>, DataError> {
        Ok(Vec::new())
    }

    fn read<'a>(&self, _file: &Path, _form: RecordForm<'a>) -> Result<Batches<'a>, DataError> {
        let document = |number| Ok(Document { number, body: Body::Text(sum(number)) });
        let batch = move |first| (first..SUMS).take(BATCH).map(document).collect();
        Ok(Box::new((0..SUMS).step_by(BATCH).map(move |first| Ok(batch(first)))))
    }
}

/// `.x+y=z.` with x = i and y = i * i, both modulo 10000.
fn sum(i: u64) -> String {
    let (x, y) = (i % 10_000, i * i % 10_000);
    format!(".{x}+{y}={}.", x + y)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;

    use super::*;

    fn read_bytes(bytes: &[u8], encoding: Encoding) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.txt");
        fs::write(&file, bytes).unwrap();
        let bare = format!("{}/", folder.path().display());
        read(&file, encoding).map_err(|error| error.to_string().replace(&bare, ""))
    }

    #[test]
    fn both_encodings_are_read() {
        let text = "a\n你好😀";
        assert_eq!(read_bytes(text.as_bytes(), Encoding::Utf8).unwrap(), text);
        let marked: Vec<u8> =
            "\u{feff}a\n你好😀".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read_bytes(&marked, Encoding::Utf16le).unwrap(), text);
        assert_eq!(read_bytes(&marked[2..], Encoding::Utf16le).unwrap(), text);
        assert_eq!(read_bytes(&marked, Encoding::Utf8).unwrap(), text, "the mark tells");
        let big: Vec<u8> = "\u{feff}a\n你好😀".encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(read_bytes(&big, Encoding::Utf8).unwrap(), text);
        assert_eq!(read_bytes(&big, Encoding::Utf16le).unwrap(), text);
    }

    #[test]
    fn compressed_text_is_read() {
        let text = "a\n你好😀";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(text.as_bytes()).unwrap();
        let gzip = gzip.finish().unwrap();
        let zstd = zstd::encode_all(text.as_bytes(), 1).unwrap();
        for bytes in [&gzip, &zstd] {
            assert_eq!(read_bytes(bytes, Encoding::Utf8).unwrap(), text);
        }
        assert_eq!(
            read_bytes(&[gzip.clone(), gzip].concat(), Encoding::Utf8).unwrap(),
            text.repeat(2)
        );
        let marked: Vec<u8> = "\u{feff}a\n你".encode_utf16().flat_map(u16::to_le_bytes).collect();
        let zstd = zstd::encode_all(&*marked, 1).unwrap();
        assert_eq!(read_bytes(&zstd, Encoding::Utf16le).unwrap(), "a\n你");
        let error = read_bytes(&zstd[..zstd.len() - 4], Encoding::Utf8).unwrap_err();
        assert_eq!(error, "cannot read `d.txt`");
    }

    #[test]
    fn what_is_no_text_is_named() {
        let error = |bytes: &[u8]| read_bytes(bytes, Encoding::Utf8).unwrap_err();
        assert_eq!(error(b"\xfd7zXZ\0\0\xff"), "`d.txt` is compressed with xz");
        assert_eq!(
            error(b"PK\x03\x04\xff"),
            "`d.txt` is a ZIP archive, for example an Excel workbook"
        );
        assert!(error(b"version https://git-lfs.github.com/spec/v1\n").contains("Git LFS"));
        assert_eq!(read_bytes(b"<html>", Encoding::Utf8).unwrap(), "<html>");
        assert_eq!(read_bytes(b"BZh is a word", Encoding::Utf8).unwrap(), "BZh is a word");
    }

    #[test]
    fn another_encoding_is_named_with_its_place() {
        let utf8 = |bytes| read_bytes(bytes, Encoding::Utf8).unwrap_err();
        let utf16 = |bytes| read_bytes(bytes, Encoding::Utf16le).unwrap_err();
        assert_eq!(utf8(b"ab\xff"), "`d.txt` is not valid UTF-8 at byte 2");
        assert_eq!(utf16(b"a\0b\0\x00\xd8c\0"), "`d.txt` is not valid UTF-16LE at byte 4");
        assert_eq!(utf16(b"a\0b"), "`d.txt` is not valid UTF-16LE at byte 2");
        assert_eq!(utf8(b" \n\t"), "`d.txt` contains no documents");
        assert_eq!(utf16(b""), "`d.txt` contains no documents");
        let unmarked = "`d.txt` looks like UTF-16LE, but has no byte order mark";
        assert_eq!(utf8(b"a\0b\0c\0d\0"), unmarked);
    }

    #[test]
    fn sums_are_those_of_other_trainers() {
        assert_eq!(
            [0, 1, 12, 101, 12_345].map(sum),
            [".0+0=0.", ".1+1=2.", ".12+144=156.", ".101+201=302.", ".2345+9025=11370."]
        );
    }
}
