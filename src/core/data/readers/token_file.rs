//! Files of token ids: raw numbers of two bytes, or `.npy` files of NumPy.
//!
//! A `.npy` file begins with `\x93NUMPY`, two bytes of version, the length of the header (2 bytes in
//! version 1, 4 bytes above) and the header, a Python dictionary such as
//! `{'descr': '<u2', 'fortran_order': False, 'shape': (1000,), }`.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;

use super::format::{Batches, Body, Content, Document, Format, RecordForm};
use crate::data::error::DataError;
use crate::data::fault::TokenFileFault as Fault;
use crate::data::tokenizer::END_OF_DOCUMENT;
use crate::input_file::regular_file;

const MAGIC: &[u8; 6] = b"\x93NUMPY";

/// Files of token ids. A document ends with [`END_OF_DOCUMENT`], the last one with its file.
pub(crate) struct TokenFiles(pub(crate) Layout);

/// How a file holds token ids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Layout {
    /// A `.npy` file of one axis and any integer type.
    Numpy,
    /// Two bytes each, low byte first.
    Uint16,
}

impl Format for TokenFiles {
    fn content(&self) -> Content {
        Content::Tokens
    }

    fn has_wide_ids(&self, file: &Path) -> Result<bool, DataError> {
        Ok(TokenFile::open(file, self.0)?.integer.bytes > 2)
    }

    fn read<'a>(&self, file: &Path, _form: RecordForm<'a>) -> Result<Batches<'a>, DataError> {
        let mut documents = TokenFile::open(file, self.0)?;
        let mut numbers = 0..;
        Ok(Box::new(iter::from_fn(move || {
            let ids = documents.next().transpose()?;
            let number = numbers.next()?;
            Some(ids.map(|ids| vec![Ok(Document { number, body: Body::Tokens(ids) })]))
        })))
    }
}

/// How one number is stored.
#[derive(Clone, Copy, Debug)]
struct Integer {
    bytes: usize,
    signed: bool,
    big_endian: bool,
}

impl Integer {
    const U16: Self = Self { bytes: 2, signed: false, big_endian: false };

    /// The value of `stored`, which has [`Self::bytes`] bytes.
    fn value(self, stored: &[u8]) -> i128 {
        let mut little = [0; 16];
        for (byte, stored) in little.iter_mut().zip(stored) {
            *byte = *stored;
        }
        if self.big_endian {
            little[..self.bytes].reverse();
        }
        if self.signed && little[self.bytes - 1] >= 0x80 {
            little[self.bytes..].fill(0xff);
        }
        i128::from_le_bytes(little)
    }
}

/// An open file.
#[derive(Debug)]
struct TokenFile {
    file: PathBuf,
    reader: BufReader<File>,
    integer: Integer,
    /// The numbers not read yet.
    left: u64,
    /// The numbers read so far.
    position: u64,
}

impl TokenFile {
    fn open(file: &Path, layout: Layout) -> Result<Self, DataError> {
        let unreadable = |source| DataError::Read { file: file.into(), source };
        let fail = |fault| DataError::TokenFile { file: file.into(), fault };
        let opened = regular_file(file).map_err(unreadable)?;
        let found = opened.metadata().map_err(unreadable)?.len();
        let mut reader = BufReader::with_capacity(1 << 16, opened);
        let (integer, left) = if layout == Layout::Numpy {
            let (header, start) = read_header(&mut reader).map_err(|error| match error {
                HeaderError::Read(source) => unreadable(source),
                HeaderError::Fault(fault) => fail(fault),
            })?;
            let (integer, numbers) = parse_header(&header).map_err(fail)?;
            let expected = u128::from(numbers) * integer.bytes as u128 + u128::from(start);
            if u128::from(found) != expected {
                return Err(fail(Fault::Size { found, expected }));
            }
            (integer, numbers)
        } else if found.is_multiple_of(2) {
            (Integer::U16, found / 2)
        } else {
            return Err(fail(Fault::OddBytes { found }));
        };
        if left == 0 {
            return Err(DataError::NoDocuments { file: file.into() });
        }
        Ok(Self { file: file.into(), reader, integer, left, position: 0 })
    }

