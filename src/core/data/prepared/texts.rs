//! Files of texts for other programs: JSONL and Parquet.

use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::sync::Arc;

use parquet::basic::{ConvertedType, Repetition, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::data::prepared::binidx_writer::temporary_beside;

/// Bytes of text after which a row group of a Parquet file ends. They are held in memory.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// How a file holds texts.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TextForm {
    /// A JSON object with a `text` on each line.
    Jsonl,
    /// A Parquet file with one column `text` of UTF-8 strings, not compressed.
    Parquet,
}

impl TextForm {
    /// The usual ending of a file's name.
    pub fn extension(self) -> &'static str {
        match self {
            TextForm::Jsonl => "jsonl",
            TextForm::Parquet => "parquet",
        }
    }
}

/// A file of texts that is being written under another name.
pub(crate) enum TextWriter {
    Jsonl(BufWriter<NamedTempFile>),
    Parquet {
        writer: Box<SerializedFileWriter<NamedTempFile>>,
        /// Texts of the row group that is not written yet, and their bytes.
        texts: Vec<ByteArray>,
        bytes: usize,
    },
}

impl TextWriter {
    /// Begins a file beside `out`.
    pub(crate) fn new(form: TextForm, out: &Path) -> io::Result<TextWriter> {
        let file = temporary_beside(out)?;
        Ok(match form {
            TextForm::Jsonl => TextWriter::Jsonl(BufWriter::new(file)),
            TextForm::Parquet => {
                let column = Type::primitive_type_builder("text", PhysicalType::BYTE_ARRAY)
                    .with_repetition(Repetition::REQUIRED)
                    .with_converted_type(ConvertedType::UTF8)
                    .build()
                    .map_err(io_error)?;
                let schema = Type::group_type_builder("documents")
                    .with_fields(vec![Arc::new(column)])
                    .build()
                    .map_err(io_error)?;
                let writer = SerializedFileWriter::new(file, Arc::new(schema), Arc::default())
                    .map_err(io_error)?;
                TextWriter::Parquet { writer: Box::new(writer), texts: Vec::new(), bytes: 0 }
            }
        })
    }

    /// Adds a text.
    pub(crate) fn push(&mut self, text: String) -> io::Result<()> {
        match self {
            TextWriter::Jsonl(file) => writeln!(file, "{}", json!({ "text": text })),
            TextWriter::Parquet { writer, texts, bytes } => {
                *bytes += text.len();
                texts.push(ByteArray::from(text.into_bytes()));
                if *bytes >= ROW_GROUP_BYTES {
                    write_row_group(writer, texts)?;
                    *bytes = 0;
                }
                Ok(())
            }
        }
    }

    /// Ends the file.
    pub(crate) fn finish(self) -> io::Result<NamedTempFile> {
        match self {
            TextWriter::Jsonl(file) => file.into_inner().map_err(io::IntoInnerError::into_error),
            TextWriter::Parquet { mut writer, mut texts, .. } => {
                write_row_group(&mut writer, &mut texts)?;
                writer.into_inner().map_err(io_error)
            }
        }
    }
}

fn write_row_group(
    writer: &mut SerializedFileWriter<NamedTempFile>,
    texts: &mut Vec<ByteArray>,
) -> io::Result<()> {
    if texts.is_empty() {
        return Ok(());
    }
    let mut write = |texts: &[ByteArray]| -> Result<(), ParquetError> {
        let mut group = writer.next_row_group()?;
        if let Some(mut column) = group.next_column()? {
            column.typed::<ByteArrayType>().write_batch(texts, None, None)?;
            column.close()?;
        }
        group.close()?;
        Ok(())
    };
    write(texts).map_err(io_error)?;
    texts.clear();
    Ok(())
}

/// What the operating system says, if it is that.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}
