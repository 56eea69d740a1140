//! The course of a run: what happens after each step besides training.

use std::borrow::Cow;
use std::fmt;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;
use tch::Kind;

use super::passport::passport;
use super::sample::{Interview, as_json, moment_of};
use super::{Counted, Progress, RunError};
use crate::config::ExportDtype;
use crate::data::Loader;
use crate::model::Shape;
use crate::optim::Adam;
use crate::output::{Export, Passport};
use crate::peft::Method;
use crate::plan::{Metric, ModelPlan, Plan};
use crate::runs::{
    Best, Chain, Checkpoint, Lock, Metrics, Place, RunDir, Totals, TrainLog, name_best,
    remove_old_checkpoints, save_checkpoint,
};
use crate::sample::{Probe, rate, rates};
use crate::tensorfile::Dtype;
use crate::train::{FitOptions, Position, StepDone, TrainError, Trainer, mean_loss};

/// Why the loop over steps came to its end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    /// All steps are done.
    AllSteps,
    /// No evaluation was the best for as long as `eval.patience` says.
    Patience,
    /// The probes with `stop` have reached their goals.
    Goal,
    /// It was asked to stop.
    Stopped,
}

impl Ended {
    /// Why a run ended before all its steps were done, as records and people are told.
    pub(super) fn early(self) -> Option<(&'static str, &'static str)> {
        match self {
            Ended::AllSteps | Ended::Stopped => None,
            Ended::Patience => {
                Some(("patience", "no evaluation was better for as long as `eval.patience` says"))
            }
            Ended::Goal => Some(("goal", "every probe with `stop` has reached its goal")),
        }
    }
}

/// Each probe with its rate before and after, where there were answers.
type Before = Vec<(String, Option<f64>, Option<f64>)>;

/// What an evaluation found.
pub(super) struct Measured {
    /// In nats; absent where nothing is held out.
    pub(super) val_loss: Option<f64>,
    /// The share of answers that show what each probe counts.
    pub(super) probes: Vec<(String, f64)>,
}

impl fmt::Display for Measured {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loss = self.val_loss.map(|loss| format!("held-out loss {loss:.4}"));
        let probes = self.probes.iter().map(|(name, rate)| format!("{name} {:.0} %", rate * 100.0));
        formatter.write_str(&loss.into_iter().chain(probes).collect::<Vec<_>>().join(", "))
    }
}

/// What a run adds up and writes while it trains.
pub(super) struct Course<'a, 'data> {
    /// What is done; the number of mini-epochs changes when the run is asked to grow.
    pub(super) plan: Cow<'a, Plan>,
    pub(super) run: &'a RunDir,
    pub(super) lock: &'a Lock,
    pub(super) shape: Shape,
    pub(super) method: &'a dyn Method,
    pub(super) options: FitOptions,
    pub(super) val: Option<&'a mut Loader<'data>>,
    /// Asks the run to stop after the step that it is in.
    pub(super) stop: &'a AtomicBool,
    pub(super) watch: &'a mut dyn FnMut(Progress<'_>),
    pub(super) interview: Interview<'a>,
    /// The answers of the untouched model.
    pub(super) base: Option<Vec<String>>,
    /// The newest answers, with the steps that were done then.
    pub(super) newest: Option<(u64, Vec<String>)>,
    pub(super) totals: Totals,
    pub(super) chain: Chain,
    /// Held-out loss before training.
    pub(super) val_before: Option<f64>,
    /// The newest held-out loss.
    pub(super) val_now: Option<f64>,
    pub(super) best: Option<Best>,
    /// What the newest mini-epoch produced.
    pub(super) products: Vec<PathBuf>,
    /// Whether the newest evaluation found every goal reached that ends the run.
    pub(super) goal_reached: bool,
    pub(super) ended: Ended,
}

impl Course<'_, '_> {
    /// Takes over what an earlier process had added up.
    pub(super) fn go_on_from(&mut self, place: &Place) {
        self.totals = place.totals;
        self.chain = Chain::after(place.chain);
        self.val_before = place.val_before;
        self.val_now = place.val_before;
        self.best = place.best;
    }

