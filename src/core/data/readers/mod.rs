//! Readers of data files, one file per format.
//!
//! To add a format, add a file with a type that implements [`Format`], its arm in [`format`] (and its line in
//! [`FILE_TYPES`]), and its value of [`DataType`].

mod binidx;
mod containers;
mod format;
mod jsonl;
mod likely_encoding;
mod records;
mod rows;
mod source;
mod text;
mod token_file;
mod unicode;

pub use format::LineError;
pub(crate) use format::{BadLine, Body, Content, Document, Format, Record, Tally};
pub(crate) use jsonl::{key_value, record_of_line, without_comma};
pub(crate) use likely_encoding::{conversion_from, conversion_help};
pub use rows::Row;
pub use source::{FileDigest, Source, character_tokenizer};
pub(crate) use text::MADE_UP;

use self::binidx::BinidxPairs;
use self::containers::Container;
use self::records::Records;
use self::text::{Encoding, PlainText, Sums};
use self::token_file::{Layout, TokenFiles};
use std::path::Path;

use crate::data::DataType;
use crate::data::error::DataError;

/// The reader of a format.
pub(crate) fn format(data_type: DataType) -> &'static dyn Format {
    match data_type {
        DataType::Jsonl => &Records(None),
        DataType::Json => &Records(Some(Container::Json)),
        DataType::Csv => &Records(Some(Container::Csv)),
        DataType::Tsv => &Records(Some(Container::Tsv)),
        DataType::Parquet => &Records(Some(Container::Parquet)),
        DataType::Arrow => &Records(Some(Container::Arrow)),
        DataType::Binidx => &BinidxPairs,
        DataType::Utf8 => &PlainText(Encoding::Utf8),
        DataType::Utf16le => &PlainText(Encoding::Utf16le),
        DataType::Numpy => &TokenFiles(Layout::Numpy),
        DataType::Dummy => &Sums,
        // A plan refuses images, so nothing reads them.
        DataType::Uint16 | DataType::WdsImg => &TokenFiles(Layout::Uint16),
    }
}

/// Whether the files of a format hold records.
pub fn holds_records(data_type: DataType) -> bool {
    format(data_type).content() == Content::Records
}

/// The container of records that a file's name tells, where its content cannot: the same bytes under another name can
/// be other records.
pub(crate) fn container_by_name(file: &Path) -> Option<&'static str> {
    Container::of_name(file).map(Container::name)
}

/// Calls `each` with every record of a file of records.
///
/// # Errors
/// A file that cannot be read or is not of the format.
pub fn for_each_row(
    file: &Path,
    data_type: DataType,
    each: impl FnMut(Row<'_>),
) -> Result<(), DataError> {
    rows::for_each(file, format(data_type).container(), each)
}

/// The formats of files, by their names in experiment files.
pub const FILE_TYPES: [(&str, DataType); 11] = [
    ("jsonl", DataType::Jsonl),
    ("json", DataType::Json),
    ("csv", DataType::Csv),
    ("tsv", DataType::Tsv),
    ("parquet", DataType::Parquet),
    ("arrow", DataType::Arrow),
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
