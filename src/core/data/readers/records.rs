//! Files of records, in any container.

use std::path::{Path, PathBuf};

use crate::data::error::{DataError, Origin};

use super::containers::Container;
use super::format::{Batches, Content, Format, RecordForm, find_files, not_empty};
use super::rows;

/// Files that `datasets` writes beside the records.
const NO_RECORDS: [&str; 3] = ["dataset_info.json", "state.json", "dataset_dict.json"];

/// Files of records. Without a container, the content of each file tells it.
pub(crate) struct Records(pub(crate) Option<Container>);

/// Endings of files that hold no records.
const STRANGE: [&str; 17] = [
    "md",
    "rst",
    "py",
    "ipynb",
    "toml",
    "yaml",
    "yml",
    "lock",
    "log",
    "html",
    "pdf",
    "png",
    "jpg",
    "pth",
    "pt",
    "safetensors",
    "gguf",
];
/// Endings of files of records.
const RECORDS: [&str; 6] = ["jsonl", "json", "csv", "tsv", "parquet", "arrow"];

/// Refuses a folder that has files of records and others, which would be refused as records after much reading.
fn strange_file(folder: &Path, files: &[PathBuf]) -> Result<(), DataError> {
    let ending = |file: &Path| {
        let text = file.extension().and_then(|ending| ending.to_str());
        text.map(str::to_ascii_lowercase).unwrap_or_default()
    };
    let find = |among: &[&str]| files.iter().find(|file| among.contains(&&*ending(file)));
    match (folder.is_dir(), find(&STRANGE), find(&RECORDS)) {
        (true, Some(file), Some(record)) => Err(DataError::StrangeFile {
            path: folder.into(),
            file: file.clone(),
            ending: ending(record),
        }),
        _ => Ok(()),
    }
}

impl Format for Records {
    fn content(&self) -> Content {
        Content::Records
    }

    fn find(&self, path: &Path) -> Result<Vec<PathBuf>, DataError> {
        let mut files = find_files(path)?;
        if files != [path] {
            files.retain(|file| {
                !file.file_name().is_some_and(|name| NO_RECORDS.iter().any(|other| name == *other))
            });
            strange_file(path, &files)?;
        }
        not_empty(files, path)
    }

    fn container(&self) -> Option<Container> {
        self.0
    }

    fn read<'a>(&self, file: &Path, form: RecordForm<'a>) -> Result<Batches<'a>, DataError> {
        rows::records(file, self.0, move |record| form.parse(record))
    }

    fn origin(&self, file: &Path, number: u64) -> Origin {
        rows::origin(file, self.0, number)
    }
}
