//! A Parquet file whose pages are checked before memory is taken for them.
//!
//! The reader of the library believes the sizes in the header of a page. It reads each header through
//! [`ChunkReader::get_read`], where the sizes are looked at first.

use std::fs::File;
use std::io::{BufRead as _, BufReader};

use ::parquet::errors::{ParquetError, Result};
use ::parquet::file::reader::{ChunkReader, Length};

use super::claims::is_plausible;

/// A field of Thrift's compact protocol: the number of the field before plus 1, of type i32.
const NEXT_I32: u8 = 0x15;
/// A structure whose field number is that of the field before plus 3, or plus 4.
const STRUCTURE_AFTER_3: u8 = 0x3c;
const STRUCTURE_AFTER_4: u8 = 0x4c;
/// The number of dictionary pages among the types of pages.
const DICTIONARY_PAGE: i64 = 2;

/// A Parquet file.
pub(super) struct CheckedFile {
    file: File,
    bytes: u64,
}

impl CheckedFile {
    pub(super) fn new(file: File) -> CheckedFile {
        let bytes = file.len();
        CheckedFile { file, bytes }
    }
}

impl Length for CheckedFile {
    fn len(&self) -> u64 {
        self.bytes
    }
}

impl ChunkReader for CheckedFile {
    type T = BufReader<File>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        let mut read = self.file.get_read(start)?;
        match PageSizes::of_header(read.fill_buf()?) {
            Some(sizes) if !sizes.are_plausible() => {
                let bytes = sizes.claimed;
                Err(ParquetError::General(format!("a page claims {bytes} bytes")))
            }
            _ => Ok(read),
        }
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<bytes::Bytes> {
        if start.saturating_add(length as u64) > self.bytes {
            let end = self.bytes;
            return Err(ParquetError::EOF(format!("{length} bytes at {start} of {end}")));
        }
        self.file.get_bytes(start, length)
    }
}

/// The sizes in the header of a page.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct PageSizes {
    /// Bytes when decompressed.
    claimed: u64,
    compressed: u64,
    /// Values of a dictionary, each of which has at least a byte; 0 for other pages.
    values: u64,
}

impl PageSizes {
    /// The sizes in the header that `bytes` begin with; `None` for other bytes.
    fn of_header(bytes: &[u8]) -> Option<PageSizes> {
        let mut header = Header(bytes);
        let page_type = header.next_i32()?;
        let claimed = u64::try_from(header.next_i32()?).ok()?;
        let compressed = u64::try_from(header.next_i32()?).ok()?;
        let values = match page_type {
            DICTIONARY_PAGE => u64::try_from(header.dictionary_values()?).ok()?,
            _ => 0,
        };
        Some(PageSizes { claimed, compressed, values })
    }

    fn are_plausible(self) -> bool {
        is_plausible(self.claimed, self.compressed) && self.values <= self.claimed
    }
}

/// The start of a header in Thrift's compact protocol.
struct Header<'a>(&'a [u8]);

impl Header<'_> {
    /// The next field, when it is an i32.
    fn next_i32(&mut self) -> Option<i64> {
        self.0 = self.0.strip_prefix(&[NEXT_I32])?;
        self.integer()
    }

    /// The first field of the structure that describes a dictionary, behind a checksum or none.
    fn dictionary_values(&mut self) -> Option<i64> {
        let structure = match self.next_i32() {
            Some(_checksum) => STRUCTURE_AFTER_3,
            None => STRUCTURE_AFTER_4,
        };
        self.0 = self.0.strip_prefix(&[structure])?;
        self.next_i32()
    }

    /// A number in groups of seven bits, the sign in its lowest bit.
    fn integer(&mut self) -> Option<i64> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some((value >> 1) as i64 ^ -((value & 1) as i64));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_from_the_header_of_a_page() {
        let data = [0x15, 0x00, 0x15, 0x96, 0x01, 0x15, 0x14, 0x2c];
        let expected = PageSizes { claimed: 75, compressed: 10, values: 0 };
        assert_eq!(PageSizes::of_header(&data), Some(expected));
        let dictionary = [0x15, 0x04, 0x15, 0x14, 0x15, 0x14, 0x4c, 0x15, 0x06];
        let expected = PageSizes { claimed: 10, compressed: 10, values: 3 };
        assert_eq!(PageSizes::of_header(&dictionary), Some(expected));
        let with_checksum = [0x15, 0x04, 0x15, 0x14, 0x15, 0x14, 0x15, 0x01, 0x3c, 0x15, 0x06];
        assert_eq!(PageSizes::of_header(&with_checksum), Some(expected));
        assert_eq!(PageSizes::of_header(b"other bytes"), None);
        assert_eq!(PageSizes::of_header(&[]), None);
    }

    #[test]
    fn claims_are_refused() {
        let sizes = |claimed, compressed, values| PageSizes { claimed, compressed, values };
        assert!(sizes(1 << 20, 100, 0).are_plausible());
        assert!(!sizes(i32::MAX as u64, 100, 0).are_plausible());
        assert!(!sizes(100, 100, i32::MAX as u64).are_plausible(), "a dictionary of too many");
    }
}
