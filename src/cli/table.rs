//! Tables as text.

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{ColumnConstraint, ContentArrangement, Table};

/// Width in columns of a table that is not printed to a terminal.
const WIDTH: u16 = 100;
/// Width of a terminal that does not tell.
const UNKNOWN: u16 = 80;

/// Width of a terminal in which the cells of long keys and values are broken within words.
const NARROW: u16 = 60;

/// Rows as a table, or in a narrow terminal as lines: the first cell, and below it the others with the names of their
/// columns.
pub(super) fn table_or_lines<const N: usize>(header: [&str; N], rows: Vec<[String; N]>) -> String {
    let mut table = table(&header);
    if terminal_width(&table).is_none_or(|width| width >= NARROW) {
        table.add_rows(rows);
        return table.to_string();
    }
    let lines = rows.iter().flat_map(|row| {
        let below = header.iter().zip(row).skip(1).filter(|(_, cell)| !cell.is_empty());
        let below = below.map(|(name, cell)| format!("  {name}  {cell}"));
        std::iter::once(row[0].clone()).chain(below)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// An empty table with a header.
pub(super) fn table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table
        .load_style(UTF8_FULL_CONDENSED)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_header(header);
    let width = terminal_width(&table).unwrap_or(WIDTH);
    table.set_width(width);
    table
}

/// Columns of the terminal on standard output; `None` without one.
fn terminal_width(table: &Table) -> Option<u16> {
    table.is_tty().then(|| table.width().filter(|width| *width > 0).unwrap_or(UNKNOWN))
}

/// Hides columns of `table`, in the order of `least_needed`, until its lines fit into the terminal. Returns whether any
/// are hidden. A table in a file or a pipe keeps all.
pub(super) fn hide_to_fit(table: &mut Table, least_needed: &[usize]) -> bool {
    let Some(width) = terminal_width(table) else { return false };
    let is_too_wide =
        |table: &Table| table.lines().any(|line| line.chars().count() > usize::from(width));
    let mut hidden = false;
    for &index in least_needed {
        if !is_too_wide(table) {
            break;
        }
        if let Some(column) = table.column_mut(index) {
            column.set_constraint(ColumnConstraint::Hidden);
            hidden = true;
        }
    }
    hidden
}
