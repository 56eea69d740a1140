//! Curves as SVG, drawn by plotters, with the frame that the page's script needs to read off values.
//!
//! The style sheet sets the colours, for light and dark mode, by class. plotters supports only colours, so each class is
//! drawn in a colour of its own, which is then replaced by the class.

use std::ops::Range;

use plotters::coord::combinators::BindKeyPoints;
use plotters::coord::ranged1d::{AsRangedCoord, ValueFormatter};
use plotters::prelude::*;
use serde::Serialize;

/// A step and a value.
pub(super) type Point = (f64, f64);

/// Size of the drawing in pixels; the page scales it.
const SIZE: (u32, u32) = (460, 270);
/// Pixels left of the frame (numbers), below (steps) and around.
const LEFT: u32 = 56;
const BELOW: u32 = 28;
const AROUND: u32 = 10;
/// plotters draws letters a fifth smaller than the font size.
const FONT_SIZE: u32 = 16;
/// Curves with at most this many points mark each point.
const MARKED_POINTS: usize = 40;
/// Numbers on an axis at most.
const TICKS: usize = 6;
/// A logarithmic axis that spans less than this factor has evenly spaced numbers.
const DECADE: f64 = 10.0;
/// Margin above and below the curves, as a share of the values' range.
const MARGIN: f64 = 0.05;

const TEXT: RGBColor = RGBColor(1, 0, 0);
const GRID: RGBColor = RGBColor(2, 0, 0);
const FRAME: RGBColor = RGBColor(3, 0, 0);

/// Runs in one report at most: the number of distinguishable colours.
pub(super) const MAX_RUNS: usize = 8;

/// A curve.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Line {
    /// Name in the legend.
    pub(super) name: String,
    /// CSS classes of the curve, which set its colour.
    pub(super) class: String,
    /// Points, sorted by step.
    pub(super) points: Vec<Point>,
    #[serde(skip)]
    colour: (u8, bool),
}

impl Line {
    /// A curve of the run with this index; `validation` marks the curve of the validation loss.
    pub(super) fn new(run: usize, validation: bool, name: String, points: Vec<Point>) -> Line {
        let class = format!("run-{run}{}", if validation { " validation" } else { "" });
        Line { name, class, points, colour: (run as u8, validation) }
    }

    /// The colour that stands for the class.
    fn colour(&self) -> RGBColor {
        RGBColor(4 + self.colour.0, u8::from(self.colour.1), 0)
    }
}

/// Scale of the vertical axis.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Scale {
    Linear,
    Log,
}

/// A drawn chart.
#[derive(Debug)]
pub(super) struct Drawing {
    /// The SVG element.
    pub(super) svg: String,
    /// Pixels and values of the frame.
    pub(super) frame: Frame,
}

/// Mapping from pixels to values.
#[derive(Debug, Serialize)]
pub(super) struct Frame {
    /// Pixels of the left and the right edge.
    pub(super) x_pixels: (i32, i32),
    /// Pixels of the lower and the upper edge.
    pub(super) y_pixels: (i32, i32),
    /// Steps at the left and the right edge.
    pub(super) x: (f64, f64),
    /// Values at the lower and the upper edge.
    pub(super) y: (f64, f64),
    /// Whether the vertical axis is logarithmic.
    pub(super) log: bool,
}

/// Draws the curves; `None` without points, or on a logarithmic scale without positive points.
pub(super) fn draw(lines: &[Line], scale: Scale) -> Option<Drawing> {
    let shown = |point: &Point| scale == Scale::Linear || point.1 > 0.0;
    let points = || lines.iter().flat_map(|line| &line.points).copied().filter(shown);
    let x = 0.0..points().map(|(x, _)| x).reduce(f64::max)?.max(1.0);
    let low = points().map(|(_, y)| y).reduce(f64::min)?;
    let high = points().map(|(_, y)| y).reduce(f64::max)?;
    let y = range(low, high, scale);
    let curves: Vec<(&Line, Vec<Point>)> = lines
        .iter()
        .map(|line| (line, line.points.iter().copied().filter(shown).collect()))
        .collect();
    let (svg, pixels) = match scale {
        Scale::Linear => render(&curves, x.clone(), y.clone()),
        Scale::Log => {
            let axis = y.clone().log_scale().with_key_points(log_ticks(y.clone()));
            render(&curves, x.clone(), axis)
        }
    }
    .expect("drawing into a string cannot fail");
    let frame = Frame {
        x_pixels: (pixels.0.start, pixels.0.end),
        y_pixels: (pixels.1.end, pixels.1.start),
        x: (x.start, x.end),
        y: (y.start, y.end),
        log: scale == Scale::Log,
    };
    Some(Drawing { svg: with_classes(svg, lines), frame })
}

