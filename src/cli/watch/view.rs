//! What is told about a run: its records, and whether somebody works on it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::Local;
use serde_json::{Map, Value, json};

use crate::progress_line::{ProgressLine, Val, epoch, eta, resident_bytes};
use statetune_core::plan::Experiment;
use statetune_core::runs::{Event, Follower, Life, life};
use statetune_engine::pipeline::{Counted, recorded_settings};

/// Name and version of what `--format json` prints.
const SCHEMA: &str = "statetune.watch/1";

/// A run that is looked at again and again.
pub(super) struct Watched {
    pub(super) run: PathBuf,
    pub(super) records: Follower,
    pub(super) life: Life,
    settings: Option<Experiment>,
}

impl Watched {
    /// A run that was not looked at yet.
    pub(super) fn new(run: &Path) -> Watched {
        Watched {
            run: run.to_path_buf(),
            records: Follower::new(run),
            life: life(run),
            settings: recorded_settings(run).ok(),
        }
    }

    /// Looks again, and returns the events that are new.
    pub(super) fn look(&mut self) -> Vec<Event> {
        // Before the records: what ended has written everything.
        self.life = life(&self.run);
        self.records.read_on()
    }

    /// Whether a process works on the run.
    pub(super) fn is_live(&self) -> bool {
        matches!(self.life, Life::Live { .. })
    }

    /// How it stands, in a word.
    pub(super) fn word(&self) -> &'static str {
        self.life.standing().name()
    }

    /// How far it is.
    pub(super) fn progress(&self) -> ProgressLine {
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
            val,
            lr: last.map(|metrics| metrics.lr),
            speed: last
                .map(|metrics| metrics.positions_per_s)
                .filter(|speed| speed.is_finite() && self.is_live()),
            memory: self.memory(),
            eta: self.eta(step),
        }
    }

    /// What the newest evaluation counted.
    pub(super) fn counted(&self) -> Vec<Counted> {
        let goals: Vec<(&str, f64)> =
            self.settings.iter().flat_map(|settings| settings.goals()).collect();
        let newest = self.records.evals.iter().rfind(|eval| !eval.probes.is_empty());
        let counted =
            newest.into_iter().flat_map(|eval| &eval.probes).map(|(name, rate)| Counted {
                name: name.clone(),
                rate: *rate,
                base: self.records.base.get(name).copied(),
                goal: goals.iter().find(|(other, _)| other == name).map(|(_, goal)| *goal),
            });
        counted.collect()
    }

    /// Everything as a JSON object.
    pub(super) fn json(&self) -> Value {
        let ProgressLine { epoch, step, steps, loss, lr, speed, memory, eta, .. } = self.progress();
        let probe = |one: Counted| {
            let numbers = json!({ "rate": one.rate, "base": one.base, "goal": one.goal });
            (one.name, numbers)
        };
        let probes: Map<String, Value> = self.counted().into_iter().map(probe).collect();
        json!({
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
        })
    }

    fn memory(&self) -> Option<u64> {
        let Life::Live { pid: Some(pid) } = self.life else { return None };
        resident_bytes(&pid.to_string())
    }

    /// By the steps that the process has done; those before a resume say nothing about it.
    fn eta(&self, step: u64) -> Option<Duration> {
        let (began, after) = self.records.began.filter(|_| self.is_live())?;
        let elapsed = (Local::now().fixed_offset() - began).to_std().ok()?;
        eta(elapsed, step.saturating_sub(after), self.records.total_steps?.saturating_sub(step))
    }
}
