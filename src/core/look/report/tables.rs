//! Tables with one column per run: overview, probes, environment.

use maud::{Markup, html};

use super::run_data::RunData;
use crate::records::{Best, Event, EventLine, Lock, LockedFile};
use crate::words::{duration, grouped, size};

/// Characters of a sha256 that are shown.
const DIGEST_CHARS: usize = 12;

/// Description, tags and note of a run.
pub(super) fn headline(run: &RunData) -> Markup {
    let description = run.text("description");
    html! {
        @if let Some(description) = description { p.lead { (description) } }
        @if !run.annotations.note.is_empty() { p { (run.annotations.note) } }
        p.tags {
            span class={ "badge " (run.state.name()) } { (run.state.name()) }
            @for tag in tags(run) { span.badge { (tag) } }
        }
    }
}

/// Tags of the experiment file and tags added later.
fn tags(run: &RunData) -> Vec<String> {
    let text = run.settings.get("tags").map_or("[]", |setting| setting.value.as_str());
    let parsed: Option<toml::Table> = format!("tags = {text}").parse().ok();
    let of_file = parsed.and_then(|table| table["tags"].as_array().cloned()).unwrap_or_default();
    let of_file = of_file.iter().filter_map(|tag| tag.as_str().map(str::to_string));
    let mut tags: Vec<String> = of_file.collect();
    tags.extend(run.annotations.tags.iter().cloned());
    tags.dedup();
    tags
}

/// A row of a table: label, and one text per run.
type Row = (String, Vec<Option<String>>);

/// The overview: results, method, data and progress.
pub(super) fn overview(runs: &[RunData]) -> Markup {
    let mut rows: Vec<Row> = Vec::new();
    let mut add = |label: &str, text: &dyn Fn(&RunData) -> Option<String>| {
        rows.push((label.to_string(), runs.iter().map(text).collect()));
    };
    if runs.len() > 1 {
        add("status", &|run| Some(run.state.name().to_string()));
    }
    add("validation loss", &val_loss);
    add("preferences", &|run| run.rewards.map(|rewards| rewards.to_string()));
    add("best", &|run| {
        let Best { val_loss, probe, steps, .. } = run.record.best?;
        let probe = probe.map(|rate| format!("{:.0} % of the answers", rate * 100.0));
        let loss = val_loss.map(|loss| format!("{loss:.4}"));
        let found: Vec<String> = loss.into_iter().chain(probe).collect();
        Some(format!("{} after step {steps}", found.join(", ")))
    });
    add("distance from the base", &|run| {
        let measured = |line: &EventLine| match line.event {
            Event::Forgetting { kl, steps } => {
                Some(format!("{kl:.4} nats per token of general text after step {steps}"))
            }
            _ => None,
        };
        run.events.iter().rev().find_map(measured)
    });
    add("method", &method);
    let mut labels: Vec<&str> = Vec::new();
    for fact in runs.iter().flat_map(|run| &run.facts) {
        if !labels.contains(&fact.label.as_str()) {
            labels.push(&fact.label);
        }
    }
    for label in labels {
        add(label, &|run| {
            let fact = run.facts.iter().find(|fact| fact.label == label)?;
            Some(fact.text.clone())
        });
    }
    add("coverage", &coverage);
    add("progress", &|run| {
        let total = run.record.total_steps?;
        let done = run.metrics.last().map_or(0, |last| last.step).max(run.record.steps);
        Some(format!("{done} of {total} steps"))
    });
    add("started", &|run| {
        let text = run.record.started()?.format("%Y-%m-%d %H:%M:%S %:z");
        Some(text.to_string())
    });
    add("trained for", &|run| Some(duration(run.trained_secs?)));
    add("peak memory", &peak_memory);
    table(runs, rows)
}

/// Peak memory of the newest process that ended.
fn peak_memory(run: &RunData) -> Option<String> {
    let resident = run.peak_resident_bytes.map(size);
    match run.peak_gpu_bytes.map(size) {
        Some(gpu) => Some(match resident {
            Some(resident) => format!("{gpu} on the GPU, {resident} resident"),
            None => format!("{gpu} on the GPU"),
        }),
        None => resident,
    }
}

/// Validation loss before training and now.
fn val_loss(run: &RunData) -> Option<String> {
    let after = run.record.val_loss?;
    Some(match run.record.val_before {
        Some(before) => format!("{before:.4} → {after:.4} ({:+.4})", after - before),
        None => format!("{after:.4}"),
    })
}

