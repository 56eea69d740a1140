//! The page around everything.

use base64ct::{Base64, Encoding};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::curves::curves;
use super::happenings::{Happening, SHOWN, happenings};
use super::samples::samples;
use super::story::Story;
use super::{highlight, overview};

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The whole page.
pub(super) fn page(stories: &[Story]) -> Markup {
    let title = title(stories);
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                meta http-equiv="Content-Security-Policy" content=(policy());
                link rel="icon" href="data:,";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    @if let [story] = stories { (overview::headline(story)) }
                }
                main {
                    section id="overview" { (overview::overview(stories)) }
                    section id="curves" { h2 { "Curves" } (curves(stories)) }
                    (overview::probes(stories))
                    (samples(stories))
                    section id="events" { h2 { "Events" } @for story in stories { (events(story, stories)) } }
                    section id="experiment" {
                        h2 { "Experiment file" }
                        @for story in stories { (experiment(story, stories)) }
                    }
                    section id="environment" { h2 { "Environment" } (overview::environment(stories)) }
                    section id="reproduce" { h2 { "Again" } @for story in stories { (again(story)) } }
                }
                footer.quiet { "statetune " (env!("CARGO_PKG_VERSION")) }
                script { (PreEscaped(SCRIPT)) }
            }
        }
    }
}

fn title(stories: &[Story]) -> String {
    match stories {
        [story] => story.directory.clone(),
        stories => {
            let ids: Vec<&str> = stories.iter().map(|story| story.id.as_str()).collect();
            format!("{} runs: {}", ids.len(), ids.join(", "))
        }
    }
}

/// What a browser may load and run for the page: its own style and script, and nothing else.
fn policy() -> String {
    let hash = |text: &str| Base64::encode_string(&Sha256::digest(text));
    let (style, script) = (hash(STYLE), hash(SCRIPT));
    format!(
        "default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'"
    )
}

/// The name of the run above its part of a section, where there are several.
fn heading(story: &Story, stories: &[Story]) -> Markup {
    html! { @if stories.len() > 1 { h3 { (story.directory) } } }
}

fn events(story: &Story, stories: &[Story]) -> Markup {
    let told = happenings(&story.events);
    let left_out = told.len().saturating_sub(SHOWN);
    html! {
        (heading(story, stories))
        @if left_out > 0 {
            p.quiet { (left_out) " earlier ones stand in " code { "events.jsonl" } "." }
        }
        ol.events {
            @for Happening { time, text, is_trouble } in &told[left_out..] {
                li.trouble[*is_trouble] { time { (time) } span { (text) } }
            }
        }
    }
}

/// The file, and the settings that came from elsewhere.
fn experiment(story: &Story, stories: &[Story]) -> Markup {
    let elsewhere = story.settings.iter().filter(|(_, setting)| {
        !setting.origin.starts_with("file line") && setting.origin != "default"
    });
    let elsewhere: Vec<_> = elsewhere.collect();
    html! {
        (heading(story, stories))
        @if !elsewhere.is_empty() {
            div.scroll { table {
                thead { tr { th { "set over the file" } th { "value" } th { "by" } } }
                tbody {
                    @for (key, setting) in elsewhere {
                        tr { td { code { (key) } } td { code { (setting.value) } } td { (setting.origin) } }
                    }
                }
            } }
        }
        details open[stories.len() == 1] {
            summary { code { "experiment.toml" } }
            pre.toml { code { (highlight::toml(&story.experiment)) } }
        }
    }
}

/// Commands that compute the run again, or use it.
fn again(story: &Story) -> Markup {
    let path = &story.path;
    html! {
        pre.commands { code {
            "statetune run " (quoted(&format!("{path}/resolved.toml"))) "   "
            span.comment { "# the same numbers, in a new run" } "\n"
            "statetune run FILE --from " (quoted(path)) "   "
            span.comment { "# a run that begins with what it learned" } "\n"
            "statetune generate " (quoted(path)) " --prompt \"Hello\"" "   "
            span.comment { "# ask it something" }
        } }
    }
}

/// A path as a shell reads it.
fn quoted(path: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-~".contains(c);
    match path.chars().all(is_plain) {
        true => path.to_string(),
        false => format!("'{}'", path.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_for_a_shell() {
        for (path, text) in [
            ("runs/2026-11-24-a-k3f9", "runs/2026-11-24-a-k3f9"),
            ("my runs/a", "'my runs/a'"),
            ("it's", r"'it'\''s'"),
        ] {
            assert_eq!(quoted(path), text);
        }
    }
}
