//! Finds prepared data in the cache, or makes it.
//!
//! The key in a folder's name is a digest of everything that its content depends on, so prepared data is never
//! out of date and never made twice.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use crate::data::DataType;
use crate::data::binidx::Binidx;
use crate::data::error::DataError;
use crate::data::readers::{FileDigest, Source, container_by_name};
use crate::diagnostic::msg;
use crate::digest::sha256_hex;
use crate::hold::Hold;
use crate::work::Work;

use super::cache::note_use;
use super::ingest::{build, digests};
use super::layout::{
    CONTENT_BYTES, CONTENTS, CUTS, MUTED, ORDER, PrepareReport, PrepareSpec, Prepared, Split,
};

/// Part of the key: goes up when the same input would be prepared differently.
const FORMAT: u32 = 4;

/// Tokenises the sources into the cache, or finds them there.
///
/// Equal documents are either all validation or all training documents, and the choice does not depend on their
/// order. When several processes prepare the same data at once, the first to finish wins and all use its files.
///
/// # Errors
/// A source that cannot be read or is not valid, [`DataError::Io`] for a cache that cannot be written,
/// [`DataError::RoundTrip`] for a text that its tokens do not spell.
pub fn prepare(spec: &PrepareSpec<'_>) -> Result<Prepared, DataError> {
    let digests = digests(spec)?;
    let key = key(spec, &digests);
    if let Some(found) = found(spec, &key) {
        return Ok(found);
    }
    let folder = folder(spec, &key);

    // A request to stop removes the folder that is being built.
    let _work = Work::begin("preparing data", 0);
    let unwritable = |path: &Path, source| DataError::Io { path: path.into(), source };
    let (building, hold) =
        building(spec.cache_dir, &key).map_err(|source| unwritable(spec.cache_dir, source))?;
    let report = build(building.path(), spec, digests).map_err(|error| match error {
        // Name the final folder: the one being built is temporary.
        DataError::Io { source, .. } => unwritable(&folder, source),
        other => other,
    })?;
    if publish(building, &folder).map_err(|source| unwritable(&folder, source))? {
        return Ok(prepared(spec, &key, false, report, hold));
    }
    found(spec, &key)
        .ok_or_else(|| unwritable(&folder, io::Error::other(msg!(FILE_CHANGES_WHILE_USED))))
}

/// The prepared data in the cache; `None` when [`prepare`] would have to make it.
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
    let report = load(&folder).filter(|report| has_cuts(spec, &folder, report))?;
    note_use(&folder);
    Some(prepared(spec, key, true, report, hold))
}

fn prepared(
    spec: &PrepareSpec<'_>,
    key: &str,
    cached: bool,
    report: PrepareReport,
    hold: Hold,
) -> Prepared {
    let folder = folder(spec, key);
    Prepared {
        train: folder.join(Split::Train.name()),
        val: (report.val_documents > 0).then(|| folder.join(Split::Val.name())),
        key: key.to_owned(),
        cached,
        report,
        folder,
        files: files(spec.sources),
        _hold: hold,
    }
}

/// A new folder in the cache, locked before another process can take it for abandoned.
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

/// Renames the finished folder `building` to `folder`; `false` when another process was first, whose data stays.
fn publish(building: TempDir, folder: &Path) -> io::Result<bool> {
    if let Err(error) = fs::rename(building.path(), folder) {
        if !folder.exists() {
            return Err(error);
        }
        if load(folder).is_some() {
            return Ok(false);
        }
        // The existing folder is damaged.
        fs::remove_dir_all(folder)?;
        fs::rename(building.path(), folder)?;
    }
    let _ = building.keep(); // it has moved, so there is nothing to remove
    Ok(true)
}

/// The files of all sources with their formats.
pub(crate) fn files(sources: &[Source]) -> Vec<(PathBuf, DataType)> {
    let of_source = |source: &Source| {
        let data_type = source.data_type;
        source.files.clone().into_iter().map(move |file| (file, data_type))
    };
    sources.iter().flat_map(of_source).collect()
}

/// The first 16 hexadecimal digits of the sha256 of everything that the pairs depend on.
fn key(spec: &PrepareSpec<'_>, digests: &[Vec<FileDigest>]) -> String {
    let PrepareSpec {
        sources,
        tokenizer,
        form,
        mask,
        answers,
        on_bad_line,
        end_of_doc,
        val_split,
        val_seed,
        repeat,
        seed,
        cache_dir: _,
    } = spec;
    let mut inputs = format!(
        "format {FORMAT}\ntokenizer {}\ntemplate {}\nsft_field {:?}\nignored {:?}\nedges {:?}\non_bad_line {on_bad_line:?}\n\
         end_of_doc {end_of_doc}\nval_split {:016x}\nrepeat {repeat}\nseed {seed}\n",
        tokenizer.fingerprint(),
        form.template.key(),
        form.sft_field,
        form.ignored(),
        mask.edges(),
        val_split.to_bits(),
    );
    if val_seed != seed && *val_split > 0.0 {
        inputs += &format!("val_seed {val_seed}\n");
    }
    if answers.are_compared() {
        inputs += &format!("answers {answers:?}\n");
    }
    for (Source { data_type, files: _, weight, limit }, digests) in sources.iter().zip(digests) {
        let weight = weight.to_bits();
        inputs += &format!("source {data_type:?} weight {weight:016x} limit {limit:?}\n");
        inputs.extend(digests.iter().map(|file| match container_by_name(&file.path) {
            Some(container) => format!("file {} {container}\n", file.sha256),
            None => format!("file {}\n", file.sha256),
        }));
    }
    let mut key = sha256_hex(inputs);
    key.truncate(16);
    key
}

