//! A comparison of runs as text and as Markdown: sections with a summary line and rows.

use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{ContentArrangement, Table, TableStyle};
use statetune_core::look::diff::{
    Align, Better, DataChange, Diff, Divergence, MetricRow, Pair, Part, SPEED, STEPS, Validation,
};
use statetune_core::words::{self, count, grouped, shortened};

/// Characters of a setting's value at most; prompts and templates may be longer.
const VALUE_CHARS: usize = 40;
/// Column at which a section's line starts.
const INDENT: usize = 14;

/// A section of the comparison.
struct Section {
    title: &'static str,
    line: String,
    /// Names of the columns after the first, for Markdown and for more than two runs.
    columns: Vec<String>,
    rows: Vec<Vec<String>>,
    /// Last line.
    end: Option<String>,
}

/// The comparison as text.
pub(super) fn human(diff: &Diff, decimals: usize, with_samples: bool) -> String {
    let mut text = title(diff);
    for section in sections(diff, decimals, with_samples) {
        let gap = INDENT.saturating_sub(section.title.len()).max(3);
        text += &format!("\n{}{}{}", section.title, " ".repeat(gap), section.line);
        let mut table = plain(&section, NOTHING, diff.runs.len() > 2 && section.columns.len() > 1);
        for column in table.column_iter_mut() {
            column.set_padding((0, 2));
        }
        if !section.rows.is_empty() {
            text.extend(table.lines().map(|line| format!("\n  {}", line.trim_end())));
        }
        text.extend(
            section.end.map(|end| format!("\n{}{end}", " ".repeat(section.title.len() + gap))),
        );
    }
    text
}

/// The comparison as Markdown.
pub(super) fn markdown(diff: &Diff, decimals: usize, with_samples: bool) -> String {
    let mut text = title(diff);
    for mut section in sections(diff, decimals, with_samples) {
        text += &format!("\n\n**{}** {}", section.title, section.line);
        text.extend(section.end.take().map(|end| format!("\\\n{end}")));
        if !section.rows.is_empty() {
            let escaped = |cell: &mut String| *cell = cell.replace('|', "\\|").replace('\n', " ");
            section.rows.iter_mut().flatten().for_each(escaped);
            text += &format!("\n\n{}", plain(&section, ASCII_MARKDOWN, true).trim_fmt());
        }
    }
    text
}

fn plain(section: &Section, style: TableStyle, with_header: bool) -> Table {
    let mut table = Table::new();
    table.load_style(style).set_content_arrangement(ContentArrangement::Disabled);
    if with_header {
        table.set_header([String::new()].into_iter().chain(section.columns.iter().cloned()));
    }
    table.add_rows(section.rows.clone());
    table
}

fn title(diff: &Diff) -> String {
    let names: Vec<String> =
        diff.runs.iter().map(|run| format!("{} {}", run.id, run.name)).collect();
    format!("diff {}  ->  {}", names[0], names[1..].join(", "))
}

fn sections(diff: &Diff, decimals: usize, with_samples: bool) -> Vec<Section> {
    vec![
        settings(diff),
        data(diff),
        environment(diff),
        metrics(diff, decimals),
        divergence(diff),
        samples(diff, with_samples),
    ]
}

/// Ids of the runs, followed by `more`.
fn columns(diff: &Diff, more: &[&str]) -> Vec<String> {
    let ids = diff.runs.iter().map(|run| run.id.clone());
    ids.chain(more.iter().map(|name| name.to_string())).collect()
}

fn settings(diff: &Diff) -> Section {
    let line = match diff.settings.len() {
        0 => format!("all {} equal", diff.equal_settings),
        changed => format!("{changed} changed, {} equal", diff.equal_settings),
    };
    let rows = diff.settings.iter().map(|row| {
        let values = row.values.iter().map(|value| value.as_deref().map_or("-".to_string(), cut));
        let mut origins: Vec<&str> = row.origins.iter().flatten().map(String::as_str).collect();
        origins.dedup();
        let cells = [row.key.clone()].into_iter().chain(values);
        cells.chain([origins.join(" -> ")]).collect()
    });
    let rows = rows.collect();
    Section { title: "SETTINGS", line, columns: columns(diff, &["from"]), rows, end: None }
}

fn cut(value: &str) -> String {
    match value.char_indices().nth(VALUE_CHARS) {
        Some((end, _)) => format!("{}...", &value[..end]),
        None => value.to_string(),
    }
}

