//! The documents of an experiment, one by one.

use std::ops::Range;
use std::path::Path;

use crate::data::{
    Binidx, DataError, DataType, LineFault, Origin, PrepareSpec, RecordCounts, RecordText, Split,
    Tokenizer, for_each_row, holds_records, keep_last_answer, prepare,
};
use crate::diagnostic::{Diagnostic, Span};
use crate::plan::Plan;

/// A document and its target tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct Sample {
    /// The source of the document.
    pub origin: Origin,
    /// Its text.
    pub text: String,
    /// Its tokens, the closing token included.
    pub ids: Vec<u32>,
    /// For each token whether it is a target token.
    learned: Vec<bool>,
    /// For each token the bytes of the text up to its end.
    ends: Vec<usize>,
    /// The document with the rejected answer, where the document is a preference pair.
    pub rejected: Option<Box<Sample>>,
    /// Whether the answer is good, where the objective reads labels and the record has one.
    pub label: Option<bool>,
}

impl Sample {
    /// Whether the token at `at` is a target token. The first token never is, because nothing predicts it.
    pub fn is_learned(&self, at: usize) -> bool {
        at > 0 && self.learned[at]
    }

    /// The bytes of the first `tokens` tokens.
    pub(super) fn bytes_of(&self, tokens: usize) -> usize {
        tokens.checked_sub(1).and_then(|last| self.ends.get(last)).copied().unwrap_or(0)
    }

    /// The text, followed by that with the rejected answer.
    pub(super) fn whole_text(&self) -> String {
        let rejected = self.rejected.as_ref().map_or("", |rejected| &rejected.text);
        [&*self.text, rejected].concat()
    }

    /// The message with the place of the document.
    pub(super) fn place(&self, diagnostic: Diagnostic) -> Diagnostic {
        self.origin.show(diagnostic)
    }

    /// The document, marked at the first `word` in its line.
    pub(super) fn origin_at(&self, word: &str) -> Origin {
        match &self.origin {
            Origin::Jsonl(place) => {
                let mut place = place.clone();
                if let Some(start) = place.text.find(word) {
                    place.range = start..start + word.len();
                }
                Origin::Jsonl(place)
            }
            other => other.clone(),
        }
    }

    /// The message with the place of the first `word` in the line of the document.
    pub(super) fn mark(&self, diagnostic: Diagnostic, word: &str) -> Diagnostic {
        self.origin_at(word).show(diagnostic)
    }

    /// A document without a text.
    #[cfg(test)]
    pub(super) fn of_tokens(ids: Vec<u32>, learned: Vec<bool>) -> Sample {
        let origin = Origin::Binidx { prefix: "d".into(), index: 0 };
        let (text, ends) = (String::new(), Vec::new());
        Sample { origin, text, ids, learned, ends, rejected: None, label: None }
    }
}

/// A document or an invalid line.
#[derive(Clone, Debug)]
pub enum Item {
    /// A document.
    Sample(Sample),
    /// A line that is not a valid document.
    Fault {
        /// The line, with the faulty range.
        place: Box<Span>,
        /// The fault.
        fault: LineFault,
    },
}

/// Passes every document of the sources of `plan` once and in order to `each`, and every line that is not a valid document.
/// Returns what the records of each source were made of.
///
/// # Errors
/// A source that cannot be read, or a file of records without records.
pub fn read(
    plan: &Plan,
    tokenizer: &Tokenizer,
    each: &mut dyn FnMut(Item),
) -> Result<Vec<RecordCounts>, DataError> {
    let reads = |data_type| data_type == DataType::Binidx || holds_records(data_type);
    if !plan.data.sources.iter().all(|source| reads(source.data_type)) {
        return read_prepared(plan, tokenizer, each);
    }
    let mut counts = Vec::new();
    for source in &plan.data.sources {
        let mut records = RecordCounts::default();
        let mut left = source.limit.unwrap_or(u64::MAX);
        for file in &source.files {
            match source.data_type {
                DataType::Binidx => read_pair(file, plan, tokenizer, &mut left, each)?,
                data_type => {
                    let kept = (&mut left, &mut records);
                    read_records(file, data_type, plan, tokenizer, kept, each)?;
                }
            }
        }
        counts.push(records);
    }
    Ok(counts)
}

/// Passes every document of another file of records to `each`, read with the settings of `plan`.
///
/// # Errors
/// A file that cannot be read or has no records.
pub fn read_other(
    file: &Path,
    plan: &Plan,
    tokenizer: &Tokenizer,
    each: &mut dyn FnMut(Item),
) -> Result<(), DataError> {
    let mut left = u64::MAX;
    let kept = (&mut left, &mut RecordCounts::default());
    read_records(file, DataType::Jsonl, plan, tokenizer, kept, each)
}

