//! What tuning costs elsewhere: the distance from the base on general text, measured at evaluations and kept small by a
//! penalty.

use std::cell::RefCell;
use std::fs;
use std::ops::ControlFlow;

use statetune_core::data::{
    Answers, Batch, Binidx, DataError, DataType, Dataload, Loader, LoaderOptions, Mask, Muted,
    Overlong, PrepareSpec, Prepared, RecordForm, Source, Split, Tokenizer, prepare,
};
use statetune_core::objective::Distill;
use statetune_core::plan::Plan;
use statetune_core::records::{Event, EventLine};

use super::job::{Evaluated, Job};
use super::record::Events;
use super::share::{Measurement, Order, give};
use super::teacher::teacher;
use crate::RunError;
use crate::model::Shape;
use crate::peft::Method;
use crate::train::{
    Distillation, DocumentSums, Keep, Objective, Rounds, Subject, TrainError, mean_loss,
};

/// Share of the general text that the penalty does not use, so that what is forgotten is measured on it.
const MEASURED: f64 = 0.2;

/// General text and the base model, which tells what the text is like.
pub(super) struct General {
    prepared: Prepared,
    base: Distillation,
}

impl General {
    /// The general text of a plan; `None` where the plan neither measures nor keeps anything.
    ///
    /// # Errors
    /// A text or a base that cannot be used.
    pub(super) fn of_plan(
        plan: &Plan,
        tokenizer: &Tokenizer,
        shape: &Shape,
        method: &dyn Method,
    ) -> Result<Option<General>, RunError> {
        let keeps = plan.objective.keep() > 0.0;
        let Some(file) = plan.eval.general.as_ref().filter(|_| keeps || plan.eval.forgetting)
        else {
            return Ok(None);
        };
        let of_base = Distill::default();
        let base = teacher(plan, &of_base, tokenizer, shape, method.untouched())?;
        let is_records = file.extension().is_some_and(|ending| ending != "txt");
        let data_type = if is_records { DataType::Jsonl } else { DataType::Utf8 };
        let source = Source::new(data_type, file)?;
        let prepared = prepare(&PrepareSpec {
            sources: &[source],
            // The records of the data may have other keys.
            form: RecordForm::new(&plan.data.template),
            mask: &Mask::All,
            answers: Answers::Imitated,
            val_split: if keeps { MEASURED } else { 0.0 },
            repeat: 1,
            ..plan.prepare_spec(tokenizer)
        })?;
        Ok(Some(General { prepared, base: Distillation { teacher: base } }))
    }

    fn loader<'a>(
        &self,
        plan: &Plan,
        tokenizer: &'a Tokenizer,
        shape: &Shape,
        split: Split,
    ) -> Result<Loader<'a>, RunError> {
        let options = LoaderOptions {
            dataload: Dataload::Pad,
            overlong: Overlong::Split,
            mask: Mask::All,
            muted: Muted::NONE,
            mismatched: false,
            ..plan.loader_options()
        };
        let pair = match split {
            Split::Val => self.prepared.val.as_ref().unwrap_or(&self.prepared.train),
            Split::Train => &self.prepared.train,
        };
        Ok(Loader::new(Binidx::open(pair)?, tokenizer, options, shape.vocab_size as usize, &[])?)
    }

    /// The penalty of a plan; `None` without one.
    ///
    /// # Errors
    /// A text that cannot be used.
    pub(super) fn keep<'a>(
        &'a self,
        plan: &Plan,
        tokenizer: &'a Tokenizer,
        shape: &Shape,
    ) -> Result<Option<KeptText<'a>>, RunError> {
        let strength = plan.objective.keep();
        if strength == 0.0 {
            return Ok(None);
        }
        let loader = self.loader(plan, tokenizer, shape, Split::Train)?;
        let rows = plan.train.micro_bsz.as_u64();
        Ok(Some(KeptText { strength, rows, base: &self.base, loader: RefCell::new(loader) }))
    }

    /// What measures forgetting; `None` where a plan does not.
    ///
    /// # Errors
    /// A text that cannot be used.
    pub(super) fn forgetting<'a>(
        &'a self,
        plan: &Plan,
        tokenizer: &'a Tokenizer,
        shape: &Shape,
    ) -> Result<Option<Forgetting<'a>>, RunError> {
        if !plan.eval.forgetting {
            return Ok(None);
        }
        let loader = self.loader(plan, tokenizer, shape, Split::Val)?;
        Ok(Some(Forgetting { loader, base: &self.base, is_too_much: false }))
    }
}

