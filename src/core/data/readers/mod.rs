//! Readers of data files, one file per format.
//!
//! To add a format, add a file with a type that implements [`Format`], its arm in [`format`] (and its line in
//! [`FILE_TYPES`]), and its value of [`DataType`].

mod binidx;
mod format;
mod jsonl;
mod lines;
mod source;
mod text;
mod token_file;

pub use format::LineError;
pub(crate) use format::{BadLine, Body, Content, Document, Format, Record, Tally};
pub use lines::for_each_line;
pub use source::{FileDigest, Source, character_tokenizer};
pub(crate) use text::MADE_UP;

use self::binidx::BinidxPairs;
use self::jsonl::Jsonl;
use self::text::{Encoding, PlainText, Sums};
use self::token_file::{Layout, TokenFiles};
use crate::data::DataType;

/// The reader of a format.
pub(crate) fn format(data_type: DataType) -> &'static dyn Format {
    match data_type {
        DataType::Jsonl => &Jsonl,
        DataType::Binidx => &BinidxPairs,
        DataType::Utf8 => &PlainText(Encoding::Utf8),
        DataType::Utf16le => &PlainText(Encoding::Utf16le),
        DataType::Numpy => &TokenFiles(Layout::Numpy),
        DataType::Dummy => &Sums,
        // A plan refuses images, so nothing reads them.
        DataType::Uint16 | DataType::WdsImg => &TokenFiles(Layout::Uint16),
    }
}

/// The formats of files, by their names in experiment files.
pub const FILE_TYPES: [(&str, DataType); 6] = [
    ("jsonl", DataType::Jsonl),
    ("binidx", DataType::Binidx),
    ("utf-8", DataType::Utf8),
    ("utf-16le", DataType::Utf16le),
    ("numpy", DataType::Numpy),
    ("uint16", DataType::Uint16),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_types_have_the_names_of_experiment_files() {
        for (name, data_type) in FILE_TYPES {
            assert_eq!(serde_json::to_value(data_type).unwrap(), name);
        }
    }
}
