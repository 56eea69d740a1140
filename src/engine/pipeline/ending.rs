//! The end of a run: why it came, and what remains of it.

use crate::tensors::device;
use crate::train::restore_values;
use std::path::{Path, PathBuf};

use super::course::Course;
use super::passport::passport;
use super::record::Sampled;
use super::{Progress, RunError, Summary};
use crate::kernels::{peak_gpu_bytes, peak_resident_bytes};
use crate::output::{Export, Passport};
use crate::peft::Method;
use crate::sample::{Probe, rate};
use crate::train::{Position, Trainer};
use statetune_core::diagnostic::{Text, msg};
use statetune_core::plan::Plan;
use statetune_core::runs::{Entry, Event, ProbeRate, StoredRun, best_checkpoint};

/// Why the loop over steps came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// All steps are done.
    AllSteps,
    /// No evaluation was the best for as long as `eval.patience` says.
    Patience,
    /// The probes with `stop` have reached their goals.
    Goal,
    /// It was asked to stop, or its time is over.
    Stopped,
    /// The newest checkpoint is to be gone back to, and the batch of this step, counted from 1, left out.
    Rollback(u64),
}

impl Ended {
    /// Why a run ended before all its steps were done, as people are told.
    fn early(self) -> Option<Text> {
        match self {
            Ended::AllSteps | Ended::Stopped | Ended::Rollback(_) => None,
            Ended::Patience => Some(msg!(STOPPED_BY_PATIENCE)),
            Ended::Goal => Some(msg!(STOPPED_BY_PROBES)),
        }
    }
}

/// Each probe with its rate before and after, where there were answers.
type Before = Vec<(String, Option<f64>, Option<f64>)>;

impl Course<'_, '_> {
    /// Writes the products, the last answers and the last event of a run that came to its end at `position`.
    ///
    /// # Errors
    /// When something cannot be written.
    pub(super) fn conclude(
        mut self,
        trainer: &mut Trainer<'_>,
        position: &Position,
    ) -> Result<Summary, RunError> {
        let (run, steps) = (self.run, position.steps);
        self.export(position)?;
        match self.ended {
            Ended::Patience => run.event(Event::Patience { steps })?,
            Ended::Goal => run.event(Event::Goal { steps })?,
            Ended::AllSteps | Ended::Stopped | Ended::Rollback(_) => {}
        }
        let (answers, probes) = self.last_answers(steps)?;
        let questions = self.interview.questions;
        if !answers.is_empty() {
            let (moment, answers) = ("tuned", &answers);
            self.sinks.add(run, &Entry::Answers { moment, steps, questions, answers })?;
        }
        let peak_gpu_bytes = peak_gpu_bytes(device(self.plan.train.device));
        let rates = probes.iter().map(|(name, base, tuned)| ProbeRate {
            name: name.clone(),
            base: *base,
            tuned: *tuned,
        });
        let rates: Vec<ProbeRate> = rates.collect();
        run.event(Event::End {
            val_loss: self.val_now,
            best: self.best,
            probes: rates.clone(),
            peak_gpu_bytes,
            peak_resident_bytes: peak_resident_bytes(),
        })?;
        run.update(|record| record.probes = rates)?;
        let samples = questions.iter().enumerate().map(|(i, prompt)| Sampled {
            prompt: prompt.clone(),
            base: self.base.as_ref().map(|answers| answers[i].clone()),
            tuned: answers[i].clone(),
        });
        let samples = samples.collect();
        self.export_best(trainer, steps)?;
        Ok(Summary {
            run: run.path().to_path_buf(),
            val_loss: self.val_before.zip(self.val_now),
            best: self.best.filter(|best| best.steps < steps),
            stopped_early: self.ended.early().map(|why| (steps, why)),
            samples,
            probes,
            products: self.products,
            train_secs: self.totals.trained_secs,
            peak_gpu_bytes,
        })
    }

    /// Writes the best checkpoint as a product beside those of the last step, when it is another.
    fn export_best(&mut self, trainer: &mut Trainer<'_>, steps: u64) -> Result<(), RunError> {
        let keeps_best = self.plan.records.checkpoint.keep_best;
        let best = best_checkpoint(self.run.path()).filter(|_| keeps_best);
        if let Some(best) = best.filter(|best| best.place.position.steps < steps) {
            restore_values(&best.path, &mut trainer.adam)?;
            let run = self.run.path();
            let passport = passport(&self.plan, run, self.lock, &self.shape, best.place.epochs);
            self.products.extend(export(&self.plan, run, self.method, "rwkv-best", &passport)?);
        }
        Ok(())
    }

    /// The answers of the tuned model, after `steps` steps, written as such; and each probe with its rate before
    /// and now.
    fn last_answers(&mut self, steps: u64) -> Result<(Vec<String>, Before), RunError> {
        let mut answers = Vec::new();
        if !self.interview.questions.is_empty() {
            let known = self.newest.take().filter(|(known, _)| *known == steps);
            (self.watch)(Progress::Sampling { moment: "tuned" });
            answers = match known {
                Some((_, known)) => {
                    self.interview.write("tuned", steps, &known)?;
                    known
                }
                None => self.interview.hold("tuned", steps)?,
            };
        }
        let before_and_now = |probe: &Probe| {
            let before = self.base.as_ref().and_then(|base| rate(probe, base));
            (probe.name.clone(), before, rate(probe, &answers))
        };
        let probes = self.plan.sample.probes.iter().map(before_and_now).collect();
        Ok((answers, probes))
    }
}

/// Writes what was learned as `export/NAME` in the forms that other programs read.
pub(super) fn export(
    plan: &Plan,
    run: &Path,
    method: &dyn Method,
    name: &str,
    passport: &Passport,
) -> Result<Vec<PathBuf>, RunError> {
    let export = Export { dtype: plan.records.export_dtype, passport };
    Ok(method.export(&run.join(StoredRun::EXPORT).join(name), &export)?)
}
