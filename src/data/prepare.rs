//! From a JSONL file to tokenised pairs in the cache: split, repeated, shuffled.
//!
//! A pair lies in `CACHE/data-KEY/`, where the key is a digest of all that its content depends on, so
//! prepared data is never stale and never rebuilt without need:
//!
//! ```text
//! train.bin, train.idx   `repeat` copies of the documents, each copy in an order of its own
//! val.bin, val.idx       the documents held out, once, in file order; absent when there are none
//! source.json            the report, and the source line of every document in both pairs
//! ```

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use super::binidx::{Binidx, BinidxWriter};
use super::error::DataError;
use super::jsonl::{Document, parse_documents};
use super::mask::Mask;
use super::shuffle;
use super::tokenizer::Tokenizer;

/// Part of the key: goes up when the same input would be prepared differently.
const FORMAT: u32 = 1;

const TRAIN: &str = "train";
const VAL: &str = "val";
const SOURCE: &str = "source.json";

/// What is prepared, and how.
#[derive(Clone, Copy, Debug)]
pub struct PrepareSpec<'a> {
    /// The JSONL file.
    pub source: &'a Path,
    /// Turns its texts into tokens.
    pub tokenizer: &'a Tokenizer,
    /// Says which texts are tokenised by themselves, see [`Mask::encode`].
    pub mask: &'a Mask,
    /// The share of documents that is held out, before repetition; at least 0, below 1.
    pub val_split: f64,
    /// How many copies of the other documents make up the training data; at least 1.
    pub repeat: u32,
    /// Decides which documents are held out and how the others are shuffled.
    pub seed: u64,
    /// The folder of all prepared data; made when absent.
    pub cache_dir: &'a Path,
}

/// Where prepared data lies and what it is made of.
#[derive(Clone, Debug)]
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
    /// The source line of each document of the training pair.
    pub train_lines: Vec<usize>,
    /// The source line of each document held out.
    pub val_lines: Vec<usize>,
}

/// Counts of prepared data.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Report {
    /// The sha256 of the source file, in hexadecimal.
    pub source_sha256: String,
    /// Documents in the source file.
    pub documents: usize,
    /// How many of them are held out.
    pub held_out: usize,
    /// Tokens of the training pair, repetition included.
    pub train_tokens: u64,
    /// Tokens of the documents held out.
    pub val_tokens: u64,
    /// The document of most tokens, the first of several.
    pub longest: Longest,
}

/// The longest document of a source file.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Longest {
    /// Its line.
    pub line: usize,
    /// Its tokens, the closing one included.
    pub tokens: usize,
}

/// The content of `source.json`.
#[derive(Deserialize, Serialize)]
struct Provenance {
    report: Report,
    train_lines: Vec<usize>,
    val_lines: Vec<usize>,
}

/// Tokenises `spec.source` into the cache, or finds it there.
///
/// Each document is closed by [`END_OF_DOCUMENT`](super::END_OF_DOCUMENT). Equal texts are either all held out or all
/// trained on, and which ones does not depend on the order of lines. When several processes prepare
/// the same data at once, the first to finish wins and all use its files.
///
/// # Errors
/// What [`super::read_documents`] finds in the source, [`DataError::Io`] for a cache that cannot be
/// written, [`DataError::RoundTrip`] for a text that its tokens do not spell.
pub fn prepare(spec: &PrepareSpec<'_>) -> Result<Prepared, DataError> {
    let source = fs::read(spec.source)
        .map_err(|source| DataError::Read { file: spec.source.into(), source })?;
    let source_sha256 = format!("{:x}", Sha256::digest(&source));
    let key = key(spec, &source_sha256);
    let folder = spec.cache_dir.join(format!("data-{key}"));
    if let Some(provenance) = load(&folder) {
        return Ok(prepared(&folder, key, true, provenance));
    }

    let documents = parse_documents(spec.source, &source)?;
    drop(source);
    let split = Split::new(&documents, spec);
    let encoded = encode(&documents, spec)?;
    let lines = |order: &[usize]| order.iter().map(|&i| documents[i].line).collect();
    let tokens = |order: &[usize]| order.iter().map(|&i| encoded[i].len() as u64).sum();
    let provenance = Provenance {
        report: Report {
            source_sha256,
            documents: documents.len(),
            held_out: split.val.len(),
            train_tokens: tokens(&split.train),
            val_tokens: tokens(&split.val),
            longest: longest(&documents, &encoded),
        },
        train_lines: lines(&split.train),
        val_lines: lines(&split.val),
    };

    let unwritable = |path: &Path, source| DataError::Io { path: path.into(), source };
    fs::create_dir_all(spec.cache_dir).map_err(|source| unwritable(spec.cache_dir, source))?;
    let building = tempfile::Builder::new()
        .prefix(&format!(".data-{key}-"))
        .permissions(fs::Permissions::from_mode(0o777)) // less the umask, like any new folder
        .tempdir_in(spec.cache_dir)
        .map_err(|source| unwritable(spec.cache_dir, source))?;
    write(building.path(), &provenance, &split, &encoded, spec).map_err(|error| match error {
        // The user knows nothing of the folder that is being built.
        DataError::Io { source, .. } => unwritable(&folder, source),
        other => other,
    })?;

    match publish(building, &folder).map_err(|source| unwritable(&folder, source))? {
        Some(theirs) => Ok(prepared(&folder, key, true, theirs)),
        None => Ok(prepared(&folder, key, false, provenance)),
    }
}