/// The values' range with a margin.
fn range(low: f64, high: f64, scale: Scale) -> Range<f64> {
    match scale {
        Scale::Linear if low == high => {
            let margin = if low == 0.0 { 1.0 } else { low.abs() * MARGIN };
            low - margin..high + margin
        }
        Scale::Linear => {
            let margin = (high - low) * MARGIN;
            low - margin..high + margin
        }
        Scale::Log => {
            let margin = (high / low).powf(MARGIN).max(1.0 + MARGIN);
            low / margin..high * margin
        }
    }
}

/// Numbers on a logarithmic axis: 1, 2 or 5 times a power of ten. plotters alone shows too few when the range spans less
/// than a few decades.
fn log_ticks(range: Range<f64>) -> Vec<f64> {
    if range.end / range.start < DECADE {
        let step = nice(range.end - range.start);
        let first = (range.start / step).ceil() as i64;
        return (first..).map(|i| i as f64 * step).take_while(|&tick| tick <= range.end).collect();
    }
    let (first, last) = (range.start.log10().floor() as i32, range.end.log10().ceil() as i32);
    let is_short = range.end / range.start <= DECADE * DECADE;
    let factors: &[f64] = if is_short { &[1.0, 2.0, 5.0] } else { &[1.0] };
    let every = ((last - first) as usize).div_ceil(TICKS);
    let decades = (first..=last).step_by(every.max(1));
    let all = decades.flat_map(|decade| factors.iter().map(move |by| by * 10f64.powi(decade)));
    all.filter(|tick| range.contains(tick)).collect()
}

/// A round step that fits 3 to [`TICKS`] times into `width`.
fn nice(width: f64) -> f64 {
    let decade = 10f64.powf((width / TICKS as f64).log10().floor());
    let steps = [1.0, 2.0, 5.0, 10.0].map(|by| by * decade);
    steps.into_iter().find(|step| width / step <= TICKS as f64).unwrap_or(width)
}

/// Pixels of a frame: left to right, top to bottom.
type Pixels = (Range<i32>, Range<i32>);

fn render<Y>(
    curves: &[(&Line, Vec<Point>)],
    x: Range<f64>,
    y: Y,
) -> Result<(String, Pixels), Box<dyn std::error::Error>>
where
    Y: AsRangedCoord<Value = f64>,
    Y::CoordDescType: ValueFormatter<f64>,
{
    let mut svg = String::new();
    let root = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&root)
        .margin(AROUND)
        .set_label_area_size(LabelAreaPosition::Left, LEFT)
        .set_label_area_size(LabelAreaPosition::Bottom, BELOW)
        .build_cartesian_2d(x, y)
        .map_err(|error| error.to_string())?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .axis_style(FRAME)
        .label_style(("sans-serif", FONT_SIZE).into_font().color(&TEXT))
        .x_labels(5)
        .y_labels(TICKS)
        .x_label_formatter(&|&step| number(step))
        .y_label_formatter(&|&value| number(value))
        .draw()
        .map_err(|error| error.to_string())?;
    for (line, points) in curves {
        let style = line.colour().stroke_width(2);
        chart
            .draw_series(LineSeries::new(points.iter().copied(), style))
            .map_err(|error| error.to_string())?;
        if points.len() == 1 || line.colour.1 && points.len() <= MARKED_POINTS {
            let marks = points.iter().map(|&point| Circle::new(point, 3, line.colour().filled()));
            chart.draw_series(marks).map_err(|error| error.to_string())?;
        }
    }
    let pixels = chart.plotting_area().get_pixel_range();
    root.present().map_err(|error| error.to_string())?;
    drop(chart);
    drop(root);
    Ok((svg, pixels))
}

/// Replaces each colour by its class, and removes the fixed size.
fn with_classes(svg: String, lines: &[Line]) -> String {
    let (width, height) = SIZE;
    let mut svg = svg.replacen(
        &format!("<svg width=\"{width}\" height=\"{height}\" "),
        "<svg role=\"img\" ",
        1,
    );
    let classes = [(TEXT, "text"), (GRID, "grid"), (FRAME, "frame")];
    let classes = classes.map(|(colour, class)| (colour, class.to_string()));
    let lines = lines.iter().map(|line| (line.colour(), line.class.clone()));
    for (RGBColor(r, g, b), class) in classes.into_iter().chain(lines) {
        let colour = format!("#{r:02X}{g:02X}{b:02X}");
        svg = svg.replace(&format!("stroke=\"{colour}\""), &format!("class=\"line {class}\""));
        svg = svg.replace(&format!("fill=\"{colour}\""), &format!("class=\"mark {class}\""));
    }
    svg
}

