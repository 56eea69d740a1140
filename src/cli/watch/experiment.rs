//! Checks and plans an experiment file on every save, and prints only the differences.

use std::path::Path;
use std::time::Duration;

use statetune_core::diagnostic::{Diagnostic, Severity};
use statetune_core::exit::ExitCode;
use statetune_core::forecast::Forecast;
use statetune_core::plan::{Experiment, Purpose};
use statetune_core::records::local_time;
use statetune_engine::run::Outlook;

use super::{Changes, cannot_watch};
use crate::forecast_lines::facts;
use crate::{Color, ExperimentArgs, devices, say};

/// Timeout of one wait; the next wait follows.
const LONG: Duration = Duration::from_secs(3600);

/// The result of a check.
struct Verdict {
    /// Errors and warnings.
    messages: Vec<Diagnostic>,
    /// The settings, when the file is valid.
    settings: Option<Experiment>,
    /// The forecast of the run by subject; that of the last valid version for an invalid file.
    expected: Vec<(&'static str, String)>,
}

/// Checks the file now and, without `once`, after every save until the user interrupts the command.
pub(super) fn watch(file: &Path, args: &ExperimentArgs, once: bool, color: Color) -> ExitCode {
    let folder = match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    // Before the first check, so that no save is missed.
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
        let mut now = check(file, args);
        if now.settings.is_none() {
            now.expected.clone_from(&verdict.expected);
        }
        tell_changes(file, &verdict, &now, color);
        verdict = now;
    }
}

fn check(file: &Path, args: &ExperimentArgs) -> Verdict {
    let plan = match args.try_plan(devices::find_gpus, file, Purpose::Plan) {
        Ok(plan) => plan,
        Err(messages) => return Verdict { messages, settings: None, expected: Vec::new() },
    };
    let mut messages = plan.warnings.clone();
    let expected = match Outlook::new(&plan, false) {
        Ok(outlook) => {
            messages.extend(outlook.warnings());
            expected(&outlook, &plan.experiment)
        }
        Err(error) => {
            messages.push(error.diagnostic());
            Vec::new()
        }
    };
    Verdict { messages, settings: Some(plan.experiment.clone()), expected }
}

/// The lines of `statetune plan`, one per subject. Free memory changes with other programs, so only whether the run fits
/// is included.
fn expected(outlook: &Outlook<'_>, experiment: &Experiment) -> Vec<(&'static str, String)> {
    let forecast = Forecast { available_bytes: None, ..outlook.forecast(None) };
    let mut lines = facts(&forecast, &[]);
    lines.retain(|(subject, _)| !matches!(*subject, "" | "origin"));
    let fits = match outlook.refusal(None) {
        Some(_) => {
            format!(
                "no: `statetune plan {} --fit` proposes settings that do",
                experiment.arguments()
            )
        }
        None => "yes".to_string(),
    };
    lines.push(("fits", fits));
    lines
}

impl Verdict {
    /// The exit code with `--once`.
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

/// Prints resolved and new messages, changed settings, and changed lines of the plan.
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
        lines.push(format!("resolved: {}: {}", gone.code, gone.message));
    }
    for new in now.messages.iter().filter(|one| missing_in(before, one)) {
        lines.push(format!("{}\n", new.render(color.for_stdout())));
    }
    if let (Some(was), Some(is)) = (&before.settings, &now.settings) {
        let changed = was.changes_to(is).into_iter();
        lines.extend(changed.map(|one| format!("{}: {} -> {}", one.key, one.was, one.now)));
    }
    for (subject, is) in &now.expected {
        let was = before.expected.iter().find(|(other, was)| other == subject && was != is);
        lines.extend(was.map(|(_, was)| format!("{subject}: {was} -> {is}")));
    }
    if before.word() != now.word() {
        lines.push(format!("{}: {}", file.display(), now.word()));
    }
    if lines.is_empty() {
        return;
    }
    say(format_args!("{}", local_time().format("%H:%M:%S")));
    lines.iter().for_each(say);
}
