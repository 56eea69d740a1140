//! A run in lines: one an interval, one for each probe that was counted, one for what was asked of it.

use std::time::Duration;

use statetune_core::records::Event;

use super::changes::Changes;
use super::view::Watched;
use crate::{Format, say};

/// A killed process changes no file, so it is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Tells how the run stands until it ends.
pub(super) fn watch(watched: &mut Watched, changes: &Changes, format: Format) {
    watched.look();
    tell(watched, format);
    let mut told = watched.progress().step;
    while watched.is_live() {
        changes.wait(LOOK);
        let events = watched.look();
        let step = watched.progress().step;
        let evaluated = events.iter().any(|event| matches!(event, Event::Eval { .. }));
        match format {
            Format::Json if step != told || evaluated => say(watched.json()),
            Format::Json => {}
            Format::Human => {
                if step != told {
                    say(watched.progress());
                }
                if evaluated {
                    watched.counted().iter().for_each(|counted| say(format_args!("  {counted}")));
                }
                events.iter().filter_map(control).for_each(say);
            }
        }
        told = step;
    }
}

/// Tells how the run stands.
pub(super) fn tell(watched: &Watched, format: Format) {
    if format == Format::Json {
        return say(watched.json());
    }
    say(format_args!("run     {}  {}", watched.run.display(), watched.word()));
    say(watched.progress());
    watched.counted().iter().for_each(|counted| say(format_args!("  {counted}")));
}

/// What was asked of the run, and what came of it.
fn control(event: &Event) -> Option<String> {
    let Event::Control { request, steps, result, .. } = event else { return None };
    Some(format!("  {request} after step {steps}: {result}"))
}
