//! What a reader of a data format provides, and what it returns.

use std::fs;
use std::io;
use std::mem::discriminant;
use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::data::error::{DataError, Origin, OtherLines};
use crate::data::fault::LineFault;
pub use crate::data::shapes::RecordForm;
use crate::data::shapes::RecordText;
use crate::diagnostic::Span;
use crate::input_file::regular_file;

use super::containers::Container;

/// A format of data files.
pub(crate) trait Format: Sync {
    /// What its files hold.
    fn content(&self) -> Content;

    /// The files that `path` stands for: a file, all visible files of a folder, or all files that match a pattern.
    ///
    /// # Errors
    /// [`DataError::NoFiles`] and [`DataError::Read`].
    fn find(&self, path: &Path) -> Result<Vec<PathBuf>, DataError> {
        find_files(path)
    }

    /// The container of records that its files must be; `None` for any.
    fn container(&self) -> Option<Container> {
        None
    }

    /// The files on disk that `file`, one of [`Format::find`], consists of.
    fn disk_files(&self, file: &Path) -> Vec<PathBuf> {
        vec![file.to_path_buf()]
    }

    /// Whether the token ids of `file` may need more than two bytes.
    ///
    /// # Errors
    /// A file that cannot be read or is not of the format.
    fn has_wide_ids(&self, _file: &Path) -> Result<bool, DataError> {
        Ok(false)
    }

    /// The documents of `file` in their order, in batches that are small enough to be held in memory. `form` turns
    /// records into texts.
    ///
    /// # Errors
    /// A file that cannot be read or is not of the format.
    fn read<'a>(&self, file: &Path, form: RecordForm<'a>) -> Result<Batches<'a>, DataError>;

    /// Where document `number` of `file` comes from, see [`Document::number`].
    fn origin(&self, file: &Path, number: u64) -> Origin {
        Origin::Binidx { prefix: file.to_path_buf(), index: number as usize }
    }
}

/// What the files of a format hold.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Content {
    /// Records. A record may be invalid without making the file unreadable.
    Records,
    /// Plain text, whose characters can serve as vocabulary.
    Text,
    /// Token ids.
    Tokens,
}

/// Batches of documents and invalid records. Nothing follows an error.
pub(crate) type Batches<'a> = Box<dyn Iterator<Item = Result<Vec<Record>, DataError>> + 'a>;

/// A document, or a line that is not a valid record.
pub(crate) type Record = Result<Document, BadLine>;

/// A document as its file holds it.
#[derive(Debug)]
pub(crate) struct Document {
    /// Its line, counted from 1, or its index in the file, counted from 0.
    pub(crate) number: u64,
    pub(crate) body: Body,
}

#[derive(Debug)]
pub(crate) enum Body {
    Text(String),
    Record(RecordText),
    Tokens(Vec<u32>),
}

impl Body {
    /// Bytes in memory.
    pub(crate) fn bytes(&self) -> u64 {
        match self {
            Body::Text(text) => text.len() as u64,
            Body::Record(record) => record.text.len() as u64,
            Body::Tokens(ids) => size_of_val(&**ids) as u64,
        }
    }
}

/// A line that is not a valid record.
#[derive(Clone, Debug)]
pub(crate) struct BadLine {
    /// The line, with the bytes that `fault` is about marked.
    pub(crate) place: Box<Span>,
    pub(crate) fault: LineFault,
}

/// An error in a line, and the bytes of the line that it is about.
pub type LineError = (Range<usize>, LineFault);

/// Counts valid and invalid lines, and keeps the first invalid one.
#[derive(Default)]
pub(crate) struct Tally {
    first: Option<BadLine>,
    others: OtherLines,
}

impl Tally {
    pub(crate) fn add_valid(&mut self) {
        self.others.fine += 1;
    }

    pub(crate) fn add_invalid(&mut self, line: &BadLine) {
        match &self.first {
            None => self.first = Some(line.clone()),
            Some(first) if discriminant(&line.fault) == discriminant(&first.fault) => {
                self.others.same += 1;
                if self.others.first.len() < 2 {
                    self.others.first.push(line.place.number());
                }
            }
            Some(_) => {}
        }
    }

    /// Whether no line so far is invalid.
    pub(crate) fn is_clean(&self) -> bool {
        self.first.is_none()
    }

    /// # Errors
    /// [`DataError::Line`] for the first invalid line, with the counts of the others.
    pub(crate) fn result(self) -> Result<(), DataError> {
        match self.first {
            None => Ok(()),
            Some(BadLine { place, fault }) => {
                Err(DataError::Line { place, fault, others: self.others })
            }
        }
    }
}

/// The files that `path` stands for, sorted by name: all visible files of a folder, all files that match a pattern
/// with `*`, `?` or `[...]`, or else `path` itself, whether it exists or not.
///
/// # Errors
/// [`DataError::NoFiles`] for a pattern and [`DataError::EmptyFolder`] for a folder without files, [`DataError::Read`]
/// for a folder that cannot be read.
pub(crate) fn find_files(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if path.is_dir() {
        return not_empty(visible_files(path)?, path);
    }
    match pattern(path) {
        Some(pattern) if !path.exists() => not_empty(matches(pattern), path),
        _ => match regular_file(path) {
            Err(source) if source.kind() == io::ErrorKind::InvalidInput => {
                Err(DataError::Read { file: path.into(), source })
            }
            _ => Ok(vec![path.into()]), // reading tells what else is wrong
        },
    }
}

/// # Errors
/// [`DataError::NoFiles`] or [`DataError::EmptyFolder`], which name `path`, when `files` is empty.
pub(crate) fn not_empty(files: Vec<PathBuf>, path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !files.is_empty() {
        return Ok(files);
    }
    if !path.is_dir() {
        return Err(DataError::NoFiles { path: path.into() });
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    let mut folders: Vec<PathBuf> = entries
        .filter(|entry| !entry.file_name().as_encoded_bytes().starts_with(b"."))
        .map(|entry| entry.path())
        .filter(|path| path.is_dir())
        .collect();
    folders.sort();
    Err(DataError::EmptyFolder { path: path.into(), folders })
}

/// The files of a folder, sorted, without hidden ones.
///
/// # Errors
/// [`DataError::Read`].
pub(crate) fn visible_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && entry.path().is_file() {
                files.push(entry.path());
            }
        }
        files.sort();
        Ok(files)
    };
    list().map_err(|source| DataError::Read { file: folder.into(), source })
}

/// `path` as a pattern, if it contains `*`, `?` or `[`.
pub(crate) fn pattern(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.contains(['*', '?', '[']))
}

/// The files that match a pattern, sorted; none for an invalid pattern.
pub(crate) fn matches(pattern: &str) -> Vec<PathBuf> {
    let paths = glob::glob(pattern).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    files
}
