//! Reads every document of all sources once, as tokens, and writes the files of a prepared folder.
//!
//! The documents go, one batch at a time, into a pair in source order, from which the training and validation pairs
//! are copied. Memory holds about 24 bytes per document, whatever its length.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use xxhash_rust::xxh3::xxh3_64;

use crate::data::binidx::{Binidx, BinidxWriter, pair};
use crate::data::conversation::Muted;
use crate::data::error::{DataError, Origin, place};
use crate::data::fault::LineFault;
use crate::data::readers::{BadLine, Body, Content, Document, FileDigest, Record, Source, Tally};
use crate::data::shapes::{RecordCounts, RecordText};
use crate::data::threads;
use crate::data::tokenizer::END_OF_DOCUMENT;
use crate::data::{Answers, OnBadLine};
use crate::diagnostic::msg;
use crate::words::size;
use crate::work::Work;

use super::layout::{
    CONTENTS, CUTS, LongestDocument, MUTED, NO_FILE, ORDER, PLACES, Place, PrepareReport,
    PrepareSpec, SOURCE, Split,
};
use super::split::{Dealer, validation_contents};

/// The most documents of a source that a first look reads.
pub(crate) const FIRST: u64 = 1000;
/// The most bytes of plain text or tokens that a first look reads, because they are read whole.
pub const READ_AT_ONCE: u64 = 64 << 20;

/// The pair of all documents in source order.
const ALL: &str = "all";
/// The `vocab_size` of a pair whose ids may need more than two bytes.
const WIDE: usize = 1 << 31;

/// The files of each source with their digests.
///
/// # Errors
/// [`DataError::Read`].
pub(crate) fn digests(spec: &PrepareSpec<'_>) -> Result<Vec<Vec<FileDigest>>, DataError> {
    spec.sources.iter().map(Source::digests).collect()
}

/// Writes all files of prepared data into `folder`. `before` are the digests that the key was made of.
///
/// # Errors
/// Sources that cannot be read or are not valid, or have changed; a folder that cannot be written.
pub(crate) fn build(
    folder: &Path,
    spec: &PrepareSpec<'_>,
    before: Vec<Vec<FileDigest>>,
) -> Result<PrepareReport, DataError> {
    let all = folder.join(ALL);
    let ingested = ingest(spec, &all, &folder.join(PLACES), &folder.join(CONTENTS), None)?;
    let (before, after) = (before.concat(), digests(spec)?.concat());
    if let Some((changed, _)) = before.iter().zip(&after).find(|(before, after)| before != after) {
        return Err(DataError::ChangedMeanwhile { file: changed.path.clone() });
    }
    let report = write_pairs(folder, spec, &Binidx::open(&all)?, &ingested, before)?;
    let (bin, idx) = pair(&all);
    let unwritable = |path: &Path, source| DataError::Io { path: path.into(), source };
    for file in [bin, idx] {
        fs::remove_file(&file).map_err(|source| unwritable(&file, source))?;
    }
    if !ingested.muted.is_empty() {
        let path = folder.join(MUTED);
        write_json(&path, &ingested.muted).map_err(|source| unwritable(&path, source))?;
    }
    let path = folder.join(SOURCE);
    write_json(&path, &report).map_err(|source| unwritable(&path, source))?;
    Ok(report)
}

/// The first documents of every source.
pub(crate) struct FirstDocuments {
    /// The prefix of the pair that holds them.
    pub(crate) pair: PathBuf,
    /// What the records of each source were made of.
    pub(crate) records: Vec<RecordCounts>,
    /// Text that is never target text.
    pub(crate) muted: Muted,
    /// Whether the sources have more documents.
    pub(crate) is_partial: bool,
}

/// Writes the first documents of every source into a pair in `folder`, with their origins.
///
/// # Errors
/// Sources that cannot be read or whose first documents are not valid; a folder that cannot be written.
pub(crate) fn build_first(
    folder: &Path,
    spec: &PrepareSpec<'_>,
) -> Result<FirstDocuments, DataError> {
    let pair = folder.join(ALL);
    let files = (folder.join(PLACES), folder.join(CONTENTS));
    let Ingested { records, muted, is_partial, .. } =
        ingest(spec, &pair, &files.0, &files.1, Some(FIRST))?;
    Ok(FirstDocuments { pair, records, muted, is_partial })
}

