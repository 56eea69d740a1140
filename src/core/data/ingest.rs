//! Reads every document of all sources once, as tokens, into a pair in their order.

use std::fs::File;
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use super::binidx::Binidx;
use super::binidx_writer::BinidxWriter;
use super::error::DataError;
use super::jsonl::{LineError, Tally};
use super::lines::Lines;
use super::prepare::PrepareSpec;
use super::source::Source;
use super::tokenizer::END_OF_DOCUMENT;
use super::tokens::TokenFile;
use super::{parallel, text};
use crate::data::{DataType, OnBadLine};

/// Text that is tokenised at once, in bytes; a longer line is taken alone.
const BATCH_BYTES: usize = 4 << 20;
/// Sums that are tokenised at once.
const BATCH_SUMS: u64 = 10_000;
/// The `vocab_size` of a pair whose ids may need more than two bytes.
const WIDE: usize = 1 << 31;
/// Bytes of a [`Place`] in a file.
pub(super) const PLACE_BYTES: usize = 12;
/// Bytes of the digest of a document's content in a file.
pub(super) const CONTENT_BYTES: usize = 8;

/// The [`Place::file`] of sums.
const NO_FILE: u32 = u32::MAX;

/// Where a document comes from.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    /// The file, counted over all sources from 0; [`NO_FILE`] for what the program made itself.
    pub(super) file: u32,
    /// Its line, counted from 1, or the document, counted from 0.
    pub(super) number: u64,
}

impl Place {
    fn to_bytes(self) -> [u8; PLACE_BYTES] {
        let mut bytes = [0; PLACE_BYTES];
        bytes[..4].copy_from_slice(&self.file.to_le_bytes());
        bytes[4..].copy_from_slice(&self.number.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: [u8; PLACE_BYTES]) -> Self {
        let (file, number) = bytes.split_at(4);
        Self {
            file: u32::from_le_bytes(file.try_into().expect("four bytes")),
            number: u64::from_le_bytes(number.try_into().expect("eight bytes")),
        }
    }
}

/// What was read.
pub(super) struct Ingested {
    /// Each source's documents, with its weight.
    pub(super) sources: Vec<(Range<u32>, f64)>,
    /// The digest of every document's content under the seed; empty when nothing is held out.
    pub(super) digests: Vec<u64>,
    /// Lines that were skipped.
    pub(super) skipped: u64,
    /// The document of most tokens, the first of several, and how many it has.
    pub(super) longest: (u32, usize),
    /// The `vocab_size` of the pair.
    pub(super) vocab_size: usize,
}

/// Reads everything into the pair `prefix`, where each document comes from into `places`, and the digests of
/// their contents into `contents`.
pub(super) fn ingest(
    spec: &PrepareSpec<'_>,
    prefix: &Path,
    places: &Path,
    contents: &Path,
) -> Result<Ingested, DataError> {
    let vocab_size = vocab_size(spec)?;
    let mut ingest = Ingest {
        spec,
        pair: BinidxWriter::create(prefix, vocab_size)?,
        places: Table::create(places)?,
        contents: Table::create(contents)?,
        digests: Vec::new(),
        skipped: 0,
        longest: (0, 0),
        end: u64::MAX,
    };
    let (mut sources, mut file) = (Vec::new(), 0);
    for source in spec.sources {
        let first = ingest.documents();
        ingest.source(source, file)?;
        sources.push((first..ingest.documents(), source.weight));
        file += source.files.len() as u32;
    }
    let Ingest { pair, places, contents, digests, skipped, longest, .. } = ingest;
    pair.finish()?;
    places.finish()?;
    contents.finish()?;
    Ok(Ingested { sources, digests, skipped, longest, vocab_size })
}

/// Room for the ids of the tokenizer and of every source of tokens.
fn vocab_size(spec: &PrepareSpec<'_>) -> Result<usize, DataError> {
    let mut vocab_size = spec.tokenizer.vocab_size();
    for source in spec.sources.iter().filter(|source| source.is_tokens()) {
        vocab_size = vocab_size.max(1 << 16);
        for file in &source.files {
            let wide = match source.data_type {
                DataType::Binidx => Binidx::open(file)?.token_bytes() > 2,
                data_type => TokenFile::open(file, data_type)?.is_wide(),
            };
            if wide {
                return Ok(WIDE);
            }
        }
    }
    Ok(vocab_size)
}

/// Digest of a document's content under `seed`: the first 8 bytes of a sha256.
fn digest(seed: u64, content: &[u8]) -> u64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(content).finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("eight bytes of 32"))
}

