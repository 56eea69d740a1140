//! `statetune data check`.

use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use statetune_core::data::{
    DataError, DataType, Dataload, RecordCounts, Shape, for_each_row, holds_records,
};
use statetune_core::diagnostic::{Diagnostic, Severity, english};
use statetune_core::exit::ExitCode;
use statetune_core::look::inspect::{Check, Checked, Fixed, Item, Kind, Repair, read, read_other};
use statetune_core::plan::Plan;
use statetune_core::words::{count, grouped};
use statetune_engine::RunError;
use statetune_engine::run::load_tokenizer;

use super::Format;
use crate::subject::fail;
use crate::{Color, ExperimentArgs, say, tell};

#[derive(Args, Debug)]
pub(super) struct CheckArgs {
    /// The experiment file.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// A file of records whose documents must not occur in the experiment; repeatable.
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Write a copy, as JSONL, of each file of records with the lines fixed that have exactly one possible fix.
    #[arg(long)]
    fix: bool,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human, value_name = "FORMAT")]
    format: Format,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

pub(super) fn check(args: &CheckArgs, color: Color) -> ExitCode {
    let plan = match args.experiment.plan_data(&args.file, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    let checked = check_plan(&plan, &args.against).and_then(|checked| {
        let fixed = if args.fix { fix_files(&plan)? } else { Vec::new() };
        Ok((checked, fixed))
    });
    match checked {
        Ok((checked, fixed)) => {
            match args.format {
                Format::Human => print(&checked, &args.file, color),
                Format::Json => say(as_json(&checked, &args.file)),
            }
            for one in fixed {
                tell(one);
            }
            if checked.has_errors() { ExitCode::Data } else { ExitCode::Ok }
        }
        Err(error) => fail(&error, color),
    }
}

fn check_plan(plan: &Plan, against: &[PathBuf]) -> Result<Checked, RunError> {
    let tokenizer = load_tokenizer(plan)?;
    let data = &plan.data;
    let by_document = data.dataload != Dataload::Get;
    let ctx_len = by_document.then(|| plan.train.ctx_len.as_usize());
    let splits = data.val_split > 0.0;
    let experiment = plan.experiment.arguments();
    let (mask, template) = (&data.mask, &data.template);
    let mut check = Check::new(
        &experiment,
        (mask, plan.objective.answers()),
        template,
        ctx_len,
        data.overlong,
        splits,
    );
    for file in against {
        read_other(file, plan, &tokenizer, &mut |item| match item {
            Item::Sample(sample) => check.add_other(&sample),
            Item::Fault { place, fault } => check.add_fault(place, fault),
        })?;
    }
    let counts = read(plan, &tokenizer, &mut |item| match item {
        Item::Sample(sample) => check.add(&sample),
        Item::Fault { place, fault } => check.add_fault(place, fault),
    })?;
    check.add_records(plan, &counts);
    Ok(check.finish())
}

/// Prints the first findings of each kind to standard error, and the totals to standard output.
fn print(checked: &Checked, file: &Path, color: Color) {
    let mut counts = Vec::new();
    for (kind, finding) in &checked.findings {
        for diagnostic in &finding.shown {
            tell(format_args!("{}\n", diagnostic.render(color.on())));
        }
        let more = finding.count - finding.shown.len() as u64;
        if more > 0 && *kind != Kind::LeftOut {
            tell(format_args!("{} more like this ({})\n", grouped(more), kind.code()));
        }
        let severity = match finding.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
        };
        counts.push(format!(
            "{severity:8} {} {:>7}  {}",
            kind.code(),
            finding.count,
            finding.words(*kind)
        ));
    }
    let documents = count(checked.documents, "document");
    let verdict = if counts.is_empty() { "no findings" } else { "" };
    say(format!("{}: {documents}  {verdict}", file.display()).trim_end());
    shape_lines(&checked.records).into_iter().for_each(say);
    counts.into_iter().for_each(say);
}

/// The shapes of records, unless all are texts, and the turns that are not targets.
fn shape_lines(records: &RecordCounts) -> Vec<String> {
    let mut lines = Vec::new();
    if records.shapes.iter().any(|one| one.shape != Shape::Text) {
        let shapes = records.shapes.iter().map(|one| {
            let key = if one.keys.contains(", ") { "keys" } else { "key" };
            format!("{} {} ({key} {})", one.shape.name(), grouped(one.records), one.keys)
        });
        lines.push(format!("shapes: {}", shapes.collect::<Vec<_>>().join(", ")));
    }
    if records.muted > 0 {
        lines.push(format!("not targets: {} with weight 0", count(records.muted, "message")));
    }
    lines
}

