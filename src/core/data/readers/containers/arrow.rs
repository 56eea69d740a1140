//! Arrow files and streams, as `datasets` saves them.

use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::data::container_fault::ContainerFault;
use crate::data::error::DataError;
use crate::diagnostic::{Text, msg};
use crate::input_file::regular_file;

use super::messages::Messages;
use super::table::Table;

/// The first and last bytes of a file.
pub(super) const FILE_MAGIC: &[u8] = b"ARROW1";
/// The stream in a file begins at a multiple of this many bytes, after zeros.
const STEP: usize = 8;
/// The most bytes before the stream in a file.
const MAX_START: u64 = 4096;

/// The rows of an Arrow file or stream, of which one record batch is held at a time.
///
/// # Errors
/// [`DataError::Read`], [`DataError::Container`] for a damaged file.
pub(super) fn open(file: &Path) -> Result<Table<Messages>, DataError> {
    let unreadable = |source| DataError::Read { file: file.into(), source };
    let broken = |problem| {
        let fault = ContainerFault::Broken { container: "Arrow", problem };
        DataError::Container { file: file.into(), fault }
    };
    let mut source = regular_file(file).map_err(unreadable)?;
    let [is_file, is_whole] = ends(&mut source).map_err(unreadable)?;
    if is_file && !is_whole {
        return Err(broken(msg!(ARROW_END_MISSING)));
    }
    // The stream within a file is followed by an index, which is not needed.
    let start = if is_file { stream_start(&mut source).map_err(unreadable)? } else { 0 };
    source.seek(SeekFrom::Start(start)).map_err(unreadable)?;
    let length = source.metadata().map_err(unreadable)?.len();
    let mut messages = Messages::new(source, length.saturating_sub(start));
    let schema = messages.schema().map_err(|error| broken(Text::library(error)))?;
    Ok(Table::new(file, "Arrow", &schema, messages))
}

/// Where the stream in a file begins.
fn stream_start(file: &mut File) -> io::Result<u64> {
    let mut start = Vec::new();
    file.seek(SeekFrom::Start(STEP as u64))?;
    file.take(MAX_START).read_to_end(&mut start)?;
    let zeros = start.iter().take_while(|byte| **byte == 0).count();
    Ok((STEP + zeros / STEP * STEP) as u64)
}

/// Whether a file begins and ends with [`FILE_MAGIC`].
fn ends(file: &mut File) -> io::Result<[bool; 2]> {
    let mut found = [false; 2];
    let length = file.seek(SeekFrom::End(0))?;
    let places = [0, length.saturating_sub(FILE_MAGIC.len() as u64)];
    for (found, place) in found.iter_mut().zip(places) {
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(place))?;
        file.by_ref().take(FILE_MAGIC.len() as u64).read_to_end(&mut bytes)?;
        *found = bytes == FILE_MAGIC;
    }
    Ok(found)
}