/// A document as it is stored.
struct Encoded {
    ids: Vec<u32>,
    /// 0 when nothing is held out.
    digest: u64,
    /// XXH3 of its content, which tells it apart from others in records of runs.
    content: u64,
}

/// A file with a row of the same size for every document, while it is written.
struct Table {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Table {
    fn create(path: &Path) -> Result<Self, DataError> {
        let file =
            File::create(path).map_err(|source| DataError::Io { path: path.into(), source })?;
        Ok(Self { file: BufWriter::new(file), path: path.into() })
    }

    fn push(&mut self, row: &[u8]) -> Result<(), DataError> {
        let Self { file, path } = self;
        file.write_all(row).map_err(|source| DataError::Io { path: path.clone(), source })
    }

    fn finish(self) -> Result<(), DataError> {
        let Self { file, path } = self;
        let written = file.into_inner().map(drop).map_err(io::IntoInnerError::into_error);
        written.map_err(|source| DataError::Io { path, source })
    }
}

/// A text that its tokens do not spell.
struct Changed;

/// What became of a line.
enum Line {
    Blank,
    Document(Encoded),
    Changed,
    Bad(LineError),
}

struct Ingest<'a> {
    spec: &'a PrepareSpec<'a>,
    pair: BinidxWriter,
    places: Table,
    contents: Table,
    digests: Vec<u64>,
    skipped: u64,
    longest: (u32, usize),
    /// The number of documents at which the current source has reached its limit.
    end: u64,
}

