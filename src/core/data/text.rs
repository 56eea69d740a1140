//! Plain texts: files that are one document each, and sums that the program makes up.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::error::DataError;
use super::source::Source;
use super::tokenizer::Tokenizer;
use crate::config::DataType;

const BYTE_ORDER_MARK: char = '\u{feff}';

/// Documents of [`DataType::Dummy`].
pub(super) const SUMS: u64 = 100_000;

/// Document `i` of [`DataType::Dummy`]: `.x+y=z.` with x = i and y = i * i, both modulo 10000.
pub(super) fn sum(i: u64) -> String {
    let (x, y) = (i % 10_000, i * i % 10_000);
    format!(".{x}+{y}={}.", x + y)
}

/// The whole text of a file of [`DataType::Utf8`] or [`DataType::Utf16le`], less a byte order mark.
pub(super) fn read(file: &Path, data_type: DataType) -> Result<String, DataError> {
    let bytes = fs::read(file).map_err(|source| DataError::Read { file: file.into(), source })?;
    let (encoding, decoded) = if data_type == DataType::Utf8 {
        ("UTF-8", utf8(bytes))
    } else {
        ("UTF-16LE", utf16le(&bytes))
    };
    let mut text =
        decoded.map_err(|byte| DataError::Encoding { file: file.into(), encoding, byte })?;
    if text.starts_with(BYTE_ORDER_MARK) {
        text.drain(..BYTE_ORDER_MARK.len_utf8());
    }
    if text.trim().is_empty() {
        return Err(DataError::NoDocuments { file: file.into() });
    }
    Ok(text)
}

/// The text, or the place of the first byte that does not fit.
fn utf8(bytes: Vec<u8>) -> Result<String, usize> {
    String::from_utf8(bytes).map_err(|error| error.utf8_error().valid_up_to())
}

fn utf16le(bytes: &[u8]) -> Result<String, usize> {
    let (units, rest) = bytes.as_chunks::<2>();
    let mut text = String::with_capacity(units.len());
    let mut read = 0;
    for decoded in char::decode_utf16(units.iter().map(|unit| u16::from_le_bytes(*unit))) {
        let c = decoded.map_err(|_| read)?;
        read += 2 * c.len_utf16();
        text.push(c);
    }
    if rest.is_empty() { Ok(text) } else { Err(read) }
}

/// The tokenizer whose vocabulary is the characters of all files of plain text.
///
/// # Errors
/// A file that cannot be read, has another encoding or no text.
pub fn character_tokenizer(sources: &[Source]) -> Result<Tokenizer, DataError> {
    let mut characters = BTreeSet::new();
    for source in sources {
        for file in &source.files {
            characters.extend(read(file, source.data_type)?.chars());
        }
        if source.data_type == DataType::Dummy {
            characters.extend("+.=0123456789".chars());
        }
    }
    Ok(Tokenizer::of_characters(&characters))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_bytes(bytes: &[u8], data_type: DataType) -> Result<String, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("d.txt");
        fs::write(&file, bytes).unwrap();
        let bare = format!("{}/", folder.path().display());
        read(&file, data_type).map_err(|error| error.to_string().replace(&bare, ""))
    }

    #[test]
    fn both_encodings_are_read() {
        let text = "a\n你好😀";
        assert_eq!(read_bytes(text.as_bytes(), DataType::Utf8).unwrap(), text);
        let marked: Vec<u8> =
            "\u{feff}a\n你好😀".encode_utf16().flat_map(u16::to_le_bytes).collect();
        assert_eq!(read_bytes(&marked, DataType::Utf16le).unwrap(), text);
        assert_eq!(read_bytes(&marked[2..], DataType::Utf16le).unwrap(), text);
    }

    #[test]
    fn another_encoding_is_named_with_its_place() {
        let utf8 = |bytes| read_bytes(bytes, DataType::Utf8).unwrap_err();
        let utf16 = |bytes| read_bytes(bytes, DataType::Utf16le).unwrap_err();
        assert_eq!(utf8(b"ab\xff"), "`d.txt` is not UTF-8 at byte 2");
        assert_eq!(utf16(b"a\0b\0\x00\xd8c\0"), "`d.txt` is not UTF-16LE at byte 4");
        assert_eq!(utf16(b"a\0b"), "`d.txt` is not UTF-16LE at byte 2");
        assert_eq!(utf8(b" \n\t"), "`d.txt` contains no documents");
        assert_eq!(utf16(b""), "`d.txt` contains no documents");
    }

    #[test]
    fn sums_are_those_of_other_trainers() {
        assert_eq!(
            [0, 1, 12, 101, 12_345].map(sum),
            [".0+0=0.", ".1+1=2.", ".12+144=156.", ".101+201=302.", ".2345+9025=11370."]
        );
    }
}