/// The fine-tuning method with its settings.
fn method(run: &RunData) -> Option<String> {
    let method = run.text("peft.type")?;
    let others = run.settings.iter().filter_map(|(key, setting)| {
        let key = key.strip_prefix("peft.").filter(|key| *key != "type")?;
        Some(format!("{key} = {}", setting.value))
    });
    let others: Vec<String> = others.collect();
    Some(if others.is_empty() { method } else { format!("{method} ({})", others.join(", ")) })
}

/// How much of the data the run trains on.
fn coverage(run: &RunData) -> Option<String> {
    let coverage = run.coverage?;
    let seen = match coverage.unseen {
        0.0 => String::new(),
        unseen => format!("; {:.0} % never seen", unseen * 100.0),
    };
    Some(format!(
        "{} samples, {} in a pass over {} documents, each seen {:.2} times{seen}",
        grouped(coverage.samples),
        grouped(coverage.samples_per_pass),
        grouped(coverage.documents),
        coverage.exposures
    ))
}

/// The section of probe rates; empty without probes.
pub(super) fn probes(runs: &[RunData]) -> Markup {
    let rows = runs.iter().flat_map(|run| run.record.probes.iter().map(move |probe| (run, probe)));
    let rows: Vec<_> = rows.collect();
    let rate = |rate: Option<f64>| {
        html! {
            @match rate {
                Some(rate) => { meter min="0" max="1" value=(rate) {} " " (format!("{:.0} %", rate * 100.0)) },
                None => { "-" },
            }
        }
    };
    html! {
        @if !rows.is_empty() {
            section id="probes" {
                h2 { "Probes" }
                div.scroll { table {
                    thead { tr {
                        th { "probe" } @if runs.len() > 1 { th { "run" } } th { "base" } th { "tuned" }
                    } }
                    tbody {
                        @for (run, probe) in rows {
                            tr {
                                td { (probe.name) }
                                @if runs.len() > 1 { td { (run.id) } }
                                td { (rate(probe.base)) }
                                td { (rate(probe.tuned)) }
                            }
                        }
                    }
                } }
            }
        }
    }
}

/// Inputs and environment, on which the numbers depend beside the settings.
pub(super) fn environment(runs: &[RunData]) -> Markup {
    let locks: Vec<_> = runs.iter().map(|run| run.lock.as_ref()).collect();
    let mut rows: Vec<Row> = Vec::new();
    let mut add = |label: &str, text: &dyn Fn(&Lock) -> Option<String>| {
        let texts = locks.iter().map(|lock| text((*lock)?));
        rows.push((label.to_string(), texts.collect()));
    };
    add("statetune", &|lock| Some(lock.program()));
    add("libtorch", &|lock| Some(lock.libtorch.clone()));
    add("device", &|lock| Some(lock.device.clone()));
    add("op", &|lock| Some(lock.op.clone()));
    add("threads", &|lock| Some(lock.threads.to_string()));
    add("kernels", &|lock| Some(digest(&lock.kernels)));
    add("weights", &|lock| lock.weights.as_ref().map(file));
    add("fingerprint", &|lock| lock.fingerprint.as_deref().map(digest));
    add("tokenizer", &|lock| Some(file(&lock.tokenizer)));
    add("data", &|lock| {
        let files: Vec<String> = lock.data.iter().map(file).collect();
        (!files.is_empty()).then(|| files.join("\n"))
    });
    add("quantized", &|lock| {
        let quant = lock.quant.as_ref()?;
        let double = if quant.double { ", double" } else { "" };
        Some(format!("{}{double}, {}", quant.format, size(quant.bytes)))
    });
    table(runs, rows)
}

/// Name and shortened digest of a file.
fn file(file: &LockedFile) -> String {
    let name = file.path.file_name().unwrap_or(file.path.as_os_str()).to_string_lossy();
    format!("{name} (sha256 {})", digest(&file.sha256))
}

fn digest(text: &str) -> String {
    text.chars().take(DIGEST_CHARS).collect()
}

/// A table without empty rows; rows that differ between runs are highlighted.
fn table(runs: &[RunData], rows: Vec<Row>) -> Markup {
    let rows = rows.into_iter().filter(|(_, texts)| texts.iter().any(Option::is_some));
    html! {
        div.scroll { table.facts {
            @if runs.len() > 1 {
                thead { tr {
                    th {}
                    @for (i, run) in runs.iter().enumerate() {
                        th { span class={ "swatch run-" (i) } {} (run.directory) }
                    }
                } }
            }
            tbody {
                @for (label, texts) in rows {
                    tr.differs[texts.windows(2).any(|pair| pair[0] != pair[1])] {
                        th scope="row" { (label) }
                        @for text in &texts { td { (text.as_deref().unwrap_or("-")) } }
                    }
                }
            }
        } }
    }
}
