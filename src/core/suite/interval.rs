//! 95 % intervals of metrics over items: how far a value would move with other items of the same sort.
//!
//! A share has the interval of Wilson, which has a width where all items are right or all are wrong (E. B. Wilson, "Probable
//! inference, the law of succession, and statistical inference", 1927). Other values, and changes of paired items, have that
//! of the bootstrap: the items are drawn again and again with replacement, and the middle 95 % of the values of the draws is
//! the interval. Where a right or wrong answer changed in the same way for all items, draws cannot differ: the interval of the
//! change then follows from the largest share of other items that are exceptions.

use serde::Serialize;

use crate::data::{below, generator};

/// Draws of all items.
pub const RESAMPLES: usize = 2000;
const SEED: u64 = 7;
/// The draws left out at each end of the interval.
const TAIL: usize = RESAMPLES / 40;
/// The normal quantile of 97.5 %.
const Z: f64 = 1.959_963_984_540_054;
/// The probability with which a bound on one side is wrong.
const DOUBT: f64 = 0.05;

/// A 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// Lower end.
    pub low: f64,
    /// Upper end.
    pub high: f64,
}

impl Interval {
    /// Of a share, `right` of `items`: Wilson's, the shares p with `|right / items - p| <= z sqrt(p (1 - p) / items)`.
    pub(super) fn of_share(right: u64, items: u64) -> Interval {
        let (n, share) = (items as f64, right as f64 / items as f64);
        let square = Z * Z / n;
        let center = (share + square / 2.0) / (1.0 + square);
        let half = (share * (1.0 - share) * square + square * square / 4.0).sqrt() / (1.0 + square);
        // Rounding would leave a share of 0 or 1 outside.
        Interval {
            low: (center - half).min(share).max(0.0),
            high: (center + half).max(share).min(1.0),
        }
    }

    /// Of a value over items, from its values over the items of each draw.
    pub(super) fn of_draws(mut values: Vec<f64>) -> Interval {
        values.sort_by(f64::total_cmp);
        let end = values.len().saturating_sub(1);
        let at = |at: usize| values.get(at.min(end)).copied().unwrap_or(f64::NAN);
        Interval { low: at(TAIL), high: at(end.saturating_sub(TAIL)) }
    }

    /// Of the mean change of items whose numbers, 0 or 1, all changed by `change`: exceptions may change by -1 to 1.
    pub(super) fn of_equal_changes(change: f64, items: usize) -> Interval {
        let exceptions = most_exceptions(items);
        let others = change * (1.0 - exceptions);
        Interval { low: others - exceptions, high: others + exceptions }
    }
}

/// The largest share of exceptions, with 95 % confidence, after `items` items without one: the share e with
/// `(1 - e)^items = 0.05`, about 3 / items.
pub(super) fn most_exceptions(items: usize) -> f64 {
    1.0 - DOUBT.powf(1.0 / items as f64)
}

/// The items of each draw; seeded, so that equal scores give equal intervals.
pub(super) fn draws(items: usize) -> Vec<Vec<usize>> {
    let mut rng = generator(SEED, 0);
    let mut draw = || (0..items).map(|_| below(items as u64, &mut rng) as usize).collect();
    if items == 0 { Vec::new() } else { (0..RESAMPLES).map(|_| draw()).collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn is(found: Interval, low: f64, high: f64) {
        let far = (found.low - low).abs().max((found.high - high).abs());
        assert!(far < 5e-5, "{found:?} is not [{low}, {high}]");
    }

    /// By hand: with z^2 = 3.8415, 0 of 20 has the upper end 0.1921 / 1.1921, and 5 of 10 has 0.5 +- 0.1839 / 0.6921 / 2.
    #[test]
    fn shares_have_the_interval_of_wilson() {
        is(Interval::of_share(0, 20), 0.0, 0.1611);
        is(Interval::of_share(20, 20), 0.8389, 1.0);
        is(Interval::of_share(5, 10), 0.2366, 0.7634);
        is(Interval::of_share(1, 10), 0.0179, 0.4042);
        is(Interval::of_share(0, 1), 0.0, 0.7935);
        for items in 1..50 {
            for right in 0..=items {
                let Interval { low, high } = Interval::of_share(right, items);
                let share = right as f64 / items as f64;
                assert!(
                    0.0 <= low && low <= share && share <= high && high <= 1.0,
                    "{right} of {items}"
                );
                // The ends solve the equation of the interval.
                for end in [low, high].into_iter().filter(|end| *end > 0.0 && *end < 1.0) {
                    let far = (share - end).abs() - Z * (end * (1.0 - end) / items as f64).sqrt();
                    assert!(far.abs() < 1e-12, "{right} of {items}: {far:e}");
                }
            }
        }
    }

    /// By hand: the 20th root of 0.05 is 0.8609.
    #[test]
    fn equal_changes_have_the_interval_of_their_exceptions() {
        assert!((most_exceptions(20) - 0.1391).abs() < 5e-5);
        assert!((most_exceptions(300) * 300.0 - 3.0).abs() < 0.02, "the rule of three");
        is(Interval::of_equal_changes(0.0, 20), -0.1391, 0.1391);
        is(Interval::of_equal_changes(1.0, 20), 0.7218, 1.0);
        is(Interval::of_equal_changes(-1.0, 20), -1.0, -0.7218);
        is(Interval::of_equal_changes(1.0, 1), -0.9, 1.0);
    }

    #[test]
    fn draws_leave_out_a_fortieth_at_each_end() {
        let values = (0..RESAMPLES).rev().map(|i| i as f64).collect();
        is(Interval::of_draws(values), 50.0, 1949.0);
        assert!(Interval::of_draws(Vec::new()).low.is_nan());
    }
}
