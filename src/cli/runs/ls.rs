//! `statetune runs ls`.

use std::cmp::Ordering;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};
use comfy_table::presets::{ASCII_MARKDOWN, NOTHING};
use comfy_table::{Table, TableStyle};
use serde_json::json;
use statetune_core::store::{all_runs, folders_near, runs_here, unreadable};
use statetune_core::words::{age, count};
use statetune_engine::inference::as_warning;

use super::condition::{Condition, check_keys, compare};
use super::{Answer, Row, refused, validation};
use crate::table::hide_to_fit;
use crate::{Color, say, show, tell};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.runs/1";
const HEADER: [&str; 10] =
    ["ID", "NAME", "STATUS", "VAL", "BEST@", "PROBE", "CHANGED VS ABOVE", "AGE", "TAGS", SUITE];
/// The column of the first suite, which is there if a run of the table has one.
const SUITE: &str = "SUITE";

/// Columns of [`HEADER`] that are hidden on a narrow terminal, the first one first.
const LEAST_NEEDED: [usize; 7] = [8, 5, 4, 7, 9, 6, 1];

#[derive(Args, Debug)]
pub(super) struct LsArgs {
    /// Only runs that meet a condition, such as `status=done`, `val_loss<1.3`, `schedule.lr_init>=0.3`, `tag=emoji`,
    /// `age<7d`; repeatable.
    #[arg(long = "where", value_name = "EXPR", value_parser = Condition::parse)]
    conditions: Vec<Condition>,
    /// Sort by a column or a setting, ascending; runs without a value come last.
    #[arg(long, value_name = "KEY")]
    sort: Option<String>,
    /// Output format.
    #[arg(long, value_enum, default_value_t = ListFormat::Human, value_name = "FORMAT")]
    format: ListFormat,
}

/// Output format of a list.
#[derive(Clone, Copy, Debug, Eq, PartialEq, ValueEnum)]
enum ListFormat {
    /// A table.
    Human,
    /// A JSON object.
    Json,
    /// Comma-separated values, with all digits.
    Csv,
    /// A Markdown table.
    Md,
}

pub(super) fn ls(args: &LsArgs, runs_dir: &Path, color: Color) -> Answer {
    if let Some(refusal) = unreadable(runs_dir) {
        return Err(refused(&refusal, color));
    }
    let runs = runs_here(runs_dir);
    let rows = chosen(&args.conditions, args.sort.as_deref(), &runs, color)?;
    let mut folder = runs_dir.display().to_string();
    if all_runs(runs_dir).is_empty() && !runs.is_empty() {
        let near = folders_near(runs_dir);
        folder = near.iter().map(|one| one.display().to_string()).collect::<Vec<_>>().join(", ");
        tell(format_args!("runs in {folder}"));
    }
    match args.format {
        ListFormat::Human if rows.is_empty() && !runs.is_empty() => {
            let runs = count(runs.len() as u64, "run");
            say(format_args!("no run meets the conditions: {folder} has {runs}"));
        }
        ListFormat::Human if rows.is_empty() => say(format_args!("no runs in {folder}")),
        ListFormat::Human => print(&rows, NOTHING),
        ListFormat::Md => print(&rows, ASCII_MARKDOWN),
        ListFormat::Json => say(json!({ "schema": SCHEMA, "runs": rows })),
        ListFormat::Csv => csv(&rows).iter().for_each(say),
    }
    Ok(())
}

/// Prints a table, and how to read its marks.
fn print(rows: &[Row], style: TableStyle) {
    let mut table = table(rows, style);
    let hidden = hide_to_fit(&mut table, &LEAST_NEEDED);
    say(table);
    if hidden {
        tell("some columns are hidden: the terminal is narrow; `--format csv` prints all");
    }
    if rows.iter().any(|row| row.validation.is_some()) {
        say(format_args!("\n{}", validation::NOTE));
    }
    if rows.iter().any(|row| row.suite_items.is_some()) {
        say(format_args!("\n{}", validation::SUITE_NOTE));
    }
}

/// Those of the runs that meet the conditions, sorted; by validation loss, the runs with the same validation documents stand together. A run that cannot be read is skipped with a warning.
pub(super) fn chosen(
    conditions: &[Condition],
    sort: Option<&str>,
    runs: &[PathBuf],
    color: Color,
) -> Result<Vec<Row>, statetune_core::exit::ExitCode> {
    let mut rows = Vec::new();
    for path in runs {
        match Row::read(path) {
            Ok(row) => rows.push(row),
            Err(error) => show(&as_warning(error.diagnostic()), color),
        }
    }
    check_keys(conditions, sort, &rows).map_err(|refusal| refused(&refusal, color))?;
    rows.retain(|row| conditions.iter().all(|condition| condition.holds(row)));
    validation::mark(rows.iter_mut());
    if let Some(key) = sort {
        let first = |row: &Row| row.values(key).into_iter().next();
        let set = |row: &Row| row.validation.clone().filter(|_| key == "val_loss");
        rows.sort_by(|a, b| match (first(a), first(b)) {
            (Some(one), Some(other)) => set(a).cmp(&set(b)).then_with(|| compare(&one, &other)),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (None, None) => Ordering::Equal,
        });
    }
    for i in 1..rows.len() {
        let (above, below) = rows.split_at_mut(i);
        below[0].compare(&above[i - 1]);
    }
    Ok(rows)
}

fn table(rows: &[Row], style: TableStyle) -> Table {
    let mut table = Table::new();
    let has_suites = rows.iter().any(|row| !row.suites.is_empty());
    let columns = if has_suites { HEADER.len() } else { HEADER.len() - 1 };
    table.load_style(style).set_header(&HEADER[..columns]);
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_string());
    for row in rows {
        let changed = row.changed_in_short();
        let cells = [
            row.id.clone(),
            row.name.clone(),
            row.state.to_string(),
            or_dash(row.val_loss_shown()),
            or_dash(row.record.best.map(|best| best.steps.to_string())),
            or_dash(row.probe().map(|rate| format!("{rate:.2}"))),
            if changed.is_empty() { "-".to_string() } else { changed },
            or_dash(row.age_secs().map(age)),
            row.tags.join(" "),
            or_dash(row.suite_shown()),
        ];
        table.add_row(&cells[..columns]);
    }
    table
}

/// A header and a line per run. Text with a comma, a quote or a line break is quoted (RFC 4180).
fn csv(rows: &[Row]) -> Vec<String> {
    let cell = |text: &String| match text.contains([',', '"', '\n', '\r']) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.clone(),
    };
    let columns = super::row::COLUMNS;
    let lines = rows.iter().map(|row| {
        let cells = columns.map(|column| cell(&row.values(column).join(" ")));
        cells.join(",")
    });
    std::iter::once(columns.join(",")).chain(lines).collect()
}
