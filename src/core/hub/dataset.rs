//! Data sets on the hub: `hf://datasets/OWNER/REPO`, with `@REVISION` and a configuration, folder or file after it.
//!
//! The files of the repository are read as they are. Of several splits only `train` is taken, and of several formats
//! the one with most files.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use super::client::HubError;
use super::{HubFile, OFFLINE, SCHEME, client, endpoint, folder_of, is_within, refusal};
use crate::diagnostic::{Diagnostic, Join, Text, msg};
use crate::tensorfile::write_atomically;

/// Start of the path of a data set, after [`SCHEME`].
pub(super) const DATASETS: &str = "datasets/";
/// Formats of records by the ending of their files; the first of equals is taken.
const FORMATS: [&str; 7] = ["parquet", "arrow", "jsonl", "ndjson", "json", "csv", "tsv"];
/// Files of these names describe a data set.
const DESCRIPTIONS: [&str; 4] =
    ["dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"];
/// Words in the names of files that are not trained on.
const OTHER_SPLITS: [&str; 6] = ["test", "validation", "valid", "val", "dev", "eval"];
/// The folder of listings in the cache of a repository.
const LISTINGS: &str = "listings";
/// How many left out files are named.
const NAMED: usize = 5;

/// A data set of the hub, or a part of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HubDataset {
    /// Owner and name of the repository.
    repo: String,
    /// Branch, tag or commit.
    revision: String,
    /// A configuration, a folder or a file; empty for all.
    part: String,
}

/// The files of a data set that are read.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct DatasetFiles {
    /// Their paths on this machine.
    pub files: Vec<PathBuf>,
    /// The other files of records, by their paths in the repository.
    pub left_out: Vec<String>,
}

impl DatasetFiles {
    /// The files that are left out, in words; `None` where there are none.
    pub fn left_out_text(&self) -> Option<Text> {
        let n = self.left_out.len();
        let more = (n > NAMED).then(|| "...".to_owned());
        let names = self.left_out.iter().take(NAMED).cloned().chain(more);
        (n > 0).then(|| msg!(HUB_FILES_LEFT_OUT, n, names = Text::list(Join::Comma, names)))
    }
}

/// The files to read and those to leave out, by their paths in the repository.
#[derive(Debug, Default, Eq, PartialEq)]
struct Selection {
    taken: Vec<String>,
    left_out: Vec<String>,
}

impl HubDataset {
    /// Reads `hf://datasets/OWNER/REPO[@REVISION][/PART]`.
    ///
    /// # Errors
    /// ST2180, without a place: the path is malformed.
    pub fn parse(path: &Path) -> Result<HubDataset, Box<Diagnostic>> {
        let malformed = || {
            let message = msg!(NOT_A_HUB_FILE, path);
            Box::new(Diagnostic::error(message).help(msg!(HUB_DATASET_FORM)))
        };
        let text = path.to_str().and_then(|text| text.strip_prefix(SCHEME));
        let rest = text.and_then(|text| text.strip_prefix(DATASETS)).ok_or_else(malformed)?;
        let rest = rest.trim_end_matches('/');
        let mut parts = rest.splitn(3, '/');
        let (owner, name) = parts.next().zip(parts.next()).ok_or_else(malformed)?;
        let part = parts.next();
        let (name, revision) = name.split_once('@').unwrap_or((name, "main"));
        if ![owner, name, revision].into_iter().chain(part).all(is_within) {
            return Err(malformed());
        }
        let part = part.unwrap_or_default().to_owned();
        Ok(HubDataset { repo: format!("{owner}/{name}"), revision: revision.into(), part })
    }

    /// The files of the data set in the local cache; `None` if any of them was never downloaded.
    pub fn fetched(&self) -> Option<DatasetFiles> {
        let folder = folder_of(DATASETS, &self.repo);
        let commit = fs::read_to_string(folder.join("refs").join(&self.revision)).ok()?;
        let listing = fs::read(listing_file(&folder, commit.trim())).ok()?;
        let listing: Vec<String> = serde_json::from_slice(&listing).ok()?;
        let Selection { taken, left_out } = self.select(&listing);
        let files: Option<Vec<_>> =
            taken.into_iter().map(|file| self.file(file).fetched()).collect();
        Some(DatasetFiles { files: files.filter(|files| !files.is_empty())?, left_out })
    }

