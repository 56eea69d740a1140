//! The records of a watched run, and whether a process is running it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Map, Value, json};
use statetune_core::objective::Rewards;
use statetune_core::plan::Experiment;
use statetune_core::records::{Event, Now, ProbeCount, Status, ValLosses, local_time};
use statetune_core::store::{Follower, RunState, run_state};
use statetune_core::words::count;
use statetune_engine::run::recorded_settings;

use crate::progress_line::{ProgressLine, Val, epoch, eta, resident_bytes};

/// Name and version of what `--format json` prints.
const SCHEMA: &str = "statetune.watch/1";

/// A watched run.
pub(crate) struct Watched {
    pub(super) run: PathBuf,
    pub(super) records: Follower,
    pub(super) state: RunState,
    /// The recorded status; `None` when it cannot be read.
    pub(super) status: Option<Status>,
    settings: Option<Experiment>,
    /// What the run does besides its steps.
    pub(super) now: Option<Now>,
}

impl Watched {
    /// A run before the first look.
    pub(crate) fn new(run: &Path) -> Watched {
        let (state, status) = run_state(run);
        Watched {
            run: run.to_path_buf(),
            records: Follower::new(run),
            state,
            status,
            settings: recorded_settings(run).ok(),
            now: None,
        }
    }

    /// Reads the new records and returns the new events.
    pub(crate) fn look(&mut self) -> Vec<Event> {
        // State first: a run that has ended has written all its records.
        (self.state, self.status) = run_state(&self.run);
        self.now = Now::load(&self.run).filter(|_| self.is_live());
        self.records.read_on()
    }

    /// Whether a process is running the run.
    pub(super) fn is_live(&self) -> bool {
        self.state == RunState::Running
    }

    /// The state in one word.
    pub(super) fn word(&self) -> &'static str {
        self.state.name()
    }

    /// The progress so far.
    pub(crate) fn progress(&self) -> ProgressLine {
        let records = &self.records;
        let last = records.metrics.last();
        let evaluated = records.evals.last().map_or(0, |eval| eval.steps);
        let step = last.map_or(0, |metrics| metrics.step).max(evaluated);
        let mut val = Val::default();
        records.evals.iter().filter_map(|eval| eval.val_loss).for_each(|loss| val.add(loss));
        let sizes = records.epoch_steps.zip(records.total_steps);
        let epoch = sizes.map(|(epoch_steps, steps)| epoch(step, epoch_steps, steps));
        ProgressLine {
            epoch,
            step,
            steps: records.total_steps,
            loss: last.map(|metrics| metrics.loss),
            step_loss: None,
            val,
            lr: last.map(|metrics| metrics.lr),
            speed: last
                .map(|metrics| metrics.positions_per_s)
                .filter(|speed| speed.is_finite() && self.is_live()),
            memory: self.memory(),
            eta: self.eta(step),
        }
    }

    /// The probe rates of the newest evaluation.
    pub(crate) fn counted(&self) -> Vec<ProbeCount> {
        let goals: Vec<(&str, f64)> =
            self.settings.iter().flat_map(|settings| settings.goals()).collect();
        let newest = self.records.evals.iter().rfind(|eval| !eval.probes.is_empty());
        let counted =
            newest.into_iter().flat_map(|eval| &eval.probes).map(|(name, rate)| ProbeCount {
                name: name.clone(),
                rate: *rate,
                base: self.records.base.get(name).copied(),
                goal: goals.iter().find(|(other, _)| other == name).map(|(_, goal)| *goal),
            });
        counted.collect()
    }

    /// How answers are judged at the newest evaluation, and its probe rates, each in a line.
    pub(super) fn results(&self) -> Vec<String> {
        let rewards = self.rewards().map(|rewards| rewards.to_string());
        let counted = self.counted().into_iter().map(|one| one.to_string());
        rewards.into_iter().chain(counted).collect()
    }

    /// How validation answers are judged at the newest evaluation.
    fn rewards(&self) -> Option<Rewards> {
        self.records.evals.last()?.rewards
    }

    /// Names the losses of the progress line; `None` before the first loss.
    pub(super) fn losses(&self) -> Option<String> {
        let progress = self.progress();
        let training = progress.loss.map(|_| match self.interval() {
            Some(steps) if steps > 1 => {
                format!("loss: training loss, mean of {}", count(steps, "step"))
            }
            _ => "loss: training loss of the step".to_string(),
        });
        let of = ValLosses::load(&self.run).ok().flatten().map(|losses| losses.of);
        let documents = of
            .map_or("the validation documents".to_string(), |of| count(of, "validation document"));
        let validation = progress.val.is_known().then(|| format!("val: loss of {documents}"));
        let named: Vec<String> = training.into_iter().chain(validation).collect();
        (!named.is_empty()).then(|| named.join("; "))
    }

    /// Steps of the newest interval.
    fn interval(&self) -> Option<u64> {
        let [before @ .., last] = &self.records.metrics[..] else { return None };
        Some(last.step - before.last().map_or(0, |before| before.step).min(last.step))
    }

    /// The run as a JSON object.
    pub(super) fn json(&self) -> Value {
        let ProgressLine { epoch, step, steps, loss, lr, speed, memory, eta, .. } = self.progress();
        let probe = |one: ProbeCount| {
            let numbers = json!({ "rate": one.rate, "base": one.base, "goal": one.goal });
            (one.name, numbers)
        };
        let probes: Map<String, Value> = self.counted().into_iter().map(probe).collect();
        let mut object = json!({
            "schema": SCHEMA,
            "run": self.run,
            "status": self.word(),
            "step": step,
            "steps": steps,
            "epoch": epoch.map(|(now, _)| now),
            "epochs": epoch.map(|(_, all)| all),
            "loss": loss,
            "val_loss": self.records.evals.iter().rev().find_map(|eval| eval.val_loss),
            "lr": lr,
            "positions_per_s": speed,
            "memory_bytes": memory,
            "eta_secs": eta.map(|eta| eta.as_secs_f64()),
            "probes": probes,
            "now": self.now,
        });
        if let Some(rewards) = self.rewards() {
            object["rewards"] = json!(rewards);
        }
        object
    }

    fn memory(&self) -> Option<u64> {
        let Some(Status::Running { pid }) = self.status.as_ref().filter(|_| self.is_live()) else {
            return None;
        };
        resident_bytes(&pid.to_string())
    }

    /// The remaining time, from the steps of this process; earlier processes may have been faster or slower.
    fn eta(&self, step: u64) -> Option<Duration> {
        let (began, after) = self.records.began.filter(|_| self.is_live())?;
        let elapsed = (local_time().fixed_offset() - began).to_std().ok()?;
        eta(elapsed, step.saturating_sub(after), self.records.total_steps?.saturating_sub(step))
    }
}