fn data(diff: &Diff) -> Section {
    let count = diff.documents.map(|count| format!("{} documents", grouped(count)));
    let text = |run: &str, pair: &Pair| match &pair.data {
        DataChange::Same => format!("same {}", count.as_deref().unwrap_or("files")),
        DataChange::Reordered => {
            format!("same {} in another order", count.as_deref().unwrap_or("documents"))
        }
        DataChange::Copies => {
            let same = count.as_deref().unwrap_or("documents");
            format!("same {same}, some of them more or less often{}", by(pair))
        }
        DataChange::Changed { added, removed, first_added, first_removed } => {
            let some = |run: &str, count: u64, first: &[u64]| {
                let numbers: Vec<String> = first.iter().map(u64::to_string).collect();
                let more = if count > first.len() as u64 { ", ..." } else { "" };
                (count > 0).then(|| {
                    let count = words::count(count, "document");
                    format!("{count} only in {run} (number {}{more})", numbers.join(", "))
                })
            };
            let first = &diff.runs[0].id;
            let parts = [some(run, *added, first_added), some(first, *removed, first_removed)];
            let parts: Vec<String> = parts.into_iter().flatten().collect();
            parts.join(", ") + &by(pair)
        }
        DataChange::Unknown => "the data files differ; documents were not recorded".to_string(),
    };
    let is_same =
        |pair: &Pair| pair.data == DataChange::Same && pair.validation == Validation::Same;
    let all_same = diff.pairs.iter().all(is_same);
    each_pair(diff, "DATA", all_same, |run, pair| (text(run, pair), other_validation(pair)))
}

/// What chooses other documents: `: limit`.
fn by(pair: &Pair) -> String {
    let names: Vec<&str> =
        pair.data_causes.iter().map(|name| name.rsplit('.').next().unwrap_or(name)).collect();
    if names.is_empty() { String::new() } else { format!(": {}", names.join(", ")) }
}

/// How the validation documents differ, if they do.
fn other_validation(pair: &Pair) -> Option<String> {
    let by = if pair.data == DataChange::Same { by(pair) } else { String::new() };
    match pair.validation {
        Validation::Same => None,
        Validation::Other { first, other } => {
            let counts = format!("{} -> {}", grouped(first), grouped(other));
            Some(format!("other validation documents: {counts}{by}"))
        }
        Validation::Unknown => Some(format!("the validation documents may differ{by}")),
    }
}

/// A section that compares each run with the first: one line for a single pair or when all pairs are the same, otherwise
/// one row per pair.
fn each_pair(
    diff: &Diff,
    title: &'static str,
    all_same: bool,
    text: impl Fn(&str, &Pair) -> (String, Option<String>),
) -> Section {
    let mut section =
        Section { title, line: String::new(), columns: Vec::new(), rows: Vec::new(), end: None };
    if diff.pairs.len() == 1 || all_same {
        (section.line, section.end) = text(&diff.runs[1].id, &diff.pairs[0]);
        return section;
    }
    section.line = format!("compared with {}", diff.runs[0].id);
    section.columns = vec![String::new()];
    for (run, pair) in diff.runs[1..].iter().zip(&diff.pairs) {
        let (line, end) = text(&run.id, pair);
        let end = end.map_or(String::new(), |end| format!("; {end}"));
        section.rows.push(vec![run.id.clone(), line + &end]);
    }
    section
}

fn environment(diff: &Diff) -> Section {
    let line = match diff.environment.len() {
        0 => "same program, libtorch, kernels, device, weights and tokenizer".to_string(),
        n => count(n as u64, "difference"),
    };
    let rows = diff.environment.iter().map(|row| {
        let values = row.values.iter().map(|value| value.clone().unwrap_or("-".to_string()));
        [row.name.to_string()].into_iter().chain(values).collect()
    });
    let rows = rows.collect();
    Section { title: "ENVIRONMENT", line, columns: columns(diff, &[]), rows, end: None }
}