    /// The files of the data set, which are downloaded unless the cache has them. `begins` is called before the first
    /// request.
    ///
    /// # Errors
    /// Those of [`HubFile::fetch`]; ST4022 for a repository without files of records.
    pub fn fetch(&self, begins: impl FnOnce()) -> Result<DatasetFiles, Box<Diagnostic>> {
        if let Some(files) = self.fetched() {
            return Ok(files);
        }
        if OFFLINE.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(Box::new(super::not_here(self)));
        }
        begins();
        let failed = |error: HubError| match error {
            HubError::Status(404) => Box::new(
                Diagnostic::error(msg!(HUB_HAS_NO_DATASET, name = self.to_string()))
                    .help(msg!(CHECK_DATASET_NAMES)),
            ),
            other => Box::new(refusal(self, other)),
        };
        let client = client(&endpoint()).map_err(failed)?;
        let revision = self.revision.replace('/', "%2F");
        let url =
            format!("{}/api/datasets/{}/tree/{revision}?recursive=true", endpoint(), self.repo);
        let listing: Vec<String> = client.list(&url).map_err(failed)?;
        let listing: Vec<String> = listing
            .into_iter()
            .filter(|file| is_within(file) && format_of(file).is_some())
            .collect();
        let Selection { taken, left_out } = self.select(&listing);
        if taken.is_empty() {
            return Err(Box::new(self.nothing(&listing)));
        }
        let fetched = taken.into_iter().map(|file| self.file(file).fetch(|| {}));
        let files = fetched.collect::<Result<Vec<_>, _>>()?;
        self.keep(&listing).map_err(|error| failed(error.into()))?;
        Ok(DatasetFiles { files, left_out })
    }

    /// Keeps the listing of the commit that was downloaded.
    fn keep(&self, listing: &[String]) -> std::io::Result<()> {
        let folder = folder_of(DATASETS, &self.repo);
        let commit = fs::read_to_string(folder.join("refs").join(&self.revision))?;
        fs::create_dir_all(folder.join(LISTINGS))?;
        let text = serde_json::to_vec(listing)?;
        write_atomically(&listing_file(&folder, commit.trim()), |file| file.write_all(&text))
    }

    fn file(&self, file: String) -> HubFile {
        let (repo, revision) = (self.repo.clone(), self.revision.clone());
        HubFile { prefix: DATASETS, repo, revision, file }
    }

    /// The files of a listing that the part names, of which the training documents in one format are taken.
    fn select(&self, listing: &[String]) -> Selection {
        if let Some(file) = listing.iter().find(|file| **file == self.part) {
            return Selection { taken: vec![file.clone()], left_out: Vec::new() };
        }
        let below = |file: &&String| file.starts_with(&format!("{}/", self.part));
        let within = |file: &&String| file.split('/').rev().skip(1).any(|one| one == self.part);
        let mut named: Vec<&String> = match self.part.is_empty() {
            true => listing.iter().collect(),
            false => listing.iter().filter(below).collect(),
        };
        if named.is_empty() {
            named = listing.iter().filter(within).collect();
        }
        named.sort();
        let has_train = named.iter().any(|file| is_training(file));
        let is_wanted = |file: &str| match has_train {
            true => is_training(file),
            false => !words(file).any(|word| OTHER_SPLITS.contains(&&*word)),
        };
        let wanted: Vec<&String> = named.iter().copied().filter(|file| is_wanted(file)).collect();
        let count =
            |format: &str| wanted.iter().filter(|file| format_of(file) == Some(format)).count();
        let format = FORMATS.into_iter().rev().max_by_key(|format| count(format));
        let is_taken = |file: &&String| is_wanted(file) && format_of(file) == format;
        let (taken, left_out) = named.into_iter().partition::<Vec<_>, _>(is_taken);
        let owned = |files: Vec<&String>| files.into_iter().cloned().collect();
        Selection { taken: owned(taken), left_out: owned(left_out) }
    }

    /// The error for a data set of which nothing is taken.
    fn nothing(&self, listing: &[String]) -> Diagnostic {
        let fault = Diagnostic::error(msg!(HUB_DATASET_IS_EMPTY, name = self.to_string()));
        let names = listing.iter().take(NAMED).cloned();
        match listing.is_empty() {
            true => fault.note(msg!(HUB_DATASET_FORMATS)),
            false => fault
                .note(msg!(HUB_DATASET_HAS, names = Text::list(Join::Comma, names)))
                .help(msg!(NAME_DATASET_PART)),
        }
    }
}

