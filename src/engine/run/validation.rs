//! The validation documents of a run, and their losses.

use std::ops::ControlFlow;
use std::path::Path;

use statetune_core::data::{Binidx, Loader, Tokenizer};
use statetune_core::records::{ValDocument, ValLosses, ValLossesRecord};

use super::documents::DocumentNames;
use super::job::{Evaluated, Job};
use super::prepare::Datasets;
use super::share::{Measurement, Order, give};
use crate::RunError;
use crate::train::{
    DocumentSums, LossAndRewards, Preferences, Rounds, Subject, TrainError, mean_loss,
    mean_preference_loss,
};

/// Tokens of a document that are decoded for the beginning of its text.
const TEXT_TOKENS: usize = ValLosses::TEXT_CHARS;

/// The validation documents of a run.
pub(super) struct Validation<'a> {
    loader: Loader<'a>,
    /// The documents whose losses are recorded, and how many there are.
    documents: ValLossesRecord,
    recorded: usize,
    /// The objective, where it compares answers.
    preferences: Option<&'a Preferences<'a>>,
}

impl<'a> Validation<'a> {
    /// The validation documents of a run, taken out of `data`, or the first `limit` unless 0; `None` without any.
    ///
    /// # Errors
    /// Documents that cannot be read.
    pub(super) fn of_run<'d: 'a>(
        data: &mut Datasets<'d>,
        limit: usize,
        preferences: Option<&'a Preferences<'a>>,
    ) -> Result<Option<Validation<'a>>, RunError> {
        match (data.val.take(), &data.val_prefix) {
            (Some(val), Some(prefix)) => {
                Validation::new(val, prefix, &data.names, limit, preferences).map(Some)
            }
            _ => Ok(None),
        }
    }

    /// The documents of `loader`: those of the pair `prefix`, or its first `limit` unless 0.
    ///
    /// # Errors
    /// Documents that cannot be read.
    fn new(
        loader: Loader<'a>,
        prefix: &Path,
        names: &DocumentNames,
        limit: usize,
        preferences: Option<&'a Preferences<'a>>,
    ) -> Result<Validation<'a>, RunError> {
        let pair = Binidx::open(prefix)?;
        let of = if limit == 0 { pair.len() } else { limit.min(pair.len()) };
        let recorded = of.min(ValLosses::DOCUMENTS);
        let document = |index| -> Result<ValDocument, RunError> {
            let text = beginning(&pair.doc(index)?, loader.tokenizer());
            Ok(ValDocument { document: names.validation_name(index), text })
        };
        let documents = (0..recorded).map(document).collect::<Result<_, _>>()?;
        let documents = ValLossesRecord::Documents { documents, of: of as u64 };
        Ok(Validation { loader, documents, recorded, preferences })
    }

    /// The documents, to look at.
    pub(super) fn documents(&self) -> &Loader<'a> {
        &self.loader
    }

    /// The documents.
    pub(super) fn loader(&mut self) -> &mut Loader<'a> {
        &mut self.loader
    }

    /// The validation loss after `steps` steps in nats, and how answers are judged by an objective that compares them; `None`
    /// without target tokens. All devices compute. Records the loss of each document, unless the validation loss is NaN or infinite.
    ///
    /// # Errors
    /// A stop, a forward pass that fails, a device that is gone, or a file that cannot be written.
    pub(super) fn loss(
        &mut self,
        job: &Job<'_>,
        steps: u64,
    ) -> Result<Option<LossAndRewards>, RunError> {
        give(job.devices, &Order::Measure(Measurement::Validation))?;
        let mut look = job.work("validation loss", self.loader.samples_per_pass());
        let found = self.losses(job.evaluated(), &mut Rounds::new(job.devices, &mut look))?;
        drop(look);
        let (found, sums) = found.continue_value().ok_or(RunError::Stopped)?;
        if found.is_none_or(|(loss, _)| loss.is_finite()) {
            ValLosses::record(job.run, &self.documents, steps, sums.means())?;
        }
        // Before the first step the model is the reference, and no answer is judged.
        let is_reference = steps == 0 && self.preferences.is_some_and(Preferences::has_reference);
        Ok(found.map(|(loss, rewards)| (loss, rewards.filter(|_| !is_reference))))
    }

    /// The part of a device in [`Validation::loss`]: what all of them compute, and the losses of the recorded documents.
    ///
    /// # Errors
    /// A forward pass that fails, or a device that is gone.
    pub(super) fn losses(
        &mut self,
        evaluated: Evaluated<'_>,
        rounds: &mut Rounds<'_>,
    ) -> Result<ControlFlow<(), (Option<LossAndRewards>, DocumentSums)>, TrainError> {
        let (model, state) = evaluated.model();
        let (micro_bsz, options) = evaluated.batches();
        let mut sums = DocumentSums::of_first(self.recorded);
        let loader = &mut self.loader;
        let found = match self.preferences {
            None => {
                let objective = evaluated.objective;
                let subject = Subject { model: &model, state: &state, objective };
                mean_loss(subject, loader, micro_bsz, options, &mut sums, rounds)?
                    .map_continue(|loss| loss.map(|loss| (loss, None)))
            }
            Some(preferences) => mean_preference_loss(
                preferences,
                (&model, &state),
                loader,
                micro_bsz,
                options,
                &mut sums,
                rounds,
            )?,
        };
        Ok(found.map_continue(|found| (found, sums)))
    }
}

/// The beginning of a document in one line; empty where the ids have no text.
fn beginning(ids: &[u32], tokenizer: &Tokenizer) -> String {
    let text = tokenizer.decode(&ids[..ids.len().min(TEXT_TOKENS)]).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(ValLosses::TEXT_CHARS).collect()
}
