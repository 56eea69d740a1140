//! Names of training documents, and the documents that a name means.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use statetune_core::data::{DataError, Dataload, Origin, Prepared, Split};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::plan::Plan;
use statetune_core::records::VALIDATION;

use crate::RunError;

/// The sources of the documents in the training pair (its two binidx files).
#[derive(Debug)]
pub(super) struct DocumentNames {
    /// Absent for a pair that is read directly.
    prepared: Option<Prepared>,
    /// The pair.
    pair: PathBuf,
    /// Documents in the pair, repeats included.
    documents: usize,
}

/// A document and its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct NamedDocument {
    /// Number of the document in the order of the sources, or in a pair that is read directly.
    pub(super) document: usize,
    /// `data/chat.jsonl:27`.
    pub(super) name: String,
}

impl DocumentNames {
    pub(super) fn new(
        prepared: Option<Prepared>,
        pair: PathBuf,
        documents: usize,
    ) -> DocumentNames {
        DocumentNames { prepared, pair, documents }
    }

    /// The name of document `index` of the pair: `data/chat.jsonl:27`, the path of a text file, or a pair and a number
    /// from 0.
    pub(super) fn name(&self, index: usize) -> String {
        let origin = match &self.prepared {
            Some(prepared) => prepared.origin(Split::Train, index),
            None => Some(Origin::Binidx { prefix: self.pair.clone(), index }),
        };
        origin.map_or_else(|| format!("document {index}"), |origin| place_name(&origin))
    }

    /// The name of validation document `index`, as [`DocumentNames::name`].
    pub(super) fn validation_name(&self, index: usize) -> String {
        let origin = self.prepared.as_ref().and_then(|one| one.origin(Split::Val, index));
        origin.map_or_else(|| format!("document {index}"), |origin| place_name(&origin))
    }

    /// The indexes in the pair of all repeats of `documents`.
    ///
    /// # Errors
    /// A cache that cannot be read.
    pub(super) fn copies(&self, documents: &HashSet<usize>) -> Result<Vec<usize>, DataError> {
        let numbers = match &self.prepared {
            Some(prepared) => prepared.documents(Split::Train)?,
            None => (0..self.documents).collect(),
        };
        let places = (0..).zip(numbers).filter(|(_, number)| documents.contains(number));
        Ok(places.map(|(place, _)| place).collect())
    }

    /// For each document in the order of the sources the copies that are trained on; [`VALIDATION`] for a validation
    /// document.
    ///
    /// # Errors
    /// A cache that cannot be read.
    pub(super) fn copies_of_all(&self) -> Result<Vec<u32>, DataError> {
        let Some(prepared) = &self.prepared else { return Ok(Vec::new()) };
        let mut copies = vec![0; prepared.report.documents as usize];
        for document in prepared.documents(Split::Train)? {
            copies[document] += 1;
        }
        if prepared.val.is_some() {
            for document in prepared.documents(Split::Val)? {
                copies[document] = VALIDATION;
            }
        }
        Ok(copies)
    }

    /// The training documents that `N`, `FILE:N` or `FILE` means, where N is a line, or a document of a pair.
    ///
    /// # Errors
    /// A name without a training document, or a plan that trains on windows.
    pub(super) fn find(&self, plan: &Plan, asked: &str) -> Result<Vec<NamedDocument>, RunError> {
        let refuse = |diagnostic: Diagnostic| RunError::Documents(Box::new(diagnostic));
        if plan.data.dataload == Dataload::Get {
            let message = msg!(WINDOWS_KEEP_DOCUMENTS);
            // Only `resume` drops documents, with the settings in the directory of the run.
            let run = plan.experiment.file().parent().unwrap_or(Path::new("."));
            let arguments = plan.experiment.from_run(run);
            let refusal = Diagnostic::error(message).help(msg!(REMOVE_FROM_DATA, arguments));
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
            Some(prepared) => prepared.documents(Split::Train)?.into_iter().collect(),
            None => candidates.iter().copied().collect(),
        };
        let held_out = candidates.iter().any(|document| !trained.contains(document));
        let found: Vec<NamedDocument> = candidates
            .into_iter()
            .filter(|document| trained.contains(document))
            .map(|document| NamedDocument { document, name: self.name_of(document) })
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

/// Splits `N`, `FILE:N` or `FILE`.
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
        Origin::Jsonl(place) => format!("{}:{}", place.file.display(), place.number()),
        Origin::Text(path) => path.display().to_string(),
        Origin::Binidx { prefix, index } => format!("{}:{index}", prefix.display()),
    }
}
