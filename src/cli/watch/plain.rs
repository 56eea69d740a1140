//! A run in lines: one per interval, per evaluated probe and per request.

use std::time::{Duration, Instant};

use statetune_core::records::Event;

use super::changes::Changes;
use super::view::Watched;
use crate::{Format, say};

/// Interval between checks for a killed process: its death changes no file.
const LOOK: Duration = Duration::from_millis(500);
/// Interval between two lines about the same work besides the steps.
const AGAIN: Duration = Duration::from_secs(10);

/// Prints the progress of the run until it ends.
pub(super) fn watch(watched: &mut Watched, changes: &Changes, format: Format) {
    watched.look();
    tell(watched, format);
    let mut shown = watched.progress().step;
    let mut now_shown = Instant::now();
    while watched.is_live() {
        changes.wait(LOOK);
        let events = watched.look();
        let step = watched.progress().step;
        let evaluated = events.iter().any(|event| matches!(event, Event::Eval { .. }));
        match format {
            Format::Json if step != shown || evaluated => say(watched.json()),
            Format::Json => {}
            Format::Human => {
                if step != shown {
                    say(watched.progress());
                }
                if evaluated {
                    watched.results().iter().for_each(|result| say(format_args!("  {result}")));
                }
                events.iter().filter_map(control).for_each(say);
                if let Some(now) = &watched.now
                    && now_shown.elapsed() >= AGAIN
                {
                    say(format_args!("  {}", now.text));
                    now_shown = Instant::now();
                }
            }
        }
        shown = step;
    }
}

/// Prints the current state of the run.
pub(super) fn tell(watched: &Watched, format: Format) {
    if format == Format::Json {
        return say(watched.json());
    }
    say(format_args!("run     {}  {}", watched.run.display(), watched.word()));
    if let Some(losses) = watched.losses() {
        say(format_args!("losses  {losses}"));
    }
    say(watched.progress());
    watched.results().iter().for_each(|result| say(format_args!("  {result}")));
    if let Some(now) = &watched.now {
        say(format_args!("  {}", now.text));
    }
}

/// A request to the run and its result.
fn control(event: &Event) -> Option<String> {
    let Event::Control { request, steps, result, .. } = event else { return None };
    Some(format!("  {request} after step {steps}: {result}"))
}