impl fmt::Display for HubDataset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repo, revision, part } = self;
        write!(f, "{SCHEME}{DATASETS}{repo}")?;
        if revision != "main" {
            write!(f, "@{revision}")?;
        }
        if part.is_empty() { Ok(()) } else { write!(f, "/{part}") }
    }
}

fn listing_file(folder: &Path, commit: &str) -> PathBuf {
    folder.join(LISTINGS).join(commit).with_extension("json")
}

/// The format of a file of records, by its ending.
fn format_of(file: &str) -> Option<&'static str> {
    let name = file.rsplit('/').next()?.to_lowercase();
    let plain = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
    let (_, ending) = plain.rsplit_once('.')?;
    let is_plain = plain.len() == name.len();
    let format = FORMATS.into_iter().find(|format| *format == ending)?;
    let is_binary = ["parquet", "arrow"].contains(&format);
    let is_hidden = file.split('/').any(|part| part.starts_with('.'));
    (!DESCRIPTIONS.contains(&plain) && !is_hidden && (is_plain || !is_binary)).then_some(format)
}

/// The words of a path.
fn words(file: &str) -> impl Iterator<Item = String> {
    file.split(|c: char| !c.is_alphanumeric()).map(str::to_lowercase)
}

/// Whether a path names the split for training.
fn is_training(file: &str) -> bool {
    words(file).any(|word| word.starts_with("train"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(path: &str, files: &[&str]) -> (Vec<String>, Vec<String>) {
        let files: Vec<String> = files.iter().map(|file| (*file).to_owned()).collect();
        let data = HubDataset::parse(Path::new(path)).expect("a path");
        let Selection { taken, left_out } = data.select(&files);
        (taken, left_out)
    }

    #[test]
    fn the_training_split_in_one_format_is_taken() {
        let all = "hf://datasets/a/b";
        let files = ["data/train-00000-of-00002.parquet", "data/train-00001-of-00002.parquet"];
        let listing = [files[0], files[1], "data/test-00000-of-00001.parquet", "train.jsonl"];
        let (taken, left_out) = selected(all, &listing);
        assert_eq!(taken, files);
        assert_eq!(left_out, ["data/test-00000-of-00001.parquet", "train.jsonl"]);
        let (taken, left_out) = selected(all, &["x.jsonl", "constraints/y.jsonl", "dev.jsonl"]);
        assert_eq!((taken.len(), left_out), (2, vec!["dev.jsonl".to_owned()]));
        assert_eq!(selected(all, &["a.json", "a.csv"]).0, ["a.json"]);
    }

    #[test]
    fn a_part_is_a_file_a_folder_or_a_configuration() {
        let listing = ["en/train.json", "zh/train.json", "data/fr/train.json", "en/test.json"];
        let taken = |part: &str| selected(&format!("hf://datasets/a/b/{part}"), &listing).0;
        assert_eq!(taken("en"), ["en/train.json"]);
        assert_eq!(taken("fr"), ["data/fr/train.json"]);
        assert_eq!(taken("en/test.json"), ["en/test.json"]);
        assert_eq!(taken("de"), [""; 0]);
    }

    #[test]
    fn descriptions_and_hidden_files_are_no_records() {
        for file in
            ["README.md", "dataset_info.json", "x/state.json", ".cache/a.json", "a.parquet.gz"]
        {
            assert_eq!(format_of(file), None, "{file}");
        }
        assert_eq!(format_of("A.JSONL.gz"), Some("jsonl"));
    }

    #[test]
    fn a_data_set_has_an_owner_and_a_name() {
        let parsed = |text: &str| HubDataset::parse(Path::new(text)).map(|data| data.to_string());
        for sound in ["hf://datasets/a/b", "hf://datasets/a/b@v1/c/d", "hf://datasets/a/b/c"] {
            assert_eq!(parsed(sound).as_deref(), Ok(sound));
        }
        for text in
            ["hf://datasets/a", "hf://a/b", "hf://datasets/a/../c", "hf://datasets/a/b/../c"]
        {
            assert_eq!(parsed(text).expect_err(text).code, "ST2180");
        }
    }
}
