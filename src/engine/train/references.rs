//! The log-probabilities that answers are compared with: those of the model before the first step.

use statetune_core::data::{Batch, Loader, PlainRow, RowAnswer, Side};

/// The log-probabilities of the reference, by record: of the chosen, the rejected and the mismatched answer; NaN where
/// there is none.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct References(pub Vec<[f64; 3]>);

/// The place of the mismatched answer among the three of a record.
pub(super) const MISMATCHED: usize = 2;

/// The place of an answer among the three of a record.
pub(super) fn place_of(side: Side) -> usize {
    usize::from(side == Side::Rejected)
}

/// Whether two rows are those of one pair.
pub(super) fn is_pair(a: &RowAnswer, b: &RowAnswer) -> bool {
    a.record == b.record && (a.side, b.side) == (Side::Chosen, Side::Rejected)
}

impl References {
    /// Room for this many records.
    pub fn of_records(records: usize) -> References {
        References(vec![[f64::NAN; 3]; records])
    }

    pub(super) fn of(&self, record: usize, place: usize) -> f64 {
        self.0.get(record).map_or(0.0, |of_record| of_record[place])
    }

    /// Those of the rows of `batch`, then of its mismatched rows, in the order of [`Batch::plain`].
    pub fn of_rows(&self, batch: &Batch) -> Vec<Option<f64>> {
        let Some(answers) = &batch.answers else { return vec![None; batch.rows] };
        let known = |record, place| Some(self.of(record, place)).filter(|one| one.is_finite());
        let own = answers.rows.iter().map(|row| known(row.record, place_of(row.side)));
        let of_records = answers.rows.chunk_by(is_pair).take(answers.mismatched.rows);
        own.chain(of_records.map(|rows| known(rows[0].record, MISMATCHED))).collect()
    }

    /// Those of the recorded rows of each micro-batch.
    pub fn from_plain(batches: &[Vec<PlainRow>]) -> References {
        let of_batch = |rows: &Vec<PlainRow>| rows.iter().filter_map(|row| row.answer).collect();
        let answers: Vec<Vec<RowAnswer>> = batches.iter().map(of_batch).collect();
        let records = answers.iter().flatten().map(|answer| answer.record + 1).max();
        let mut references = References::of_records(records.unwrap_or(0));
        for (rows, answers) in batches.iter().zip(answers) {
            let (mismatched, own): (Vec<_>, Vec<_>) = rows.iter().partition(|row| row.mismatched);
            let reference = |row: &PlainRow| row.reference.unwrap_or(f64::NAN);
            for (RowAnswer { record, side }, row) in answers.iter().zip(own) {
                references.0[*record][place_of(*side)] = reference(row);
            }
            for (of_record, row) in answers.chunk_by(is_pair).zip(mismatched) {
                references.0[of_record[0].record][MISMATCHED] = reference(row);
            }
        }
        references
    }

    /// Whether every record of `loader` has some.
    pub fn cover(&self, loader: &Loader<'_>) -> bool {
        let is_known =
            |record: usize| self.0.get(record).is_some_and(|one| one.iter().any(|x| !x.is_nan()));
        loader.records().all(is_known)
    }
}
