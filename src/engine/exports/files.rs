//! Files beside the tensors of an export.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use statetune_core::tensorfile::{WeightsError, write_atomically};

/// The error of a file or folder that cannot be written.
fn at(path: &Path) -> impl Fn(io::Error) -> WeightsError + '_ {
    |source| WeightsError::Write { path: path.to_path_buf(), source }
}

/// Makes a folder, where there is none.
pub(super) fn make_folder(path: &Path) -> Result<(), WeightsError> {
    fs::create_dir_all(path).map_err(at(path))
}

/// Writes a text; no partial file is left behind.
pub(super) fn write_text(path: &Path, text: &str) -> Result<(), WeightsError> {
    write_atomically(path, |file| file.write_all(text.as_bytes())).map_err(at(path))
}

/// Removes a file that an earlier export left and that does not belong to this one.
///
/// # Errors
/// A file that cannot be removed.
pub fn remove_earlier(path: &Path) -> Result<(), WeightsError> {
    match path.is_file() {
        true => fs::remove_file(path).map_err(at(path)),
        false => Ok(()),
    }
}