/// Passes the documents of a file of records and its invalid rows to `each`, until `left` documents are found.
///
/// # Errors
/// A file that cannot be read or has no records.
fn read_records(
    file: &Path,
    data_type: DataType,
    plan: &Plan,
    tokenizer: &Tokenizer,
    (left, counts): (&mut u64, &mut RecordCounts),
    each: &mut dyn FnMut(Item),
) -> Result<(), DataError> {
    let form = plan.data.form();
    let mut is_empty = *left > 0;
    for_each_row(file, data_type, |row| {
        if *left == 0 {
            return;
        }
        let parsed = row.parse(|record| form.parse(record));
        is_empty &= matches!(parsed, Ok(None));
        match parsed {
            Ok(None) => {}
            Ok(Some(record)) => {
                *left -= 1;
                counts.add(&record);
                let RecordText { text, muted, rejected, label, .. } = record;
                let of = |text: &str, muted: &[Range<usize>]| {
                    let origin = Origin::Jsonl(row.place(0..0));
                    of_text(plan, tokenizer, text, muted, origin)
                };
                let rejected = rejected.map(|text| Box::new(of(&text, &[])));
                each(Item::Sample(Sample { rejected, label, ..of(&text, &muted) }));
            }
            Err((range, fault)) => each(Item::Fault { place: row.place(range), fault }),
        }
    })?;
    // A run refuses such a file, too.
    if is_empty { Err(DataError::NoDocuments { file: file.to_path_buf() }) } else { Ok(()) }
}

/// A text with its tokens. Where answers are compared, the last one is target text.
fn of_text(
    plan: &Plan,
    tokenizer: &Tokenizer,
    text: &str,
    muted: &[Range<usize>],
    origin: Origin,
) -> Sample {
    let text = plan.data.template.cleaned(text).into_owned();
    let ids = encode(plan, tokenizer, &text);
    let mut learned = plan.data.mask.of_tokens_without(tokenizer, &ids, muted);
    if plan.objective.answers().are_compared() {
        keep_last_answer(&mut learned);
    }
    let ends = ends(tokenizer, &ids);
    Sample { origin, text, ids, learned, ends, rejected: None, label: None }
}

/// The tokens of a text, as in prepared data.
fn encode(plan: &Plan, tokenizer: &Tokenizer, text: &str) -> Vec<u32> {
    let mut ids = plan.data.mask.encode(tokenizer, text.as_bytes());
    if !plan.data.end_of_doc {
        ids.pop();
    }
    ids
}

/// Passes at most `left` documents of a binidx pair to `each`.
fn read_pair(
    prefix: &Path,
    plan: &Plan,
    tokenizer: &Tokenizer,
    left: &mut u64,
    each: &mut dyn FnMut(Item),
) -> Result<(), DataError> {
    let pair = Binidx::open(prefix)?;
    for index in 0..pair.len().min(usize::try_from(*left).unwrap_or(usize::MAX)) {
        let origin = Origin::Binidx { prefix: prefix.to_path_buf(), index };
        each(Item::Sample(of_ids(pair.doc(index)?, origin, plan, tokenizer, &[])?));
        *left -= 1;
    }
    Ok(())
}

/// Passes the documents of sources of any type to `each`: prepared in the cache, without a validation split.
fn read_prepared(
    plan: &Plan,
    tokenizer: &Tokenizer,
    each: &mut dyn FnMut(Item),
) -> Result<Vec<RecordCounts>, DataError> {
    let spec = plan.prepare_spec(tokenizer);
    let prepared = prepare(&PrepareSpec { val_split: 0.0, repeat: 1, ..spec })?;
    let (pair, muted) = (Binidx::open(&prepared.train)?, prepared.muted()?);
    let documents = prepared.documents(Split::Train)?;
    for index in 0..pair.len() {
        let origin = prepared.origin(Split::Train, index);
        let origin = origin.unwrap_or(Origin::Binidx { prefix: prepared.train.clone(), index });
        let muted = documents.get(index).map_or(&[][..], |document| muted.of(*document));
        each(Item::Sample(of_ids(pair.doc(index)?, origin, plan, tokenizer, muted)?));
    }
    Ok(prepared.report.records.clone())
}

fn of_ids(
    ids: Vec<u32>,
    origin: Origin,
    plan: &Plan,
    tokenizer: &Tokenizer,
    muted: &[Range<usize>],
) -> Result<Sample, DataError> {
    let text = String::from_utf8_lossy(&tokenizer.decode(&ids)?).into_owned();
    let learned = plan.data.mask.of_tokens_without(tokenizer, &ids, muted);
    let ends = ends(tokenizer, &ids);
    Ok(Sample { origin, text, ids, learned, ends, rejected: None, label: None })
}

/// For each token the bytes of the text up to its end.
fn ends(tokenizer: &Tokenizer, ids: &[u32]) -> Vec<usize> {
    let mut end = 0;
    ids.iter()
        .map(|id| {
            end += tokenizer.token_bytes(*id).map_or(0, <[u8]>::len);
            end
        })
        .collect()
}
