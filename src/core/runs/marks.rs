//! `marks.toml`: what a person adds to a run afterwards.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::{ReadRunError, RunDirError};
use crate::diagnostic::Text;
use crate::tensorfile::write_atomically;

/// Tags, a note and whether the run is to be kept. The experiment file's own tags are not among them.
#[derive(Clone, Debug, Default, Eq, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Marks {
    /// Whether `prune` and `rm` must leave it alone.
    #[serde(default)]
    pub pinned: bool,
    /// Words to find it by.
    #[serde(default)]
    pub tags: BTreeSet<String>,
    /// What there is to say about it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
}

impl Marks {
    /// Name of the file.
    pub const FILE: &str = "marks.toml";

    /// The marks of the run at `path`; none where it has no such file.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(path: &Path) -> Result<Marks, ReadRunError> {
        let file = path.join(Marks::FILE);
        match fs::read_to_string(&file) {
            Ok(text) => toml::from_str(&text).map_err(|error| ReadRunError::Damaged {
                path: file,
                problem: Text::library(error.message()),
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Marks::default()),
            Err(source) => Err(ReadRunError::Read { path: file, source }),
        }
    }

    /// Writes the marks of the run at `path`. A process that works on the run does not notice.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), RunDirError> {
        let file = path.join(Marks::FILE);
        let text = toml::to_string(self).expect("marks are plain data");
        write_atomically(&file, |out| out.write_all(text.as_bytes()))
            .map_err(|source| RunDirError { path: file.clone(), source })
    }
}
