//! Rows of tokens -> rectangles of numbers, and back for records.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

use crate::data::answers::Side;

/// One micro-batch: inputs (B, T) and the target tokens. Made by a [`super::Loader`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Rows, B.
    pub rows: usize,
    /// Tokens of the longest row, T; at least 1.
    pub tokens: usize,
    /// Token ids row by row, (B, T), padded on the right with 0.
    pub inputs: Vec<i64>,
    /// Row by row, (B, T): true where a document begins within a row. Absent when each row has only one.
    pub restarts: Option<Vec<bool>>,
    /// Places of the target positions in `inputs`.
    pub learned_at: Vec<i64>,
    /// The target token at each of these positions.
    pub targets: Vec<i64>,
    /// For each row the documents in it, by their numbers in the pair; empty where unknown.
    pub documents: Vec<Vec<usize>>,
    /// What the rows are where answers are compared.
    pub answers: Option<Box<RowAnswers>>,
}

/// The rows of a micro-batch of answers that are compared.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RowAnswers {
    /// What each row is. The rejected answer of a pair follows the chosen one.
    pub rows: Vec<RowAnswer>,
    /// For each record the answer of another one behind its question; without rows unless asked for.
    pub mismatched: Batch,
}

/// An answer in a row of its own.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RowAnswer {
    /// The record, by its number in source order.
    pub record: usize,
    /// Which answer it is.
    pub side: Side,
}

/// A row of a batch before it is padded.
#[derive(Debug, Default)]
pub(super) struct Row {
    inputs: Vec<i64>,
    /// Where documents begin behind the start of the row.
    restarts: Vec<usize>,
    /// Positions, each with its target token.
    targets: Vec<(usize, i64)>,
    /// The documents in it.
    pub(super) documents: Vec<usize>,
}

impl Row {
    /// A row from recorded numbers; `targets` are positions, each with its target token.
    pub(super) fn from_numbers(
        inputs: Vec<i64>,
        restarts: Vec<usize>,
        targets: Vec<(usize, i64)>,
    ) -> Row {
        Row { inputs, restarts, targets, documents: Vec::new() }
    }

    /// Appends a piece of a document: all tokens but the last are inputs, each predicts the next token. `learned` is true
    /// for each target token.
    pub(super) fn push(&mut self, ids: &[u32], learned: &[bool]) {
        let start = self.inputs.len();
        if start > 0 {
            self.restarts.push(start);
        }
        let inputs = &ids[..ids.len().saturating_sub(1)];
        self.inputs.extend(inputs.iter().copied().map(i64::from));
        let predicted = (start..).zip(ids.iter().zip(learned).skip(1));
        let targets = predicted.filter(|(_, (_, learned))| **learned);
        self.targets.extend(targets.map(|(at, (&id, _))| (at, i64::from(id))));
    }

    pub(super) fn has_targets(&self) -> bool {
        !self.targets.is_empty()
    }
}

impl Batch {
    /// The rows side by side.
    pub(super) fn new(rows: &[Row]) -> Batch {
        let t = rows.iter().map(|row| row.inputs.len()).max().unwrap_or(0).max(1);
        let mut inputs = vec![0; rows.len() * t];
        let mut restarts = vec![false; rows.len() * t];
        let (mut learned_at, mut targets) = (Vec::new(), Vec::new());
        for (row, start) in rows.iter().zip((0..).step_by(t)) {
            inputs[start..start + row.inputs.len()].copy_from_slice(&row.inputs);
            row.restarts.iter().for_each(|at| restarts[start + at] = true);
            learned_at.extend(row.targets.iter().map(|(at, _)| (start + at) as i64));
            targets.extend(row.targets.iter().map(|(_, id)| *id));
        }
        Batch {
            rows: rows.len(),
            tokens: t,
            inputs,
            restarts: restarts.contains(&true).then_some(restarts),
            learned_at,
            targets,
            documents: rows.iter().map(|row| row.documents.clone()).collect(),
            answers: None,
        }
    }

    /// How many target tokens it has.
    pub fn learned(&self) -> u64 {
        self.targets.len() as u64
    }

    /// The document of each target token, by its number in the pair; `None` where unknown.
    pub fn target_documents(&self) -> Vec<Option<usize>> {
        let is_start = |at: usize| self.restarts.as_ref().is_some_and(|restarts| restarts[at]);
        let mut of_positions = Vec::with_capacity(self.inputs.len());
        for (row, documents) in self.documents.iter().enumerate() {
            let mut place = 0;
            for at in row * self.tokens..(row + 1) * self.tokens {
                place += usize::from(is_start(at));
                of_positions.push(documents.get(place).copied());
            }
        }
        self.learned_at.iter().map(|&at| of_positions[at as usize]).collect()
    }