/// General text on which the tuned model is kept near its base.
#[derive(Debug)]
pub(super) struct KeptText<'a> {
    strength: f64,
    /// Rows of a step.
    rows: u64,
    base: &'a Distillation,
    loader: RefCell<Loader<'a>>,
}

impl Keep for KeptText<'_> {
    fn strength(&self) -> f64 {
        self.strength
    }

    fn base(&self) -> &Distillation {
        self.base
    }

    fn batch(&self, step: u64) -> Result<Batch, DataError> {
        let mut loader = self.loader.borrow_mut();
        let rows = self.rows.min(loader.samples_per_pass());
        loader.batch(step * rows, rows)
    }
}

/// Measures the distance from the base at evaluations.
pub(super) struct Forgetting<'a> {
    loader: Loader<'a>,
    base: &'a Distillation,
    /// Whether the newest distance is above the limit of the plan.
    pub(super) is_too_much: bool,
}

impl Forgetting<'_> {
    /// Measures the distance after `steps` steps on all devices, and emits it.
    ///
    /// # Errors
    /// A stop, a forward pass that fails, a device that is gone, or a file that cannot be written.
    pub(super) fn measure(
        &mut self,
        job: &Job<'_>,
        events: &mut Events<'_>,
        steps: u64,
    ) -> Result<(), RunError> {
        give(job.devices, &Order::Measure(Measurement::Forgetting))?;
        let mut look = job.work("forgetting", self.loader.samples_per_pass());
        let kl = self.distance(job.evaluated(), &mut Rounds::new(job.devices, &mut look))?;
        drop(look);
        let Some(kl) = kl.continue_value().ok_or(RunError::Stopped)? else { return Ok(()) };
        self.judge(job, kl);
        Ok(events.emit(Event::Forgetting { steps, kl })?)
    }

    /// The part of a device in [`Forgetting::measure`]: the distance, which all of them compute; `None` without a text.
    ///
    /// # Errors
    /// A forward pass that fails, or a device that is gone.
    pub(super) fn distance(
        &mut self,
        evaluated: Evaluated<'_>,
        rounds: &mut Rounds<'_>,
    ) -> Result<ControlFlow<(), Option<f64>>, TrainError> {
        let (model, state) = evaluated.model();
        let (micro_bsz, options) = evaluated.batches();
        let objective: &dyn Objective = self.base;
        let subject = Subject { model: &model, state: &state, objective };
        let (loader, mut none) = (&mut self.loader, DocumentSums::of_first(0));
        mean_loss(subject, loader, micro_bsz, options, &mut none, rounds)
    }

    /// Continues after `steps` steps of an earlier process.
    pub(super) fn restore(&mut self, job: &Job<'_>, steps: u64) {
        let text = fs::read_to_string(job.run.join(EventLine::FILE)).unwrap_or_default();
        let events = text.lines().filter_map(|line| serde_json::from_str::<EventLine>(line).ok());
        let mut measured = events.filter_map(|line| match line.event {
            Event::Forgetting { steps: at, kl } if at == steps => Some(kl),
            _ => None,
        });
        if let Some(kl) = measured.next_back() {
            self.judge(job, kl);
        }
    }

    fn judge(&mut self, job: &Job<'_>, kl: f64) {
        let limit = job.plan.eval.max_forgetting;
        self.is_too_much = limit > 0.0 && kl > limit;
    }
}
