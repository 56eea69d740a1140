//! Parquet files.

use std::path::Path;

use ::parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder,
};
use ::parquet::errors::ParquetError;
use ::parquet::file::metadata::ParquetMetaData;

use crate::data::container_fault::ContainerFault;
use crate::data::error::DataError;
use crate::diagnostic::Text;
use crate::input_file::regular_file;

use super::guarded::guarded;
use super::pages::CheckedFile;
use super::table::Table;

/// Decoded bytes that are held at a time, as far as the sizes in the file tell.
const BATCH_BYTES: u64 = 4 << 20;
/// The most rows that are held at a time.
const MAX_BATCH: u64 = 4096;

/// The rows of a Parquet file, of which only a few are held at a time.
///
/// # Errors
/// [`DataError::Read`], [`DataError::Container`] for a damaged or encrypted file.
pub(super) fn open(file: &Path) -> Result<Table<ParquetRecordBatchReader>, DataError> {
    let source =
        regular_file(file).map_err(|source| DataError::Read { file: file.into(), source })?;
    let reader = guarded(|| {
        let source = CheckedFile::new(source);
        let metadata = ArrowReaderMetadata::load(&source, ArrowReaderOptions::new())?;
        let rows = rows_at_once(metadata.metadata());
        let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(source, metadata);
        let schema = builder.schema().clone();
        Ok((schema, builder.with_batch_size(rows).build()?))
    });
    match reader {
        Ok((schema, reader)) => Ok(Table::new(file, "Parquet", &schema, reader)),
        Err(error) => Err(broken(file, &error)),
    }
}

/// The rows of about [`BATCH_BYTES`].
fn rows_at_once(metadata: &ParquetMetaData) -> usize {
    let bytes_of_row = metadata.row_groups().iter().map(|group| {
        let bytes = u64::try_from(group.total_byte_size()).unwrap_or(0);
        bytes / u64::try_from(group.num_rows()).unwrap_or(0).max(1)
    });
    let bytes = bytes_of_row.max().unwrap_or(0).max(1);
    (BATCH_BYTES / bytes).clamp(1, MAX_BATCH) as usize
}

fn broken(file: &Path, error: &ParquetError) -> DataError {
    let problem = error.to_string();
    let fault = match problem.to_ascii_lowercase().contains("encrypt") {
        true => ContainerFault::Encrypted { container: "Parquet" },
        false => ContainerFault::Broken { container: "Parquet", problem: Text::library(problem) },
    };
    DataError::Container { file: file.into(), fault }
}
