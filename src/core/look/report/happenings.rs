//! What happened to a run, in words.

use crate::records::{Event, EventLine};

/// Events of one run that a report tells at most, the newest ones.
pub(super) const SHOWN: usize = 100;

/// Something that happened.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Happening {
    /// When: date and time.
    pub(super) time: String,
    pub(super) text: String,
    /// Whether the run did not go on as it was meant to.
    pub(super) is_trouble: bool,
}

/// What happened, in its order. Evaluations and checkpoints in a row are told as one.
pub(super) fn happenings(events: &[EventLine]) -> Vec<Happening> {
    let mut told = Vec::new();
    let mut routine = Routine::default();
    for line in events {
        if routine.add(line) {
            continue;
        }
        told.extend(std::mem::take(&mut routine).happening());
        let (text, is_trouble) = text(&line.event);
        told.push(Happening { time: time(line), text, is_trouble });
    }
    told.extend(routine.happening());
    told
}

/// Evaluations and checkpoints in a row.
#[derive(Debug, Default)]
struct Routine {
    evaluations: usize,
    checkpoints: usize,
    /// When the last of them was, and after how many steps.
    last: Option<(String, u64)>,
}

impl Routine {
    /// Takes an event that is an evaluation or a checkpoint.
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
            // The answers themselves are shown elsewhere.
            Event::Sample { .. } => return true,
            _ => return false,
        };
        self.last = Some((time(line), steps));
        true
    }

    fn happening(self) -> Option<Happening> {
        let (time, steps) = self.last?;
        let count = |n: usize, what: &str| match n {
            0 => None,
            1 => Some(format!("1 {what}")),
            n => Some(format!("{n} {what}s")),
        };
        let counts = [count(self.evaluations, "evaluation"), count(self.checkpoints, "checkpoint")];
        let counts: Vec<String> = counts.into_iter().flatten().collect();
        let text = format!("{} up to step {steps}", counts.join(" and "));
        Some(Happening { time, text, is_trouble: false })
    }
}

/// An event in words, and whether it is trouble.
fn text(event: &Event) -> (String, bool) {
    match event {
        Event::Start { steps, documents, .. } => {
            (format!("a process begins: {steps} steps on {documents} documents"), false)
        }
        Event::Resume { run, checkpoint, steps, accepted } => {
            let place = match (checkpoint, run) {
                (None, _) => "begins anew: nothing was saved before".to_string(),
                (Some(name), None) => format!("goes on after {steps} steps, from {name}"),
                (Some(name), Some(run)) => format!("goes on after {steps} steps of {run}, {name}"),
            };
            match accepted.is_empty() {
                true => (place, false),
                false => (format!("{place}; accepted to differ: {}", accepted.join(", ")), true),
            }
        }
        Event::Values { checkpoint } => {
            (format!("begins with what was learned in {}", checkpoint.display()), false)
        }
        Event::Environment { changed } => {
            (format!("the machine is another one: {}", changed.join(", ")), true)
        }
        Event::Eval { steps, .. } => (format!("evaluated after step {steps}"), false),
        Event::Sample { moment, .. } => (format!("answered the questions: {moment}"), false),
        Event::Control { request, steps, result, .. } => {
            (format!("asked to {request} after step {steps}: {result}"), false)
        }
        Event::Save { checkpoint, steps } => {
            (format!("saved {checkpoint} after step {steps}"), false)
        }
        Event::Incident { step, what, became, .. } => {
            (format!("{what} became {became} in step {step}"), true)
        }
        Event::Spike { step, loss, median, .. } => (
            format!("the loss of step {step} was {loss:.4}, with {median:.4} as the usual one"),
            true,
        ),
        Event::Rollback { checkpoint, left_out } => {
            (format!("went back to {checkpoint}, to leave out the batch of step {left_out}"), true)
        }
        Event::LeftOut { document } => (format!("leaves out {document}"), false),
        Event::Interrupted { steps } => (format!("stopped on request after step {steps}"), true),
        Event::Patience { steps } => {
            (format!("ended after step {steps}: no evaluation was the best any more"), false)
        }
        Event::Goal { steps } => {
            (format!("ended after step {steps}: every probe had reached its goal"), false)
        }
        Event::Failed { message } => (format!("failed: {message}"), true),
        Event::End { .. } => ("done".to_string(), false),
    }
}

/// Date and time of day, as the record has them.
fn time(line: &EventLine) -> String {
    line.time.get(..19).unwrap_or(&line.time).replace('T', " ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn routine_is_told_as_one() {
        let line = |event| EventLine { event, time: "2026-11-24T19:00:00.123+00:00".to_string() };
        let eval =
            |steps| Event::Eval { steps, epochs: 0, val_loss: Some(1.0), probes: BTreeMap::new() };
        let save = |steps| Event::Save { checkpoint: "epoch-0000".to_string(), steps };
        let events = [eval(0), eval(2), save(2), Event::Interrupted { steps: 3 }, save(4)];
        let told = happenings(&events.map(line));
        let texts: Vec<&str> = told.iter().map(|one| one.text.as_str()).collect();
        assert_eq!(
            texts,
            [
                "2 evaluations and 1 checkpoint up to step 2",
                "stopped on request after step 3",
                "1 checkpoint up to step 4"
            ]
        );
        assert!(told[1].is_trouble && !told[0].is_trouble);
        assert_eq!(told[0].time, "2026-11-24 19:00:00");
    }
}