/// Copies the validation documents into one pair, and the others, repeated and shuffled, into another.
fn write_pairs(
    folder: &Path,
    spec: &PrepareSpec<'_>,
    documents: &Binidx,
    ingested: &Ingested,
    files: Vec<FileDigest>,
) -> Result<PrepareReport, DataError> {
    let Ingested { sources, digests, skipped, longest, records, vocab_size, .. } = ingested;
    let validation = validation_contents(digests, spec.val_split);
    let is_validation = |document: u32| {
        digests.get(document as usize).is_some_and(|digest| validation.contains(digest))
    };
    let mut report = PrepareReport {
        files,
        documents: documents.len() as u64,
        val_documents: 0,
        skipped_lines: *skipped,
        train_documents: 0,
        train_tokens: 0,
        val_tokens: 0,
        longest: *longest,
        records: records.clone(),
    };
    if !validation.is_empty() {
        let mut val = PairCopy::create(folder, Split::Val, *vocab_size)?;
        for document in (0..documents.len() as u32).filter(|document| is_validation(*document)) {
            val.copy(documents, document)?;
        }
        (report.val_documents, report.val_tokens) = val.finish()?;
    }
    check_room(folder, documents.len() as u64, spec.repeat.into())?;
    let mut dealer = Dealer::new(sources, is_validation, spec.seed);
    let mut train = PairCopy::create(folder, Split::Train, *vocab_size)?;
    let copies = u64::from(spec.repeat).saturating_mul(documents.len() as u64);
    let mut work = Work::begin("writing the samples", copies);
    for _ in 0..spec.repeat {
        for document in dealer.copy() {
            train.copy(documents, document)?;
            work.advance(1);
        }
    }
    (report.train_documents, report.train_tokens) = train.finish()?;
    Ok(report)
}

/// Refuses repeats that do not fit on the disk, before the disk is full.
fn check_room(folder: &Path, documents: u64, repeat: u64) -> Result<(), DataError> {
    let (path, idx) = pair(&folder.join(ALL));
    let len = |file: &Path| fs::metadata(file).map_or(0, |found| found.len());
    let order = documents * size_of::<u32>() as u64;
    let needed = (len(&path) + len(&idx) + order).saturating_mul(repeat);
    let free = match rustix::fs::statvfs(folder) {
        Ok(disk) => disk.f_bavail.saturating_mul(disk.f_frsize),
        Err(_) => return Ok(()), // unknown
    };
    if needed <= free {
        return Ok(());
    }
    let problem = msg!(REPEATS_NEED_ROOM, repeat, needed = size(needed), free = size(free));
    let source = io::Error::new(io::ErrorKind::StorageFull, problem);
    Err(DataError::Io { path: folder.to_path_buf(), source })
}

/// A pair and the file of its order while they are written.
struct PairCopy {
    pair: BinidxWriter,
    order: Rows,
}

impl PairCopy {
    fn create(folder: &Path, split: Split, vocab_size: usize) -> Result<Self, DataError> {
        let prefix = folder.join(split.name());
        let order = Rows::create(prefix.with_extension(ORDER))?;
        Ok(Self { pair: BinidxWriter::create(&prefix, vocab_size)?, order })
    }

    fn copy(&mut self, documents: &Binidx, document: u32) -> Result<(), DataError> {
        self.pair.push_stored(&documents.stored_doc(document as usize)?)?;
        self.order.push(&document.to_le_bytes())
    }

    /// Completes all files; returns documents and tokens.
    fn finish(self) -> Result<(u64, u64), DataError> {
        let counts = (self.pair.documents(), self.pair.tokens());
        self.pair.finish()?;
        self.order.finish()?;
        Ok(counts)
    }
}

/// A file with a row of the same size for every document, while it is written.
struct Rows {
    file: BufWriter<File>,
    path: PathBuf,
}

impl Rows {
    fn create(path: PathBuf) -> Result<Self, DataError> {
        match File::create(&path) {
            Ok(file) => Ok(Self { file: BufWriter::new(file), path }),
            Err(source) => Err(DataError::Io { path, source }),
        }
    }

    fn push(&mut self, row: &[u8]) -> Result<(), DataError> {
        let Self { file, path } = self;
        file.write_all(row).map_err(|source| DataError::Io { path: path.clone(), source })
    }

    fn finish(self) -> Result<(), DataError> {
        let Self { file, path } = self;
        sync(file).map_err(|source| DataError::Io { path, source })
    }
}

fn write_json(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut file, value)?;
    sync(file)
}

