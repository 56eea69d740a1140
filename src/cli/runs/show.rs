//! `statetune runs show`.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};
use statetune_core::records::{
    Checkpoint, Lock, LockedFile, MostChanged, PastSettings, ReadRunError, RunDir, SuiteHistory,
    ValChange, ValDocument, ValLosses,
};
use statetune_core::store::{StoredRun, disk_usage};
use statetune_core::suite::Comparison;
use statetune_core::words::{age, grouped, printable, size};

use super::{Answer, Row, open, refused};
use crate::{Color, Format, say};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.run_shown/1";
/// Origin of a setting with its default value.
const DEFAULT: &str = "default";
/// Validation documents shown at most of each kind: improved, worsened.
const DOCUMENTS: usize = 3;
/// Characters of a document that are shown.
const TEXT_CHARS: usize = 60;

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The run.
    run: String,
    /// Show settings with default values too.
    #[arg(long)]
    all: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
}

pub(super) fn show_run(args: &ShowArgs, runs_dir: &Path, color: Color) -> Answer {
    let run = open(runs_dir, &args.run, color)?;
    let unreadable = |error: ReadRunError| refused(&error.diagnostic(), color);
    let row = Row::read(run.path()).map_err(unreadable)?;
    let origins = run.settings().map_err(unreadable)?.origins();
    let checkpoints = run.checkpoints();
    let exported_files = exported_files(&run);
    let val_losses = ValLosses::load(run.path()).map_err(unreadable)?;
    let suites = SuiteHistory::load(run.path()).map_err(unreadable)?.comparisons();
    let best = row.record.best.map(|best| best.steps);
    let changed = val_losses.as_ref().and_then(|losses| losses.most_changed(best, DOCUMENTS));
    if args.format == Format::Json {
        let names: Vec<&str> = checkpoints.iter().map(Checkpoint::name).collect();
        let earlier = PastSettings::all(run.path());
        let earlier: Vec<_> =
            earlier.iter().map(|one| json!({ "steps": one.steps, "path": one.path })).collect();
        say(json!({
            "schema": SCHEMA,
            "run": row,
            "settings": row.settings,
            "origins": origins,
            "lock": run.lock(),
            "earlier": earlier,
            "checkpoints": names,
            "best_checkpoint": run.best_checkpoint(),
            "damaged_checkpoints": run.damaged_checkpoints(),
            "products": exported_files,
            "suites": suites.iter().map(|(_, one)| one).collect::<Vec<_>>(),
            "validation_documents": changed.as_ref().map(documents_json),
        }));
        return Ok(());
    }
    say(format_args!("run         {}", row.path.display()));
    status(&row);
    results(&row);
    suite_lines(&suites);
    if let Some(changed) = &changed {
        documents(changed);
    }
    if let Some(lock) = run.lock() {
        let input = |name| -> Vec<String> {
            let shown =
                |file: &&LockedFile| format!("{} ({:.8})", file.path.display(), file.sha256);
            lock.input(name).iter().map(shown).collect()
        };
        for name in Lock::INPUTS {
            for file in input(name) {
                say(format_args!("{name:<11} {file}"));
            }
        }
        say(format_args!(
            "computed    {}, op {}, libtorch {}",
            lock.device, lock.op, lock.libtorch
        ));
    }
    if let Some(identity) = &row.record.identity {
        say(format_args!("identity    {identity:.16}"));
    }
    let best = run.best_checkpoint();
    for one in &checkpoints {
        let is_best = if Some(one.name()) == best.as_deref() { ", the best" } else { "" };
        let steps = one.record.position.steps;
        let bytes = size(disk_usage(&one.path));
        say(format_args!("checkpoint  {}: step {steps}, {bytes}{is_best}", one.name()));
    }
    for name in run.damaged_checkpoints() {
        say(format_args!("checkpoint  {name}: damaged"));
    }
    for one in PastSettings::all(run.path()) {
        let settings = one.path.join(RunDir::SETTINGS);
        say(format_args!("earlier     settings up to step {}: {}", one.steps, settings.display()));
    }
    for exported in exported_files {
        say(format_args!("export      {}", exported.display()));
    }
    say("settings");
    for (key, value) in &row.settings {
        let origin = origins.get(key).map_or(DEFAULT, String::as_str);
        if args.all || origin != DEFAULT {
            say(format_args!("  {key} = {value}  # {origin}"));
        }
    }
    Ok(())
}