/// Gives the finished folder `building` its name, unless another process was first: then returns what
/// that one made, and `building` is removed.
fn publish(building: TempDir, folder: &Path) -> io::Result<Option<Provenance>> {
    if let Err(error) = fs::rename(building.path(), folder) {
        if !folder.exists() {
            return Err(error);
        }
        if let Some(theirs) = load(folder) {
            return Ok(Some(theirs));
        }
        // What lies there is damaged.
        fs::remove_dir_all(folder)?;
        fs::rename(building.path(), folder)?;
    }
    let _ = building.keep(); // it has moved, so there is nothing to remove
    Ok(None)
}

fn prepared(folder: &Path, key: String, cached: bool, provenance: Provenance) -> Prepared {
    let Provenance { report, train_lines, val_lines } = provenance;
    Prepared {
        train: folder.join(TRAIN),
        val: (report.held_out > 0).then(|| folder.join(VAL)),
        key,
        cached,
        report,
        train_lines,
        val_lines,
    }
}

/// The first 16 hexadecimal digits of the sha256 of everything that the pairs depend on.
fn key(spec: &PrepareSpec<'_>, source_sha256: &str) -> String {
    let PrepareSpec { source: _, tokenizer, mask, val_split, repeat, seed, cache_dir: _ } = spec;
    let mut inputs = format!(
        "format {FORMAT}\nsource {source_sha256}\ntokenizer {}\nval_split {:016x}\nrepeat {repeat}\nseed {seed}\n",
        tokenizer.fingerprint(),
        val_split.to_bits(),
    );
    if let Some(edges) = mask.edges() {
        inputs += &format!("edges {edges}\n");
    }
    let mut key = format!("{:x}", Sha256::digest(inputs));
    key.truncate(16);
    key
}

/// What is known about a prepared folder, unless it is absent or damaged.
fn load(folder: &Path) -> Option<Provenance> {
    let provenance: Provenance =
        serde_json::from_slice(&fs::read(folder.join(SOURCE)).ok()?).ok()?;
    let whole = |name, lines: &[usize]| {
        Binidx::open(&folder.join(name)).is_ok_and(|pair| pair.len() == lines.len())
    };
    let val_lines = &provenance.val_lines;
    let intact =
        whole(TRAIN, &provenance.train_lines) && (val_lines.is_empty() || whole(VAL, val_lines));
    intact.then_some(provenance)
}

/// The documents of both pairs in their order, as indices.
struct Split {
    train: Vec<usize>,
    val: Vec<usize>,
}

impl Split {
    fn new(documents: &[Document], spec: &PrepareSpec<'_>) -> Self {
        let held_out = held_out(documents, spec.val_split, spec.seed);
        let (val, mut once): (Vec<usize>, Vec<usize>) =
            (0..documents.len()).partition(|&i| held_out.contains(documents[i].text.as_str()));
        let mut rng = shuffle::generator(spec.seed, 0);
        let mut train = Vec::with_capacity(once.len() * spec.repeat as usize);
        for _ in 0..spec.repeat {
            shuffle::shuffle(&mut once, &mut rng);
            train.extend_from_slice(&once);
        }
        Self { train, val }
    }
}

