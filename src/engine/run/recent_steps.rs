//! The last steps of a process, to compare the next one with, and its time limit.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Steps in the median loss.
const WINDOW: usize = 64;
/// Steps before the first comparison.
const FEWEST: usize = 8;
/// Gradient norms in an incident, its own included.
const NORMS: usize = 5;

/// Losses and gradient norms of the last steps of this process, and its running time.
#[derive(Debug)]
pub(super) struct RecentSteps {
    losses: VecDeque<f64>,
    norms: VecDeque<f64>,
    /// Whether the last step was a spike.
    is_spike: bool,
    started: Instant,
}

impl RecentSteps {
    pub(super) fn new() -> RecentSteps {
        RecentSteps {
            losses: VecDeque::new(),
            norms: VecDeque::new(),
            is_spike: false,
            started: Instant::now(),
        }
    }

    /// Whether this process has run for `hours` (0: no limit), by a monotonic clock.
    pub(super) fn is_over(&self, hours: f64) -> bool {
        hours > 0.0 && self.started.elapsed() >= limit(hours)
    }

    /// Adds a step with a finite loss. Returns the median loss of the steps before when the loss is above `multiple` times the
    /// median (0: never) and the loss of the previous step was not.
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

    /// The gradient norms of the last steps and this one; `None` where one is not finite.
    pub(super) fn norms_before(&self, grad_norm: f64) -> Vec<Option<f64>> {
        let norms = self.norms.iter().copied().chain([grad_norm]);
        norms.map(|norm| Some(norm).filter(|norm| norm.is_finite())).collect()
    }
}

/// `hours` as a duration, capped at the longest one.
fn limit(hours: f64) -> Duration {
    Duration::try_from_secs_f64(hours * 3600.0).unwrap_or(Duration::MAX)
}

fn keep(window: &mut VecDeque<f64>, value: f64, len: usize) {
    if window.len() == len {
        window.pop_front();
    }
    window.push_back(value);
}

/// The median, the upper one of two; `None` without values.
pub(super) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied()
}

/// A number with three digits, or `NaN`, `inf`, `-inf`.
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

    /// The reported medians for these losses, each with the index of its step.
    fn spikes(losses: &[f64], multiple: f64) -> Vec<(usize, f64)> {
        let mut recent = RecentSteps::new();
        let found = losses.iter().enumerate();
        found.filter_map(|(i, &loss)| Some((i, recent.add(loss, 1.0, multiple)?))).collect()
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
    fn the_first_steps_are_never_spikes() {
        assert_eq!(spikes(&[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 100.0], 4.0), []);
    }

    #[test]
    fn the_median_follows_a_new_level() {
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
    fn limit_of_zero_hours_is_no_limit() {
        let recent = RecentSteps::new();
        assert!(!recent.is_over(0.0) && !recent.is_over(f64::MAX) && recent.is_over(1e-12));
    }
}
