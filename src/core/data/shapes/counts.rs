//! What the records of a source were made of, in numbers.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::form::{RecordText, Shape};

/// Records of one shape.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct ShapeCount {
    /// The shape.
    pub shape: Shape,
    /// The keys that tell the shape, in words.
    pub keys: String,
    /// Number of records.
    pub records: u64,
}

/// Counts of the records of a source.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct RecordCounts {
    /// Records that became documents.
    pub records: u64,
    /// Their shapes, in the order in which they were met.
    pub shapes: Vec<ShapeCount>,
    /// The paths of keys that nothing was made of, with the number of records.
    pub unused: BTreeMap<String, u64>,
    /// The usual keys that documents were made of.
    pub used: BTreeSet<String>,
    /// Turns that are never target text.
    pub muted: u64,
}

impl RecordCounts {
    /// Counts a record.
    pub fn add(&mut self, record: &RecordText) {
        self.records += 1;
        self.muted += record.muted.len() as u64;
        let same = |one: &&mut ShapeCount| one.shape == record.shape && one.keys == record.keys;
        match self.shapes.iter_mut().find(same) {
            Some(one) => one.records += 1,
            None => {
                let keys = record.keys.to_string();
                self.shapes.push(ShapeCount { shape: record.shape, keys, records: 1 });
            }
        }
        for path in &record.unused {
            match self.unused.get_mut(path) {
                Some(count) => *count += 1,
                None => drop(self.unused.insert(path.clone(), 1)),
            }
        }
        for key in &record.used {
            if !self.used.contains(*key) {
                self.used.insert((*key).to_owned());
            }
        }
    }

    /// Adds the counts of other records.
    pub fn merge(&mut self, other: &RecordCounts) {
        self.records += other.records;
        self.muted += other.muted;
        self.used.extend(other.used.iter().cloned());
        for one in &other.shapes {
            let same = |own: &&mut ShapeCount| own.shape == one.shape && own.keys == one.keys;
            match self.shapes.iter_mut().find(same) {
                Some(own) => own.records += one.records,
                None => self.shapes.push(one.clone()),
            }
        }
        for (path, records) in &other.unused {
            *self.unused.entry(path.clone()).or_default() += records;
        }
    }

    /// The unused paths that `ignored` does not name, the most frequent first.
    pub fn left_out(&self, ignored: &[String]) -> Vec<(&str, u64)> {
        let left = self.unused.iter().filter(|(path, _)| !ignored.contains(path));
        let mut left: Vec<(&str, u64)> =
            left.map(|(path, records)| (path.as_str(), *records)).collect();
        left.sort_by_key(|(_, records)| std::cmp::Reverse(*records));
        left
    }
}
