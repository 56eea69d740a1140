//! Where documents come from: files, folders of files, patterns.

use crate::digest::sha256_of_file;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::binidx;
use super::error::DataError;
use crate::config::DataType;

/// Documents of one format, with their share of the whole.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The format of all its files.
    pub data_type: DataType,
    /// Its files in the order in which they are read; for [`DataType::Binidx`] the prefixes of pairs,
    /// for [`DataType::Dummy`] none.
    pub files: Vec<PathBuf>,
    /// How many of its training documents one copy of the data holds, as a multiple of their number.
    pub weight: f64,
    /// Documents that are read at most.
    pub limit: Option<u64>,
}

impl Source {
    /// The source that `path` names: a file, all files of a folder that are not hidden, or all files
    /// that fit a pattern with `*`, `?` or `[...]`. Files are sorted by name.
    ///
    /// # Errors
    /// [`DataError::NoFiles`] for a folder or pattern without files, [`DataError::Read`] for a
    /// folder that cannot be read.
    pub fn new(data_type: DataType, path: &Path) -> Result<Self, DataError> {
        let files = match data_type {
            DataType::Dummy => Vec::new(),
            DataType::Binidx => expand_pairs(path)?,
            _ => expand(path)?,
        };
        Ok(Self { data_type, files, weight: 1.0, limit: None })
    }

    /// Whether its documents are tokens already.
    pub fn is_tokens(&self) -> bool {
        matches!(self.data_type, DataType::Binidx | DataType::Numpy | DataType::Uint16)
    }

    /// Whether its text is plain, so that its characters can be its vocabulary.
    pub fn is_plain_text(&self) -> bool {
        matches!(self.data_type, DataType::Utf8 | DataType::Utf16le | DataType::Dummy)
    }

    /// Every file on the disk: for pairs both halves.
    fn disk_files(&self) -> Vec<PathBuf> {
        match self.data_type {
            DataType::Binidx => {
                let pairs = self.files.iter().map(|prefix| binidx::pair(prefix));
                pairs.flat_map(|(bin, idx)| [bin, idx]).collect()
            }
            _ => self.files.clone(),
        }
    }

    /// Every file on the disk with its content's digest.
    ///
    /// # Errors
    /// [`DataError::Read`].
    pub fn digests(&self) -> Result<Vec<FileDigest>, DataError> {
        self.disk_files().into_iter().map(FileDigest::new).collect()
    }
}

/// A file and the sha256 of its content, in hexadecimal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileDigest {
    /// Where it was read from.
    pub path: PathBuf,
    /// The digest.
    pub sha256: String,
}

impl FileDigest {
    fn new(path: PathBuf) -> Result<Self, DataError> {
        match sha256_of_file(&path) {
            Ok(sha256) => Ok(Self { path, sha256 }),
            Err(source) => Err(DataError::Read { file: path, source }),
        }
    }
}

fn expand(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if path.is_dir() {
        return not_empty(visible_files(path)?, path);
    }
    match pattern(path) {
        Some(pattern) if !path.exists() => not_empty(matches(pattern), path),
        _ => Ok(vec![path.into()]),
    }
}

/// Like [`expand`], for the prefixes of pairs, which are found by their index files.
fn expand_pairs(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let (bin, idx) = binidx::pair(path);
    let indices = match pattern(&idx) {
        _ if bin.exists() || idx.exists() => return Ok(vec![path.into()]),
        _ if path.is_dir() => visible_files(path)?,
        Some(pattern) => matches(pattern),
        None => return Ok(vec![path.into()]),
    };
    let is_index = |file: &PathBuf| file.extension().is_some_and(|extension| extension == "idx");
    let prefixes = indices.into_iter().filter(is_index).map(|file| file.with_extension(""));
    not_empty(prefixes.collect(), path)
}

fn not_empty(files: Vec<PathBuf>, path: &Path) -> Result<Vec<PathBuf>, DataError> {
    if files.is_empty() { Err(DataError::NoFiles { path: path.into() }) } else { Ok(files) }
}

fn visible_files(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
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

/// The path as a pattern, if it has the letters of one.
fn pattern(path: &Path) -> Option<&str> {
    path.to_str().filter(|text| text.contains(['*', '?', '[']))
}

/// The files that fit a pattern, sorted; none for one that cannot be read as a pattern.
fn matches(pattern: &str) -> Vec<PathBuf> {
    let paths = glob::glob(pattern).into_iter().flatten().flatten();
    let mut files: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    files
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The names that `path` means in a folder with these files.
    fn found(data_type: DataType, files: &[&str], path: &str) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        for file in files {
            let file = folder.path().join(file);
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let root = format!("{}/", folder.path().display());
        let bare = |text: String| text.replace(&root, "");
        match Source::new(data_type, &folder.path().join(path)) {
            Ok(source) => {
                Ok(source.files.iter().map(|file| bare(file.display().to_string())).collect())
            }
            Err(error) => Err(bare(error.to_string())),
        }
    }

    #[test]
    fn a_file_a_folder_or_a_pattern() {
        let files = ["d/b.jsonl", "d/a.jsonl", "d/.hidden", "d/c/x.jsonl", "e[1].jsonl"];
        let found = |path| found(DataType::Jsonl, &files, path);
        assert_eq!(found("d/a.jsonl").unwrap(), ["d/a.jsonl"]);
        assert_eq!(found("d").unwrap(), ["d/a.jsonl", "d/b.jsonl"]);
        assert_eq!(found("d/*.jsonl").unwrap(), ["d/a.jsonl", "d/b.jsonl"]);
        assert_eq!(found("d/?.jsonl").unwrap(), ["d/a.jsonl", "d/b.jsonl"]);
        assert_eq!(found("e[1].jsonl").unwrap(), ["e[1].jsonl"], "a name is no pattern");
        assert_eq!(found("missing").unwrap(), ["missing"], "reading it will say so");
        assert_eq!(found("d/*.txt").unwrap_err(), "`d/*.txt` matches no files");
    }

    #[test]
    fn pairs_are_found_by_their_index() {
        let files = ["d/b.bin", "d/b.idx", "d/a.v1.idx", "d/c.txt", "f/x"];
        let found = |path| found(DataType::Binidx, &files, path);
        assert_eq!(found("d/b").unwrap(), ["d/b"]);
        assert_eq!(found("d").unwrap(), ["d/a.v1", "d/b"]);
        assert_eq!(found("d/*").unwrap(), ["d/a.v1", "d/b"]);
        assert_eq!(found("d/x").unwrap(), ["d/x"], "opening it will say so");
        assert_eq!(found("f").unwrap_err(), "`f` matches no files");
    }
}
