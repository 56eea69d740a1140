//! `statetune runs tag`, `note` and `pin`.

use std::path::Path;

use clap::Args;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::store::{Annotations, StoredRun, change_annotations};
use statetune_core::words::printable;

use super::{Answer, not_changed, open, refused};
use crate::{Color, say};

#[derive(Args, Debug)]
pub(super) struct TagArgs {
    /// The run.
    run: String,
    /// Tags: letters of any script, digits, `-`, `_` and `.`.
    #[arg(required = true, value_name = "WORD")]
    words: Vec<String>,
    /// Remove the tags.
    #[arg(long)]
    remove: bool,
}

#[derive(Args, Debug)]
pub(super) struct NoteArgs {
    /// The run.
    run: String,
    /// The note, which replaces the previous one; an empty text removes the note.
    text: String,
}

#[derive(Args, Debug)]
pub(super) struct PinArgs {
    /// The runs.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Remove the protection.
    #[arg(long)]
    off: bool,
}

pub(super) fn tag(args: &TagArgs, runs_dir: &Path, color: Color) -> Answer {
    let is_word = |word: &str| {
        !word.is_empty()
            && word.chars().all(|c| c.is_alphanumeric() || ['-', '_', '.'].contains(&c))
    };
    if let Some(word) = args.words.iter().find(|word| !is_word(word)) {
        let message = msg!(NOT_A_TAG, word);
        let note = msg!(TAG_CHARACTERS);
        return Err(refused(&Diagnostic::error(message).note(note), color));
    }
    change(&open(runs_dir, &args.run, color)?, color, |annotations| match args.remove {
        true => annotations.tags.retain(|tag| !args.words.contains(tag)),
        false => annotations.tags.extend(args.words.iter().cloned()),
    })
}

pub(super) fn note(args: &NoteArgs, runs_dir: &Path, color: Color) -> Answer {
    change(&open(runs_dir, &args.run, color)?, color, |annotations| {
        annotations.note = args.text.clone()
    })
}

pub(super) fn pin(args: &PinArgs, runs_dir: &Path, color: Color) -> Answer {
    let runs: Vec<StoredRun> =
        args.runs.iter().map(|run| open(runs_dir, run, color)).collect::<Result<_, _>>()?;
    runs.iter().try_for_each(|run| change(run, color, |annotations| annotations.pinned = !args.off))
}

/// Changes the annotations of a run and prints them.
fn change(run: &StoredRun, color: Color, change: impl FnOnce(&mut Annotations)) -> Answer {
    let annotations =
        change_annotations(run.path(), change).map_err(|error| not_changed(&error, color))?;
    say(format_args!("{}", run.path().display()));
    let pinned = if annotations.pinned { "pinned" } else { "not pinned" };
    let tags: Vec<&str> = annotations.tags.iter().map(String::as_str).collect();
    say(format_args!(
        "  {pinned}, tags: {}",
        if tags.is_empty() { "none".into() } else { printable(&tags.join(" ")) }
    ));
    if !annotations.note.is_empty() {
        say(format_args!("  note: {}", printable(&annotations.note)));
    }
    Ok(())
}
