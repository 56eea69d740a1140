//! The text of a file: decompressed, and in UTF-8.

use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use crate::data::container_fault::{ContainerFault, ForeignFile};
use crate::data::error::DataError;
use crate::input_file::regular_file;

use super::super::unicode::{ByteOrder, Utf16};

const GZIP: &[u8] = &[0x1f, 0x8b];
const ZSTD: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];
/// The most bytes of a plain text that is longer than its file, because it is compressed or has no end.
const MAX_TEXT: u64 = 1 << 30;
const UTF8_MARK: &[u8] = "\u{feff}".as_bytes();
const BUFFER_BYTES: usize = 1 << 20;
/// Bytes from which the container is recognized.
const HEAD_BYTES: usize = 1 << 20;

/// A text while it is read.
pub(crate) type Input = Box<dyn BufRead>;

/// The start of a text, and all of it.
pub(super) struct Text {
    /// The first bytes.
    pub(super) head: Vec<u8>,
    /// Whether `head` is all.
    pub(super) is_whole: bool,
    rest: Input,
}

impl Text {
    /// The whole text.
    pub(super) fn input(self) -> Input {
        Box::new(io::Cursor::new(self.head).chain(self.rest))
    }
}

/// The text of a file, which may be compressed with gzip or zstd and be UTF-16 with a byte order mark. The mark is
/// skipped.
///
/// # Errors
/// [`DataError::Read`]; [`DataError::Container`] for another encoding and for files of other formats.
pub(super) fn open(file: &Path) -> Result<Text, DataError> {
    let unreadable = |source| self::unreadable(file, source);
    let mut plain = decompress(file).map_err(unreadable)?;
    let start = head(&mut plain, 4).map_err(unreadable)?;
    let other = |fault| Err(DataError::Container { file: file.into(), fault });
    let mut rest: Input = match ByteOrder::of_mark(&start) {
        Some(order) => {
            let text = io::Cursor::new(start[2..].to_vec()).chain(plain);
            Box::new(BufReader::with_capacity(BUFFER_BYTES, Utf16::new(text, order)))
        }
        None if start.starts_with(&[0xff, 0xfe, 0, 0])
            || start.starts_with(&[0, 0, 0xfe, 0xff]) =>
        {
            return other(ContainerFault::Encoding { name: "UTF-32" });
        }
        None => {
            let skipped = if start.starts_with(UTF8_MARK) { UTF8_MARK.len() } else { 0 };
            Box::new(io::Cursor::new(start[skipped..].to_vec()).chain(plain))
        }
    };
    let head = head(&mut rest, HEAD_BYTES).map_err(unreadable)?;
    if let Some(what) = ForeignFile::recognize(&head) {
        return other(ContainerFault::Foreign(what));
    }
    if let Some(order) = ByteOrder::without_mark(&head) {
        return other(ContainerFault::Encoding { name: order.name() });
    }
    Ok(Text { is_whole: head.len() < HEAD_BYTES, head, rest })
}

/// All bytes of a file of plain text, without compression.
///
/// # Errors
/// [`DataError::Read`]; [`DataError::Container`] for a text that is much longer than its file.
pub(crate) fn whole_text(file: &Path) -> Result<Vec<u8>, DataError> {
    let read = || {
        let most = fs::metadata(file)?.len().max(MAX_TEXT);
        let mut bytes = Vec::new();
        decompress(file)?.take(most + 1).read_to_end(&mut bytes)?;
        Ok((bytes.len() as u64 <= most).then_some(bytes))
    };
    let bytes = read().map_err(|source| DataError::Read { file: file.into(), source })?;
    let too_long = || ContainerFault::TextTooLong { limit: MAX_TEXT };
    bytes.ok_or_else(|| DataError::Container { file: file.into(), fault: too_long() })
}

/// How a file is compressed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    /// The compression that the first bytes of a file tell.
    ///
    /// # Errors
    /// A file that cannot be read.
    pub(crate) fn of_file(file: &Path) -> io::Result<Self> {
        let mut start = Vec::new();
        regular_file(file)?.take(ZSTD.len() as u64).read_to_end(&mut start)?;
        Ok(Self::of_start(&start))
    }

    fn of_start(start: &[u8]) -> Self {
        match start {
            start if start.starts_with(GZIP) => Self::Gzip,
            start if start.starts_with(ZSTD) => Self::Zstd,
            _ => Self::None,
        }
    }
}

/// The bytes of a file, without compression.
///
/// # Errors
/// A file that cannot be read.
pub(crate) fn decompress(file: &Path) -> io::Result<Input> {
    let mut plain = BufReader::with_capacity(BUFFER_BYTES, regular_file(file)?);
    Ok(match Compression::of_start(plain.fill_buf()?) {
        Compression::Gzip => {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, MultiGzDecoder::new(plain)))
        }
        Compression::Zstd => {
            Box::new(BufReader::with_capacity(BUFFER_BYTES, zstd::Decoder::with_buffer(plain)?))
        }
        Compression::None => Box::new(plain),
    })
}

/// The first `bytes` bytes, or all there are.
fn head(input: &mut Input, bytes: usize) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.take(bytes as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// The error of a text that cannot be read.
pub(super) fn unreadable(file: &Path, source: io::Error) -> DataError {
    match Utf16::<io::Empty>::fault(&source) {
        Some((encoding, byte)) => DataError::Encoding { file: file.into(), encoding, byte },
        None => DataError::Read { file: file.into(), source },
    }
}
