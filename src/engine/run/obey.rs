//! Requests to a run while it trains.
//!
//! Only `extend` changes the steps that follow: it is a change of `train.epoch_count`. A checkpoint is saved before, so
//! that a resumed run computes the steps before it with the old learning rates and those after it with the new ones.

use std::sync::atomic::Ordering;

use statetune_core::diagnostic::{Text, msg};
use statetune_core::records::{
    Answer, Event, PastSettings, Request, RequestOutcome, take_requests,
};

use super::course::Course;
use super::evaluate::samples_file_after;
use super::input_records::record_settings;
use crate::RunError;
use crate::train::{Position, Trainer};

impl Course<'_, '_> {
    /// Answers all pending requests between two steps.
    ///
    /// # Errors
    /// Those of saving, evaluating and generating. A request that cannot be fulfilled is refused instead.
    pub(super) fn obey(
        &mut self,
        trainer: &Trainer<'_>,
        position: Position,
    ) -> Result<(), RunError> {
        let (run, step) = (self.job.run, position.steps);
        for received in take_requests(run.path()) {
            let Some(asked) = received.sent else {
                let reason = msg!(REQUEST_UNKNOWN);
                received.answer(run, &Answer::Refused { step, reason: reason.to_string() })?;
                continue;
            };
            received.answer(run, &Answer::Accepted { step })?;
            let (answer, result) = match self.fulfil(asked.request, trainer, position) {
                Ok(Ok(result)) => (RequestOutcome::Done, result),
                Ok(Err(reason)) => (RequestOutcome::Refused, reason.to_string()),
                Err(RunError::Stopped) => {
                    (RequestOutcome::Refused, msg!(RUN_IS_STOPPING).to_string())
                }
                Err(error) => return Err(error),
            };
            self.events.emit(Event::Control {
                request: asked.request,
                from: asked.from,
                steps: step,
                total_steps: self.job.options.total_steps(),
                answer,
                result: result.clone(),
            })?;
            let answer = match answer {
                RequestOutcome::Done => Answer::Done { step, result },
                RequestOutcome::Refused => Answer::Refused { step, reason: result },
            };
            received.answer(run, &answer)?;
        }
        Ok(())
    }

    /// The result of a request, or the reason for a refusal.
    fn fulfil(
        &mut self,
        request: Request,
        trainer: &Trainer<'_>,
        position: Position,
    ) -> Result<Result<String, Text>, RunError> {
        let steps = position.steps;
        match request {
            Request::Save => {
                self.save_once(trainer, position)?;
                Ok(Ok(format!("checkpoint {}", self.checkpoint_name(steps))))
            }
            Request::Stop => {
                self.save_once(trainer, position)?;
                self.job.stop.store(true, Ordering::Relaxed);
                Ok(Ok("everything is saved, the run ends".to_string()))
            }
            Request::Sample => {
                if self.evaluator.questions.is_empty() {
                    return Ok(Err(msg!(NO_QUESTIONS)));
                }
                self.evaluator.answers(&self.job, self.events, steps)?;
                Ok(Ok(samples_file_after(steps)))
            }
            Request::Eval => match self.evaluator.measure(&self.job, self.events, steps)? {
                Some(measured) => {
                    self.note_progress(steps)?;
                    Ok(Ok(measured.to_string()))
                }
                None => Ok(Err(msg!(NOTHING_TO_EVALUATE))),
            },
            Request::Extend { steps: more } => match self.lengthened(more) {
                Ok(epoch_count) => {
                    self.save_once(trainer, position)?;
                    self.extend(epoch_count, steps)?;
                    let total = self.job.options.total_steps();
                    Ok(Ok(format!("{total} steps; the learning rates of later steps change")))
                }
                Err(reason) => Ok(Err(reason)),
            },
        }
    }

    /// The number of mini-epochs with `steps` more steps, or the reason when `steps` is not a multiple of a mini-epoch.
    fn lengthened(&self, steps: u64) -> Result<u32, Text> {
        let epoch_steps = self.job.options.epoch_steps;
        let more = steps / epoch_steps;
        if more == 0 || !steps.is_multiple_of(epoch_steps) {
            return Err(msg!(
                RUN_GROWS_BY_EPOCHS,
                epoch_steps,
                choices = epoch_steps * more.max(1)
            ));
        }
        let longer = self.job.options.epoch_count.saturating_add(more);
        u32::try_from(longer).map_err(|_| msg!(TOO_MANY_EPOCHS, most = u32::MAX))
    }

    /// Sets the number of mini-epochs and records it as a setting.
    fn extend(&mut self, epoch_count: u32, step: u64) -> Result<(), RunError> {
        PastSettings::keep(self.job.run, self.job.run.path(), step)?;
        self.job.plan.to_mut().extend(epoch_count, step);
        record_settings(self.job.run, &self.job.plan.experiment)?;
        self.job.options = self.job.options.lasting(epoch_count.into());
        self.note_progress(step)
    }
}