fn metrics(diff: &Diff, decimals: usize) -> Section {
    let what = match diff.metrics.align {
        Align::Samples => "samples",
        Align::Tokens => "target tokens",
    };
    let all = if diff.runs.len() == 2 { "both" } else { "all" };
    let until = grouped(diff.metrics.until);
    let rows = diff.metrics.rows.iter().map(|row| {
        let values = row.values.iter().map(|value| match value {
            None => "-".to_string(),
            Some(value) if row.name == SPEED => shortened(*value),
            Some(value) if row.name == STEPS => grouped(*value as u64),
            Some(value) => format!("{value:.decimals$}"),
        });
        [row.name.clone()].into_iter().chain(values).chain(change(row, decimals)).collect()
    });
    let has_loss = diff.metrics.rows.iter().any(|row| row.name == "val_loss");
    let is_other = diff.pairs.iter().any(|pair| pair.validation != Validation::Same);
    let no_verdict = match (has_loss, is_other, diff.metrics.is_untrained) {
        (true, true, _) => Some("the validation documents are not the same"),
        (true, false, true) => Some("one of the values is from before the first step"),
        _ => None,
    };
    let no_verdict = no_verdict.map(|why| format!("no verdict on val_loss: {why}"));
    let others = diff
        .metrics
        .other_suites
        .iter()
        .map(|name| format!("no verdict on {name}: the items of the suite are not the same"));
    let end: Vec<String> = no_verdict.into_iter().chain(others).collect();
    Section {
        title: "METRICS",
        line: format!("best within the first {until} {what} of {all} runs"),
        columns: columns(diff, if diff.runs.len() == 2 { &["change", ""] } else { &[] }),
        rows: rows.collect(),
        end: (!end.is_empty()).then(|| end.join("; ")),
    }
}

/// Change from the first to the second value, and whether the second is better.
fn change(row: &MetricRow, decimals: usize) -> Vec<String> {
    let [Some(was), Some(now)] = row.values[..] else { return Vec::new() };
    if row.name == STEPS {
        return Vec::new();
    }
    let change = match row.name == SPEED {
        true => format!("{:+.0} %", (now / was - 1.0) * 100.0),
        false => format!("{:+.decimals$}", now - was),
    };
    if !change.contains(|digit: char| ('1'..='9').contains(&digit)) {
        let zero = change.trim_start_matches(['+', '-']).to_string();
        return vec![if was == now { "equal".to_string() } else { zero }];
    }
    let verdict = match row.better {
        None => "",
        Some(better) if (better == Better::Lower) == (now < was) => "better",
        Some(_) => "worse",
    };
    vec![change, verdict.to_string()]
}

fn divergence(diff: &Diff) -> Section {
    let same = |pair: &Pair| pair.divergence == diff.pairs[0].divergence && pair.causes.is_empty();
    let all_same =
        diff.pairs.iter().all(same) && matches!(diff.pairs[0].divergence, Divergence::Same { .. });
    each_pair(diff, "FIRST DIVERGENCE", all_same, |_, pair| divergence_text(pair))
}

/// The first difference between two runs, and its causes.
pub(crate) fn divergence_text(pair: &Pair) -> (String, Option<String>) {
    let (step, part) = match pair.divergence {
        Divergence::Same { steps } => {
            return (format!("none: all {steps} steps are bit-identical"), None);
        }
        Divergence::Unknown => return ("unknown: no steps were recorded".to_string(), None),
        Divergence::Ended { steps } => {
            let line = format!("none in the first {steps} steps; one run is longer");
            return (line, explained(pair));
        }
        Divergence::Parted { step, part } => (step, part),
    };
    let what = match part {
        Part::Batch => "in the batch",
        Part::Loss => "in the loss of the same batch",
        Part::Update => "in the update from the same loss",
        Part::Length => "in the length",
    };
    let why = match &pair.causes[..] {
        [only] => {
            let name = only.name.rsplit('.').next().unwrap_or(&only.name);
            format!(": {name} {}", only.why)
        }
        _ => String::new(),
    };
    let nothing =
        || "no recorded difference explains it; the device may not be deterministic".to_string();
    (format!("step {step}, {what}{why}"), Some(explained(pair).unwrap_or_else(nothing)))
}

/// The names of the causes.
fn explained(pair: &Pair) -> Option<String> {
    let names: Vec<&str> = pair.causes.iter().map(|cause| cause.name.as_str()).collect();
    match &names[..] {
        [] => None,
        [only] => Some(format!("explained by: {only}")),
        several => Some(format!("explained by one or more of: {}", several.join(", "))),
    }
}

fn samples(diff: &Diff, with_samples: bool) -> Section {
    let hint =
        if diff.samples.is_empty() || with_samples { "" } else { "   (--samples shows them)" };
    let line = match (diff.prompts, diff.samples.len()) {
        (0, _) => "no prompt was answered by all runs".to_string(),
        (prompts, 0) => format!("equal answers to {prompts} prompts"),
        (prompts, differ) => format!("answers to {differ} of {prompts} prompts differ{hint}"),
    };
    Section { title: "SAMPLES", line, columns: Vec::new(), rows: Vec::new(), end: None }
}