/// Whether a prepared folder says where rejected answers begin, if answers are compared.
fn has_cuts(spec: &PrepareSpec<'_>, folder: &Path, report: &PrepareReport) -> bool {
    let is_whole = |cuts: fs::Metadata| cuts.len() == 4 * report.documents;
    !spec.answers.are_compared() || fs::metadata(folder.join(CUTS)).is_ok_and(is_whole)
}

/// The report of a prepared folder; `None` when it is absent or damaged.
fn load(folder: &Path) -> Option<PrepareReport> {
    let report = PrepareReport::load(folder)?;
    let whole = |split: Split, documents| {
        let prefix = folder.join(split.name());
        let order =
            fs::metadata(prefix.with_extension(ORDER)).is_ok_and(|o| o.len() == 4 * documents);
        order && Binidx::open(&prefix).is_ok_and(|pair| pair.len() as u64 == documents)
    };
    let contents = fs::metadata(folder.join(CONTENTS));
    let has_muted =
        report.records.iter().all(|counts| counts.muted == 0) || folder.join(MUTED).is_file();
    let intact = has_muted
        && contents.is_ok_and(|c| c.len() == CONTENT_BYTES as u64 * report.documents)
        && whole(Split::Train, report.train_documents)
        && (report.val_documents == 0 || whole(Split::Val, report.val_documents));
    intact.then_some(report)
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::super::layout::LongestDocument;
    use super::*;
    use crate::data::conversation::{Mask, Template};
    use crate::data::error::Origin;
    use crate::data::shapes::{RecordCounts, RecordForm, Shape, ShapeCount};
    use crate::data::tokenizer::END_OF_DOCUMENT;
    use crate::data::tokenizer::tests::WORLD_TOKENIZER;
    use crate::data::{Answers, OnBadLine};

    /// The source line of every document of a pair.
    fn lines(prepared: &Prepared, split: Split) -> Vec<usize> {
        let line = |index| match prepared.origin(split, index)? {
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
                form: RecordForm::new(&template),
                mask: &Mask::All,
                answers: Answers::Imitated,
                on_bad_line: OnBadLine::Error,
                end_of_doc: true,
                val_split: 0.0,
                val_seed: 42,
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
        for (text, line) in train.iter().zip(lines(&prepared, Split::Train)) {
            assert_eq!(text, &format!("document {line}"));
        }
        assert!(lines(&prepared, Split::Val).is_sorted());
        for (text, line) in val.iter().zip(lines(&prepared, Split::Val)) {
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
            PrepareReport {
                files: vec![FileDigest {
                    path: case.source(),
                    sha256: sha256_hex(fs::read(case.source()).unwrap()),
                }],
                documents: 3,
                val_documents: 0,
                skipped_lines: 0,
                train_documents: 6,
                train_tokens: 2 * (2 + 11 + 2),
                val_tokens: 0,
                longest: LongestDocument { document: 1, tokens: 11 },
                records: vec![RecordCounts {
                    records: 3,
                    shapes: vec![ShapeCount {
                        shape: Shape::Text,
                        keys: "text".into(),
                        records: 3,
                    }],
                    used: ["text".to_owned()].into(),
                    ..RecordCounts::default()
                }],
            }
        );
    }

    #[test]
    fn the_validation_documents_depend_on_their_own_seed_alone() {
        let case = Case::new(&numbers(40));
        let val = |val_seed, seed, repeat| {
            let prepared = case.prepare_with(|spec| PrepareSpec {
                val_split: 0.2,
                val_seed,
                seed,
                repeat,
                ..spec
            });
            texts(&prepared.unwrap().val.unwrap())
        };
        assert_eq!(val(42, 1, 1), val(42, 2, 3));
        assert_ne!(val(42, 1, 1), val(1, 1, 1));
        assert_eq!(case.cached_names().len(), 3);
    }

    /// Fixes the split and the order, so that a change of either shows.
    #[test]
    fn the_result_depends_on_the_seed_alone() {
        let case = Case::new(&numbers(10));
        let prepared = case.prepare(0.2, 1, 42).unwrap();
        assert_eq!(lines(&prepared, Split::Val), [1, 5]);
        assert_eq!(lines(&prepared, Split::Train), [7, 10, 2, 3, 6, 4, 9, 8]);
        assert_eq!(prepared.key, "e0598e2b44f0a123");
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
            assert_eq!(prepared.report.val_documents, 4);
            let train = texts(&prepared.train);
            assert!(texts(&prepared.val.unwrap()).iter().all(|text| !train.contains(text)));
        }
    }

    #[test]
    fn the_share_is_at_least_one_document_and_never_all() {
        let held_out = |texts: &[&str], val_split| {
            Case::new(texts).prepare(val_split, 1, 3).unwrap().report.val_documents
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
