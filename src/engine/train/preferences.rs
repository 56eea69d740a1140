//! Objectives that compare answers: from rows to records, the reference, and the loss of validation records.
//!
//! The formulas are functions of log-probabilities, in `statetune_core::objective`. The reference is the model before the
//! first step: its log-probabilities are computed once and kept by record, so that no second model is needed.

use std::cell::OnceCell;
use std::ops::ControlFlow::{self, Break, Continue};

use statetune_core::data::{Batch, Loader, RowAnswers};
use statetune_core::objective::{Answer, Judged, Preference, RewardSums, Rewards, Sample};

use super::mean_loss::{all_batches, row_log_probs};
use super::objective::{Objective, RowLogProbs, Weighed};
use super::references::{MISMATCHED, References, is_pair, place_of};
use super::{BatchTensors, DocumentSums, LossOptions, Rounds, StepModel, TrainError};
use crate::model::{Model, TimeState};

impl References {
    /// Computes those of every record of `loader` with a model that starts from `state`. `rounds` share the batches, with the
    /// records as units of work.
    ///
    /// # Errors
    /// A document that cannot be read, errors of the model's recurrence, and a device that is gone.
    pub fn add(
        &mut self,
        (model, state): (&Model, &TimeState),
        loader: &mut Loader<'_>,
        micro_bsz: u64,
        options: LossOptions,
        rounds: &mut Rounds<'_>,
    ) -> Result<ControlFlow<()>, TrainError> {
        let samples = loader.first_samples();
        let batches = samples
            .chunks(micro_bsz as usize)
            .map(|samples| Ok((samples.len() as u64, loader.batch_of(samples.iter().copied())?)));
        let take = |batch: Batch, log_probs: RowLogProbs| {
            for Record { record, rows, mismatched } in records(&batch) {
                for (side, row) in rows.into_iter().enumerate() {
                    if let Some(row) = row {
                        self.0[record][side] = log_probs.rows[row];
                    }
                }
                if let Some(row) = mismatched {
                    self.0[record][MISMATCHED] = log_probs.mismatched[row];
                }
            }
        };
        each_log_probs((model, state), batches, options, rounds, take)
    }
}

/// Shares out the log-probabilities of `batches`, and calls `take` with those of each.
fn each_log_probs(
    (model, state): (&Model, &TimeState),
    batches: impl Iterator<Item = Result<(u64, Batch), TrainError>>,
    options: LossOptions,
    rounds: &mut Rounds<'_>,
    mut take: impl FnMut(Batch, RowLogProbs),
) -> Result<ControlFlow<()>, TrainError> {
    let compute = |batch: &Batch, _: &mut dyn FnMut() -> ControlFlow<()>| {
        Ok::<_, TrainError>(Continue(log_probs(model, state, batch, options)?.numbers()))
    };
    let take_numbers = |batch: Batch, numbers| {
        let log_probs = RowLogProbs::of_batch(&batch, numbers);
        take(batch, log_probs);
    };
    rounds.each(batches, compute, take_numbers)
}

/// An objective that compares answers, with its reference.
#[derive(Debug)]
pub struct Preferences<'a> {
    preference: &'a dyn Preference,
    references: OnceCell<References>,
}

impl<'a> Preferences<'a> {
    /// The objective; [`Preferences::start_from`] comes before the first step.
    pub fn new(preference: &'a dyn Preference) -> Preferences<'a> {
        Preferences { preference, references: OnceCell::new() }
    }

    /// Sets the reference, once.
    pub fn start_from(&self, references: References) {
        let _ = self.references.set(references);
    }

    /// Whether the objective compares the model with the start of the run.
    pub fn has_reference(&self) -> bool {
        self.preference.has_reference()
    }

    /// Whether a reference is needed and not known yet.
    pub fn needs_references(&self) -> bool {
        self.has_reference() && self.references.get().is_none()
    }

    /// A record of a batch with its log-probabilities.
    fn sample(&self, batch: &Batch, record: &Record, log_probs: &RowLogProbs) -> Sample {
        let reference =
            |place| self.references.get().map_or(0.0, |known| known.of(record.record, place));
        let targets = |batch: &Batch, row: usize| {
            let of_row = |at: &&i64| **at as usize / batch.tokens == row;
            batch.learned_at.iter().filter(of_row).count() as u64
        };
        let answer = |side: usize| {
            record.rows[side].map(|row| Answer {
                log_prob: log_probs.rows[row],
                reference: reference(side),
                tokens: targets(batch, row),
            })
        };
        let others = batch.answers.as_ref().map(|answers| &answers.mismatched);
        let mismatched = record.mismatched.zip(others).map(|(row, others)| Answer {
            log_prob: log_probs.mismatched[row],
            reference: reference(MISMATCHED),
            tokens: targets(others, row),
        });
        Sample { chosen: answer(0), rejected: answer(1), mismatched }
    }
}

impl Objective for Preferences<'_> {
    fn needs_log_probs(&self) -> bool {
        true
    }

