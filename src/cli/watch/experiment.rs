//! An experiment file that is checked again on every save: only what changed is told.

use std::path::Path;
use std::time::Duration;

use chrono::Local;

use super::Changes;
use super::cannot_watch;
use crate::cli::{Color, ExperimentArgs, runs_dir, say};
use crate::config::{Config, ConfigError, load};
use crate::diagnostic::{Diagnostic, Severity};
use crate::exit::ExitCode;
use crate::kernels::find_driver;
use crate::plan::{Purpose, changes, resolve};

/// As long as a wait may be; nothing happens when it is over.
const LONG: Duration = Duration::from_secs(3600);

/// What a check found.
struct Verdict {
    /// Faults and warnings.
    messages: Vec<Diagnostic>,
    /// The settings, when the file is valid.
    settings: Option<Config>,
}

/// Checks the file now and, unless it is to be done once, after every save, until somebody ends it.
pub(super) fn watch(file: &Path, args: &ExperimentArgs, once: bool, color: Color) -> ExitCode {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Before the first look, so that nothing is missed.
    let changes = match Changes::of(folder) {
        Ok(changes) => changes,
        Err(error) => return cannot_watch(folder, &error, color),
    };
    let mut verdict = check(file, args);
    for message in &verdict.messages {
        say(format_args!("{}\n", message.render(color.for_stdout())));
    }
    say(format_args!("{}: {}", file.display(), verdict.word()));
    if once {
        return verdict.exit_code();
    }
    loop {
        let changed = changes.wait(LONG);
        if !changed.iter().any(|path| path.file_name() == file.file_name()) {
            continue;
        }
        let now = check(file, args);
        tell_changes(file, &verdict, &now, color);
        verdict = now;
    }
}

fn check(file: &Path, args: &ExperimentArgs) -> Verdict {
    let refused = |messages| Verdict { messages, settings: None };
    let loaded = match load(file, &args.overrides()) {
        Ok(loaded) => loaded,
        Err(ConfigError { diagnostics, .. }) => return refused(diagnostics),
    };
    match resolve(loaded, Purpose::Run, runs_dir(args.runs_dir.as_deref(), file), find_driver) {
        Ok(plan) => Verdict { settings: Some(plan.config().clone()), messages: plan.warnings },
        Err(messages) => refused(messages),
    }
}

impl Verdict {
    /// What `--once` ends with.
    fn exit_code(&self) -> ExitCode {
        let refused = self.settings.is_none();
        let is_error = |one: &&Diagnostic| one.severity == Severity::Error;
        match self.messages.iter().find(is_error).filter(|_| refused) {
            Some(first) => ExitCode::of_message(first.code),
            None => ExitCode::Ok,
        }
    }

    fn word(&self) -> &'static str {
        if self.settings.is_some() { "valid" } else { "not valid" }
    }
}

/// Tells which messages are gone, which are new, and which settings have other values.
fn tell_changes(file: &Path, before: &Verdict, now: &Verdict, color: Color) {
    let mut lines = Vec::new();
    // A message that only moved with its line is the same.
    let same = |one: &Diagnostic, other: &Diagnostic| {
        (one.code, &one.message, &one.label) == (other.code, &other.message, &other.label)
    };
    let missing_in = |verdict: &Verdict, one: &Diagnostic| {
        !verdict.messages.iter().any(|other| same(one, other))
    };
    for gone in before.messages.iter().filter(|one| missing_in(now, one)) {
        lines.push(format!("gone: {}: {}", gone.code, gone.message));
    }
    for new in now.messages.iter().filter(|one| missing_in(before, one)) {
        lines.push(format!("{}\n", new.render(color.for_stdout())));
    }
    if let (Some(was), Some(is)) = (&before.settings, &now.settings) {
        let changed = changes(was, is).into_iter();
        lines.extend(changed.map(|one| format!("{}: {} -> {}", one.key, one.was, one.now)));
    }
    if before.word() != now.word() {
        lines.push(format!("{}: {}", file.display(), now.word()));
    }
    if lines.is_empty() {
        return;
    }
    say(format_args!("{}", Local::now().format("%H:%M:%S")));
    lines.iter().for_each(say);
}
