//! Prepared data: where it lies, what it is made of, and where each document of it comes from.

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::cache::Hold;
use super::error::{self, DataError, Origin};
use super::ingest::{PLACE_BYTES, Place};
use super::lines;
use super::source::FileDigest;
use crate::data::DataType;

pub(super) const TRAIN: &str = "train";
pub(super) const VAL: &str = "val";
pub(super) const ORDER: &str = "order";
pub(super) const PLACES: &str = "places";
pub(super) const CONTENTS: &str = "contents";

/// Where prepared data lies and what it is made of. While the value lives, `cache clean` leaves the
/// data alone.
#[derive(Debug)]
pub struct Prepared {
    /// The prefix of the training pair.
    pub train: PathBuf,
    /// The prefix of the pair of documents held out; `None` when there are none.
    pub val: Option<PathBuf>,
    /// Identifies the content: 16 hexadecimal digits.
    pub key: String,
    /// Whether it was there already.
    pub cached: bool,
    /// Counts.
    pub report: Report,
    pub(super) folder: PathBuf,
    /// Every file of the sources with its format.
    pub(super) files: Vec<(PathBuf, DataType)>,
    pub(super) _hold: Hold,
}

/// One of the two pairs of prepared data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Half {
    /// The documents that are trained on.
    Train,
    /// The documents that are held out.
    Val,
}

impl Half {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Train => TRAIN,
            Self::Val => VAL,
        }
    }
}

/// Counts of prepared data.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// Every file that was read.
    pub files: Vec<FileDigest>,
    /// Documents in the sources.
    pub documents: u64,
    /// How many of them are held out.
    pub held_out: u64,
    /// Lines that are no documents and were left out.
    pub skipped_lines: u64,
    /// Documents of the training pair, repetition included.
    pub train_documents: u64,
    /// Tokens of the training pair, repetition included.
    pub train_tokens: u64,
    /// Tokens of the documents held out.
    pub val_tokens: u64,
    /// The document of most tokens, the first of several.
    pub longest: Longest,
}

/// The longest document of all sources.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Longest {
    /// Its number in the order of the sources, counted from 0.
    pub document: u32,
    /// Its tokens, the closing one included.
    pub tokens: usize,
}

impl Prepared {
    /// The number, in the order of the sources, of every document of a pair.
    ///
    /// # Errors
    /// [`DataError::Read`].
    pub fn documents(&self, half: Half) -> Result<Vec<usize>, DataError> {
        let file = self.folder.join(half.name()).with_extension(ORDER);
        let order = fs::read(&file).map_err(|source| DataError::Read { file, source })?;
        let (numbers, _) = order.as_chunks::<4>();
        Ok(numbers.iter().map(|number| u32::from_le_bytes(*number) as usize).collect())
    }

    /// The file of all documents' digests in the order of the sources: u64 each, little-endian, the same for
    /// the same content whatever else is prepared with it.
    pub fn contents(&self) -> PathBuf {
        self.folder.join(CONTENTS)
    }

    /// Where document `index` of a pair comes from; `None` when it cannot be found out.
    pub fn origin(&self, half: Half, index: usize) -> Option<Origin> {
        let order = File::open(self.folder.join(half.name()).with_extension(ORDER)).ok()?;
        let mut document = [0; 4];
        order.read_exact_at(&mut document, 4 * index as u64).ok()?;
        self.origin_of(u32::from_le_bytes(document))
    }

    /// The numbers, in the order of the sources, of the documents that come from a file and a line (or a number
    /// in a pair, or 0 in a text) of which `is_meant` says so.
    ///
    /// # Errors
    /// [`DataError::Read`].
    pub fn documents_where(
        &self,
        is_meant: impl Fn(&Path, u64) -> bool,
    ) -> Result<Vec<usize>, DataError> {
        let file = self.folder.join(PLACES);
        let places = fs::read(&file).map_err(|source| DataError::Read { file, source })?;
        let places =
            places.as_chunks::<PLACE_BYTES>().0.iter().map(|bytes| Place::from_bytes(*bytes));
        let meant = places.enumerate().filter(|(_, place)| {
            let file = self.files.get(place.file as usize);
            is_meant(file.map_or(Path::new("dummy"), |(path, _)| path), place.number)
        });
        Ok(meant.map(|(document, _)| document).collect())
    }

    /// Where the document comes from that has this number in the order of the sources.
    pub fn origin_of(&self, document: u32) -> Option<Origin> {
        let places = File::open(self.folder.join(PLACES)).ok()?;
        let mut place = [0; PLACE_BYTES];
        places.read_exact_at(&mut place, PLACE_BYTES as u64 * u64::from(document)).ok()?;
        let Place { file, number } = Place::from_bytes(place);
        Some(match self.files.get(file as usize) {
            Some((file, DataType::Jsonl)) => {
                let line = lines::line(file, number);
                Origin::Jsonl(error::place(file, number as usize, &line, 0..0))
            }
            Some((file, DataType::Utf8 | DataType::Utf16le)) => Origin::Text(file.clone()),
            Some((file, _)) => Origin::Binidx { prefix: file.clone(), index: number as usize },
            None => Origin::Binidx { prefix: "dummy".into(), index: number as usize },
        })
    }
}
