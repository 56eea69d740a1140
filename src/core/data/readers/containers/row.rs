//! What a reader of a container provides.

use crate::data::error::DataError;
use crate::data::fault::LineFault;

/// The most bytes of one record. A longer one is refused before it fills the memory.
pub(crate) const MAX_RECORD: usize = 256 << 20;

/// Reads the records of a file, one after another.
pub(crate) trait RowReader {
    /// Appends the next record to `json`, as JSON without line breaks, and tells where it is; `None` at the end.
    ///
    /// # Errors
    /// A file that cannot be read or is damaged.
    fn next(&mut self, json: &mut Vec<u8>) -> Result<Option<RowPlace>, DataError>;
}

/// Where a record is in its file, and what is wrong with it as a row.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct RowPlace {
    pub(crate) at: At,
    /// Bytes before the record on its line.
    pub(crate) column: usize,
    /// The bytes of the record that are line breaks in the file, in order.
    pub(crate) breaks: Vec<usize>,
    /// Why the container has no record here.
    pub(crate) fault: Option<LineFault>,
}

/// The name of a record within its file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum At {
    /// A line, counted from 1.
    Line(u64),
    /// A row, counted from 1, and the line on which it begins; 0 in a file without lines.
    Row(u64, u64),
}

impl At {
    /// The number in the name.
    pub(crate) fn number(self) -> u64 {
        match self {
            At::Line(number) | At::Row(number, _) => number,
        }
    }
}

impl RowPlace {
    /// A sound record.
    pub(crate) fn new(at: At) -> Self {
        Self { at, column: 0, breaks: Vec::new(), fault: None }
    }

    /// A record with a fault.
    pub(crate) fn faulty(at: At, fault: LineFault) -> Self {
        Self { fault: Some(fault), ..Self::new(at) }
    }
}
