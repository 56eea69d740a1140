//! A run in full screen: progress, a chart of the losses, probes, and the newest answers.

use std::io;
use std::time::{Duration, Instant};

use ratatui::Frame;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyModifiers};
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Chart, Dataset, GraphType, LineGauge, Paragraph, Wrap};
use statetune_core::store::SampleLine;
use statetune_core::words::grouped;

use super::changes::Changes;
use super::view::Watched;

/// Interval between checks of the keyboard.
const KEYS: Duration = Duration::from_millis(100);
/// Longest interval between checks of the run: the time and the process can change without a changed file.
const LOOK: Duration = Duration::from_millis(500);
/// Lines for the newest answers.
const ANSWER_LINES: u16 = 6;
/// Points of a curve at most; more are not visible.
const POINTS: usize = 2000;

/// Shows the run until it ends, or the user presses q, Esc or Ctrl-C.
///
/// # Errors
/// A terminal that cannot be read or drawn on.
pub(super) fn watch(watched: &mut Watched, changes: &Changes) -> io::Result<()> {
    let mut terminal = ratatui::try_init()?;
    let shown =
        show(watched, changes, |watched| terminal.draw(|frame| draw(frame, watched)).map(|_| ()));
    ratatui::try_restore()?;
    shown
}

fn show(
    watched: &mut Watched,
    changes: &Changes,
    mut draw: impl FnMut(&Watched) -> io::Result<()>,
) -> io::Result<()> {
    watched.look();
    draw(watched)?;
    let mut looked = Instant::now();
    while watched.is_live() {
        let mut redraw = false;
        if event::poll(KEYS)? {
            match event::read()? {
                Event::Key(key) if is_leaving(key.code, key.modifiers) => return Ok(()),
                _ => redraw = true, // the size may have changed
            }
        }
        if changes.any() || looked.elapsed() >= LOOK {
            watched.look();
            looked = Instant::now();
            redraw = true;
        }
        if redraw {
            draw(watched)?;
        }
    }
    Ok(())
}

fn is_leaving(key: KeyCode, modifiers: KeyModifiers) -> bool {
    matches!(key, KeyCode::Char('q') | KeyCode::Esc)
        || key == KeyCode::Char('c') && modifiers.contains(KeyModifiers::CONTROL)
}

fn draw(frame: &mut Frame<'_>, watched: &Watched) {
    let results = watched.results();
    let answers = watched.records.answers();
    let answer_lines = if answers.is_empty() { 0 } else { ANSWER_LINES };
    let [title, gauge, line, chart, probes, samples, keys] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Length(2),
        Constraint::Min(6),
        Constraint::Length(u16::try_from(results.len()).unwrap_or(u16::MAX)),
        Constraint::Length(answer_lines),
        Constraint::Length(1),
    ])
    .areas(frame.area());

    let bold = Style::new().add_modifier(Modifier::BOLD);
    let dim = Style::new().add_modifier(Modifier::DIM);
    let name = watched.run.file_name().unwrap_or_default().to_string_lossy();
    let title_line =
        Line::from(vec![Span::styled(name, bold), Span::raw(format!("  {}", watched.word()))]);
    frame.render_widget(title_line, title);
    let progress = watched.progress();
    let share = progress.share().unwrap_or(0.0).clamp(0.0, 1.0);
    let label = format!("{:>3.0} %", (share * 100.0).floor());
    let filled = Style::new().fg(Color::Green);
    frame.render_widget(LineGauge::default().ratio(share).label(label).filled_style(filled), gauge);
    let now = watched.now.as_ref().map_or(String::new(), |now| format!("  {}", now.text));
    let text = format!("{progress}{now}");
    frame.render_widget(Paragraph::new(text).wrap(Wrap { trim: true }), line);
    draw_losses(frame, chart, watched);
    let lines: Vec<Line<'_>> = results.iter().map(|one| Line::raw(format!("  {one}"))).collect();
    frame.render_widget(Paragraph::new(lines), probes);
    if let Some(name) = &watched.records.newest_sample {
        let mut lines = vec![Line::styled(format!("answers: {name}"), dim)];
        lines.extend(answers.iter().map(|SampleLine { prompt, answer }| {
            let flat = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            Line::raw(format!("  {} {}", flat(prompt), flat(answer)))
        }));
        frame.render_widget(Paragraph::new(lines), samples);
    }
    frame.render_widget(Line::styled("q: quit; the run continues", dim), keys);
}

/// Draws the training loss and the validation loss.
fn draw_losses(frame: &mut Frame<'_>, area: Rect, watched: &Watched) {
    let records = &watched.records;
    let every = records.metrics.len().div_ceil(POINTS).max(1);
    let loss: Vec<(f64, f64)> =
        records.metrics.iter().step_by(every).map(|one| (one.step as f64, one.loss)).collect();
    let validation: Vec<(f64, f64)> =
        records.evals.iter().filter_map(|eval| Some((eval.steps as f64, eval.val_loss?))).collect();
    let values =
        || loss.iter().chain(&validation).map(|(_, value)| *value).filter(|v| v.is_finite());
    let (Some(low), Some(high)) = (values().reduce(f64::min), values().reduce(f64::max)) else {
        return;
    };
    let last = records.metrics.last().map_or(1, |metrics| metrics.step);
    let curve = |name, points, color| {
        Dataset::default()
            .name(name)
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(color))
            .data(points)
    };
    let curves = vec![curve("loss", &loss, Color::Cyan), curve("val", &validation, Color::Yellow)];
    let steps = last.max(1);
    let x = Axis::default().bounds([0.0, steps as f64]).labels(["0".to_string(), grouped(steps)]);
    // Centres a flat curve.
    let margin = if high > low { 0.0 } else { 0.5 };
    let y = Axis::default()
        .bounds([low - margin, high + margin])
        .labels([format!("{low:.3}"), format!("{high:.3}")]);
    frame.render_widget(Chart::new(curves).x_axis(x).y_axis(y), area);
}
