//! Arrow files and streams, as `datasets` saves them.

use std::fs::File;
use std::io::{self, BufReader, Read as _, Seek as _, SeekFrom};
use std::path::Path;

use arrow_ipc::reader::StreamReader;

use crate::data::container_fault::ContainerFault;
use crate::data::error::DataError;
use crate::diagnostic::{Text, msg};

use super::guarded::guarded;
use super::table::Table;

/// The first and last bytes of a file.
pub(super) const FILE_MAGIC: &[u8] = b"ARROW1";
/// Bytes before the stream in a file.
const FILE_START: u64 = 8;

/// The rows of an Arrow file or stream, of which one record batch is held at a time.
///
/// # Errors
/// [`DataError::Read`], [`DataError::Container`] for a damaged file.
pub(super) fn open(file: &Path) -> Result<Table<StreamReader<BufReader<File>>>, DataError> {
    let unreadable = |source| DataError::Read { file: file.into(), source };
    let broken = |problem| {
        let fault = ContainerFault::Broken { container: "Arrow", problem };
        DataError::Container { file: file.into(), fault }
    };
    let mut source = File::open(file).map_err(unreadable)?;
    let [is_file, is_whole] = ends(&mut source).map_err(unreadable)?;
    if is_file && !is_whole {
        return Err(broken(msg!(ARROW_END_MISSING)));
    }
    // The stream within a file is followed by an index, which is not needed.
    source.seek(SeekFrom::Start(if is_file { FILE_START } else { 0 })).map_err(unreadable)?;
    let reader = guarded(|| StreamReader::try_new_buffered(source, None));
    let reader = reader.map_err(|error| broken(Text::library(error)))?;
    Ok(Table::new(file, "Arrow", &reader.schema(), reader))
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