fn sync(file: BufWriter<File>) -> io::Result<()> {
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

/// What was read.
struct Ingested {
    /// The documents of each source, with its weight.
    sources: Vec<(Range<u32>, f64)>,
    /// The digest of every document's content under the seed; empty without validation documents.
    digests: Vec<u64>,
    /// Lines that were skipped.
    skipped: u64,
    longest: LongestDocument,
    /// What the records of each source were made of.
    records: Vec<RecordCounts>,
    /// Text that is never target text.
    muted: Muted,
    /// The `vocab_size` of the pair.
    vocab_size: usize,
    /// Whether a first look left documents out.
    is_partial: bool,
}

/// Reads everything into the pair `prefix`, the origins into `places`, and the digests of contents into `contents`;
/// of a source at most the first `most` documents.
fn ingest(
    spec: &PrepareSpec<'_>,
    prefix: &Path,
    places: &Path,
    contents: &Path,
    most: Option<u64>,
) -> Result<Ingested, DataError> {
    let vocab_size = vocab_size(spec)?;
    let mut ingest = Ingest {
        spec,
        pair: BinidxWriter::create(prefix, vocab_size)?,
        places: Rows::create(places.into())?,
        contents: Rows::create(contents.into())?,
        cuts: spec
            .answers
            .are_compared()
            .then(|| Rows::create(places.with_file_name(CUTS)))
            .transpose()?,
        digests: Vec::new(),
        skipped: 0,
        longest: LongestDocument { document: 0, tokens: 0 },
        records: Vec::new(),
        muted: Muted::NONE,
        end: u64::MAX,
        most,
        is_partial: false,
        work: Work::begin("preparing data", files_bytes(spec)),
        files_done: 0,
    };
    let (mut sources, mut files) = (Vec::new(), 0..NO_FILE);
    for source in spec.sources {
        let first = ingest.documents();
        ingest.records.push(RecordCounts::default());
        ingest.source(source, &mut files)?;
        sources.push((first..ingest.documents(), source.weight));
    }
    let Ingest {
        pair,
        places,
        contents,
        cuts,
        digests,
        skipped,
        longest,
        records,
        muted,
        is_partial,
        ..
    } = ingest;
    pair.finish()?;
    places.finish()?;
    contents.finish()?;
    cuts.map(Rows::finish).transpose()?;
    Ok(Ingested { sources, digests, skipped, longest, records, muted, vocab_size, is_partial })
}

/// The bytes of all files.
fn files_bytes(spec: &PrepareSpec<'_>) -> u64 {
    let of_source =
        |source: &Source| source.inputs().map(|file| bytes_on_disk(source, file)).sum::<u64>();
    spec.sources.iter().map(of_source).sum()
}

/// The bytes of a file of a source; 0 for one that cannot be read.
fn bytes_on_disk(source: &Source, file: &Path) -> u64 {
    let files = source.format().disk_files(file);
    files.iter().filter_map(|file| Some(fs::metadata(file).ok()?.len())).sum()
}

/// A `vocab_size` for the ids of the tokenizer and of every source of tokens.
fn vocab_size(spec: &PrepareSpec<'_>) -> Result<usize, DataError> {
    let mut vocab_size = spec.tokenizer.vocab_size();
    let of_tokens = |source: &&Source| source.format().content() == Content::Tokens;
    for source in spec.sources.iter().filter(of_tokens) {
        vocab_size = vocab_size.max(1 << 16);
        for file in source.inputs() {
            if source.format().has_wide_ids(file)? {
                return Ok(WIDE);
            }
        }
    }
    Ok(vocab_size)
}

/// The digest of a document's content under `seed`: the first 8 bytes of a sha256.
fn digest(seed: u64, content: &[u8]) -> u64 {
    let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(content).finalize();
    u64::from_be_bytes(digest[..8].try_into().expect("eight bytes of 32"))
}

/// A document as it is stored.
struct Encoded<'a> {
    ids: Cow<'a, [u32]>,
    /// 0 without validation documents.
    digest: u64,
    /// XXH3 of the content, by which records of runs identify the document.
    content: u64,
    /// Where the rejected answer begins, in tokens.
    cut: u32,
}

