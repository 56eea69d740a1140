//! Batches as plain numbers, for records.

use serde::{Deserialize, Serialize};

use super::Batch;
use crate::data::samples::batch::Row;

/// A row of a batch.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub struct PlainRow {
    /// Its tokens, padding included.
    pub inputs: Vec<i64>,
    /// Where documents begin behind the start of the row.
    pub restarts: Vec<usize>,
    /// Its learned positions.
    pub learned_at: Vec<usize>,
    /// The tokens to predict there.
    pub targets: Vec<i64>,
}

impl Batch {
    /// The rows.
    pub fn plain(&self) -> Vec<PlainRow> {
        let t = self.tokens;
        let row = |inputs: &[i64]| PlainRow { inputs: inputs.to_vec(), ..PlainRow::default() };
        let mut rows: Vec<PlainRow> = self.inputs.chunks(t).map(row).collect();
        for (&at, &target) in self.learned_at.iter().zip(&self.targets) {
            let at = at as usize;
            rows[at / t].learned_at.push(at % t);
            rows[at / t].targets.push(target);
        }
        let restarts = self.restarts.iter().flatten().enumerate();
        for (at, _) in restarts.filter(|(_, restarts)| **restarts) {
            rows[at / t].restarts.push(at % t);
        }
        rows
    }

    /// The batch of these rows, which nobody knows the documents of.
    pub fn from_plain(rows: &[PlainRow]) -> Batch {
        let row = |row: &PlainRow| {
            let targets = row.learned_at.iter().copied().zip(row.targets.iter().copied());
            Row::from_numbers(row.inputs.clone(), row.restarts.clone(), targets.collect())
        };
        Batch::new(&rows.iter().map(row).collect::<Vec<_>>())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_comes_back() {
        let rows = [
            PlainRow {
                inputs: vec![5, 6, 7, 8],
                restarts: vec![2],
                learned_at: vec![0, 3],
                targets: vec![6, 9],
            },
            PlainRow {
                inputs: vec![1, 2, 0, 0],
                learned_at: vec![1],
                targets: vec![3],
                ..PlainRow::default()
            },
        ];
        let batch = Batch::from_plain(&rows);
        assert_eq!((batch.rows, batch.tokens, batch.learned()), (2, 4, 3));
        assert_eq!(batch.plain(), rows);
    }
}
