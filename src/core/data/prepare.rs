//! From sources to tokenised pairs in the cache: split, repeated, shuffled.
//!
//! A pair lies in `CACHE/data-KEY/`, where the key is a digest of all that its content depends on, so
//! prepared data is never stale and never rebuilt without need:
//!
//! ```text
//! train.bin, train.idx   `repeat` copies of the documents, each copy in an order of its own
//! val.bin, val.idx       the documents held out, once, in their order; absent when there are none
//! train.order, val.order the number of each document of a pair in the order of the sources, u32 each
//! places                 where each document comes from: file u32, line or document u64
//! contents               the digest of each document's content in the order of the sources, u64 each
//! source.json            the report
//! ```
//!
//! The documents are read once, one batch at a time, into a pair in their own order, from which the
//! others are copied. Memory holds about 24 bytes a document, whatever its length.

use crate::digest::sha256_hex;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::binidx::{Binidx, pair};
use super::binidx_writer::BinidxWriter;
use super::cache::{Hold, note_use};
use super::error::DataError;
use super::ingest::{CONTENT_BYTES, Ingested, ingest};
use super::jsonl::RecordForm;
use super::mask::Mask;
use super::order::{Dealer, held_out};
use super::prepared::{CONTENTS, Half, Longest, ORDER, PLACES, Prepared, Report, TRAIN, VAL};
use super::source::{FileDigest, Source};
use super::tokenizer::Tokenizer;
use crate::data::{DataType, OnBadLine};
use crate::diagnostic::msg;

/// Part of the key: goes up when the same input would be prepared differently.
const FORMAT: u32 = 3;

const ALL: &str = "all";
pub(super) const SOURCE: &str = "source.json";

/// What is prepared, and how.
#[derive(Clone, Copy)]
pub struct PrepareSpec<'a> {
    /// Where the documents come from.
    pub sources: &'a [Source],
    /// Turns texts into tokens.
    pub tokenizer: &'a Tokenizer,
    /// Turns JSONL records into texts.
    pub form: RecordForm<'a>,
    /// Says which texts are tokenised by themselves, see [`Mask::encode`].
    pub mask: &'a Mask,
    /// What happens to a JSONL line that is no document.
    pub on_bad_line: OnBadLine,
    /// Whether every document of text is closed by [`super::END_OF_DOCUMENT`].
    pub end_of_doc: bool,
    /// The share of documents that is held out, before repetition; at least 0, below 1.
    pub val_split: f64,
    /// How many copies of the other documents make up the training data; at least 1.
    pub repeat: u32,
    /// Decides which documents are held out and how the others are shuffled.
    pub seed: u64,
    /// The folder of all prepared data; made when absent.
    pub cache_dir: &'a Path,
}

/// Tokenises the sources into the cache, or finds them there.
///
/// Equal documents are either all held out or all trained on, and which ones does not depend on
/// their order. When several processes prepare the same data at once, the first to finish wins and
/// all use its files.
///
/// # Errors
/// What is wrong with a source, [`DataError::Io`] for a cache that cannot be written,
/// [`DataError::RoundTrip`] for a text that its tokens do not spell.
pub fn prepare(spec: &PrepareSpec<'_>) -> Result<Prepared, DataError> {
    let digests = digests(spec)?;
    let key = key(spec, &digests);
    if let Some(found) = found(spec, &key) {
        return Ok(found);
    }
    let folder = folder(spec, &key);

    let unwritable = |path: &Path, source| DataError::Io { path: path.into(), source };
    let (building, hold) =
        building(spec.cache_dir, &key).map_err(|source| unwritable(spec.cache_dir, source))?;
    let report = build(building.path(), spec, digests).map_err(|error| match error {
        // The user knows nothing of the folder that is being built.
        DataError::Io { source, .. } => unwritable(&folder, source),
        other => other,
    })?;
    if publish(building, &folder).map_err(|source| unwritable(&folder, source))? {
        return Ok(prepared(spec, &key, false, report, hold));
    }
    found(spec, &key)
        .ok_or_else(|| unwritable(&folder, io::Error::other(msg!(FILE_CHANGES_WHILE_USED))))
}

