//! The page: header, sections, style and script.

use base64ct::{Base64, Encoding};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::curves::curves;
use super::documents::documents;
use super::run_data::RunData;
use super::suites::suites;
use super::timeline::{SHOWN, TimelineEntry, timeline};
use super::{highlight, tables};
use crate::shell::shell_word;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// What a report says about its origin.
pub const GENERATOR: &str = "statetune report";

/// Prompts that a report of one run shows at most; several runs share this number.
const PROMPTS: usize = 40;
/// Characters of a text at most.
const TEXT_CHARS: usize = 2000;

/// Names of the compared samples.
const BASE: &str = "base";
const TUNED: &str = "tuned";

/// The whole page.
pub(super) fn page(runs: &[RunData]) -> Markup {
    let title = title(runs);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="generator" content=(GENERATOR);
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(policy());
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    @if let [run] = runs { (tables::headline(run)) }
                }
                main {
                    section id="overview" { (tables::overview(runs)) }
                    section id="curves" { h2 { "Curves" } (curves(runs)) }
                    (tables::probes(runs))
                    (suites(runs))
                    (documents(runs))
                    (samples(runs))
                    section id="events" { h2 { "Events" } @for run in runs { (events(run, runs)) } }
                    section id="experiment" {
                        h2 { "Experiment file" }
                        @for run in runs { (experiment(run, runs)) }
                    }
                    section id="environment" { h2 { "Environment" } (tables::environment(runs)) }
                    section id="reproduce" { h2 { "Commands" } @for run in runs { (commands(run)) } }
                }
                footer.quiet { "statetune " (env!("CARGO_PKG_VERSION")) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn title(runs: &[RunData]) -> String {
    match runs {
        [run] => run.directory.clone(),
        runs => {
            let ids: Vec<&str> = runs.iter().map(|run| run.id.as_str()).collect();
            format!("{} runs: {}", ids.len(), ids.join(", "))
        }
    }
}

/// Content security policy: only the page's own style and script.
fn policy() -> String {
    let hash = |text: &str| Base64::encode_string(&Sha256::digest(text));
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'"
    )
}

/// The run's name as a heading, when there are several runs.
fn heading(run: &RunData, runs: &[RunData]) -> Markup {
    html! { @if runs.len() > 1 { h3 { (run.directory) } } }
}

fn events(run: &RunData, runs: &[RunData]) -> Markup {
    let entries = timeline(&run.events);
    let omitted = entries.len().saturating_sub(SHOWN);
    html! {
        (heading(run, runs))
        @if omitted > 0 {
            p.quiet { (omitted) " earlier events are in " code { "events.jsonl" } "." }
        }
        ol.events {
            @for TimelineEntry { time, text, is_problem } in &entries[omitted..] {
                li.problem[*is_problem] { time { (time) } span { (text) } }
            }
        }
    }
}

/// The experiment file, and the settings from elsewhere.
fn experiment(run: &RunData, runs: &[RunData]) -> Markup {
    let elsewhere = run.settings.iter().filter(|(_, setting)| {
        !setting.origin.starts_with("file line") && setting.origin != "default"
    });
    let elsewhere: Vec<_> = elsewhere.collect();
    html! {
        (heading(run, runs))
        @if !elsewhere.is_empty() {
            div.scroll { table {
                thead { tr { th { "override" } th { "value" } th { "origin" } } }
                tbody {
                    @for (key, setting) in elsewhere {
                        tr { td { code { (key) } } td { code { (setting.value) } } td { (setting.origin) } }
                    }
                }
            } }
        }
        details open[runs.len() == 1] {
            summary { code { "experiment.toml" } }
            pre.toml { code { (highlight::toml(&run.experiment)) } }
        }
    }
}

/// Commands that repeat or use the run.
fn commands(run: &RunData) -> Markup {
    let path = &run.path;
    html! {
        pre.commands { code {
            "statetune run --like " (shell_word(path)) "   "
            span.comment { "# repeat the run with the same numbers" } "\n"
            "statetune run FILE --from " (shell_word(path)) "   "
            span.comment { "# start a run from its trained parameters" } "\n"
            "statetune generate " (shell_word(path)) " --prompt \"Hello\"" "   "
            span.comment { "# generate an answer" }
        } }
    }
}

/// The section of samples: prompts with the answers before and after training; empty without samples.
fn samples(runs: &[RunData]) -> Markup {
    let prompts = prompts(runs);
    let shown = prompts.len().min(PROMPTS / runs.len().max(1));
    html! {
        @if !prompts.is_empty() {
            section id="samples" {
                h2 { "Samples" }
                @for prompt in &prompts[..shown] { (sample(runs, prompt)) }
                @if shown < prompts.len() {
                    p.quiet {
                        (prompts.len() - shown) " more prompts are in " code { "samples/" } "."
                    }
                }
            }
        }
    }
}

/// All prompts, each once.
fn prompts(runs: &[RunData]) -> Vec<&str> {
    let mut prompts = Vec::new();

    let lines = [BASE, TUNED].iter().flat_map(|name| {
        runs.iter().flat_map(move |run| run.samples.get(*name).into_iter().flatten())
    });
    for line in lines {
        if !prompts.contains(&line.prompt.as_str()) {
            prompts.push(line.prompt.as_str());
        }
    }
    prompts
}

fn sample(runs: &[RunData], prompt: &str) -> Markup {
    let base = runs.iter().find_map(|run| answer(run, BASE, prompt));
    html! {
        article.sample {
            div.answers {
                div { h4 { "prompt" } p.question { (short(prompt.trim())) } }
                @if let Some(base) = base { div { h4 { "base" } p.answer { (short(base)) } } }
                @for (i, run) in runs.iter().enumerate() {
                    @if let Some(tuned) = answer(run, TUNED, prompt) {
                        div {
                            h4 { span class={ "swatch run-" (i) } {}
                                @if runs.len() > 1 { "tuned " (run.id) } @else { "tuned" } }
                            p.answer { (short(tuned)) }
                        }
                    }
                }
            }
        }
    }
}

fn answer<'a>(run: &'a RunData, name: &str, prompt: &str) -> Option<&'a str> {
    let line = run.samples.get(name)?.iter().find(|line| line.prompt == prompt)?;
    Some(line.answer.trim())
}

/// A text, shortened if it is long.
fn short(text: &str) -> String {
    match text.char_indices().nth(TEXT_CHARS) {
        Some((cut, _)) => format!("{} …", &text[..cut]),
        None => text.to_string(),
    }
}