fn as_json(checked: &Checked, file: &Path) -> serde_json::Value {
    let findings = checked.findings.iter().map(|(kind, finding)| {
        let shown: Vec<_> = finding.shown.iter().map(place_as_json).collect();
        json!({
            "kind": kind.name(),
            "code": kind.code(),
            "severity": if finding.severity == Severity::Error { "error" } else { "warning" },
            "count": finding.count,
            "first": shown,
        })
    });
    json!({
        "schema": "statetune.data-check/1",
        "file": file,
        "documents": checked.documents,
        "shapes": checked.records.shapes,
        "muted": checked.records.muted,
        "findings": findings.collect::<Vec<_>>(),
    })
}

fn place_as_json(diagnostic: &Diagnostic) -> serde_json::Value {
    let place = diagnostic.span.as_ref();
    json!({
        "message": diagnostic.message.to_string(),
        "file": place.map(|place| &place.file),
        "line": place.map(|place| place.number()),
        "column": place.map(|place| place.column()),
        "notes": english(&diagnostic.notes),
        "helps": english(&diagnostic.helps),
    })
}

/// Writes a fixed copy of each file of records with fixable ones; returns one sentence per file.
fn fix_files(plan: &Plan) -> Result<Vec<String>, RunError> {
    let mut sentences = Vec::new();
    for source in plan.data.sources.iter().filter(|source| holds_records(source.data_type)) {
        for file in &source.files {
            sentences.push(fix_file(file, source.data_type, plan)?);
        }
    }
    Ok(sentences)
}

/// Writes the copy as JSONL, whatever the container.
fn fix_file(file: &Path, data_type: DataType, plan: &Plan) -> Result<String, DataError> {
    let repair = Repair::new(plan);
    let (mut repaired, mut dropped) = (0, 0);
    let copy = copy_name(file);
    let unwritable = |source| DataError::Io { path: copy.clone(), source };
    let folder = copy.parent().filter(|folder| !folder.as_os_str().is_empty());
    let temporary =
        tempfile::NamedTempFile::new_in(folder.unwrap_or(Path::new("."))).map_err(unwritable)?;
    let mut text = BufWriter::new(temporary);
    let mut failed = None;
    for_each_row(file, data_type, |row| {
        let fixed = match row.parse::<()>(|_| Ok(())) {
            Ok(()) => repair.line(row.json()),
            // No line of a copy can hold such a row.
            Err((range, fault)) => {
                failed.get_or_insert(DataError::line(row.place(range), fault));
                return;
            }
        };
        let line = match &fixed {
            Fixed::Kept => row.json(),
            Fixed::Repaired(line) => {
                repaired += 1;
                line.as_bytes()
            }
            Fixed::Dropped => {
                dropped += 1;
                return;
            }
        };
        let written = text.write_all(line).and_then(|()| text.write_all(b"\n"));
        if let Err(error) = written {
            failed.get_or_insert(unwritable(error));
        }
    })?;
    if let Some(error) = failed {
        return Err(error);
    }
    if repaired + dropped == 0 {
        return Ok(format!("{}: no lines to fix", file.display()));
    }
    let temporary = text.into_inner().map_err(|error| unwritable(error.into_error()))?;
    let permissions = fs::metadata(file).map_err(unwritable)?.permissions();
    temporary.as_file().set_permissions(permissions).map_err(unwritable)?;
    temporary.persist_noclobber(&copy).map_err(|error| unwritable(error.error))?;
    let copy = copy.display();
    Ok(format!("wrote {copy}: {repaired} lines fixed, {dropped} dropped (no text)"))
}

/// The endings of files of records.
const ENDINGS: [&str; 8] = ["gz", "zst", "jsonl", "json", "csv", "tsv", "parquet", "arrow"];

/// `d.fixed.jsonl` for `d.jsonl` and `d.jsonl.gz`.
fn copy_name(file: &Path) -> PathBuf {
    let mut stem = file.to_path_buf();
    while stem.extension().is_some_and(|extension| ENDINGS.iter().any(|one| extension == *one)) {
        stem.set_extension("");
    }
    stem.with_added_extension("fixed.jsonl")
}
