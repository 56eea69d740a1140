//! UTF-16 as UTF-8, while it is read.

use std::fmt;
use std::io::{self, Read};

/// Which byte of a code unit comes first.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum ByteOrder {
    /// The low one.
    Little,
    /// The high one.
    Big,
}

impl ByteOrder {
    /// The order that the byte order mark at the start of `bytes` tells; `None` without a mark of UTF-16.
    pub(crate) fn of_mark(bytes: &[u8]) -> Option<Self> {
        match bytes {
            [0xff, 0xfe, 0, 0, ..] => None, // UTF-32
            [0xff, 0xfe, ..] => Some(Self::Little),
            [0xfe, 0xff, ..] => Some(Self::Big),
            _ => None,
        }
    }

    /// The order of a text that is UTF-16 by the zero bytes of its characters; `None` for other bytes.
    pub(crate) fn without_mark(bytes: &[u8]) -> Option<Self> {
        let bytes = &bytes[..bytes.len().min(1 << 12)];
        let (units, _) = bytes.as_chunks::<2>();
        let zeros = |half: usize| units.iter().filter(|unit| unit[half] == 0).count();
        let is_most = |zeros: usize, others: usize| zeros > others && zeros * 4 > units.len();
        match (zeros(0), zeros(1)) {
            (low, high) if is_most(high, 4 * low) => Some(Self::Little),
            (low, high) if is_most(low, 4 * high) => Some(Self::Big),
            _ => None,
        }
    }

    /// The encoding with this order.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Little => "UTF-16LE",
            Self::Big => "UTF-16BE",
        }
    }

    /// The code unit of two bytes.
    pub(crate) fn unit(self, bytes: [u8; 2]) -> u16 {
        match self {
            Self::Little => u16::from_le_bytes(bytes),
            Self::Big => u16::from_be_bytes(bytes),
        }
    }
}

/// Reads UTF-16 and gives UTF-8.
pub(crate) struct Utf16<R> {
    source: R,
    order: ByteOrder,
    /// Bytes of the source that are not decoded yet: less than a character.
    pending: Vec<u8>,
    decoded: Vec<u8>,
    given: usize,
    /// The bytes decoded so far, the byte order mark included.
    position: usize,
    is_done: bool,
}

/// Bytes that are not UTF-16.
#[derive(Debug)]
struct Invalid {
    order: ByteOrder,
    byte: usize,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not valid {} at byte {}", self.order.name(), self.byte)
    }
}

impl std::error::Error for Invalid {}

impl<R> Utf16<R> {
    /// The text of `source`, which follows the byte order mark.
    pub(crate) fn new(source: R, order: ByteOrder) -> Self {
        let (pending, decoded) = (Vec::new(), Vec::new());
        Self { source, order, pending, decoded, given: 0, position: 2, is_done: false }
    }

    /// The encoding, and the first byte that is not of it, when that is what `error` is about.
    pub(crate) fn fault(error: &io::Error) -> Option<(&'static str, usize)> {
        let invalid = error.get_ref()?.downcast_ref::<Invalid>()?;
        Some((invalid.order.name(), invalid.byte))
    }

    /// Decodes the pending bytes, except for a character that is not complete.
    fn decode(&mut self) -> io::Result<()> {
        self.decoded.clear();
        self.given = 0;
        let (units, _) = self.pending.as_chunks::<2>();
        let mut units: Vec<u16> = units.iter().map(|unit| self.order.unit(*unit)).collect();
        let is_high = |unit: &u16| (0xd800..0xdc00).contains(unit);
        if !self.is_done {
            units.pop_if(|unit| is_high(unit));
        }
        let mut read = 0;
        for decoded in char::decode_utf16(units.iter().copied()) {
            let Ok(c) = decoded else { return Err(self.invalid(read)) };
            read += 2 * c.len_utf16();
            self.decoded.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        self.pending.drain(..read);
        self.position += read;
        if self.is_done && !self.pending.is_empty() { Err(self.invalid(0)) } else { Ok(()) }
    }

    fn invalid(&self, read: usize) -> io::Error {
        let byte = self.position + read;
        io::Error::new(io::ErrorKind::InvalidData, Invalid { order: self.order, byte })
    }
}

impl<R: Read> Read for Utf16<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.given == self.decoded.len() {
            if self.is_done {
                return Ok(0);
            }
            let mut block = [0; 1 << 14];
            let read = self.source.read(&mut block)?;
            self.is_done = read == 0;
            self.pending.extend_from_slice(&block[..read]);
            self.decode()?;
        }
        let count = buffer.len().min(self.decoded.len() - self.given);
        buffer[..count].copy_from_slice(&self.decoded[self.given..self.given + count]);
        self.given += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives one byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let count = self.0.len().min(1);
            self.0.read(&mut buffer[..count])
        }
    }

    fn decoded(bytes: &[u8], order: ByteOrder) -> Result<String, String> {
        let mut text = String::new();
        let mut reader = Utf16::new(Slow(bytes), order);
        match reader.read_to_string(&mut text) {
            Ok(_) => Ok(text),
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn both_orders_give_the_text_however_it_is_cut() {
        let text = "a\n你好😀é";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decoded(&little, ByteOrder::Little).unwrap(), text);
        assert_eq!(decoded(&big, ByteOrder::Big).unwrap(), text);
    }

    #[test]
    fn what_is_not_utf16_is_named_with_its_byte() {
        let error = |bytes: &[u8]| decoded(bytes, ByteOrder::Little).unwrap_err();
        assert_eq!(error(b"a\0b\0\x00\xd8c\0"), "not valid UTF-16LE at byte 6");
        assert_eq!(error(b"a\0b"), "not valid UTF-16LE at byte 4");
        assert_eq!(error(b"a\0\x00\xd8"), "not valid UTF-16LE at byte 4");
    }

    #[test]
    fn marks_and_zero_bytes_tell_the_order() {
        let text: Vec<u8> =
            "{\"text\": \"你好\"}".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(ByteOrder::without_mark(&text), Some(ByteOrder::Little));
        assert_eq!(ByteOrder::without_mark(&text[1..]), Some(ByteOrder::Big));
        assert_eq!(ByteOrder::without_mark(b"{\"text\": \"a\\u0000\"}"), None);
        assert_eq!(ByteOrder::without_mark(b""), None);
        assert_eq!(ByteOrder::of_mark(b"\xff\xfea\0"), Some(ByteOrder::Little));
        assert_eq!(ByteOrder::of_mark(b"\xfe\xff\0a"), Some(ByteOrder::Big));
        assert_eq!(ByteOrder::of_mark(b"\xff\xfe\0\0"), None);
    }
}
