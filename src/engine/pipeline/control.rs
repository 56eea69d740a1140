//! What a run is asked for while it trains.
//!
//! Nothing that is asked for changes the steps that follow, but for `extend`, which is a change of
//! `train.epoch_count`: a checkpoint is written first, so that whoever continues the run computes the steps
//! before it with the old learning rates and those after it with the new ones.

use std::sync::atomic::Ordering;

use super::course::Course;
use super::inputs::record_settings;
use super::sample::moment_of;
use super::{Progress, RunError};
use crate::train::StepDone;
use statetune_core::diagnostic::{Text, msg};
use statetune_core::runs::{Answer, Earlier, Event, Request, Verdict, pending};

impl Course<'_, '_> {
    /// Takes up what the run is asked for, and records it. `saved` is whether a checkpoint of this step lies
    /// there.
    ///
    /// # Errors
    /// What saving, evaluating and generating return. A request that cannot be fulfilled is answered so.
    pub(super) fn obey(&mut self, done: &StepDone<'_>, saved: &mut bool) -> Result<(), RunError> {
        let step = done.position.steps;
        for pending in pending(self.run.path()) {
            let Some(asked) = pending.asked else {
                let reason = msg!(REQUEST_UNKNOWN);
                pending.answer(self.run, &Answer::Refused { step, reason: reason.to_string() })?;
                continue;
            };
            pending.answer(self.run, &Answer::Accepted { step })?;
            let (answer, result) = match self.fulfil(asked.request, done, saved)? {
                Ok(result) => (Verdict::Done, result),
                Err(reason) => (Verdict::Refused, reason.to_string()),
            };
            self.run.event(Event::Control {
                request: asked.request,
                from: asked.from,
                steps: step,
                total_steps: self.options.total_steps(),
                answer,
                result: result.clone(),
            })?;
            (self.watch)(Progress::Controlled { asked, steps: step, result: &result });
            let answer = match answer {
                Verdict::Done => Answer::Done { step, result },
                Verdict::Refused => Answer::Refused { step, reason: result },
            };
            pending.answer(self.run, &answer)?;
        }
        Ok(())
    }

    /// What came of a request, or why it is refused.
    fn fulfil(
        &mut self,
        request: Request,
        done: &StepDone<'_>,
        saved: &mut bool,
    ) -> Result<Result<String, Text>, RunError> {
        let steps = done.position.steps;
        match request {
            Request::Save => {
                self.save_once(done, saved)?;
                Ok(Ok(format!("checkpoint {}", self.checkpoint_name(done))))
            }
            Request::Stop => {
                self.save_once(done, saved)?;
                self.stop.store(true, Ordering::Relaxed);
                Ok(Ok("everything is saved, the run ends".to_string()))
            }
            Request::Sample => {
                if self.interview.questions.is_empty() {
                    return Ok(Err(msg!(NO_QUESTIONS)));
                }
                self.answers(steps)?;
                Ok(Ok(format!("samples/{}.jsonl", moment_of(steps))))
            }
            Request::Eval => match self.measure(&done.position)? {
                Some(measured) => {
                    self.note_progress(steps)?;
                    Ok(Ok(measured.to_string()))
                }
                None => Ok(Err(msg!(NOTHING_TO_EVALUATE))),
            },
            Request::Extend { steps: more } => match self.lengthened(more) {
                Ok(epoch_count) => {
                    self.save_once(done, saved)?;
                    self.extend(epoch_count, steps)?;
                    let total = self.options.total_steps();
                    Ok(Ok(format!("{total} steps, rates are planned anew")))
                }
                Err(reason) => Ok(Err(reason)),
            },
        }
    }

    /// The number of mini-epochs with `steps` more steps, which must be whole ones.
    fn lengthened(&self, steps: u64) -> Result<u32, Text> {
        let epoch_steps = self.options.epoch_steps;
        let more = steps / epoch_steps;
        if more == 0 || !steps.is_multiple_of(epoch_steps) {
            return Err(msg!(
                RUN_GROWS_BY_EPOCHS,
                epoch_steps,
                choices = epoch_steps * more.max(1)
            ));
        }
        let longer = self.options.epoch_count.saturating_add(more);
        u32::try_from(longer).map_err(|_| msg!(TOO_MANY_EPOCHS, most = u32::MAX))
    }

    /// Sets the number of mini-epochs and records it as a setting.
    fn extend(&mut self, epoch_count: u32, step: u64) -> Result<(), RunError> {
        Earlier::keep(self.run, self.run.path(), step)?;
        self.plan.to_mut().extend(epoch_count, step);
        record_settings(self.run, self.plan.experiment.loaded())?;
        self.options = self.options.lasting(epoch_count.into());
        self.note_progress(step)?;
        (self.watch)(Progress::Extended { steps: self.options.total_steps() });
        Ok(())
    }
}
