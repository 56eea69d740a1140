//! Which document of the training pair comes from where, and back.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::RunError;
use statetune_core::config::Dataload;
use statetune_core::data::{DataError, Half, Origin, Prepared};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::plan::Plan;

/// Where the documents of the training pair come from.
#[derive(Debug)]
pub(super) struct Origins {
    /// Absent for a pair that is read as it is.
    prepared: Option<Prepared>,
    /// The pair.
    pair: PathBuf,
    /// How many documents it has, copies included.
    documents: usize,
}

/// A document that is to be left out.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Named {
    /// Its number in the order of the sources, or in the pair that is read as it is.
    pub(super) document: usize,
    /// Where it comes from: `data/chat.jsonl:27`.
    pub(super) name: String,
}

impl Origins {
    pub(super) fn new(prepared: Option<Prepared>, pair: PathBuf, documents: usize) -> Origins {
        Origins { prepared, pair, documents }
    }

    /// Where document `index` of the pair comes from: `data/chat.jsonl:27`, the path of a text, or a pair and a
    /// number that counts from 0.
    pub(super) fn name(&self, index: usize) -> String {
        let origin = match &self.prepared {
            Some(prepared) => prepared.origin(Half::Train, index),
            None => Some(Origin::Binidx { prefix: self.pair.clone(), index }),
        };
        origin.map_or_else(|| format!("document {index}"), |origin| place_name(&origin))
    }

    /// The documents of the pair that are copies of these.
    ///
    /// # Errors
    /// A cache that cannot be read.
    pub(super) fn copies(&self, documents: &HashSet<usize>) -> Result<Vec<usize>, DataError> {
        let numbers = match &self.prepared {
            Some(prepared) => prepared.documents(Half::Train)?,
            None => (0..self.documents).collect(),
        };
        let places = (0..).zip(numbers).filter(|(_, number)| documents.contains(number));
        Ok(places.map(|(place, _)| place).collect())
    }

    /// The documents that a person means by `N`, `FILE:N` or `FILE`, where N is a line, or a document of a pair.
    ///
    /// # Errors
    /// When none of the documents that are trained on is meant, or documents are read in windows.
    pub(super) fn find(&self, plan: &Plan, asked: &str) -> Result<Vec<Named>, RunError> {
        let refuse = |diagnostic: Diagnostic| RunError::Documents(Box::new(diagnostic));
        if plan.data.dataload == Dataload::Get {
            let message = msg!(WINDOWS_KEEP_DOCUMENTS);
            let refusal = Diagnostic::error(message).help(msg!(REMOVE_FROM_DATA));
            return Err(refuse(refusal));
        }
        let (file, number) = parse(asked);
        let is_meant = |path: &Path, at: u64| {
            file.is_none_or(|file| path.ends_with(file)) && number.is_none_or(|number| number == at)
        };
        let candidates = match &self.prepared {
            Some(prepared) => prepared.documents_where(is_meant)?,
            None => (0..self.documents).filter(|&i| is_meant(&self.pair, i as u64)).collect(),
        };
        let trained: HashSet<usize> = match &self.prepared {
            Some(prepared) => prepared.documents(Half::Train)?.into_iter().collect(),
            None => candidates.iter().copied().collect(),
        };
        let held_out = candidates.iter().any(|document| !trained.contains(document));
        let found: Vec<Named> = candidates
            .into_iter()
            .filter(|document| trained.contains(document))
            .map(|document| Named { document, name: self.name_of(document) })
            .collect();
        if found.is_empty() {
            let message = match held_out {
                true => msg!(DOCUMENT_IS_VALIDATION, asked),
                false => msg!(NO_SUCH_DOCUMENT, asked),
            };
            return Err(refuse(Diagnostic::error(message).note(msg!(DOCUMENT_NAMES))));
        }
        Ok(found)
    }

    fn name_of(&self, document: usize) -> String {
        match &self.prepared {
            Some(prepared) => match prepared.origin_of(document as u32) {
                Some(origin) => place_name(&origin),
                None => format!("document {document}"),
            },
            None => self.name(document),
        }
    }
}

/// A file, a number in it, or both.
fn parse(asked: &str) -> (Option<&str>, Option<u64>) {
    if let Ok(number) = asked.parse() {
        return (None, Some(number));
    }
    match asked.rsplit_once(':').map(|(file, number)| (file, number.parse())) {
        Some((file, Ok(number))) => (Some(file), Some(number)),
        _ => (Some(asked), None),
    }
}

fn place_name(origin: &Origin) -> String {
    match origin {
        Origin::Jsonl(place) => format!("{}:{}", place.file.display(), place.line()),
        Origin::Text(path) => path.display().to_string(),
        Origin::Binidx { prefix, index } => format!("{}:{index}", prefix.display()),
    }
}
