//! Where documents come from.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::data::DataType;
use crate::data::conversation::Template;
use crate::data::error::DataError;
use crate::data::shapes::{RecordCounts, RecordForm, record_warnings};
use crate::data::tokenizer::Tokenizer;
use crate::diagnostic::{Diagnostic, Text, msg};
use crate::digest::sha256_of_file;

use super::format::{Body, Format};
use super::text::MADE_UP;

/// Documents of one format, with their share of the training data.
#[derive(Clone, Debug, PartialEq)]
pub struct Source {
    /// The format of all files.
    pub data_type: DataType,
    /// The files in the order in which they are read; for [`DataType::Binidx`] the prefixes of pairs, for
    /// [`DataType::Dummy`] none.
    pub files: Vec<PathBuf>,
    /// The number of training documents in one copy of the data, as a multiple of the source's training documents.
    pub weight: f64,
    /// The most documents to read; the first ones are taken.
    pub limit: Option<u64>,
}

impl Source {
    /// The source that `path` names: a file, all files of a folder that are not hidden, or all files that match a
    /// pattern with `*`, `?` or `[...]`. Files are sorted by name.
    ///
    /// # Errors
    /// [`DataError::NoFiles`] for a folder or pattern without files, [`DataError::Read`] for a folder that cannot
    /// be read.
    pub fn new(data_type: DataType, path: &Path) -> Result<Self, DataError> {
        let files = super::format(data_type).find(path)?;
        Ok(Self { data_type, files, weight: 1.0, limit: None })
    }

    pub(crate) fn format(&self) -> &'static dyn Format {
        super::format(self.data_type)
    }

    /// The files to read; one named [`MADE_UP`] for a format without files.
    pub(crate) fn inputs(&self) -> impl Iterator<Item = &Path> {
        let made_up = self.files.is_empty().then_some(Path::new(MADE_UP));
        self.files.iter().map(|file| &**file).chain(made_up)
    }

    /// The source in words.
    pub fn name(&self) -> Text {
        let first = self.inputs().next().unwrap_or(Path::new(MADE_UP));
        match self.files.len().saturating_sub(1) {
            0 => msg!(FILE_NAMED, file = first),
            n => msg!(FILE_AND_OTHERS, file = first, n),
        }
    }

    /// The warnings about keys that no document of `sources` is made of; `counts` has what the records of each were made of.
    pub fn record_warnings(
        sources: &[Source],
        counts: &[RecordCounts],
        form: &RecordForm<'_>,
    ) -> Vec<Diagnostic> {
        record_warnings(sources.iter().map(Source::name).zip(counts), form)
    }

    /// The digest of every file on disk.
    ///
    /// # Errors
    /// [`DataError::Read`].
    pub fn digests(&self) -> Result<Vec<FileDigest>, DataError> {
        let files = self.files.iter().flat_map(|file| self.format().disk_files(file));
        files.map(FileDigest::new).collect()
    }
}

/// A file and the sha256 of its content, in hexadecimal.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct FileDigest {
    /// The path it was read from.
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

/// The tokenizer whose vocabulary is the characters of all documents of plain text.
///
/// # Errors
/// A file that cannot be read, has another encoding or no text.
pub fn character_tokenizer(sources: &[Source]) -> Result<Tokenizer, DataError> {
    let template = Template::raw();
    let form = RecordForm::new(&template);
    let mut characters = BTreeSet::new();
    for source in sources {
        for file in source.inputs() {
            for batch in source.format().read(file, form)? {
                for document in batch?.into_iter().flatten() {
                    if let Body::Text(text) = document.body {
                        characters.extend(text.chars());
                    }
                }
            }
        }
    }
    Ok(Tokenizer::of_characters(&characters))
}

#[cfg(test)]
mod tests {
    use std::fs;

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
        assert_eq!(
            found("e[1].jsonl").unwrap(),
            ["e[1].jsonl"],
            "an existing file is not a pattern"
        );
        assert_eq!(found("missing").unwrap(), ["missing"], "reading it will fail");
        assert_eq!(found("d/*.txt").unwrap_err(), "`d/*.txt` matches no files");
    }

    #[test]
    fn pairs_are_found_by_their_index() {
        let files = ["d/b.bin", "d/b.idx", "d/a.v1.idx", "d/c.txt", "f/x"];
        let found = |path| found(DataType::Binidx, &files, path);
        assert_eq!(found("d/b").unwrap(), ["d/b"]);
        assert_eq!(found("d").unwrap(), ["d/a.v1", "d/b"]);
        assert_eq!(found("d/*").unwrap(), ["d/a.v1", "d/b"]);
        assert_eq!(found("d/x").unwrap(), ["d/x"], "opening it will fail");
        assert_eq!(found("f").unwrap_err(), "the folder `f` has no data files");
    }
}
