//! The end of a run: last export, last answers, summary.

use std::path::PathBuf;

use statetune_core::diagnostic::{Text, msg};
use statetune_core::objective::Rewards;
use statetune_core::records::{Best, Event, OpenRunError, ProbeRate, SuiteHistory};
use statetune_core::suite::Comparison;

use super::course::{Course, Ended};
use crate::RunError;
use crate::kernels::{GpuBytes, peak_gpu_bytes, peak_resident_bytes};
use crate::tensors::device;
use crate::train::{Position, Trainer};

/// How a run ended that did not fail.
#[derive(Debug)]
pub enum Outcome {
    /// The run is done.
    Done(Box<Summary>),
    /// Nothing was run: a finished run has the same settings and inputs.
    NotNeeded {
        /// That run's directory.
        run: PathBuf,
    },
    /// The run stopped on request or at its time limit, and can be resumed.
    Interrupted {
        /// The run directory.
        run: PathBuf,
        /// Steps done.
        steps: u64,
        /// Steps of the whole run.
        total_steps: u64,
    },
}

/// Results of a finished run.
#[derive(Debug)]
pub struct Summary {
    /// The run directory.
    pub run: PathBuf,
    /// Validation loss before and after training, in nats.
    pub val_loss: Option<(f64, f64)>,
    /// How validation answers are judged before and after training, by an objective that compares answers. Before training
    /// nothing is judged against the start of the run.
    pub rewards: Option<(Option<Rewards>, Rewards)>,
    /// The best evaluation, when it is not that of the last step.
    pub best: Option<Best>,
    /// The step and the reason when the run ended before its last step.
    pub stopped_early: Option<(u64, Text)>,
    /// The rate of each probe before and after training.
    pub probes: Vec<ProbeRate>,
    /// Each suite before training beside its newest evaluation, with the steps done then.
    pub suites: Vec<(u64, Comparison)>,
    /// Questions with the answers of the base and the tuned model.
    pub samples: Vec<Sampled>,
    /// Tokens of the prompt that a request of the tuned model saves, of a distillation.
    pub saved_tokens: Option<u64>,
    /// The exported files.
    pub exported: Vec<PathBuf>,
    /// Seconds spent in training steps.
    pub train_secs: f64,
    /// Peak GPU memory; absent on a CPU.
    pub peak_gpu: Option<GpuBytes>,
}

/// A question with its answers.
#[derive(Debug)]
pub struct Sampled {
    /// The question.
    pub prompt: String,
    /// The answer of the base model; absent when training started from scratch.
    pub base: Option<String>,
    /// The answer of the tuned model.
    pub tuned: String,
}

impl Ended {
    /// Why a run ended before its last step, for people.
    fn early(self) -> Option<Text> {
        match self {
            Ended::AllSteps | Ended::Stopped | Ended::Rollback(_) => None,
            Ended::Patience => Some(msg!(STOPPED_BY_PATIENCE)),
            Ended::Goal => Some(msg!(STOPPED_BY_PROBES)),
            Ended::Forgotten => Some(msg!(STOPPED_BY_FORGETTING)),
        }
    }
}

impl Course<'_, '_> {
    /// Writes the last files and events of a run that ended at `position`.
    ///
    /// # Errors
    /// A forward pass that fails, or a file that cannot be written.
    pub(super) fn finish(
        mut self,
        trainer: &mut Trainer<'_>,
        position: &Position,
    ) -> Result<Outcome, RunError> {
        let (run, steps) = (self.job.run, position.steps);
        if self.ended == Ended::Stopped {
            return self.interrupted(steps);
        }
        self.saver.export(&self.job, steps)?;
        match self.ended {
            Ended::Patience => self.events.emit(Event::Patience { steps })?,
            Ended::Goal => self.events.emit(Event::Goal { steps })?,
            Ended::AllSteps | Ended::Forgotten | Ended::Stopped | Ended::Rollback(_) => {}
        }
        let (answers, probes) =
            match self.evaluator.answer_with_tuned(&self.job, self.events, steps) {
                Err(RunError::Stopped) => return self.interrupted(steps),
                answered => answered?,
            };
        let peak_gpu = peak_gpu_bytes(device(self.job.plan.train.device));
        self.events.emit(Event::End {
            val_loss: self.evaluator.val_now,
            best: self.evaluator.best,
            probes: probes.clone(),
            peak_gpu_bytes: peak_gpu.map(|peak| peak.allocated),
            peak_gpu_reserved_bytes: peak_gpu.map(|peak| peak.reserved),
            peak_resident_bytes: peak_resident_bytes(),
        })?;
        run.update(|record| record.probes.clone_from(&probes))?;
        let base = self.evaluator.base.as_ref();
        let samples = self.evaluator.questions.iter().zip(answers).enumerate();
        let samples = samples.map(|(i, (prompt, tuned))| Sampled {
            prompt: prompt.clone(),
            base: base.map(|answers| answers[i].clone()),
            tuned,
        });
        let samples = samples.collect();
        self.saver.export_best(&self.job, trainer, steps)?;
        Ok(Outcome::Done(Box::new(Summary {
            run: run.path().to_path_buf(),
            val_loss: self.evaluator.val_before.zip(self.evaluator.val_now),
            rewards: self.evaluator.rewards_now.map(|now| (self.evaluator.rewards_before, now)),
            best: self.evaluator.best.filter(|best| best.steps < steps),
            stopped_early: self.ended.early().map(|why| (steps, why)),
            suites: SuiteHistory::load(run.path()).map_err(OpenRunError::from)?.comparisons(),
            samples,
            probes,
            saved_tokens: self.saved_tokens,
            exported: self.saver.exported,
            train_secs: self.recorder.totals.trained_secs,
            peak_gpu,
        })))
    }

    /// The outcome of a run that was asked to stop; everything is saved.
    fn interrupted(&mut self, steps: u64) -> Result<Outcome, RunError> {
        self.events.emit(Event::Interrupted { steps })?;
        let total_steps = self.job.options.total_steps();
        Ok(Outcome::Interrupted { run: self.job.run.path().to_path_buf(), steps, total_steps })
    }
}