    /// Adds shapes and contents to a digest.
    pub fn digest(&self, digest: &mut Xxh3) {
        let size = [self.rows as i64, self.tokens as i64];
        add(digest, &size, self.inputs.iter().flat_map(|id| id.to_le_bytes()));
        if let Some(restarts) = &self.restarts {
            add(digest, &size, restarts.iter().map(|restart| u8::from(*restart)));
        }
        for numbers in [&self.learned_at, &self.targets] {
            let bytes = numbers.iter().flat_map(|number| number.to_le_bytes());
            add(digest, &[numbers.len() as i64], bytes);
        }
        if let Some(answers) = &self.answers {
            let sides = answers.rows.iter().map(|row| u8::from(row.side == Side::Chosen));
            add(digest, &[answers.rows.len() as i64], sides);
            answers.mismatched.digest(digest);
        }
    }
}

/// Adds a tensor of this size and these bytes to a digest.
fn add(digest: &mut Xxh3, size: &[i64], bytes: impl Iterator<Item = u8>) {
    size.iter().for_each(|axis| digest.update(&axis.to_le_bytes()));
    digest.update(&bytes.collect::<Vec<u8>>());
}

/// A row of a batch.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct PlainRow {
    /// Its tokens, padding included.
    pub inputs: Vec<i64>,
    /// Where documents begin behind the start of the row.
    pub restarts: Vec<usize>,
    /// The positions with a target token.
    pub learned_at: Vec<usize>,
    /// The target token at each of these positions.
    pub targets: Vec<i64>,
    /// What the row is, where answers are compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<RowAnswer>,
    /// Whether the row is the answer of another record behind the question of a record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub mismatched: bool,
    /// Log-probability of the answer with the reference of the run, in nats, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<f64>,
}

impl Batch {
    /// The rows, then the mismatched ones; without references.
    pub fn plain(&self) -> Vec<PlainRow> {
        let mut rows = self.own_rows();
        if let Some(answers) = &self.answers {
            for (row, answer) in rows.iter_mut().zip(&answers.rows) {
                row.answer = Some(*answer);
            }
            let mismatched = answers.mismatched.own_rows().into_iter();
            rows.extend(mismatched.map(|row| PlainRow { mismatched: true, ..row }));
        }
        rows
    }

    /// The rows as tokens and targets.
    fn own_rows(&self) -> Vec<PlainRow> {
        let t = self.tokens.max(1);
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

    /// The batch of these rows, without the numbers of documents.
    pub fn from_plain(rows: &[PlainRow]) -> Batch {
        let row = |row: &PlainRow| {
            let targets = row.learned_at.iter().copied().zip(row.targets.iter().copied());
            Row::from_numbers(row.inputs.clone(), row.restarts.clone(), targets.collect())
        };
        let of = |mismatched: bool| {
            let rows = rows.iter().filter(|row| row.mismatched == mismatched);
            Batch::new(&rows.map(row).collect::<Vec<_>>())
        };
        let answers: Vec<RowAnswer> = rows.iter().filter_map(|row| row.answer).collect();
        let answers = (!answers.is_empty())
            .then(|| Box::new(RowAnswers { rows: answers, mismatched: of(true) }));
        Batch { answers, ..of(false) }
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
                ..PlainRow::default()
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

    #[test]
    fn answers_come_back() {
        let row = |target: i64, answer, mismatched| PlainRow {
            inputs: vec![5, target],
            learned_at: vec![1],
            targets: vec![target],
            answer,
            mismatched,
            ..PlainRow::default()
        };
        let answer = |record, side| Some(RowAnswer { record, side });
        let rows = [
            row(6, answer(3, Side::Chosen), false),
            row(7, answer(3, Side::Rejected), false),
            row(8, answer(5, Side::Chosen), false),
            row(8, None, true),
            row(6, None, true),
        ];
        let batch = Batch::from_plain(&rows);
        let answers = batch.answers.as_deref().expect("answers");
        assert_eq!((batch.rows, answers.rows.len(), answers.mismatched.rows), (3, 3, 2));
        assert_eq!(batch.plain(), rows);
        assert_eq!(Batch::from_plain(&rows[..3]).plain(), rows[..3]);
    }

    #[test]
    fn every_target_knows_its_document() {
        let mut rows = [Row::default(), Row::default()];
        for (row, document, ids) in
            [(0, 7, vec![1, 2, 3]), (0, 4, vec![4, 5]), (0, 9, vec![6, 7, 8]), (1, 2, vec![9, 0])]
        {
            rows[row].push(&ids, &vec![true; ids.len()]);
            rows[row].documents.push(document);
        }
        let batch = Batch::new(&rows);
        let documents = [7, 7, 4, 9, 9, 2].map(Some);
        assert_eq!(batch.target_documents(), documents);
        let unknown = Batch::from_plain(&batch.plain());
        assert_eq!(unknown.target_documents(), [None; 6]);
    }
}