    /// The next document; `None` at the end.
    fn next(&mut self) -> Result<Option<Vec<u32>>, DataError> {
        let mut ids = Vec::new();
        let mut stored = [0; 8];
        let stored = &mut stored[..self.integer.bytes];
        while self.left > 0 {
            self.reader
                .read_exact(stored)
                .map_err(|source| DataError::Read { file: self.file.clone(), source })?;
            let value = self.integer.value(stored);
            let id = u32::try_from(value).map_err(|_| DataError::TokenFile {
                file: self.file.clone(),
                fault: Fault::Token { position: self.position, value },
            })?;
            self.left -= 1;
            self.position += 1;
            ids.push(id);
            if id == END_OF_DOCUMENT {
                break;
            }
        }
        Ok((!ids.is_empty()).then_some(ids))
    }
}

enum HeaderError {
    Read(io::Error),
    Fault(Fault),
}

impl From<io::Error> for HeaderError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::UnexpectedEof {
            Self::Fault(Fault::NotNumpy)
        } else {
            Self::Read(error)
        }
    }
}

/// The header of a `.npy` file, and the byte at which its numbers begin.
fn read_header(reader: &mut impl Read) -> Result<(String, u64), HeaderError> {
    let mut start = [0; 8];
    reader.read_exact(&mut start)?;
    if !start.starts_with(MAGIC) {
        return Err(HeaderError::Fault(Fault::NotNumpy));
    }
    let (length, length_bytes) = if start[6] == 1 {
        let mut length = [0; 2];
        reader.read_exact(&mut length)?;
        (u64::from(u16::from_le_bytes(length)), 2)
    } else {
        let mut length = [0; 4];
        reader.read_exact(&mut length)?;
        (u64::from(u32::from_le_bytes(length)), 4)
    };
    let mut header = Vec::new();
    reader.take(length).read_to_end(&mut header)?;
    let start = start.len() as u64 + length_bytes + length;
    Ok((String::from_utf8_lossy(&header).into_owned(), start))
}

/// The integer type and the count of the numbers.
fn parse_header(header: &str) -> Result<(Integer, u64), Fault> {
    static DESCR: LazyLock<Regex> = LazyLock::new(|| field(r"'descr'\s*:\s*'([^']*)'"));
    static SHAPE: LazyLock<Regex> = LazyLock::new(|| field(r"'shape'\s*:\s*\(([^)]*)\)"));
    static INTEGER: LazyLock<Regex> = LazyLock::new(|| field("^([<>|=])([iu])([1248])$"));
    let find = |field: &Regex| Some(field.captures(header)?[1].to_owned());
    let (Some(descr), Some(shape)) = (find(&DESCR), find(&SHAPE)) else {
        return Err(Fault::Header { header: header.trim().into() });
    };
    let Some(parts) = INTEGER.captures(&descr) else { return Err(Fault::NotIntegers { descr }) };
    let integer = Integer {
        bytes: parts[3].parse().expect("a digit"),
        signed: &parts[2] == "i",
        big_endian: &parts[1] == ">",
    };
    let axes: Vec<&str> = shape.split(',').map(str::trim).filter(|axis| !axis.is_empty()).collect();
    match axes.as_slice() {
        [axis] => match axis.parse() {
            Ok(numbers) => Ok((integer, numbers)),
            Err(_) => Err(Fault::Header { header: header.trim().into() }),
        },
        _ => Err(Fault::Axes { shape }),
    }
}

