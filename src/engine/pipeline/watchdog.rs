//! What a run remembers of its last steps, to judge the next one.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Steps whose median loss the next one is compared with.
const WINDOW: usize = 64;
/// Fewer steps say nothing about what is usual.
const FEWEST: usize = 8;
/// Gradient norms that an incident names, its own included.
const NORMS: usize = 5;

/// Losses and gradient norms of the last steps of this process, and how long it runs.
#[derive(Debug)]
pub(super) struct Watchdog {
    losses: VecDeque<f64>,
    norms: VecDeque<f64>,
    /// Whether the last step was a spike.
    is_spike: bool,
    started: Instant,
}

impl Watchdog {
    /// Knows nothing yet.
    pub(super) fn new() -> Watchdog {
        Watchdog {
            losses: VecDeque::new(),
            norms: VecDeque::new(),
            is_spike: false,
            started: Instant::now(),
        }
    }

    /// Whether this process has worked for `hours`; 0: never. The clock on the wall may go backwards, the one that
    /// is asked here does not.
    pub(super) fn is_over(&self, hours: f64) -> bool {
        hours > 0.0 && self.started.elapsed() >= limit(hours)
    }

    /// Takes in a step that has a loss, and returns the median of those before it when its loss is above
    /// `multiple` of that (0: never) and that of the step before was not.
    pub(super) fn add(&mut self, loss: f64, grad_norm: f64, multiple: f64) -> Option<f64> {
        let was_spike = self.is_spike;
        let is_known = self.losses.len() >= FEWEST;
        let median = median(self.losses.iter().copied()).filter(|_| is_known);
        let above = median.filter(|median| multiple > 0.0 && loss > multiple * median);
        self.is_spike = above.is_some();
        keep(&mut self.losses, loss, WINDOW);
        keep(&mut self.norms, grad_norm, NORMS - 1);
        above.filter(|_| !was_spike)
    }

    /// The norms of the last steps and this one; `None` where one is not finite.
    pub(super) fn norms_before(&self, grad_norm: f64) -> Vec<Option<f64>> {
        let norms = self.norms.iter().copied().chain([grad_norm]);
        norms.map(|norm| Some(norm).filter(|norm| norm.is_finite())).collect()
    }
}

/// The duration of so many hours; the longest there is where they are too many.
fn limit(hours: f64) -> Duration {
    Duration::try_from_secs_f64(hours * 3600.0).unwrap_or(Duration::MAX)
}

fn keep(window: &mut VecDeque<f64>, value: f64, len: usize) {
    if window.len() == len {
        window.pop_front();
    }
    window.push_back(value);
}

/// The middle of these values, the upper one of two; `None` for none.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// A number for people: three digits, or what it is instead of one.
pub(super) fn number(value: f64) -> String {
    if !value.is_finite() {
        return value.to_string();
    }
    let text = format!("{value:.2e}");
    let rounded: f64 = text.parse().unwrap_or(value);
    if rounded == 0.0 || (1e-3..1e6).contains(&rounded.abs()) { rounded.to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The medians that are reported for these losses, each with the place of its step.
    fn spikes(losses: &[f64], multiple: f64) -> Vec<(usize, f64)> {
        let mut watchdog = Watchdog::new();
        let found = losses.iter().enumerate();
        found.filter_map(|(i, &loss)| Some((i, watchdog.add(loss, 1.0, multiple)?))).collect()
    }

    #[test]
    fn a_spike_is_reported_once() {
        let mut losses = vec![2.0; 20];
        losses.extend([9.0, 9.5, 2.0, 8.5]);
        assert_eq!(spikes(&losses, 4.0), [(20, 2.0), (23, 2.0)]);
        assert_eq!(spikes(&losses, 0.0), []);
        assert_eq!(spikes(&losses, 5.0), []);
    }

    #[test]
    fn the_first_steps_say_nothing_about_what_is_usual() {
        assert_eq!(spikes(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 100.0], 4.0), []);
    }

    #[test]
    fn a_new_level_becomes_usual() {
        let mut losses = vec![1.0; WINDOW];
        losses.extend(vec![10.0; WINDOW]);
        losses.extend([1.0, 10.0]);
        assert_eq!(spikes(&losses, 4.0), [(WINDOW, 1.0)]);
    }

    #[test]
    fn numbers_are_short() {
        let numbers = [0.8, 611.4, f64::INFINITY, f64::NAN, 1.5e30, 0.0, 123_456.0];
        let texts = numbers.map(number);
        assert_eq!(texts, ["0.8", "611", "inf", "NaN", "1.50e30", "0", "123000"]);
    }

    #[test]
    fn no_limit_is_never_over() {
        let watchdog = Watchdog::new();
        assert!(!watchdog.is_over(0.0) && !watchdog.is_over(f64::MAX) && watchdog.is_over(1e-12));
    }
}