    /// Writes the records of a step, and whatever is due after it: evaluation, checkpoint, what the run was
    /// asked for, the end. Returns the mini-epochs that the run has.
    pub(super) fn after_step(
        &mut self,
        done: &StepDone<'_>,
    ) -> Result<ControlFlow<(), u64>, RunError> {
        let position = &done.position;
        self.chain.add(self.run, done)?;
        self.record(done)?;

        let every = u64::from(self.plan.config().eval.every_steps);
        let mut saved = false;
        if let Some(mean_loss) = done.epoch_mean_loss {
            let epoch = done.record.epoch;
            self.run.append(TrainLog::FILE, &TrainLog::line(epoch, mean_loss, done.record.lr))?;
            check_learned(&done.trainer.adam, position)?;
            let is_best = self.evaluate(position)?;
            let last = position.steps == self.options.total_steps();
            let epoch_save = u64::from(self.plan.config().checkpoint.epoch_save);
            saved = epoch.is_multiple_of(epoch_save) || last;
            if saved || is_best {
                // The checkpoint comes last: what it does not know is done again after a crash.
                let passport = passport(&self.plan, self.run, self.lock, &self.shape, epoch + 1);
                let name = format!("rwkv-{epoch}");
                self.products = export(&self.plan, self.run, self.method, &name, &passport)?;
                self.save(done, is_best)?;
                saved = true;
            }
        } else if every > 0 && position.steps.is_multiple_of(every) {
            check_learned(&done.trainer.adam, position)?;
            if self.evaluate(position)? {
                self.save(done, true)?;
                saved = true;
            }
        }
        self.obey(done, &mut saved)?;

        let patience = self.plan.config().eval.patience;
        self.ended = if self.goal_reached {
            Ended::Goal
        } else if patience > 0 && self.best.is_some_and(|best| best.since >= patience) {
            Ended::Patience
        } else if position.steps == self.options.total_steps() {
            Ended::AllSteps
        } else if self.stop.load(Ordering::Relaxed) {
            Ended::Stopped
        } else {
            return Ok(ControlFlow::Continue(self.options.epoch_count));
        };
        self.save_once(done, &mut saved)?;
        Ok(ControlFlow::Break(()))
    }

    /// Evaluates, and remembers the best evaluation; whether it is to be kept as such.
    pub(super) fn evaluate(&mut self, position: &Position) -> Result<bool, RunError> {
        let Some(measured) = self.measure(position)? else { return Ok(false) };
        // What the untouched model shows ends nothing.
        self.goal_reached = position.steps > 0 && self.reaches_goals(&measured.probes);
        let probe = match &self.plan.metric {
            Metric::ValLoss if measured.val_loss.is_some() => None,
            Metric::Probe(name) if rate_of(&measured.probes, name).is_some() => {
                rate_of(&measured.probes, name)
            }
            _ => return Ok(false),
        };
        let (val_loss, steps) = (measured.val_loss, position.steps);
        let now = Best { val_loss, probe, steps, since: 0 };
        let is_best = self.best.is_none_or(|best| now.beats(&best));
        self.best = Some(match self.best {
            Some(best) if !is_best => Best { since: best.since + 1, ..best },
            _ => now,
        });
        Ok(is_best && self.plan.config().checkpoint.keep_best)
    }

    /// Takes the loss on the held-out documents, counts what the probes count, and records both; `None` where
    /// there is neither.
    pub(super) fn measure(&mut self, position: &Position) -> Result<Option<Measured>, RunError> {
        let steps = position.steps;
        let val_loss = self.held_out_loss(position)?;
        // A new model has nothing to say yet.
        let is_mute = steps == 0 && matches!(self.plan.model, ModelPlan::Scratch { .. });
        let probes = match self.plan.probes.is_empty() || is_mute {
            true => Vec::new(),
            false => rates(&self.interview.plan.probes, self.answers(steps)?),
        };
        if val_loss.is_none() && probes.is_empty() {
            return Ok(None);
        }
        let epochs = steps / self.options.epoch_steps;
        let mut event = json!({ "steps": steps, "epochs": epochs });
        if let Some(val_loss) = val_loss {
            event["val_loss"] = val_loss.into();
        }
        if !probes.is_empty() {
            event["probes"] = as_json(&probes);
        }
        self.run.event("eval", event)?;
        self.val_now = val_loss;
        if steps == 0 {
            self.val_before = val_loss;
        }
        let counted = self.counted(&probes);
        (self.watch)(Progress::Evaluated {
            steps,
            epochs: steps.is_multiple_of(self.options.epoch_steps).then_some(epochs),
            val_loss,
            probes: &counted,
        });
        Ok(Some(Measured { val_loss, probes }))
    }

    fn held_out_loss(&mut self, position: &Position) -> Result<Option<f64>, RunError> {
        let Some(val) = self.val.as_deref_mut() else { return Ok(None) };
        let train = &self.plan.config().train;
        let (model, state) = (self.method.model(), self.method.time_state());
        let (micro_bsz, head_chunk) = (train.micro_bsz.into(), train.head_chunk.into());
        let found = mean_loss(&model, &state, val, micro_bsz, head_chunk)?;
        if let Some(val_loss) = found {
            check_finite("held-out loss", val_loss, position)?;
        }
        Ok(found)
    }

    /// The answers of the model as it is after `steps` steps; none where nothing is asked.
    pub(super) fn answers(&mut self, steps: u64) -> Result<&[String], RunError> {
        let known = self.newest.take().filter(|(known, _)| *known == steps);
        let newest = match known {
            Some(known) => known,
            None => {
                let moment = moment_of(steps);
                (self.watch)(Progress::Sampling { moment: &moment });
                (steps, self.interview.hold(&moment, steps)?)
            }
        };
        Ok(&self.newest.insert(newest).1)
    }