/// What [`prepare`] would find in the cache; `None` where it would have to prepare the sources.
///
/// # Errors
/// A source that cannot be read.
pub fn find_prepared(spec: &PrepareSpec<'_>) -> Result<Option<Prepared>, DataError> {
    Ok(found(spec, &key(spec, &digests(spec)?)))
}

fn folder(spec: &PrepareSpec<'_>, key: &str) -> PathBuf {
    spec.cache_dir.join(format!("data-{key}"))
}

fn found(spec: &PrepareSpec<'_>, key: &str) -> Option<Prepared> {
    let folder = folder(spec, key);
    let _cache = Hold::on(spec.cache_dir);
    let hold = Hold::on(&folder);
    let report = load(&folder)?;
    note_use(&folder);
    Some(prepared(spec, key, true, report, hold))
}

fn prepared(
    spec: &PrepareSpec<'_>,
    key: &str,
    cached: bool,
    report: Report,
    hold: Hold,
) -> Prepared {
    let folder = folder(spec, key);
    Prepared {
        train: folder.join(TRAIN),
        val: (report.held_out > 0).then(|| folder.join(VAL)),
        key: key.to_owned(),
        cached,
        report,
        folder,
        files: files(spec.sources),
        _hold: hold,
    }
}

/// A new folder in the cache, which is locked before anybody can see it as abandoned.
fn building(cache_dir: &Path, key: &str) -> io::Result<(TempDir, Hold)> {
    fs::create_dir_all(cache_dir)?;
    let _cache = Hold::on(cache_dir);
    let building = tempfile::Builder::new()
        .prefix(&format!(".data-{key}-"))
        .permissions(fs::Permissions::from_mode(0o777)) // less the umask, like any new folder
        .tempdir_in(cache_dir)?;
    let hold = Hold::on(building.path());
    Ok((building, hold))
}

/// Gives the finished folder `building` its name; `false` when another process was first, whose data
/// stays.
fn publish(building: TempDir, folder: &Path) -> io::Result<bool> {
    if let Err(error) = fs::rename(building.path(), folder) {
        if !folder.exists() {
            return Err(error);
        }
        if load(folder).is_some() {
            return Ok(false);
        }
        // What lies there is damaged.
        fs::remove_dir_all(folder)?;
        fs::rename(building.path(), folder)?;
    }
    let _ = building.keep(); // it has moved, so there is nothing to remove
    Ok(true)
}

/// The files of all sources in the order in which [`Place::file`] counts them.
fn files(sources: &[Source]) -> Vec<(PathBuf, DataType)> {
    let of_source = |source: &Source| {
        let data_type = source.data_type;
        source.files.clone().into_iter().map(move |file| (file, data_type))
    };
    sources.iter().flat_map(of_source).collect()
}

/// The files of each source with their digests.
fn digests(spec: &PrepareSpec<'_>) -> Result<Vec<Vec<FileDigest>>, DataError> {
    spec.sources.iter().map(Source::digests).collect()
}

/// The first 16 hexadecimal digits of the sha256 of everything that the pairs depend on.
fn key(spec: &PrepareSpec<'_>, digests: &[Vec<FileDigest>]) -> String {
    let PrepareSpec {
        sources,
        tokenizer,
        form,
        mask,
        on_bad_line,
        end_of_doc,
        val_split,
        repeat,
        seed,
        cache_dir: _,
    } = spec;
    let mut inputs = format!(
        "format {FORMAT}\ntokenizer {}\ntemplate {:?}\nsft_field {:?}\nedges {:?}\non_bad_line {on_bad_line:?}\n\
         end_of_doc {end_of_doc}\nval_split {:016x}\nrepeat {repeat}\nseed {seed}\n",
        tokenizer.fingerprint(),
        form.template,
        form.sft_field,
        mask.edges(),
        val_split.to_bits(),
    );
    for (Source { data_type, files: _, weight, limit }, digests) in sources.iter().zip(digests) {
        let weight = weight.to_bits();
        inputs += &format!("source {data_type:?} weight {weight:016x} limit {limit:?}\n");
        inputs.extend(digests.iter().map(|file| format!("file {}\n", file.sha256)));
    }
    let mut key = sha256_hex(inputs);
    key.truncate(16);
    key
}

