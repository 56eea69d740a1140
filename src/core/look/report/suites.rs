//! The section of suites: metrics before and after training with their intervals, and the items whose answers changed.

use maud::{Markup, html};

use super::run_data::RunData;
use crate::suite::{Comparison, intervals};
use crate::words::{count, grouped, printable};

/// Items of a suite that a report shows at most whose answers changed.
const FLIPS: usize = 20;

/// For each run its suites; empty without suites.
pub(super) fn suites(runs: &[RunData]) -> Markup {
    html! {
        @if runs.iter().any(|run| !run.suites.is_empty()) {
            section id="suites" {
                h2 { "Suites" }
                p.quiet {
                    "In brackets: " (intervals()) "; those of a change over paired items."
                }
                @for run in runs.iter().filter(|run| !run.suites.is_empty()) {
                    @if runs.len() > 1 { h3 { (run.directory) } }
                    (metrics(run))
                    @for (_, one) in &run.suites { (flips(one)) }
                }
            }
        }
    }
}

fn metrics(run: &RunData) -> Markup {
    html! {
        div.scroll { table {
            thead { tr {
                th { "suite" } th { "items" } th { "form" } th { "metric" } th { "before" } th { "after" }
                th { "change" } th {}
            } }
            tbody {
                @for (steps, one) in &run.suites {
                    @for (i, row) in one.metrics.iter().enumerate() {
                        tr {
                            td { @if i == 0 { (printable(&one.suite)) ", step " (grouped(*steps)) } }
                            td { @if i == 0 { (grouped(one.items as u64)) } }
                            td { @if i == 0 { (printable(&one.form)) } }
                            td { (row.metric) }
                            td { @if let Some(base) = row.base { (base) } @else { "-" } }
                            td { (row.tuned) }
                            td { @if let Some(change) = row.change { (format!("{change:+}")) } @else { "-" } }
                            td { @if let Some(verdict) = row.verdict { (verdict.word()) } }
                        }
                    }
                }
            }
        } }
    }
}

fn flips(one: &Comparison) -> Markup {
    let (right, wrong) = one.flipped();
    html! {
        @if !one.flips.is_empty() {
            details {
                summary {
                    (printable(&one.suite)) ": " (count(right as u64, "item")) " turned right, "
                    (grouped(wrong as u64)) " wrong"
                }
                div.scroll { table {
                    thead { tr {
                        th { "item" } th { "now" } th { "question" } th { "expected" } th { "before" } th { "after" }
                    } }
                    tbody {
                        @for flip in one.flips.iter().take(FLIPS) {
                            tr {
                                td { code { (printable(&flip.item.item)) } }
                                td { @if flip.is_right { "right" } @else { "wrong" } }
                                td { (printable(&flip.item.text)) }
                                td { (printable(&flip.item.expected)) }
                                td { (printable(flip.base.as_deref().unwrap_or("-"))) }
                                td { (printable(flip.tuned.as_deref().unwrap_or("-"))) }
                            }
                        }
                    }
                } }
                @if one.flips.len() > FLIPS {
                    p.quiet { (one.flips.len() - FLIPS) " more items are in " code { "suites.jsonl" } "." }
                }
            }
        }
    }
}