/// The records with an error in place of each that does not have `answers`. With `shows`, the first one has its line.
fn with_answers(
    mut records: Vec<Record>,
    answers: Answers,
    source: &Source,
    file: &Path,
    mut shows: bool,
) -> Vec<Record> {
    for record in &mut records {
        let Ok(Document { number, body: Body::Record(text) }) = record else { continue };
        let (is_pair, has_label) = (text.rejected.is_some(), text.label.is_some());
        let Some(fault) = LineFault::of_answers(answers, is_pair, has_label) else { continue };
        let origin = shows.then(|| source.format().origin(file, *number));
        let place = match origin {
            Some(Origin::Jsonl(place)) => place,
            _ => place(file, *number as usize, b"", 0..0),
        };
        shows = false;
        *record = Err(BadLine { place, fault });
    }
    records
}

/// A text that its tokens do not spell.
struct RoundTripFailed;

struct Ingest<'a> {
    spec: &'a PrepareSpec<'a>,
    pair: BinidxWriter,
    places: Rows,
    contents: Rows,
    /// Where rejected answers begin; absent where documents are imitated.
    cuts: Option<Rows>,
    digests: Vec<u64>,
    skipped: u64,
    longest: LongestDocument,
    /// For each source so far.
    records: Vec<RecordCounts>,
    muted: Muted,
    /// The number of documents at which the current source has reached its limit.
    end: u64,
    /// The most documents of a source, in a first look.
    most: Option<u64>,
    /// Whether a first look left documents out.
    is_partial: bool,
    work: Work,
    /// Bytes of the files before the current one.
    files_done: u64,
}