/// What is known about a prepared folder, unless it is absent or damaged.
fn load(folder: &Path) -> Option<Report> {
    let report = report(folder)?;
    let whole = |half: Half, documents| {
        let prefix = folder.join(half.name());
        let order =
            fs::metadata(prefix.with_extension(ORDER)).is_ok_and(|o| o.len() == 4 * documents);
        order && Binidx::open(&prefix).is_ok_and(|pair| pair.len() as u64 == documents)
    };
    let contents = fs::metadata(folder.join(CONTENTS));
    let intact = contents.is_ok_and(|c| c.len() == CONTENT_BYTES as u64 * report.documents)
        && whole(Half::Train, report.train_documents)
        && (report.held_out == 0 || whole(Half::Val, report.held_out));
    intact.then_some(report)
}

/// The report of a prepared folder, if it has one.
pub(super) fn report(folder: &Path) -> Option<Report> {
    serde_json::from_slice(&fs::read(folder.join(SOURCE)).ok()?).ok()
}

/// Writes all files of prepared data into `folder`. `digests` are those of the files as they were
/// before.
pub(super) fn build(
    folder: &Path,
    spec: &PrepareSpec<'_>,
    digests: Vec<Vec<FileDigest>>,
) -> Result<Report, DataError> {
    let all = folder.join(ALL);
    let ingested = ingest(spec, &all, &folder.join(PLACES), &folder.join(CONTENTS))?;
    if let Some(file) = changed(spec, &digests)? {
        return Err(DataError::ChangedMeanwhile { file });
    }
    let documents = Binidx::open(&all)?;
    let report = write_pairs(folder, spec, &documents, &ingested, digests.concat())?;
    let (bin, idx) = pair(&all);
    let unwritable = |path: &Path, source| DataError::Io { path: path.into(), source };
    for file in [bin, idx] {
        fs::remove_file(&file).map_err(|source| unwritable(&file, source))?;
    }
    let path = folder.join(SOURCE);
    write_json(&path, &report).map_err(|source| unwritable(&path, source))?;
    Ok(report)
}

/// A file that is not what it was when `digests` were taken.
fn changed(
    spec: &PrepareSpec<'_>,
    before: &[Vec<FileDigest>],
) -> Result<Option<PathBuf>, DataError> {
    let after = digests(spec)?.concat();
    let differs = before.concat().into_iter().zip(after).find(|(before, after)| before != after);
    Ok(differs.map(|(file, _)| file.path))
}

/// Copies the documents held out into one pair, and the others, repeated and shuffled, into another.
fn write_pairs(
    folder: &Path,
    spec: &PrepareSpec<'_>,
    documents: &Binidx,
    ingested: &Ingested,
    files: Vec<FileDigest>,
) -> Result<Report, DataError> {
    let Ingested { sources, digests, skipped, longest, vocab_size } = ingested;
    let held_out = held_out(digests, spec.val_split);
    let is_held_out = |document: u32| {
        digests.get(document as usize).is_some_and(|digest| held_out.contains(digest))
    };
    let mut report = Report {
        files,
        documents: documents.len() as u64,
        held_out: 0,
        skipped_lines: *skipped,
        train_documents: 0,
        train_tokens: 0,
        val_tokens: 0,
        longest: Longest { document: longest.0, tokens: longest.1 },
    };
    if !held_out.is_empty() {
        let mut val = PairCopy::create(folder, Half::Val, *vocab_size)?;
        for document in (0..documents.len() as u32).filter(|document| is_held_out(*document)) {
            val.copy(documents, document)?;
        }
        (report.held_out, report.val_tokens) = val.finish()?;
    }
    let mut dealer = Dealer::new(sources, is_held_out, spec.seed);
    let mut train = PairCopy::create(folder, Half::Train, *vocab_size)?;
    for _ in 0..spec.repeat {
        for document in dealer.copy() {
            train.copy(documents, document)?;
        }
    }
    (report.train_documents, report.train_tokens) = train.finish()?;
    Ok(report)
}

/// A pair and its order while they are written.
struct PairCopy {
    pair: BinidxWriter,
    order: BufWriter<File>,
    order_path: PathBuf,
}

