//! Prepared data on disk: one folder of the cache, `CACHE/data-KEY/`.
//!
//! ```text
//! train.bin, train.idx   `repeat` copies of the training documents, each copy in an order of its own
//! val.bin, val.idx       the validation documents, once, in source order; absent when there are none
//! train.order, val.order the number of each document of a pair in source order, u32 each
//! places                 the origin of each document: file u32, line or index u64
//! cuts                   where the rejected answer begins in each document in source order, in tokens, u32 each; absent
//!                        where documents are imitated
//! muted.json             text that is never target text, by document in source order; absent when there is none
//! contents               the digest of each document's content in source order, u64 each
//! source.json            the report
//! ```

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::conversation::{Mask, Muted};
use crate::data::error::{DataError, Origin};
use crate::data::readers::{self, FileDigest, MADE_UP, Source};
use crate::data::shapes::{RecordCounts, RecordForm};
use crate::data::tokenizer::Tokenizer;
use crate::data::{Answers, Cuts, DataType, OnBadLine};
use crate::hold::Hold;

pub(crate) const ORDER: &str = "order";
pub(crate) const PLACES: &str = "places";
pub(crate) const CONTENTS: &str = "contents";
pub(crate) const CUTS: &str = "cuts";
pub(crate) const MUTED: &str = "muted.json";
pub(crate) const SOURCE: &str = "source.json";

/// Bytes of a [`Place`] in [`PLACES`].
const PLACE_BYTES: usize = 12;
/// Bytes of a digest in [`CONTENTS`].
pub(crate) const CONTENT_BYTES: usize = 8;
/// The [`Place::file`] of documents that the program makes up.
pub(crate) const NO_FILE: u32 = u32::MAX;

/// What to prepare, and how.
#[derive(Clone, Copy)]
pub struct PrepareSpec<'a> {
    /// Where the documents come from.
    pub sources: &'a [Source],
    /// Turns texts into tokens.
    pub tokenizer: &'a Tokenizer,
    /// Turns JSONL records into texts.
    pub form: RecordForm<'a>,
    /// Separates texts that are tokenised one by one, see [`Mask::encode`].
    pub mask: &'a Mask,
    /// The answers that records have.
    pub answers: Answers,
    /// What to do with an invalid JSONL line.
    pub on_bad_line: OnBadLine,
    /// Whether every document of text ends with [`crate::data::END_OF_DOCUMENT`].
    pub end_of_doc: bool,
    /// The share of validation documents, before repetition; at least 0, below 1.
    pub val_split: f64,
    /// Copies of the training documents; at least 1.
    pub repeat: u32,
    /// Selects the validation documents.
    pub val_seed: u64,
    /// Shuffles the others.
    pub seed: u64,
    /// The folder of all prepared data; created when absent.
    pub cache_dir: &'a Path,
}

/// Prepared data. While the value lives, `cache clean` keeps the data.
#[derive(Debug)]
pub struct Prepared {
    /// The prefix of the training pair.
    pub train: PathBuf,
    /// The prefix of the validation pair; `None` when there are no validation documents.
    pub val: Option<PathBuf>,
    /// Identifies the content: 16 hexadecimal digits.
    pub key: String,
    /// Whether the data was in the cache already.
    pub cached: bool,
    /// Counts.
    pub report: PrepareReport,
    pub(crate) folder: PathBuf,
    /// Every file of the sources with its format, as [`Place::file`] counts them.
    pub(crate) files: Vec<(PathBuf, DataType)>,
    pub(crate) _hold: Hold,
}

/// One of the two pairs of prepared data.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Split {
    /// The training documents.
    Train,
    /// The validation documents.
    Val,
}

impl Split {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Val => "val",
        }
    }
}

/// Counts of prepared data.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct PrepareReport {
    /// Every file that was read.
    pub files: Vec<FileDigest>,
    /// Documents in the sources.
    pub documents: u64,
    /// Validation documents.
    #[serde(rename = "held_out")]
    pub val_documents: u64,
    /// Invalid lines that were skipped.
    pub skipped_lines: u64,
    /// Documents of the training pair, copies included.
    pub train_documents: u64,
    /// Tokens of the training pair, copies included.
    pub train_tokens: u64,
    /// Tokens of the validation pair.
    pub val_tokens: u64,
    /// The longest document, the first of several.
    pub longest: LongestDocument,
    /// What the records of each source were made of; nothing for a source without records.
    pub records: Vec<RecordCounts>,
}

/// The longest document of all sources.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LongestDocument {
    /// Its number in source order, counted from 0.
    pub document: u32,
    /// Its tokens, the end of document included.
    pub tokens: usize,
}

impl PrepareReport {
    /// The report of a prepared folder, if it has one.
    pub(crate) fn load(folder: &Path) -> Option<Self> {
        serde_json::from_slice(&fs::read(folder.join(SOURCE)).ok()?).ok()
    }
}

