//! The section of the validation documents whose loss changed most.

use maud::{Markup, html};

use super::run_data::RunData;
use crate::records::{MostChanged, ValChange};
use crate::words::{grouped, printable};

/// Documents that a report shows at most of each kind: improved, worsened.
const SHOWN: usize = 5;

/// For each run the documents that improved and that worsened most; empty without such documents.
pub(super) fn documents(runs: &[RunData]) -> Markup {
    let found = |run| -> Option<(&RunData, MostChanged<'_>)> { Some((run, most_changed(run)?)) };
    let found: Vec<_> = runs.iter().filter_map(found).collect();
    html! {
        @if !found.is_empty() {
            section id="documents" {
                h2 { "Validation documents" }
                @for (run, most) in &found {
                    @if runs.len() > 1 { h3 { (run.directory) } }
                    p.quiet { (sentence(most)) }
                    (table("improved", &most.improved))
                    (table("worsened", &most.worsened))
                }
            }
        }
    }
}

fn most_changed(run: &RunData) -> Option<MostChanged<'_>> {
    let best = run.record.best.map(|best| best.steps);
    run.val_losses_by_document.as_ref()?.most_changed(best, SHOWN)
}

fn sentence(most: &MostChanged<'_>) -> String {
    let MostChanged { steps, documents, of, .. } = most;
    let all = match (*documents as u64) < *of {
        true => {
            let (shown, of) = (grouped(*documents as u64), grouped(*of));
            format!(" Losses of the first {shown} of {of} validation documents are recorded.")
        }
        false => String::new(),
    };
    format!("Loss before training and after step {}.{all}", grouped(*steps))
}

fn table(what: &str, changes: &[ValChange<'_>]) -> Markup {
    html! {
        @if !changes.is_empty() {
            div.scroll { table {
                thead { tr {
                    th { (what) } th { "before" } th { "after" } th { "change" } th { "text" }
                } }
                tbody {
                    @for one in changes {
                        tr {
                            td { code { (printable(&one.document.document)) } }
                            td { (format!("{:.4}", one.before)) }
                            td { (format!("{:.4}", one.after)) }
                            td { (format!("{:+.4}", one.change())) }
                            td { (printable(&one.document.text)) }
                        }
                    }
                }
            } }
        }
    }
}