impl Ingest<'_> {
    fn documents(&self) -> u32 {
        self.pair.documents() as u32 // `push` keeps it in range
    }

    fn is_full(&self) -> bool {
        self.pair.documents() >= self.end
    }

    /// Reads one source, whose first file has the number `first_file`.
    fn source(&mut self, source: &Source, first_file: u32) -> Result<(), DataError> {
        self.end = source.limit.map_or(u64::MAX, |limit| self.pair.documents() + limit);
        if source.data_type == DataType::Dummy {
            return self.sums();
        }
        for (file, path) in (first_file..).zip(&source.files) {
            if self.is_full() {
                break;
            }
            match source.data_type {
                DataType::Jsonl => self.jsonl(file, path)?,
                DataType::Binidx => self.pair_of(file, path)?,
                DataType::Numpy | DataType::Uint16 => {
                    self.token_file(file, path, source.data_type)?;
                }
                DataType::Utf8 | DataType::Utf16le => self.text(file, path, source.data_type)?,
                DataType::Dummy | DataType::WdsImg => {}
            }
        }
        Ok(())
    }

    fn jsonl(&mut self, file: u32, path: &Path) -> Result<(), DataError> {
        let skips = self.spec.on_bad_line == OnBadLine::Skip;
        let before = self.documents();
        let mut tally = Tally::default();
        let mut lines = Lines::open(path)?;
        while let Some(batch) = lines.batch(BATCH_BYTES)? {
            let encode = tally.is_fine(); // otherwise the other lines are only counted
            let batch = batch.lines();
            let results = parallel::map(&batch, |(_, line)| self.line(line, encode));
            for ((number, line), result) in batch.into_iter().zip(results) {
                match result {
                    Line::Blank => {}
                    Line::Document(encoded) => {
                        tally.fine();
                        if tally.is_fine() {
                            self.push(&encoded, Place { file, number })?;
                            if self.is_full() {
                                return Ok(());
                            }
                        }
                    }
                    Line::Changed => {
                        return Err(DataError::RoundTrip {
                            file: path.into(),
                            line: number as usize,
                        });
                    }
                    Line::Bad(_) if skips => self.skipped += 1,
                    Line::Bad(error) => tally.fault(path, number, line, error),
                }
            }
        }
        tally.result()?;
        self.not_empty(before, path)
    }

    fn line(&self, line: &[u8], encode: bool) -> Line {
        match self.spec.form.parse(line) {
            Ok(None) => Line::Blank,
            Ok(Some(_)) if !encode => {
                Line::Document(Encoded { ids: Vec::new(), digest: 0, content: 0 })
            }
            Ok(Some(text)) => match self.encode(&text) {
                Ok(encoded) => Line::Document(encoded),
                Err(Changed) => Line::Changed,
            },
            Err(error) => Line::Bad(error),
        }
    }

    fn text(&mut self, file: u32, path: &Path, data_type: DataType) -> Result<(), DataError> {
        let text = text::read(path, data_type)?;
        let encoded = self
            .encode(&text)
            .map_err(|Changed| DataError::RoundTrip { file: path.into(), line: 1 })?;
        self.push(&encoded, Place { file, number: 0 })
    }

    fn sums(&mut self) -> Result<(), DataError> {
        let end = text::SUMS.min(self.end.saturating_sub(self.pair.documents()));
        for first in (0..end).step_by(BATCH_SUMS as usize) {
            let numbers: Vec<u64> = (first..end.min(first + BATCH_SUMS)).collect();
            let encoded = parallel::map(&numbers, |&i| self.encode(&text::sum(i)));
            for (number, encoded) in numbers.into_iter().zip(encoded) {
                let encoded = encoded.map_err(|Changed| DataError::RoundTrip {
                    file: "dummy".into(),
                    line: number as usize,
                })?;
                self.push(&encoded, Place { file: NO_FILE, number })?;
            }
        }
        Ok(())
    }

    fn pair_of(&mut self, file: u32, prefix: &Path) -> Result<(), DataError> {
        let pair = Binidx::open(prefix)?;
        for number in 0..pair.len() {
            if self.is_full() {
                break;
            }
            self.push_tokens(pair.doc(number)?, Place { file, number: number as u64 })?;
        }
        Ok(())
    }

    fn token_file(&mut self, file: u32, path: &Path, data_type: DataType) -> Result<(), DataError> {
        let mut tokens = TokenFile::open(path, data_type)?;
        let mut number = 0;
        while !self.is_full()
            && let Some(ids) = tokens.document()?
        {
            self.push_tokens(ids, Place { file, number })?;
            number += 1;
        }
        Ok(())
    }

    /// The tokens of a text, checked to spell it, and the one that closes it.
    fn encode(&self, text: &str) -> Result<Encoded, Changed> {
        let PrepareSpec { tokenizer, mask, end_of_doc, .. } = self.spec;
        let mut ids = mask.encode(tokenizer, text.as_bytes());
        if !tokenizer.spells(&ids, text.as_bytes()) {
            return Err(Changed);
        }
        if !end_of_doc {
            ids.pop_if(|id| *id == END_OF_DOCUMENT);
        }
        Ok(self.encoded(ids, text.as_bytes()))
    }

    fn push_tokens(&mut self, ids: Vec<u32>, place: Place) -> Result<(), DataError> {
        let bytes: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
        self.push(&self.encoded(ids, &bytes), place)
    }

    fn encoded(&self, ids: Vec<u32>, content: &[u8]) -> Encoded {
        let digest = if self.spec.val_split > 0.0 { digest(self.spec.seed, content) } else { 0 };
        Encoded { ids, digest, content: xxh3_64(content) }
    }

    fn push(&mut self, encoded: &Encoded, place: Place) -> Result<(), DataError> {
        let number = u32::try_from(self.pair.documents())
            .ok()
            .filter(|number| *number < u32::MAX)
            .ok_or(DataError::TooManyDocuments)?;
        if encoded.ids.len() > self.longest.1 {
            self.longest = (number, encoded.ids.len());
        }
        self.pair.push(&encoded.ids)?;
        if self.spec.val_split > 0.0 {
            self.digests.push(encoded.digest);
        }
        self.contents.push(&encoded.content.to_le_bytes())?;
        self.places.push(&place.to_bytes())
    }

    fn not_empty(&self, before: u32, path: &Path) -> Result<(), DataError> {
        if self.documents() > before {
            Ok(())
        } else {
            Err(DataError::NoDocuments { file: path.into() })
        }
    }
}