fn status(row: &Row) {
    let began = row.age_secs().map_or(String::new(), |secs| format!(", started {} ago", age(secs)));
    let steps = match row.record.total_steps {
        Some(total) => format!("{} of {total} steps", row.steps),
        None => format!("{} steps", row.steps),
    };
    say(format_args!("status      {}, {steps}{began}", row.state));
    if let Some((message, code)) = row.record.status.failure() {
        say(format_args!("            {code}: {message}"));
    }
    let pinned = if row.pinned { ", pinned" } else { "" };
    let tags =
        if row.tags.is_empty() { "none".to_string() } else { printable(&row.tags.join(" ")) };
    say(format_args!("tags        {tags}{pinned}"));
    if !row.note.is_empty() {
        say(format_args!("note        {}", printable(&row.note)));
    }
}

fn results(row: &Row) {
    let record = &row.record;
    if let (Some(before), Some(now)) = (record.val_before, record.val_loss) {
        say(format_args!("val loss    {before:.4} before, {now:.4} now"));
    }
    if let Some(best) = record.best {
        let by_probe = best.probe.map(|rate| format!("{rate:.2} of the probe"));
        let by_loss = best.val_loss.map(|loss| format!("{loss:.4}"));
        let measured = by_probe.or(by_loss).unwrap_or_default();
        say(format_args!("best        {measured} after step {}", best.steps));
    }
    let rate = |rate: Option<f64>| rate.map_or("-".to_string(), |rate| format!("{rate:.2}"));
    for probe in &record.probes {
        say(format_args!(
            "probe       {}: {} -> {}",
            probe.name,
            rate(probe.base),
            rate(probe.tuned)
        ));
    }
}

/// The first metric of each suite, before training and now.
fn suite_lines(suites: &[(u64, Comparison)]) {
    for (steps, one) in suites {
        for row in one.metrics.iter().take(1) {
            let before = row.base.map_or("-".to_string(), |base| base.to_string());
            say(format_args!(
                "suite       {} {}, n = {}: {before} -> {} after step {steps}",
                one.suite,
                row.metric,
                grouped(one.items as u64),
                row.tuned
            ));
        }
    }
}

/// The validation documents that changed most.
fn documents(changed: &MostChanged<'_>) {
    for (label, changes) in [("improved", &changed.improved), ("worsened", &changed.worsened)] {
        for ValChange { document, before, after } in changes {
            let text: String = printable(&document.text).chars().take(TEXT_CHARS).collect();
            let name = printable(&document.document);
            say(format_args!("{label:<11} {name}: {before:.4} -> {after:.4}  {text}"));
        }
    }
}

fn documents_json(changed: &MostChanged<'_>) -> Value {
    let all = |changes: &[ValChange<'_>]| -> Vec<Value> {
        let one = |ValChange { document, before, after }: &ValChange<'_>| {
            let ValDocument { document, text } = document;
            json!({ "document": document, "before": before, "after": after, "text": text })
        };
        changes.iter().map(one).collect()
    };
    json!({
        "steps": changed.steps,
        "improved": all(&changed.improved),
        "worsened": all(&changed.worsened),
    })
}

/// The exported files of a run, sorted.
fn exported_files(run: &StoredRun) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(run.path().join(RunDir::EXPORT)).into_iter().flatten();
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.is_file());
    files.sort();
    files
}
