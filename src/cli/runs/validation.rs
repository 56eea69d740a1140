//! Which runs of a table measure the validation loss on the same documents.

use std::collections::HashMap;

use statetune_core::look::diff::Documents;
use statetune_core::records::{Lock, ReadRunError};
use statetune_core::store::StoredRun;

use super::Row;

/// Below a table with marks.
pub(crate) const NOTE: &str = "VAL: losses with different letters are over different validation documents; do not compare them";

/// Below a table with marks of suites.
pub(crate) const SUITE_NOTE: &str = "SUITE: values with different letters are over different items, or asked in another form; do not compare them";

/// Marks each run that has a suite with a letter for the items of its first suite, if the runs have several such sets.
fn mark_suites<'a>(rows: impl Iterator<Item = &'a mut Row>) {
    let mut letters = HashMap::new();
    let rows: Vec<_> = rows.filter_map(|row| row.asked.clone().map(|asked| (row, asked))).collect();
    for (row, asked) in &rows {
        let name = row.suites.keys().next().cloned().unwrap_or_default();
        let next = letters.len();
        letters.entry((name, asked.clone())).or_insert_with(|| letter(next));
    }
    if letters.len() > 1 {
        for (row, asked) in rows {
            let name = row.suites.keys().next().cloned().unwrap_or_default();
            row.suite_items = letters.get(&(name, asked)).cloned();
        }
    }
}

/// Marks each run that has a validation loss with a letter for its validation documents, if the runs have several such
/// sets. A run whose documents cannot be told from its records is a set of its own data.
pub(crate) fn mark<'a>(rows: impl Iterator<Item = &'a mut Row>) {
    let mut rows: Vec<&mut Row> = rows.collect();
    mark_suites(rows.iter_mut().map(|row| &mut **row));
    rows.retain(|row| row.val_loss().is_some());
    let (mut digests, mut letters) = (HashMap::new(), HashMap::new());
    let sets: Vec<String> = rows.iter().map(|row| documents(row, &mut digests)).collect();
    for set in &sets {
        let next = letters.len();
        letters.entry(set.clone()).or_insert_with(|| letter(next));
    }
    if letters.len() > 1 {
        for (row, set) in rows.into_iter().zip(&sets) {
            row.validation = Some(letters[set].clone());
        }
    }
}

/// A name of the validation documents of a run. Runs with the same prepared data share one reading of the records.
fn documents(row: &Row, digests: &mut HashMap<(String, String), String>) -> String {
    let prepared = Lock::load(&row.path).and_then(|lock| lock.data_id().cloned());
    let limit = row.settings.get("eval.limit").cloned().unwrap_or_else(|| "0".to_string());
    let key = (prepared.unwrap_or_else(|| row.directory.clone()), limit);
    if let Some(known) = digests.get(&key) {
        return known.clone();
    }
    let found =
        digest(row, &key.1).ok().flatten().unwrap_or_else(|| format!("{} {}", key.0, key.1));
    digests.insert(key, found.clone());
    found
}

/// The digest of the recorded validation documents; `None` when they are not recorded.
fn digest(row: &Row, limit: &str) -> Result<Option<String>, ReadRunError> {
    let run = StoredRun::open(&row.path)?;
    let Some(digests) = run.documents()? else { return Ok(None) };
    let limit = limit.parse().unwrap_or(0);
    Ok(Documents::new(digests, run.copies()?, limit).validation_digest())
}

/// `a`, `b` and so on; numbers after `z`.
fn letter(index: usize) -> String {
    match u8::try_from(index) {
        Ok(small @ 0..26) => char::from(b'a' + small).to_string(),
        _ => (index + 1).to_string(),
    }
}