/// At most `limit` of the points, including spikes: keeps the first and last point, and the lowest and highest point of
/// each of equally long parts in between.
///
/// # Panics
/// When `limit` is below 4.
pub(super) fn thin(points: &[Point], limit: usize) -> Vec<Point> {
    assert!(limit >= 4, "a thinned curve has more than its ends");
    let [first, middle @ .., last] = points else { return points.to_vec() };
    if points.len() <= limit {
        return points.to_vec();
    }
    let parts = (limit - 2) / 2;
    let mut kept = vec![*first];
    for i in 0..parts {
        let part = &middle[middle.len() * i / parts..middle.len() * (i + 1) / parts];
        let by_value = |one: &&Point, other: &&Point| one.1.total_cmp(&other.1);
        let extremes = part.iter().min_by(by_value).zip(part.iter().max_by(by_value));
        let Some((low, high)) = extremes else { continue };
        let (earlier, later) = if low.0 <= high.0 { (low, high) } else { (high, low) };
        kept.push(*earlier);
        if earlier != later {
            kept.push(*later);
        }
    }
    kept.push(*last);
    kept
}

/// A number in few characters: `1200`, `0.05`, `3e-5`, `25k`.
pub(super) fn number(value: f64) -> String {
    let size = value.abs();
    let rounded = |value: f64, digits: usize| {
        let text = format!("{value:.digits$}");
        match text.contains('.') {
            true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
            false => text,
        }
    };
    match size {
        0.0 => "0".to_string(),
        1e6.. => format!("{}M", rounded(value / 1e6, 2)),
        1e4.. => format!("{}k", rounded(value / 1e3, 1)),
        100.0.. => rounded(value, 0),
        10.0.. => rounded(value, 1),
        1e-3.. => rounded(value, if size < 0.1 { 4 } else { 3 }),
        _ => {
            let text = format!("{value:.1e}");
            text.replace(".0e", "e")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines() -> [Line; 2] {
        [
            Line::new(0, false, "loss".to_string(), vec![(1.0, 4.0), (2.0, 2.0), (3.0, 1.0)]),
            Line::new(1, true, "validation".to_string(), vec![(0.0, 0.0), (3.0, 1.5)]),
        ]
    }

    #[test]
    fn a_chart_has_classes_and_no_colours() {
        for scale in [Scale::Linear, Scale::Log] {
            let Drawing { svg, frame } = draw(&lines(), scale).expect("points");
            for class in ["\"line run-0\"", "\"line run-1 validation\"", "\"mark text\""] {
                assert!(svg.contains(class), "{class}: {svg}");
            }
            assert!(!svg.contains("=\"#"), "a colour remains: {svg}");
            assert_eq!(frame.x, (0.0, 3.0));
            assert!(frame.y_pixels.0 > frame.y_pixels.1 && frame.y.0 < frame.y.1);
        }
    }

    #[test]
    fn a_logarithmic_scale_omits_zero() {
        let zero = [Line::new(0, false, "lr".to_string(), vec![(1.0, 0.0)])];
        assert!(draw(&zero, Scale::Log).is_none());
        let Frame { y, .. } = draw(&zero, Scale::Linear).expect("a point").frame;
        assert_eq!(y, (-1.0, 1.0));
        let Frame { y, .. } = draw(&lines(), Scale::Log).expect("points").frame;
        assert!(y.0 > 0.9 && y.0 < 1.0, "the point at zero is not shown: {y:?}");
    }

    #[test]
    fn logarithmic_axes_have_round_numbers() {
        for (range, expected) in [
            (2.4..4.1, vec![2.5, 3.0, 3.5, 4.0]),
            (0.8..30.0, vec![1.0, 2.0, 5.0, 10.0, 20.0]),
            (1e-6..2.0, vec![1e-6, 1e-4, 1e-2, 1.0]),
        ] {
            let found = log_ticks(range);
            assert_eq!(found.len(), expected.len(), "{found:?}");
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 1e-9 * expected.abs().max(1e-3), "{found}");
            }
        }
    }

    #[test]
    fn numbers_are_short() {
        for (value, text) in [
            (0.0, "0"),
            (-0.25, "-0.25"),
            (2.5, "2.5"),
            (0.01, "0.01"),
            (0.00002, "2e-5"),
            (200.0, "200"),
            (25_000.0, "25k"),
            (1_250_000.0, "1.25M"),
        ] {
            assert_eq!(number(value), text);
        }
    }

    #[test]
    fn thinning_keeps_spikes() {
        let mut points: Vec<Point> = (0..100_000).map(|i| (f64::from(i), 1.0)).collect();
        points[77_777].1 = 9.0;
        points[5].1 = -3.0;
        let few = thin(&points, 1000);
        assert!(few.len() <= 1000, "{}", few.len());
        assert!(few.contains(&(77_777.0, 9.0)) && few.contains(&(5.0, -3.0)));
        assert_eq!((few[0].0, few[few.len() - 1].0), (0.0, 99_999.0));
        assert!(few.is_sorted_by(|one, other| one.0 < other.0));
    }

    #[test]
    fn short_curves_are_not_thinned() {
        for len in [0, 1, 2, 3, 10] {
            let points: Vec<Point> = (0..len).map(|i| (f64::from(i), f64::from(i * i))).collect();
            assert_eq!(thin(&points, 10), points);
        }
        let points: Vec<Point> = (0..11).map(|i| (f64::from(i), f64::from(-i))).collect();
        assert_eq!(thin(&points, 10).len(), 10);
    }
}