    /// The answers of the tuned model, after `steps` steps, written as such; and each probe with its rate before
    /// and now.
    pub(super) fn last_answers(&mut self, steps: u64) -> Result<(Vec<String>, Before), RunError> {
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
        let probes = self.plan.probes.iter().map(before_and_now).collect();
        Ok((answers, probes))
    }

    /// Whether there are probes with `stop`, and all of them have reached their goals.
    fn reaches_goals(&self, rates: &[(String, f64)]) -> bool {
        let mut stops = self.plan.probes.iter().filter(|probe| probe.stop).peekable();
        let reached =
            |probe: &Probe| rate_of(rates, &probe.name).is_some_and(|r| probe.is_reached_by(r));
        stops.peek().is_some() && stops.all(reached)
    }

    /// Rates beside those of the untouched model and what is aimed at.
    pub(super) fn counted(&self, rates: &[(String, f64)]) -> Vec<Counted> {
        let base = self.base.as_deref();
        let probe = |(name, now): &(String, f64)| {
            let probe = self.plan.probes.iter().find(|probe| probe.name == *name)?;
            let base = base.and_then(|answers| rate(probe, answers));
            Some(Counted { name: name.clone(), rate: *now, base, goal: probe.goal })
        };
        rates.iter().filter_map(probe).collect()
    }

    fn record(&mut self, done: &StepDone<'_>) -> Result<(), RunError> {
        let step = &done.record;
        let every_steps = u64::from(self.plan.config().log.every_steps);
        (self.watch)(Progress::Step { done: step.step + 1, loss: step.loss, lr: step.lr });
        if let Some(metrics) = self.totals.add(step, every_steps, self.options.total_steps()) {
            let line = serde_json::to_string(&metrics).expect("metrics are plain data");
            self.run.append(Metrics::FILE, &line)?;
            (self.watch)(Progress::Interval(&metrics));
        }
        Ok(())
    }

    /// Writes a checkpoint of this step unless one lies there.
    pub(super) fn save_once(
        &mut self,
        done: &StepDone<'_>,
        saved: &mut bool,
    ) -> Result<(), RunError> {
        if !*saved {
            check_learned(&done.trainer.adam, &done.position)?;
            self.save(done, false)?;
            *saved = true;
        }
        Ok(())
    }

    /// The name of a checkpoint of this step.
    pub(super) fn checkpoint_name(&self, done: &StepDone<'_>) -> String {
        match done.epoch_mean_loss {
            Some(_) => Checkpoint::epoch_name(done.record.epoch),
            None => Checkpoint::step_name(done.position.steps),
        }
    }

    /// Writes a checkpoint, and removes those that are too old.
    fn save(&mut self, done: &StepDone<'_>, is_best: bool) -> Result<(), RunError> {
        let Trainer { adam, scaler, .. } = done.trainer;
        let position = done.position;
        let epochs = position.steps / self.options.epoch_steps;
        let name = self.checkpoint_name(done);
        let place = Place {
            position,
            epochs,
            adam_steps: adam.steps(),
            scaler: *scaler,
            totals: self.totals,
            chain: self.chain.running(),
            val_before: self.val_before,
            best: self.best,
        };
        for records in [Metrics::FILE, TrainLog::FILE, Chain::FILE] {
            self.run.sync(records)?;
        }
        save_checkpoint(self.run, &name, adam, &place)?;
        if is_best {
            name_best(self.run, &name)?;
        }
        remove_old_checkpoints(self.run, self.plan.config().checkpoint.keep_last as usize);
        self.run.event("save", json!({ "checkpoint": name, "steps": position.steps }))?;
        Ok(())
    }
}

fn rate_of(rates: &[(String, f64)], name: &str) -> Option<f64> {
    rates.iter().find(|(other, _)| other == name).map(|(_, rate)| *rate)
}

/// Writes what was learned as `export/NAME` in the forms that other programs read.
pub(super) fn export(
    plan: &Plan,
    run: &RunDir,
    method: &dyn Method,
    name: &str,
    passport: &Passport,
) -> Result<Vec<PathBuf>, RunError> {
    let dtype = match plan.config().export.dtype {
        ExportDtype::Bf16 => Dtype::BF16,
        ExportDtype::Fp32 => Dtype::F32,
    };
    let export = Export { dtype, passport };
    Ok(method.export(&run.join(format!("export/{name}")), &export)?)
}

/// Refuses what a step may leave behind although its loss was finite; nothing is saved then.
fn check_learned(adam: &Adam, position: &Position) -> Result<(), TrainError> {
    for parameter in adam.parameters() {
        let sum = parameter.tensor.sum(Kind::Double).double_value(&[]);
        check_finite("what was learned", sum, position)?;
    }
    Ok(())
}

fn check_finite(what: &'static str, value: f64, position: &Position) -> Result<(), TrainError> {
    if value.is_finite() {
        return Ok(());
    }
    Err(TrainError::NonFinite { what, value, step: position.steps.saturating_sub(1) })
}
