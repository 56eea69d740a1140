//! Changing the tags, the note and the pin of a run.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;

use super::remove::{ChangeRunError, at};
use super::stored_run::Annotations;
use crate::tensorfile::write_atomically;

/// Changes the annotations of the run at `path`, which may be training, and returns them. Changes by several processes
/// follow each other.
///
/// # Errors
/// When the file cannot be read or written.
///
/// # Panics
/// Never: annotations are plain data.
pub fn change_annotations(
    path: &Path,
    change: impl FnOnce(&mut Annotations),
) -> Result<Annotations, ChangeRunError> {
    // The lock of the run is that of its training.
    let folder = File::open(path).map_err(at(path))?;
    folder.lock().map_err(at(path))?;
    let mut annotations = Annotations::load(path)?;
    change(&mut annotations);
    let file = path.join(Annotations::FILE);
    let text = toml::to_string(&annotations).expect("annotations are plain data");
    write_atomically(&file, |out| out.write_all(text.as_bytes())).map_err(at(&file))?;
    Ok(annotations)
}
