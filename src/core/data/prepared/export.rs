//! Prepared data as files for other programs: copies of pairs, JSONL, Parquet.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parquet::basic::{ConvertedType, Repetition, Type as PhysicalType};
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::types::Type;
use serde_json::json;
use tempfile::NamedTempFile;

use crate::data::binidx::{Binidx, pair};
use crate::data::error::{DataError, Origin};
use crate::data::tokenizer::{END_OF_DOCUMENT, Tokenizer};
use crate::tensorfile::{publish, temporary_for};

/// Counts of an export.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exported {
    /// Documents that were written.
    pub documents: u64,
    /// Documents without text, which were skipped.
    pub empty: u64,
}

/// The two files of a pair.
pub fn pair_files(prefix: &Path) -> [PathBuf; 2] {
    let (bin, idx) = pair(prefix);
    [bin, idx]
}

/// Copies the pair `from` to the name `to`, the index last.
///
/// # Errors
/// [`DataError::Read`], [`DataError::Io`]; no file is left then.
pub fn copy_pair(from: &Path, to: &Path) -> Result<(), DataError> {
    let copies = pair_files(from).into_iter().zip(pair_files(to));
    let copied = copies.map(|(from, to)| {
        let mut source =
            File::open(&from).map_err(|source| DataError::Read { file: from, source })?;
        let unwritable = |source| DataError::Io { path: to.clone(), source };
        let mut file = temporary_for(&to).map_err(unwritable)?;
        io::copy(&mut source, &mut file).map_err(unwritable)?;
        Ok((file, to))
    });
    let copied = copied.collect::<Result<Vec<_>, DataError>>()?;
    copied.into_iter().try_for_each(|(file, to)| {
        publish(file, &to).map_err(|source| DataError::Io { path: to, source })
    })
}

/// Writes the documents of the pair `prefix` to `out` as texts. A document with several [`END_OF_DOCUMENT`] becomes
/// several texts.
///
/// # Errors
/// [`DataError::NotText`], [`DataError::UnknownToken`], and the errors of [`Binidx::open`] and of writing.
pub fn pair_to_texts(
    prefix: &Path,
    tokenizer: &Tokenizer,
    form: TextForm,
    out: &Path,
) -> Result<Exported, DataError> {
    let unwritable = |source| DataError::Io { path: out.into(), source };
    let pair = Binidx::open(prefix)?;
    let mut file = TextWriter::new(form, out).map_err(unwritable)?;
    let mut exported = Exported { documents: 0, empty: 0 };
    let mut faulty = Vec::new();
    for index in 0..pair.len() {
        let ids = pair.doc(index)?;
        for ids in ids.split_inclusive(|&id| id == END_OF_DOCUMENT) {
            match String::from_utf8(tokenizer.decode(ids)?) {
                Ok(text) if text.is_empty() => exported.empty += 1,
                Ok(text) => {
                    exported.documents += 1;
                    file.push(text).map_err(unwritable)?;
                }
                Err(_) => faulty.push(index),
            }
        }
    }
    if let Some(&index) = faulty.first() {
        let document = Origin::Binidx { prefix: prefix.into(), index };
        return Err(DataError::NotText { document, others: faulty.len() - 1 });
    }
    publish(file.finish().map_err(unwritable)?, out).map_err(unwritable)?;
    Ok(exported)
}

/// Bytes of text after which a row group of a Parquet file ends. The group is held in memory.
const ROW_GROUP_BYTES: usize = 16 << 20;

/// A format of text files.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum TextForm {
    /// A JSON object with a `text` on each line.
    Jsonl,
    /// A Parquet file with one column `text` of UTF-8 strings, not compressed.
    Parquet,
}

impl TextForm {
    /// The usual file extension.
    pub fn extension(self) -> &'static str {
        match self {
            TextForm::Jsonl => "jsonl",
            TextForm::Parquet => "parquet",
        }
    }
}

/// A file of texts while it is written, under a temporary name.
enum TextWriter {
    Jsonl(BufWriter<NamedTempFile>),
    Parquet {
        writer: Box<SerializedFileWriter<NamedTempFile>>,
        /// The texts of the current row group, and their bytes.
        texts: Vec<ByteArray>,
        bytes: usize,
    },
}

impl TextWriter {
    /// Starts a file in the folder of `out`.
    fn new(form: TextForm, out: &Path) -> io::Result<TextWriter> {
        let file = temporary_for(out)?;
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

    fn push(&mut self, text: String) -> io::Result<()> {
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

    fn finish(self) -> io::Result<NamedTempFile> {
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

/// The error of the operating system, if `error` wraps one.
fn io_error(error: ParquetError) -> io::Error {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(error) => *error,
            Err(source) => io::Error::other(source),
        },
        error => io::Error::other(error),
    }
}
