//! Data as files for other programs.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use tempfile::NamedTempFile;

use crate::data::error::{DataError, Origin};
use crate::data::prepared::binidx_writer::temporary_beside;
use crate::data::prepared::texts::{TextForm, TextWriter};
use crate::data::readers::binidx::{Binidx, pair};
use crate::data::tokenizer::{END_OF_DOCUMENT, Tokenizer};

/// What was written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Exported {
    /// Documents.
    pub documents: u64,
    /// Documents without any text, which were left out.
    pub empty: u64,
}

/// The files that a pair of this name consists of.
pub fn pair_files(prefix: &Path) -> [PathBuf; 2] {
    let (bin, idx) = pair(prefix);
    [bin, idx]
}

/// Copies the pair `from` to the name `to`, the index last.
///
/// # Errors
/// [`DataError::Read`], [`DataError::Io`]; nothing is left then.
pub fn copy_pair(from: &Path, to: &Path) -> Result<(), DataError> {
    let copies = pair_files(from).into_iter().zip(pair_files(to));
    let copied = copies.map(|(from, to)| {
        let mut source =
            File::open(&from).map_err(|source| DataError::Read { file: from, source })?;
        let unwritable = |source| DataError::Io { path: to.clone(), source };
        let mut file = temporary_beside(&to).map_err(unwritable)?;
        io::copy(&mut source, &mut file).map_err(unwritable)?;
        Ok((file, to))
    });
    let copied = copied.collect::<Result<Vec<_>, DataError>>()?;
    copied.into_iter().try_for_each(|(file, to)| publish(file, &to))
}

/// Writes the documents of the pair `prefix` to `out` as texts: one for each that ends with
/// [`END_OF_DOCUMENT`] or with its document.
///
/// # Errors
/// [`DataError::NotText`], [`DataError::UnknownToken`], and what can be wrong with files.
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
    publish(file.finish().map_err(unwritable)?, out)?;
    Ok(exported)
}

/// Gives a finished file its name, once its content is safely on the disk.
fn publish(file: NamedTempFile, path: &Path) -> Result<(), DataError> {
    let published = file
        .as_file()
        .sync_all()
        .and_then(|()| file.persist(path).map(drop).map_err(|failed| failed.error));
    published.map_err(|source| DataError::Io { path: path.into(), source })
}
