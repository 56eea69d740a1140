//! The section of curves.

use std::collections::BTreeSet;

use maud::{Markup, PreEscaped, html};
use serde::Serialize;
use serde_json::json;

use super::chart::{Drawing, Frame, Line, MAX_RUNS, Point, Scale, draw, thin};
use super::run_data::RunData;
use crate::records::Metrics;

/// Points of one curve at most, and of all curves of a chart together.
const POINTS: usize = 1000;
const POINTS_OF_ALL: usize = 4000;

/// A quantity plotted by step.
struct Chart {
    title: String,
    unit: &'static str,
    lines: Vec<Line>,
}

/// All charts, each with its data for the script.
pub(super) fn curves(runs: &[RunData]) -> Markup {
    let charts = charts(runs);
    html! {
        @if charts.is_empty() {
            p.quiet { "No metrics yet: the first interval is not complete." }
        }
        div.charts { @for (i, chart) in charts.iter().enumerate() { (figure(i, chart)) } }
    }
}

fn charts(runs: &[RunData]) -> Vec<Chart> {
    let of = |title: &str, unit, value: fn(&Metrics) -> f64| Chart {
        title: title.to_owned(),
        unit,
        lines: lines(runs, "", false, |run| {
            run.metrics.iter().map(|line| (line.step as f64, value(line))).collect()
        }),
    };
    let is_imitation = runs.iter().all(|run| run.metrics.iter().all(|line| line.rewards.is_none()));
    let unit = if is_imitation { "nats per token" } else { "" };
    let mut loss = of("Loss", unit, |line| line.loss);
    loss.lines.extend(lines(runs, "validation", true, |run| run.val_losses.clone()));
    let mut charts = vec![loss];
    charts.extend(probes(runs));
    charts.extend(suites(runs));
    if !is_imitation {
        let percent = |line: &Metrics| {
            line.rewards
                .and_then(|rewards| rewards.accuracy)
                .map_or(f64::NAN, |share| share * 100.0)
        };
        charts.push(of("Preference accuracy", "percent", percent));
    }
    charts.extend([
        of("Learning rate", "", |line| line.lr),
        of("Gradient norm", "before clipping", |line| line.grad_norm),
        of("Speed", "positions per second", |line| line.positions_per_s),
    ]);
    charts.into_iter().filter(|chart| !chart.lines.is_empty()).collect()
}

/// The charts of probe rates: of one run one chart with a curve for each probe, of several runs one for each probe.
fn probes(runs: &[RunData]) -> Vec<Chart> {
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.probe_rates.keys()).collect();
    let names = names.into_iter().take(MAX_RUNS);
    let percent = |run: &RunData, name: &str| -> Vec<Point> {
        let points = run.probe_rates.get(name).into_iter().flatten();
        points.map(|(step, rate)| (*step, rate * 100.0)).collect()
    };
    let unit = "% of the answers";
    if let [run] = runs {
        let line =
            |(i, name): (usize, &String)| Line::new(i, false, name.clone(), percent(run, name));
        let lines: Vec<Line> = names.enumerate().map(line).collect();
        return vec![Chart { title: "Probes".to_owned(), unit, lines }];
    }
    let chart = |name: &String| {
        let lines = lines(runs, "", false, |run| percent(run, name));
        Chart { title: format!("Probe {name}"), unit, lines }
    };
    names.map(chart).collect()
}

/// The charts of suites: of one run one chart for each metric with a curve for each suite, of several runs one for each
/// suite.
fn suites(runs: &[RunData]) -> Vec<Chart> {
    let names: BTreeSet<&String> = runs.iter().flat_map(|run| run.suite_values.keys()).collect();
    let points = |run: &RunData, name: &str| -> Vec<Point> {
        run.suite_values.get(name).cloned().unwrap_or_default()
    };
    if let [run] = runs {
        let metric = |name: &str| name.rsplit(' ').next().unwrap_or_default().to_owned();
        let metrics: BTreeSet<String> = names.iter().map(|name| metric(name)).collect();
        let chart = |wanted: String| {
            let of = names.iter().filter(|name| metric(name) == wanted).take(MAX_RUNS);
            let line = |(i, name): (usize, &&String)| {
                Line::new(i, false, (*name).clone(), points(run, name))
            };
            let lines = of.enumerate().map(line).collect();
            Chart { title: format!("Suites: {wanted}"), unit: "", lines }
        };
        return metrics.into_iter().map(chart).collect();
    }
    let chart = |name: &String| {
        let lines = lines(runs, "", false, |run| points(run, name));
        Chart { title: format!("Suite {name}"), unit: "", lines }
    };
    names.into_iter().take(MAX_RUNS).map(chart).collect()
}

/// A curve for each run with points; its name has the run's id when there are several runs.
fn lines(
    runs: &[RunData],
    what: &str,
    validation: bool,
    points: impl Fn(&RunData) -> Vec<Point>,
) -> Vec<Line> {
    let limit = POINTS.min(POINTS_OF_ALL / runs.len().max(1));
    let mut lines = Vec::new();
    for (i, run) in runs.iter().enumerate() {
        let mut points = points(run);
        points.retain(|(_, value)| value.is_finite());
        if points.is_empty() {
            continue;
        }
        let name = match (runs.len(), what) {
            (1, "") => "training".to_string(),
            (1, what) => what.to_string(),
            (_, what) => format!("{} {what}", run.id).trim_end().to_string(),
        };
        lines.push(Line::new(i, validation, name, thin(&points, limit)));
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

/// The curves for the script, rounded to the digits that the tooltip shows.
fn rounded(lines: &[Line]) -> Vec<impl Serialize + use<>> {
    let digits = |value: f64| format!("{value:.5e}").parse().unwrap_or(value);
    let rounded = |line: &Line| {
        let points = line.points.iter().map(|&(step, value)| (step as u64, digits(value)));
        let points: Vec<(u64, f64)> = points.collect();
        json!({ "name": line.name, "class": line.class, "points": points })
    };
    lines.iter().map(rounded).collect()
}