    fn weigh(&self, batches: &[Batch], log_probs: &[RowLogProbs]) -> Weighed {
        let mut weights: Vec<Vec<f64>> =
            batches.iter().map(|batch| vec![0.0; batch.rows]).collect();
        let (mut places, mut samples) = (Vec::new(), Vec::new());
        for (i, (batch, log_probs)) in batches.iter().zip(log_probs).enumerate() {
            for record in records(batch) {
                samples.push(self.sample(batch, &record, log_probs));
                places.push((i, record.rows));
            }
        }
        let judged = self.preference.judge(&samples);
        // The cross-entropy of a row is minus its log-probability.
        for ((i, rows), Judged { slopes, .. }) in places.into_iter().zip(&judged) {
            for (row, slope) in rows.into_iter().zip(slopes) {
                if let Some(row) = row {
                    weights[i][row] = -slope;
                }
            }
        }
        let (loss, count, rewards) = totals(&judged);
        Weighed { rows: Some(weights), count: count.max(1), loss: Some(loss), rewards }
    }

    fn references(&self) -> Option<&References> {
        self.references.get()
    }
}

/// The mean loss, what it is a mean over, and the rewards.
fn totals(judged: &[Judged]) -> (f64, u64, Option<Rewards>) {
    let count: u64 = judged.iter().map(|one| one.count).sum();
    let loss = judged.iter().map(|one| one.loss).sum::<f64>() / count as f64;
    let mut sums = RewardSums::default();
    judged.iter().for_each(|one| sums.add(one));
    (loss, count, sums.means())
}

/// The rows of a record in a batch.
struct Record {
    record: usize,
    /// Of the chosen and of the rejected answer.
    rows: [Option<usize>; 2],
    mismatched: Option<usize>,
}

/// The records of a batch, without those whose rows are empty.
fn records(batch: &Batch) -> Vec<Record> {
    let Some(answers) = &batch.answers else { return Vec::new() };
    let RowAnswers { rows, mismatched } = &**answers;
    let has_targets = |batch: &Batch, row: usize| {
        batch.learned_at.iter().any(|at| *at as usize / batch.tokens == row)
    };
    let mut found = Vec::new();
    let mut first = 0;
    for (number, of_record) in rows.chunk_by(is_pair).enumerate() {
        let mut record = Record { record: of_record[0].record, rows: [None; 2], mismatched: None };
        for (row, answer) in (first..).zip(of_record) {
            let row = has_targets(batch, row).then_some(row);
            record.rows[place_of(answer.side)] = row;
        }
        if number < mismatched.rows {
            record.mismatched = has_targets(mismatched, number).then_some(number);
        }
        if record.rows != [None; 2] {
            found.push(record);
        }
        first += of_record.len();
    }
    found
}

/// The log-probabilities of the rows of a batch, without dropout; records no gradients.
fn log_probs(
    model: &Model,
    state: &TimeState,
    batch: &Batch,
    options: LossOptions,
) -> Result<RowLogProbs, TrainError> {
    let of = |batch: &Batch| {
        let tensors = BatchTensors::new(batch, model.device());
        let start = model.start(state, batch.rows as i64);
        row_log_probs(StepModel::without_dropout(model), &start, &tensors, options)
    };
    let others = batch.answers.as_ref().map(|answers| &answers.mismatched);
    let mismatched = others.filter(|others| others.learned() > 0).map(of).transpose()?;
    Ok(RowLogProbs { rows: of(batch)?, mismatched: mismatched.unwrap_or_default() })
}

/// A mean loss in nats, and how the answers are judged.
pub type LossAndRewards = (f64, Option<Rewards>);

/// The loss of every record of `loader` and how their answers are judged, for a model that starts from `state`, in nats;
/// `None` without records.
///
/// `rounds` share the batches, with the records as units of work. `documents` gets the losses of the documents that it asks for.
///
/// # Errors
/// A document that cannot be read, errors of the model's recurrence, and a device that is gone.
pub fn mean_preference_loss(
    preferences: &Preferences<'_>,
    model: (&Model, &TimeState),
    loader: &mut Loader<'_>,
    micro_bsz: u64,
    options: LossOptions,
    documents: &mut DocumentSums,
    rounds: &mut Rounds<'_>,
) -> Result<ControlFlow<(), Option<LossAndRewards>>, TrainError> {
    let (mut samples, mut of_samples) = (Vec::new(), Vec::new());
    let take = |batch: Batch, log_probs: RowLogProbs| {
        for record in records(&batch) {
            samples.push(preferences.sample(&batch, &record, &log_probs));
            let row = record.rows.into_iter().flatten().next();
            of_samples.push(row.and_then(|row| batch.documents[row].first().copied()));
        }
    };
    let batches = all_batches(loader, micro_bsz);
    if each_log_probs(model, batches, options, rounds, take)?.is_break() {
        return Ok(Break(()));
    }
    let judged = preferences.preference.judge(&samples);
    for (document, one) in of_samples.iter().zip(&judged) {
        documents.add_one(*document, one.loss, one.count);
    }
    let (loss, count, rewards) = totals(&judged);
    Ok(Continue((count > 0).then_some((loss, rewards))))
}
