//! Pairs of files of token ids as a data format.

use std::iter;
use std::path::{Path, PathBuf};

use crate::data::binidx::{Binidx, pair};
use crate::data::error::DataError;

use super::format::{
    Batches, Body, Content, Document, Format, RecordForm, matches, not_empty, pattern,
    visible_files,
};

/// Pairs, each named by its prefix.
pub(crate) struct BinidxPairs;

impl Format for BinidxPairs {
    fn content(&self) -> Content {
        Content::Tokens
    }

    /// The prefixes of pairs, which are found by their index files.
    fn find(&self, path: &Path) -> Result<Vec<PathBuf>, DataError> {
        let (bin, idx) = pair(path);
        let indices = match pattern(&idx) {
            _ if bin.exists() || idx.exists() => return Ok(vec![path.into()]),
            _ if path.is_dir() => visible_files(path)?,
            Some(pattern) => matches(pattern),
            None => return Ok(vec![path.into()]),
        };
        let is_index =
            |file: &PathBuf| file.extension().is_some_and(|extension| extension == "idx");
        let prefixes = indices.into_iter().filter(is_index).map(|file| file.with_extension(""));
        not_empty(prefixes.collect(), path)
    }

    fn disk_files(&self, prefix: &Path) -> Vec<PathBuf> {
        let (bin, idx) = pair(prefix);
        vec![bin, idx]
    }

    fn has_wide_ids(&self, prefix: &Path) -> Result<bool, DataError> {
        Ok(Binidx::open(prefix)?.token_bytes() > 2)
    }

    fn read<'a>(&self, prefix: &Path, _form: RecordForm<'a>) -> Result<Batches<'a>, DataError> {
        let pair = Binidx::open(prefix)?;
        let mut next = 0;
        Ok(Box::new(iter::from_fn(move || {
            let index = (next < pair.len()).then_some(next)?;
            next += 1;
            let document =
                |ids| vec![Ok(Document { number: index as u64, body: Body::Tokens(ids) })];
            Some(pair.doc(index).map(document))
        })))
    }
}