impl PairCopy {
    fn create(folder: &Path, half: Half, vocab_size: usize) -> Result<Self, DataError> {
        let prefix = folder.join(half.name());
        let order_path = prefix.with_extension(ORDER);
        let order = File::create(&order_path)
            .map_err(|source| DataError::Io { path: order_path.clone(), source })?;
        let pair = BinidxWriter::create(&prefix, vocab_size)?;
        Ok(Self { pair, order: BufWriter::new(order), order_path })
    }

    fn copy(&mut self, documents: &Binidx, document: u32) -> Result<(), DataError> {
        self.pair.push_stored(&documents.stored_doc(document as usize)?)?;
        self.order
            .write_all(&document.to_le_bytes())
            .map_err(|source| DataError::Io { path: self.order_path.clone(), source })
    }

    /// Completes both files; returns documents and tokens.
    fn finish(self) -> Result<(u64, u64), DataError> {
        let Self { pair, order, order_path } = self;
        let counts = (pair.documents(), pair.tokens());
        pair.finish()?;
        order
            .into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|order| order.sync_all())
            .map_err(|source| DataError::Io { path: order_path, source })?;
        Ok(counts)
    }
}

fn write_json(path: &Path, report: &Report) -> io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut file, report)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::error::Origin;
    use super::super::template::Template;
    use super::super::tokenizer::END_OF_DOCUMENT;
    use super::super::tokenizer::tests::WORLD_TOKENIZER;
    use super::*;

    /// The source line of every document of a pair.
    fn lines(prepared: &Prepared, half: Half) -> Vec<usize> {
        let line = |index| match prepared.origin(half, index)? {
            Origin::Jsonl(place) => Some(place.line()),
            other => panic!("{other}"),
        };
        (0..).map_while(line).collect()
    }

    /// A folder with a JSONL file of the given texts.
    struct Case {
        folder: TempDir,
    }

    impl Case {
        fn new<T: AsRef<str>>(texts: &[T]) -> Self {
            let case = Self { folder: tempfile::tempdir().unwrap() };
            let line = |text: &T| serde_json::json!({ "text": text.as_ref() }).to_string() + "\n";
            fs::write(case.source(), texts.iter().map(line).collect::<String>()).unwrap();
            case
        }

        fn source(&self) -> PathBuf {
            self.folder.path().join("d.jsonl")
        }

        fn cache(&self) -> PathBuf {
            self.folder.path().join("cache")
        }

        fn prepare(&self, val_split: f64, repeat: u32, seed: u64) -> Result<Prepared, DataError> {
            self.prepare_with(|spec| PrepareSpec { val_split, repeat, seed, ..spec })
        }

        /// Prepares what `change` makes of the plainest spec.
        fn prepare_with(
            &self,
            change: impl FnOnce(PrepareSpec<'_>) -> PrepareSpec<'_>,
        ) -> Result<Prepared, DataError> {
            let sources = [Source::new(DataType::Jsonl, &self.source())?];
            let template = Template::rwkv_qa();
            prepare(&change(PrepareSpec {
                sources: &sources,
                tokenizer: &WORLD_TOKENIZER,
                form: RecordForm { sft_field: None, template: &template },
                mask: &Mask::All,
                on_bad_line: OnBadLine::Error,
                end_of_doc: true,
                val_split: 0.0,
                repeat: 1,
                seed: 1,
                cache_dir: &self.cache(),
            }))
        }

        fn cached_names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.cache()).unwrap();
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
        }
    }

    fn numbers(n: usize) -> Vec<String> {
        (1..=n).map(|i| format!("document {i}")).collect()
    }

    /// The texts of a pair, each without the token that closes it.
    fn texts(prefix: &Path) -> Vec<String> {
        let pair = Binidx::open(prefix).unwrap();
        let text = |i| {
            let ids = pair.doc(i).unwrap();
            assert_eq!(ids.last(), Some(&END_OF_DOCUMENT));
            String::from_utf8(WORLD_TOKENIZER.decode(&ids).unwrap()).unwrap()
        };
        (0..pair.len()).map(text).collect()
    }

    #[test]
    fn every_document_is_trained_on_or_held_out() {
        let case = Case::new(&numbers(50));
        let prepared = case.prepare(0.1, 3, 42).unwrap();
        let val = texts(prepared.val.as_ref().unwrap());
        let train = texts(&prepared.train);
        assert_eq!((val.len(), train.len()), (5, 135));
        for text in numbers(50) {
            let copies = train.iter().filter(|t| **t == text).count();
            assert_eq!(copies, if val.contains(&text) { 0 } else { 3 }, "{text}");
        }
        // Each copy has an order of its own.
        assert_ne!(train[..45], train[45..90]);
        assert_ne!(train[45..90], train[90..]);
        // Document n stands on line n.
        for (text, line) in train.iter().zip(lines(&prepared, Half::Train)) {
            assert_eq!(text, &format!("document {line}"));
        }
        assert!(lines(&prepared, Half::Val).is_sorted());
        for (text, line) in val.iter().zip(lines(&prepared, Half::Val)) {
            assert_eq!(text, &format!("document {line}"));
        }
    }

    #[test]
    fn the_report_counts() {
        let case = Case::new(&["a", "The Eiffel tower is in the city of", "0"]);
        let prepared = case.prepare(0.0, 2, 1).unwrap();
        assert_eq!(prepared.val, None);
        assert_eq!(
            prepared.report,
            Report {
                files: vec![FileDigest {
                    path: case.source(),
                    sha256: sha256_hex(fs::read(case.source()).unwrap()),
                }],
                documents: 3,
                held_out: 0,
                skipped_lines: 0,
                train_documents: 6,
                train_tokens: 2 * (2 + 11 + 2),
                val_tokens: 0,
                longest: Longest { document: 1, tokens: 11 },
            }
        );
    }

    /// Fixes the split and the order, so that a change of either shows.
    #[test]
    fn the_result_depends_on_the_seed_alone() {
        let case = Case::new(&numbers(10));
        let prepared = case.prepare(0.2, 1, 42).unwrap();
        assert_eq!(lines(&prepared, Half::Val), [1, 5]);
        assert_eq!(lines(&prepared, Half::Train), [7, 10, 2, 3, 6, 4, 9, 8]);
        assert_eq!(prepared.key, "61f26c15e197594b");
    }

    #[test]
    fn the_split_does_not_depend_on_the_order_of_lines() {
        let mut reversed = numbers(40);
        reversed.reverse();
        let val = |texts_in: &[String]| {
            let case = Case::new(texts_in);
            let mut val = texts(&case.prepare(0.25, 1, 7).unwrap().val.unwrap());
            val.sort();
            val
        };
        assert_eq!(val(&numbers(40)), val(&reversed));
    }

    #[test]
    fn equal_texts_stay_together() {
        let mut lines = numbers(10);
        lines.extend(numbers(10));
        lines.extend(vec!["often".to_owned(); 20]);
        for seed in 0..20 {
            let case = Case::new(&lines);
            let prepared = case.prepare(0.1, 1, seed).unwrap();
            assert_eq!(prepared.report.held_out, 4);
            let train = texts(&prepared.train);
            assert!(texts(&prepared.val.unwrap()).iter().all(|text| !train.contains(text)));
        }
    }

    #[test]
    fn the_share_is_at_least_one_document_and_never_all() {
        let held_out = |texts: &[&str], val_split| {
            Case::new(texts).prepare(val_split, 1, 3).unwrap().report.held_out
        };
        assert_eq!(held_out(&["a", "b", "c"], 0.001), 1);
        assert_eq!(held_out(&["a", "b", "c"], 0.999), 2);
        assert_eq!(held_out(&["a", "a", "b", "b"], 0.1), 2);
        assert_eq!(held_out(&["a", "a"], 0.5), 0);
        assert_eq!(held_out(&["a"], 0.5), 0);
    }

    #[test]
    fn prepared_data_is_found_again() {
        let case = Case::new(&numbers(10));
        let first = case.prepare(0.2, 2, 42).unwrap();
        assert!(!first.cached);
        // Touched, but the same.
        fs::write(case.source(), fs::read(case.source()).unwrap()).unwrap();
        let second = case.prepare(0.2, 2, 42).unwrap();
        assert!(second.cached);
        assert_eq!((&second.key, &second.report), (&first.key, &first.report));
        assert_eq!((second.train, second.val), (first.train, first.val));
        assert_eq!(case.cached_names(), [format!("data-{}", first.key)]);
    }

    #[test]
    fn any_change_makes_new_data() {
        let case = Case::new(&numbers(10));
        let prepare = |val_split, repeat, seed| case.prepare(val_split, repeat, seed).unwrap();
        let first = prepare(0.2, 2, 42);
        let changed = [prepare(0.3, 2, 42), prepare(0.2, 3, 42), prepare(0.2, 2, 43)];
        let source = fs::read_to_string(case.source()).unwrap();
        fs::write(case.source(), source.replacen("document 1", "document 0", 1)).unwrap();
        let changed = changed.into_iter().chain([prepare(0.2, 2, 42)]);
        for other in changed {
            assert!(!other.cached);
            assert_ne!(other.key, first.key);
        }
    }

    #[test]
    fn contents_tell_documents_apart() {
        let contents = |texts: &[&str], seed| {
            let case = Case::new(texts);
            let prepared = case.prepare(0.5, 2, seed).unwrap();
            let bytes = fs::read(prepared.contents()).unwrap();
            bytes.as_chunks::<8>().0.iter().map(|one| u64::from_le_bytes(*one)).collect::<Vec<_>>()
        };
        let one = contents(&["a", "b", "a"], 1);
        let other = contents(&["b", "c"], 2);
        assert_eq!((one.len(), other.len()), (3, 2));
        assert_eq!((one[0], one[1]), (one[2], other[0]));
        assert!(one[0] != one[1] && !one.contains(&other[1]));
    }

    #[test]
    fn damaged_data_is_made_again() {
        let case = Case::new(&numbers(10));
        let first = case.prepare(0.2, 1, 42).unwrap();
        fs::remove_file(first.train.with_extension("bin")).unwrap();
        let second = case.prepare(0.2, 1, 42).unwrap();
        assert!(!second.cached);
        assert_eq!(texts(&second.train).len(), 8);
        assert_eq!(case.cached_names().len(), 1);
    }

    #[test]
    fn concurrent_runs_agree() {
        let case = Case::new(&numbers(200));
        let results: Vec<Prepared> = thread::scope(|scope| {
            let spawn = |_| scope.spawn(|| case.prepare(0.1, 4, 42).unwrap());
            let threads: Vec<_> = (0..4).map(spawn).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(results.iter().all(|prepared| prepared.train == results[0].train));
        assert_eq!(results.iter().filter(|prepared| !prepared.cached).count(), 1);
        assert_eq!(texts(&results[0].train).len(), 720);
        assert_eq!(case.cached_names().len(), 1);
    }

    #[test]
    fn a_cache_that_cannot_be_written_is_named() {
        let case = Case::new(&numbers(3));
        fs::write(case.cache(), "a file").unwrap();
        let error = case.prepare(0.0, 1, 1).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write `{}`", case.cache().display()));

        fs::remove_file(case.cache()).unwrap();
        let name = format!("data-{}", case.prepare(0.0, 1, 1).unwrap().key);
        let folder = case.cache().join(&name);
        fs::remove_dir_all(&folder).unwrap();
        fs::write(&folder, "a file in the way").unwrap();
        let error = case.prepare(0.0, 1, 1).unwrap_err();
        assert_eq!(error.to_string(), format!("cannot write `{}`", folder.display()));
        assert_eq!(case.cached_names(), [name], "nothing half-written is left");
    }

    #[test]
    fn faults_of_the_source_come_first() {
        let case = Case::new(&["a"]);
        fs::write(case.source(), "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n").unwrap();
        let error = case.prepare(0.0, 1, 1).unwrap_err();
        assert_eq!(error.code(), "ST3003");
        assert!(case.cached_names().is_empty(), "nothing half-written is left");
        fs::remove_file(case.source()).unwrap();
        assert_eq!(case.prepare(0.0, 1, 1).unwrap_err().code(), "ST3005");
    }
}