fn field(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a valid expression")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn documents(layout: Layout, content: &[u8]) -> Result<Vec<Vec<u32>>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        fs::write(&path, content).unwrap();
        let read = || {
            let mut file = TokenFile::open(&path, layout)?;
            let mut documents = Vec::new();
            while let Some(ids) = file.next()? {
                documents.push(ids);
            }
            Ok(documents)
        };
        let bare = format!("{}/", folder.path().display());
        read().map_err(|error: DataError| error.to_string().replace(&bare, ""))
    }

    fn npy(descr: &str, shape: &str, numbers: &[u8]) -> Vec<u8> {
        let header =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut file = b"\x93NUMPY\x01\0".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header.bytes());
        file.extend(numbers);
        file
    }

    #[test]
    fn documents_end_at_token_0() {
        let raw = [5u16, 6, 0, 0, 65535].map(u16::to_le_bytes).concat();
        let expected = [vec![5, 6, 0], vec![0], vec![65535]];
        assert_eq!(documents(Layout::Uint16, &raw).unwrap(), expected);
        assert_eq!(documents(Layout::Numpy, &npy("<u2", "(5,)", &raw)).unwrap(), expected);
    }

    #[test]
    fn every_integer_of_either_order_is_read() {
        let cases: [(&str, &[u8], u32); 11] = [
            ("|u1", &[200], 200),
            ("|i1", &[100], 100),
            ("<u2", &[0x34, 0x92], 0x9234),
            (">u2", &[0x92, 0x34], 0x9234),
            ("<i2", &[0x34, 0x12], 0x1234),
            (">i2", &[0x12, 0x34], 0x1234),
            ("<i4", &[0x78, 0x56, 0x34, 0x12], 0x1234_5678),
            (">u4", &[0x92, 0x34, 0x56, 0x78], 0x9234_5678),
            ("<i8", &[1, 2, 0, 0, 0, 0, 0, 0], 0x201),
            (">i8", &[0, 0, 0, 0, 0, 0, 2, 1], 0x201),
            ("<u8", &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], u32::MAX),
        ];
        for (descr, stored, id) in cases {
            let found = documents(Layout::Numpy, &npy(descr, "(1,)", stored)).unwrap();
            assert_eq!(found, [[id]], "{descr}");
        }
    }

    #[test]
    fn later_versions_have_a_longer_length() {
        let mut file = npy("<u2", "(1,)", &[7, 0]);
        file[6] = 2;
        file.splice(10..10, [0, 0]);
        assert_eq!(documents(Layout::Numpy, &file).unwrap(), [[7]]);
    }

    #[test]
    fn invalid_files_are_refused() {
        let refusal = |content: &[u8]| documents(Layout::Numpy, content).unwrap_err();
        assert_eq!(refusal(b"PK\x03\x04"), "`d` is not a .npy file");
        assert_eq!(refusal(b"\x93NUM"), "`d` is not a .npy file");
        assert_eq!(
            refusal(&npy("<f4", "(1,)", &[0; 4])),
            "`d` contains `<f4` numbers, not integers"
        );
        assert_eq!(
            refusal(&npy("<u2", "(2, 3)", &[0; 12])),
            "`d` has the shape (2, 3), not one axis"
        );
        assert_eq!(refusal(&npy("<u2", "()", &[0; 2])), "`d` has the shape (), not one axis");
        assert_eq!(
            refusal(&npy("<u2", "(3,)", &[0; 4])),
            "`d` has 72 bytes, but its header requires 74"
        );
        assert_eq!(
            refusal(&npy("|i1", "(2,)", &[5, 0xfe])),
            "`d` has -2 as token 1, which is not a valid token id"
        );
        assert_eq!(refusal(&npy("<u2", "(0,)", &[])), "`d` contains no documents");
        let raw = documents(Layout::Uint16, &[1, 2, 3]).unwrap_err();
        assert_eq!(raw, "`d` has 3 bytes, which is not a multiple of 2, the size of a token");
        assert_eq!(documents(Layout::Uint16, &[]).unwrap_err(), "`d` contains no documents");
    }
}
