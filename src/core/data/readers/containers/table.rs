//! Record batches of Arrow, row by row.

use std::path::{Path, PathBuf};

use arrow_array::RecordBatch;
use arrow_schema::{ArrowError, Schema};

use crate::data::container_fault::ContainerFault;
use crate::data::error::DataError;
use crate::diagnostic::Text;

use super::columns::Columns;
use super::guarded::guarded;
use super::row::{At, RowPlace, RowReader};

/// Reads the rows of record batches.
pub(super) struct Table<B> {
    file: PathBuf,
    /// What a damaged file is called.
    container: &'static str,
    batches: B,
    columns: Columns,
    batch: Option<RecordBatch>,
    /// The next row of `batch`.
    next: usize,
    /// The rows read so far.
    rows: u64,
}

impl<B: Iterator<Item = Result<RecordBatch, ArrowError>>> Table<B> {
    pub(super) fn new(file: &Path, container: &'static str, schema: &Schema, batches: B) -> Self {
        let columns = Columns::new(schema);
        Self { file: file.into(), container, batches, columns, batch: None, next: 0, rows: 0 }
    }

    /// Reads the next batch; `false` at the end.
    fn advance(&mut self) -> Result<bool, ArrowError> {
        self.batch = None; // before the next one takes memory
        self.next = 0;
        self.batch = guarded(|| self.batches.next().transpose())?;
        Ok(self.batch.is_some())
    }

    /// Appends the next row; `false` at the end.
    fn row(&mut self, json: &mut Vec<u8>) -> Result<bool, ArrowError> {
        loop {
            if let Some(batch) = self.batch.as_ref().filter(|batch| self.next < batch.num_rows()) {
                guarded(|| self.columns.write(json, batch, self.next))?;
                self.next += 1;
                self.rows += 1;
                return Ok(true);
            }
            if !self.advance()? {
                return Ok(false);
            }
        }
    }
}

impl<B: Iterator<Item = Result<RecordBatch, ArrowError>>> RowReader for Table<B> {
    fn next(&mut self, json: &mut Vec<u8>) -> Result<Option<RowPlace>, DataError> {
        match self.row(json) {
            Ok(is_row) => Ok(is_row.then(|| RowPlace::new(At::Row(self.rows, 0)))),
            Err(error) => {
                let problem = Text::library(error);
                let fault = ContainerFault::Broken { container: self.container, problem };
                Err(DataError::Container { file: self.file.clone(), fault })
            }
        }
    }
}