/// The texts that are held out.
///
/// Texts are taken in the order of a digest of seed and text, as long as their documents fit into
/// the share, which is `val_split` of all documents, but at least one and not all of them. A text
/// whose copies would exceed the share is passed over, unless nothing else could be held out.
fn held_out(documents: &[Document], val_split: f64, seed: u64) -> HashSet<&str> {
    let mut copies: HashMap<&str, usize> = HashMap::new();
    for document in documents {
        *copies.entry(&document.text).or_default() += 1;
    }
    let mut held_out = HashSet::new();
    if val_split <= 0.0 || copies.len() < 2 {
        return held_out;
    }
    let by_digest: BTreeMap<[u8; 32], &str> = copies
        .keys()
        .map(|text| {
            let digest = Sha256::new().chain_update(seed.to_le_bytes()).chain_update(text);
            (digest.finalize().into(), *text)
        })
        .collect();

    let share = (val_split * documents.len() as f64).round() as usize;
    let mut left = share.clamp(1, documents.len() - 1);
    for text in by_digest.values() {
        if copies[text] <= left {
            left -= copies[text];
            held_out.insert(*text);
        }
    }
    if held_out.is_empty() {
        held_out.extend(by_digest.values().next());
    }
    held_out
}

/// The tokens of every document, checked to spell its text.
fn encode(documents: &[Document], spec: &PrepareSpec<'_>) -> Result<Vec<Vec<u32>>, DataError> {
    let encode = |document: &Document| {
        let ids = spec.mask.encode(spec.tokenizer, document.text.as_bytes());
        if spec.tokenizer.decode(&ids)? != document.text.as_bytes() {
            return Err(DataError::RoundTrip { file: spec.source.into(), line: document.line });
        }
        Ok(ids)
    };
    documents.iter().map(encode).collect()
}

fn longest(documents: &[Document], encoded: &[Vec<u32>]) -> Longest {
    let mut longest = Longest { line: 0, tokens: 0 };
    for (document, ids) in documents.iter().zip(encoded) {
        if ids.len() > longest.tokens {
            longest = Longest { line: document.line, tokens: ids.len() };
        }
    }
    longest
}

/// Writes all files of prepared data into `folder`.
fn write(
    folder: &Path,
    provenance: &Provenance,
    split: &Split,
    encoded: &[Vec<u32>],
    spec: &PrepareSpec<'_>,
) -> Result<(), DataError> {
    for (name, order) in [(TRAIN, &split.train), (VAL, &split.val)] {
        if order.is_empty() {
            continue;
        }
        let mut writer = BinidxWriter::create(&folder.join(name), spec.tokenizer.vocab_size())?;
        order.iter().try_for_each(|&i| writer.push(&encoded[i]))?;
        writer.finish()?;
    }
    let path = folder.join(SOURCE);
    write_json(&path, provenance).map_err(|source| DataError::Io { path, source })
}

fn write_json(path: &Path, provenance: &Provenance) -> io::Result<()> {
    let mut file = io::BufWriter::new(File::create(path)?);
    serde_json::to_writer(&mut file, provenance)?;
    file.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::tokenizer::END_OF_DOCUMENT;
    use super::super::tokenizer::tests::WORLD_TOKENIZER;
    use super::*;

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
            prepare(&PrepareSpec {
                source: &self.source(),
                tokenizer: &WORLD_TOKENIZER,
                mask: &Mask::All,
                val_split,
                repeat,
                seed,
                cache_dir: &self.cache(),
            })
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
        for (text, line) in train.iter().zip(&prepared.train_lines) {
            assert_eq!(text, &format!("document {line}"));
        }
        assert!(prepared.val_lines.is_sorted());
        for (text, line) in val.iter().zip(&prepared.val_lines) {
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
                source_sha256: format!("{:x}", Sha256::digest(fs::read(case.source()).unwrap())),
                documents: 3,
                held_out: 0,
                train_tokens: 2 * (2 + 11 + 2),
                val_tokens: 0,
                longest: Longest { line: 2, tokens: 11 },
            }
        );
    }

    /// Fixes the split and the order, so that a change of either shows.
    #[test]
    fn the_result_depends_on_the_seed_alone() {
        let case = Case::new(&numbers(10));
        let prepared = case.prepare(0.2, 1, 42).unwrap();
        assert_eq!(prepared.val_lines, [1, 5]);
        assert_eq!(prepared.train_lines, [7, 10, 2, 3, 6, 4, 9, 8]);
        assert_eq!(prepared.key, "e7e11a3bed6814a6");
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
        assert_eq!((second.train_lines, second.val_lines), (first.train_lines, first.val_lines));
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
        assert!(!case.cache().exists());
        fs::remove_file(case.source()).unwrap();
        assert_eq!(case.prepare(0.0, 1, 1).unwrap_err().code(), "ST3005");
    }
}
