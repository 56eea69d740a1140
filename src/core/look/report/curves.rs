//! The section of curves.

use maud::{Markup, PreEscaped, html};
use serde::Serialize;
use serde_json::json;

use super::chart::{Drawing, Frame, Line, Scale, draw};
use super::story::Story;
use super::thin::{Point, thin};
use crate::records::Metrics;

/// Points of one curve at most, and of the curves of one kind of all runs together.
const POINTS: usize = 1000;
const POINTS_OF_ALL: usize = 4000;

/// Something that is plotted by step.
struct Chart {
    title: &'static str,
    unit: &'static str,
    lines: Vec<Line>,
}

/// All charts, each with its numbers for the script.
pub(super) fn curves(stories: &[Story]) -> Markup {
    let charts = charts(stories);
    html! {
        @if charts.is_empty() {
            p.quiet { "No numbers yet: the first interval is not over." }
        }
        div.charts { @for (i, chart) in charts.iter().enumerate() { (figure(i, chart)) } }
    }
}

fn charts(stories: &[Story]) -> Vec<Chart> {
    let of = |title, unit, value: fn(&Metrics) -> f64| Chart {
        title,
        unit,
        lines: lines(stories, "", false, |story| {
            story.metrics.iter().map(|line| (line.step as f64, value(line))).collect()
        }),
    };
    let mut loss = of("Loss", "nats per token", |line| line.loss);
    loss.lines.extend(lines(stories, "held out", true, |story| story.held_out.clone()));
    let charts = [
        loss,
        of("Learning rate", "", |line| line.lr),
        of("Gradient norm", "before clipping", |line| line.grad_norm),
        of("Speed", "positions per second", |line| line.positions_per_s),
    ];
    charts.into_iter().filter(|chart| !chart.lines.is_empty()).collect()
}

/// A curve for each run that has points, named by what it shows and, of several runs, by the run.
fn lines(
    stories: &[Story],
    what: &str,
    held_out: bool,
    points: impl Fn(&Story) -> Vec<Point>,
) -> Vec<Line> {
    let limit = POINTS.min(POINTS_OF_ALL / stories.len().max(1));
    let mut lines = Vec::new();
    for (i, story) in stories.iter().enumerate() {
        let mut points = points(story);
        points.retain(|(_, value)| value.is_finite());
        if points.is_empty() {
            continue;
        }
        let name = match (stories.len(), what) {
            (1, "") => "training".to_string(),
            (1, what) => what.to_string(),
            (_, what) => format!("{} {what}", story.id).trim_end().to_string(),
        };
        lines.push(Line::new(i, held_out, name, thin(&points, limit)));
    }
    lines
}

fn figure(number: usize, chart: &Chart) -> Markup {
    let drawings = [Scale::Linear, Scale::Log].map(|scale| draw(&chart.lines, scale));
    let frames: Vec<Option<&Frame>> =
        drawings.iter().map(|drawing| drawing.as_ref().map(|drawing| &drawing.frame)).collect();
    let has_log = frames[1].is_some();
    let data = json!({ "lines": rounded(&chart.lines), "frames": frames });
    html! {
        figure.chart id={ "chart-" (number) } data-chart=(data) {
            figcaption {
                strong { (chart.title) }
                @if !chart.unit.is_empty() { " " span.quiet { (chart.unit) } }
                button.all type="button" hidden { "all steps" }
                @if has_log { button.scale type="button" hidden aria-pressed="false" { "log" } }
            }
            div.plot {
                @for (drawing, class) in drawings.iter().zip(["linear", "log"]) {
                    @if let Some(Drawing { svg, .. }) = drawing {
                        div class=(class) aria-label=(chart.title) { (PreEscaped(svg)) }
                    }
                }
                div.tip hidden {}
            }
            @if chart.lines.len() > 1 {
                div.legend {
                    @for (i, line) in chart.lines.iter().enumerate() {
                        button type="button" data-line=(i) aria-pressed="true" {
                            span class={ "swatch " (line.class) } {} (line.name)
                        }
                    }
                }
            }
        }
    }
}

/// The curves for the script, their values with the digits that a tooltip shows.
fn rounded(lines: &[Line]) -> Vec<impl Serialize + use<>> {
    let digits = |value: f64| format!("{value:.5e}").parse().unwrap_or(value);
    let rounded = |line: &Line| {
        let points = line.points.iter().map(|&(step, value)| (step as u64, digits(value)));
        let points: Vec<(u64, f64)> = points.collect();
        json!({ "name": line.name, "class": line.class, "points": points })
    };
    lines.iter().map(rounded).collect()
}
