//! Events of a run in words.

use crate::records::{Event, EventLine};
use crate::words::count;

/// The newest entries that a report shows of a run.
pub(super) const SHOWN: usize = 100;

/// An entry of the timeline.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct TimelineEntry {
    /// Date and time.
    pub(super) time: String,
    pub(super) text: String,
    /// Whether the entry is highlighted as a problem.
    pub(super) is_problem: bool,
}

/// The events in order; consecutive evaluations and checkpoints are one entry.
pub(super) fn timeline(events: &[EventLine]) -> Vec<TimelineEntry> {
    let mut entries = Vec::new();
    let mut routine = Routine::default();
    for line in events {
        if routine.add(line) {
            continue;
        }
        entries.extend(std::mem::take(&mut routine).into_entry());
        let (text, is_problem) = text(&line.event);
        entries.push(TimelineEntry { time: time(line), text, is_problem });
    }
    entries.extend(routine.into_entry());
    entries
}

/// Consecutive evaluations and checkpoints.
#[derive(Debug, Default)]
struct Routine {
    evaluations: u64,
    checkpoints: u64,
    /// Time and steps of the last one.
    last: Option<(String, u64)>,
}

impl Routine {
    /// Counts an evaluation or checkpoint; `false` for other events.
    fn add(&mut self, line: &EventLine) -> bool {
        let steps = match line.event {
            Event::Eval { steps, .. } => {
                self.evaluations += 1;
                steps
            }
            Event::Save { steps, .. } => {
                self.checkpoints += 1;
                steps
            }
            // Another section shows the answers.
            Event::Sample { .. } => return true,
            _ => return false,
        };
        self.last = Some((time(line), steps));
        true
    }

    fn into_entry(self) -> Option<TimelineEntry> {
        let (time, steps) = self.last?;
        let counts = [(self.evaluations, "evaluation"), (self.checkpoints, "checkpoint")];
        let counts = counts.into_iter().filter(|(n, _)| *n > 0).map(|(n, noun)| count(n, noun));
        let counts: Vec<String> = counts.collect();
        let text = format!("{} up to step {steps}", counts.join(" and "));
        Some(TimelineEntry { time, text, is_problem: false })
    }
}

/// An event in words, and whether it is a problem.
fn text(event: &Event) -> (String, bool) {
    match event {
        Event::Start { steps, documents, .. } => (
            format!(
                "training starts: {} on {}",
                count(*steps, "step"),
                count(*documents, "document")
            ),
            false,
        ),
        Event::Resume { run, checkpoint, steps, accepted } => {
            let start = match (checkpoint, run) {
                (None, _) => "restarts from step 0: no checkpoint was saved".to_string(),
                (Some(name), None) => format!("resumes after step {steps}, from {name}"),
                (Some(name), Some(run)) => {
                    format!("continues {run} after step {steps}, from {name}")
                }
            };
            match accepted.is_empty() {
                true => (start, false),
                false => (format!("{start}; accepted differences: {}", accepted.join(", ")), true),
            }
        }
        Event::Values { checkpoint } => {
            (format!("starts from the trained parameters in {}", checkpoint.display()), false)
        }
        Event::Environment { changed } => {
            (format!("the environment has changed: {}", changed.join(", ")), true)
        }
        Event::Eval { steps, .. } => (format!("evaluated after step {steps}"), false),
        Event::Sample { moment, .. } => (format!("answered the prompts: {moment}"), false),
        Event::Control { request, steps, result, .. } => {
            (format!("request {request} after step {steps}: {result}"), false)
        }
        Event::Save { checkpoint, steps } => {
            (format!("saved {checkpoint} after step {steps}"), false)
        }
        Event::Incident { step, what, became, .. } => {
            (format!("{what} became {became} in step {step}"), true)
        }
        Event::Spike { step, loss, median, .. } => {
            (format!("loss {loss:.4} in step {step}; the recent median is {median:.4}"), true)
        }
        Event::Rollback { checkpoint, left_out, .. } => {
            (format!("rolled back to {checkpoint} to skip the batch of step {left_out}"), true)
        }
        Event::LeftOut { document } => (format!("skips {document}"), false),
        Event::Interrupted { steps } => (format!("stopped on request after step {steps}"), true),
        Event::Patience { steps } => {
            (format!("stopped after step {steps}: the evaluations stopped improving"), false)
        }
        Event::Goal { steps } => {
            (format!("stopped after step {steps}: every probe reached its goal"), false)
        }
        Event::Failed { message } => (format!("failed: {message}"), true),
        Event::End { .. } => ("done".to_string(), false),
        // `events.jsonl` has no other events.
        _ => (String::new(), false),
    }
}

/// Date and time of day, in the record's time zone.
fn time(line: &EventLine) -> String {
    line.time.get(..19).unwrap_or(&line.time).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn consecutive_evaluations_and_checkpoints_are_one_entry() {
        let line = |event| EventLine { event, time: "2026-11-24T19:00:00.123+00:00".to_string() };
        let eval = |steps| Event::Eval {
            suites: BTreeMap::new(),
            steps,
            epochs: 0,
            val_loss: Some(1.0),
            rewards: None,
            probes: BTreeMap::new(),
            counts: Vec::new(),
        };
        let save = |steps| Event::Save { checkpoint: "epoch-0000".to_string(), steps };
        let events = [eval(0), eval(2), save(2), Event::Interrupted { steps: 3 }, save(4)];
        let entries = timeline(&events.map(line));
        let texts: Vec<&str> = entries.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "2 evaluations and 1 checkpoint up to step 2",
                "stopped on request after step 3",
                "1 checkpoint up to step 4"
            ]
        );
        assert!(entries[1].is_problem && !entries[0].is_problem);
        assert_eq!(entries[0].time, "2026-11-24 19:00:00");
    }
}