impl Ingest<'_> {
    fn documents(&self) -> u32 {
        self.pair.documents() as u32 // `push` keeps it in range
    }

    fn is_full(&self) -> bool {
        self.pair.documents() >= self.end
    }

    /// Reads one source, whose files have the next numbers of `files`.
    fn source(&mut self, source: &Source, files: &mut Range<u32>) -> Result<(), DataError> {
        let limit = source.limit.into_iter().chain(self.most).min();
        self.end = limit.map_or(u64::MAX, |limit| self.pair.documents() + limit);
        for path in source.inputs() {
            let file = if source.files.is_empty() { None } else { files.next() };
            if !self.is_full() {
                self.file(source, file.unwrap_or(NO_FILE), path)?;
            }
        }
        let by_look = self.most.is_some_and(|most| source.limit.is_none_or(|limit| limit > most));
        self.is_partial |= self.is_full() && by_look;
        Ok(())
    }

    fn file(&mut self, source: &Source, file: u32, path: &Path) -> Result<(), DataError> {
        let size = bytes_on_disk(source, path);
        let is_large = source.format().content() != Content::Records && size > READ_AT_ONCE;
        if self.most.is_some() && is_large {
            self.is_partial = true;
            return Ok(());
        }
        let read = self.documents_of(source, file, path, size);
        self.files_done += size;
        self.work.set(self.files_done);
        read
    }

    /// Reads a file of `size` bytes.
    fn documents_of(
        &mut self,
        source: &Source,
        file: u32,
        path: &Path,
        size: u64,
    ) -> Result<(), DataError> {
        // The bytes of documents, which come close to the bytes read of an uncompressed file.
        let mut read = 0;
        let skips = self.spec.on_bad_line == OnBadLine::Skip;
        let before = self.documents();
        let mut lines = Tally::default();
        let mut batches = source.format().read(path, self.spec.form)?;
        while let Some(batch) = batches.next() {
            let mut batch = with_answers(batch?, self.spec.answers, source, path, lines.is_clean());
            let is_cut = self.most.is_some_and(|most| batch.len() as u64 > most);
            if is_cut {
                batch.truncate(FIRST as usize);
            }
            // After the first invalid line the others are only counted.
            let encodes = lines.is_clean();
            let encoded =
                threads::map(&batch, |record| if encodes { self.encode(record) } else { None });
            let documents = batch.iter().filter_map(|record| record.as_ref().ok());
            read += documents.map(|document| document.body.bytes()).sum::<u64>();
            self.work.set(self.files_done + read.min(size));
            for (record, encoded) in batch.iter().zip(encoded) {
                match (record, encoded) {
                    (Ok(Document { number, body }), Some(encoded)) => {
                        let encoded = encoded.map_err(|RoundTripFailed| DataError::RoundTrip {
                            file: path.into(),
                            line: (*number).max(1) as usize,
                        })?;
                        lines.add_valid();
                        if lines.is_clean() {
                            self.count(body);
                            self.push(&encoded, Place { file, number: *number })?;
                            if self.is_full() {
                                return Ok(());
                            }
                        }
                    }
                    (Ok(_), None) => lines.add_valid(),
                    (Err(_), _) if skips => self.skipped += 1,
                    (Err(line), _) => lines.add_invalid(line),
                }
            }
            // Batches of records are large; those of tokens hold one document.
            if self.most.is_some() && source.format().content() == Content::Records {
                self.is_partial |= is_cut || batches.next().is_some();
                break;
            }
        }
        lines.result()?;
        if self.documents() == before && !self.is_partial {
            return Err(DataError::NoDocuments { file: path.into() });
        }
        Ok(())
    }

    /// The tokens of a document, with the end of document where a text has one; `None` for an invalid line.
    fn encode<'d>(&self, record: &'d Record) -> Option<Result<Encoded<'d>, RoundTripFailed>> {
        let (text, rejected, label) = match &record.as_ref().ok()?.body {
            Body::Text(text) => (text, None, None),
            Body::Record(RecordText { text, rejected, label, .. }) => {
                (text, rejected.as_ref(), *label)
            }
            Body::Tokens(ids) => {
                let content: Vec<u8> = ids.iter().flat_map(|id| id.to_le_bytes()).collect();
                return Some(Ok(self.encoded(Cow::Borrowed(ids), 0, &content)));
            }
        };
        Some(self.encode_texts(text, rejected, label))
    }

    /// The tokens of a text, followed by those of the text with the rejected answer.
    fn encode_texts<'d>(
        &self,
        text: &str,
        rejected: Option<&String>,
        label: Option<bool>,
    ) -> Result<Encoded<'d>, RoundTripFailed> {
        let template = self.spec.form.template;
        let text = template.cleaned(text);
        let mut ids = self.tokens(&text)?;
        if !self.spec.answers.are_compared() {
            return Ok(self.encoded(Cow::Owned(ids), 0, text.as_bytes()));
        }
        // A zero byte between both sides tells equal texts of other sides apart.
        let both = |chosen: &str, rejected: &str| [chosen, "\0", rejected].concat();
        let (cut, content) = match (rejected, label) {
            (None, Some(false)) => (0, both("", &text)),
            (None, _) => (ids.len(), both(&text, "")),
            (Some(rejected), _) => {
                let (cut, rejected) = (ids.len(), template.cleaned(rejected));
                ids.extend(self.tokens(&rejected)?);
                (cut, both(&text, &rejected))
            }
        };
        Ok(self.encoded(Cow::Owned(ids), cut as u32, content.as_bytes()))
    }

    /// The tokens of a text, with the end of document.
    fn tokens(&self, text: &str) -> Result<Vec<u32>, RoundTripFailed> {
        let PrepareSpec { tokenizer, mask, end_of_doc, .. } = self.spec;
        let mut ids = mask.encode(tokenizer, text.as_bytes());
        if !tokenizer.spells(&ids, text.as_bytes()) {
            return Err(RoundTripFailed);
        }
        if !end_of_doc {
            ids.pop_if(|id| *id == END_OF_DOCUMENT);
        }
        Ok(ids)
    }

    /// Counts the next document to be pushed.
    fn count(&mut self, body: &Body) {
        let Body::Record(record) = body else { return };
        self.muted.add(self.pair.documents() as usize, record.muted.clone());
        if let Some(counts) = self.records.last_mut() {
            counts.add(record);
        }
    }

    fn encoded<'d>(&self, ids: Cow<'d, [u32]>, cut: u32, content: &[u8]) -> Encoded<'d> {
        let digest =
            if self.spec.val_split > 0.0 { digest(self.spec.val_seed, content) } else { 0 };
        Encoded { ids, digest, content: xxh3_64(content), cut }
    }

    fn push(&mut self, encoded: &Encoded<'_>, place: Place) -> Result<(), DataError> {
        let document = u32::try_from(self.pair.documents())
            .ok()
            .filter(|document| *document < u32::MAX)
            .ok_or(DataError::TooManyDocuments)?;
        if encoded.ids.len() > self.longest.tokens {
            self.longest = LongestDocument { document, tokens: encoded.ids.len() };
        }
        self.pair.push(&encoded.ids)?;
        if self.spec.val_split > 0.0 {
            self.digests.push(encoded.digest);
        }
        self.contents.push(&encoded.content.to_le_bytes())?;
        if let Some(cuts) = &mut self.cuts {
            cuts.push(&encoded.cut.to_le_bytes())?;
        }
        self.places.push(&place.to_bytes())
    }
}