impl Prepared {
    /// The number, in source order, of every document of a pair.
    ///
    /// # Errors
    /// [`DataError::Read`].
    pub fn documents(&self, split: Split) -> Result<Vec<usize>, DataError> {
        let order = read(self.order_file(split))?;
        let (numbers, _) = order.as_chunks::<4>();
        Ok(numbers.iter().map(|number| u32::from_le_bytes(*number) as usize).collect())
    }

    /// The text that is never target text, by document in source order.
    ///
    /// # Errors
    /// [`DataError::Read`].
    pub fn muted(&self) -> Result<Muted, DataError> {
        if self.report.records.iter().all(|counts| counts.muted == 0) {
            return Ok(Muted::NONE);
        }
        let file = self.folder.join(MUTED);
        let unreadable = |source: serde_json::Error| DataError::Read {
            file: file.clone(),
            source: source.into(),
        };
        serde_json::from_slice(&read(file.clone())?).map_err(unreadable)
    }

    /// Where the rejected answers begin, by document in source order.
    ///
    /// # Errors
    /// [`DataError::Read`].
    pub fn cuts(&self) -> Result<Cuts, DataError> {
        cuts_in(&self.folder)
    }

    /// The file of all documents' digests in source order: u64 each, little-endian, the same for the same content
    /// whatever else is prepared with it.
    pub fn contents(&self) -> PathBuf {
        self.folder.join(CONTENTS)
    }

    /// The origin of document `index` of a pair; `None` when it cannot be read.
    pub fn origin(&self, split: Split, index: usize) -> Option<Origin> {
        let document = read_row(&self.order_file(split), index as u64)?;
        self.origin_of(u32::from_le_bytes(document))
    }

    /// The origin of the document with this number in source order; `None` when it cannot be read.
    pub fn origin_of(&self, document: u32) -> Option<Origin> {
        origin_in(&self.folder, &self.files, document)
    }

    /// The numbers, in source order, of the documents whose file and line (or index in a pair, or 0 in a text)
    /// `is_wanted` accepts.
    ///
    /// # Errors
    /// [`DataError::Read`].
    pub fn documents_where(
        &self,
        is_wanted: impl Fn(&Path, u64) -> bool,
    ) -> Result<Vec<usize>, DataError> {
        let places = read(self.folder.join(PLACES))?;
        let places =
            places.as_chunks::<PLACE_BYTES>().0.iter().map(|bytes| Place::from_bytes(*bytes));
        let wanted = places
            .enumerate()
            .filter(|(_, place)| is_wanted(file_of(&self.files, place.file).0, place.number));
        Ok(wanted.map(|(document, _)| document).collect())
    }

    fn order_file(&self, split: Split) -> PathBuf {
        self.folder.join(split.name()).with_extension(ORDER)
    }
}

/// [`Prepared::cuts`] of the data in `folder`.
pub(crate) fn cuts_in(folder: &Path) -> Result<Cuts, DataError> {
    let file = folder.join(CUTS);
    if !file.is_file() {
        return Ok(Cuts::NONE);
    }
    let cuts = read(file)?;
    Ok(Cuts::new(cuts.as_chunks::<4>().0.iter().map(|cut| u32::from_le_bytes(*cut)).collect()))
}

/// The origin of the document with this number in source order, which `folder` records; `None` when it cannot be read.
/// `files` are the files of all sources with their formats.
pub(crate) fn origin_in(
    folder: &Path,
    files: &[(PathBuf, DataType)],
    document: u32,
) -> Option<Origin> {
    let place = read_row(&folder.join(PLACES), document.into())?;
    let Place { file, number } = Place::from_bytes(place);
    let (path, data_type) = file_of(files, file);
    Some(readers::format(data_type).origin(path, number))
}

/// The file that a [`Place::file`] stands for, and its format.
fn file_of(files: &[(PathBuf, DataType)], file: u32) -> (&Path, DataType) {
    match files.get(file as usize) {
        Some((path, data_type)) => (path, *data_type),
        None => (Path::new(MADE_UP), DataType::Dummy),
    }
}

fn read(file: PathBuf) -> Result<Vec<u8>, DataError> {
    fs::read(&file).map_err(|source| DataError::Read { file, source })
}

/// Row `index` of a file of rows of `N` bytes.
fn read_row<const N: usize>(file: &Path, index: u64) -> Option<[u8; N]> {
    let mut row = [0; N];
    File::open(file).ok()?.read_exact_at(&mut row, N as u64 * index).ok()?;
    Some(row)
}

/// Where a document comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Place {
    /// The file, counted over all sources from 0, or [`NO_FILE`].
    pub(crate) file: u32,
    /// Its line, counted from 1, or its index in the file, counted from 0.
    pub(crate) number: u64,
}

impl Place {
    pub(crate) fn to_bytes(self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..4].copy_from_slice(&self.file.to_le_bytes());
        bytes[4..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    fn from_bytes(bytes: [u8; PLACE_BYTES]) -> Self {
        let (file, number) = bytes.split_at(4);
        Self {
            file: u32::from_le_bytes(file.try_into().expect("four bytes")),
            number: u64::from_le_bytes(number.try_into().expect("eight bytes")),
        }
    }
}
