//! What runs were and what they came to, in tables with a column a run.

use maud::{Markup, html};

use super::story::Story;
use crate::data::grouped;
use crate::records::{Best, LockedFile};

/// Characters of a sha256 that are shown.
const DIGEST_CHARS: usize = 12;

/// Description, tags and note of a run.
pub(super) fn headline(story: &Story) -> Markup {
    let description = story.text("description");
    html! {
        @if let Some(description) = description { p.lead { (description) } }
        @if !story.marks.note.is_empty() { p { (story.marks.note) } }
        p.tags {
            span class={ "badge " (story.standing.name()) } { (story.standing.name()) }
            @for tag in tags(story) { span.badge { (tag) } }
        }
    }
}

/// The tags of the file and those that were added afterwards.
fn tags(story: &Story) -> Vec<String> {
    let text = story.settings.get("tags").map_or("[]", |setting| setting.value.as_str());
    let parsed: Option<toml::Table> = format!("tags = {text}").parse().ok();
    let of_file = parsed.and_then(|table| table["tags"].as_array().cloned()).unwrap_or_default();
    let of_file = of_file.iter().filter_map(|tag| tag.as_str().map(str::to_string));
    let mut tags: Vec<String> = of_file.collect();
    tags.extend(story.marks.tags.iter().cloned());
    tags.dedup();
    tags
}

/// A row of a table: a label, and a text for each run that has one.
type Row = (String, Vec<Option<String>>);

/// What the runs were, and their losses.
pub(super) fn overview(stories: &[Story]) -> Markup {
    let mut rows: Vec<Row> = Vec::new();
    let mut add = |label: &str, text: &dyn Fn(&Story) -> Option<String>| {
        rows.push((label.to_string(), stories.iter().map(text).collect()));
    };
    if stories.len() > 1 {
        add("status", &|story| Some(story.standing.name().to_string()));
    }
    add("held-out loss", &held_out);
    add("best", &|story| {
        let Best { val_loss, probe, steps, .. } = story.record.best?;
        let probe = probe.map(|rate| format!("{:.0} % of the answers", rate * 100.0));
        let loss = val_loss.map(|loss| format!("{loss:.4}"));
        let found: Vec<String> = loss.into_iter().chain(probe).collect();
        Some(format!("{} after step {steps}", found.join(", ")))
    });
    add("method", &method);
    let mut labels: Vec<&str> = Vec::new();
    for fact in stories.iter().flat_map(|story| &story.facts) {
        if !labels.contains(&fact.label.as_str()) {
            labels.push(&fact.label);
        }
    }
    for label in labels {
        add(label, &|story| {
            let fact = story.facts.iter().find(|fact| fact.label == label)?;
            Some(fact.text.clone())
        });
    }
    add("coverage", &coverage);
    add("progress", &|story| {
        let total = story.record.total_steps?;
        let done = story.metrics.last().map_or(0, |last| last.step).max(story.record.steps);
        Some(format!("{done} of {total} steps"))
    });
    add("began", &|story| {
        let text = story.record.started()?.format("%Y-%m-%d %H:%M:%S %:z");
        Some(text.to_string())
    });
    add("trained for", &|story| Some(duration(story.trained_secs?)));
    table(stories, rows)
}

/// From the loss before training to the newest one.
fn held_out(story: &Story) -> Option<String> {
    let after = story.record.val_loss?;
    Some(match story.record.val_before {
        Some(before) => format!("{before:.4} → {after:.4} ({:+.4})", after - before),
        None => format!("{after:.4}"),
    })
}

/// What learns, with its settings.
fn method(story: &Story) -> Option<String> {
    let method = story.text("peft.type")?;
    let others = story.settings.iter().filter_map(|(key, setting)| {
        let key = key.strip_prefix("peft.").filter(|key| *key != "type")?;
        Some(format!("{key} = {}", setting.value))
    });
    let others: Vec<String> = others.collect();
    Some(if others.is_empty() { method } else { format!("{method} ({})", others.join(", ")) })
}

/// How much of the data the run sees.
fn coverage(story: &Story) -> Option<String> {
    let coverage = story.coverage?;
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

fn duration(secs: f64) -> String {
    let whole = secs.round() as u64;
    match whole {
        0 => format!("{secs:.1} s"),
        1..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// What was counted in the answers; nothing where nothing was.
pub(super) fn probes(stories: &[Story]) -> Markup {
    let rows = stories
        .iter()
        .flat_map(|story| story.record.probes.iter().map(move |probe| (story, probe)));
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
                h2 { "Answers with" }
                div.scroll { table {
                    thead { tr {
                        th { "probe" } @if stories.len() > 1 { th { "run" } } th { "base" } th { "tuned" }
                    } }
                    tbody {
                        @for (story, probe) in rows {
                            tr {
                                td { (probe.name) }
                                @if stories.len() > 1 { td { (story.id) } }
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

/// What the numbers depend on beside the settings.
pub(super) fn environment(stories: &[Story]) -> Markup {
    let locks: Vec<_> = stories.iter().map(|story| story.lock.as_ref()).collect();
    let mut rows: Vec<Row> = Vec::new();
    let mut add = |label: &str, text: &dyn Fn(&crate::records::Lock) -> Option<String>| {
        let texts = locks.iter().map(|lock| text((*lock)?));
        rows.push((label.to_string(), texts.collect()));
    };
    add("statetune", &|lock| Some(lock.statetune.clone()));
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
    add("quantised", &|lock| {
        let quant = lock.quant.as_ref()?;
        let double = if quant.double { ", double" } else { "" };
        Some(format!("{}{double}, {:.1} MB", quant.format, quant.bytes as f64 / 1e6))
    });
    table(stories, rows)
}

/// A file by name and content.
fn file(file: &LockedFile) -> String {
    let name = file.path.file_name().unwrap_or(file.path.as_os_str()).to_string_lossy();
    format!("{name} (sha256 {})", digest(&file.sha256))
}

fn digest(text: &str) -> String {
    text.chars().take(DIGEST_CHARS).collect()
}

/// Rows that say anything; what differs between runs is marked.
fn table(stories: &[Story], rows: Vec<Row>) -> Markup {
    let said = rows.into_iter().filter(|(_, texts)| texts.iter().any(Option::is_some));
    html! {
        div.scroll { table.facts {
            @if stories.len() > 1 {
                thead { tr {
                    th {}
                    @for (i, story) in stories.iter().enumerate() {
                        th { span class={ "swatch run-" (i) } {} (story.directory) }
                    }
                } }
            }
            tbody {
                @for (label, texts) in said {
                    tr.differs[texts.windows(2).any(|pair| pair[0] != pair[1])] {
                        th scope="row" { (label) }
                        @for text in &texts { td { (text.as_deref().unwrap_or("-")) } }
                    }
                }
            }
        } }
    }
}
