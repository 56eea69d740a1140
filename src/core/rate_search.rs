//! Finds a learning rate by short training runs.
//!
//! Each trial trains from the same start on the same batches with a shortened schedule, and is judged by its loss on held-out
//! samples. A first round looks for the best rate on a coarse grid; a second round of longer trials looks around it. A parabola
//! through the logarithms of rates and losses gives the best rate of a trial; the best rate of the whole run is lower, by a
//! power of the lengths: measured, see `docs/benchmarks.md`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Factor between the rates of the first round.
const COARSE: f64 = 4.0;
/// Factor between the rates of the second round.
const FINE: f64 = 3.0;
/// Rates of the first round, before it is extended.
const FIRST_RATES: i32 = 4;
/// Rates of the first round at most. The farthest is ten million times the usual one, or a ten-millionth.
const MOST_RATES: usize = 14;
/// Rates of the second round at most.
const SECOND_RATES: usize = 4;
/// A trial of the first round has this share of the steps of the run, and of the second round likewise.
const SHARES: [u64; 2] = [40, 5];
/// Steps of a trial at least, by round.
const LEAST_STEPS: [u64; 2] = [2, 4];
/// Steps of a trial at most, by round.
const MOST_STEPS: [u64; 2] = [20, 100];
/// The best rate falls with this power of the number of steps: from 0.2 to 0.7 on the sets of `docs/benchmarks.md`.
const POWER: f64 = 0.4;
/// Most that the best rate of a trial is divided by for the whole run.
const MOST_CORRECTION: f64 = 8.0;
/// Losses up to this factor of the lowest one are as good.
const AS_GOOD: f64 = 1.02;

/// What a search needs to know about the run.
#[derive(Clone, Copy, Debug)]
pub struct RateSearch {
    /// The usual rate of the method, where the search begins.
    pub usual: f64,
    /// Rates below are not tried.
    pub least: f64,
    /// Optimizer steps of the run.
    pub total_steps: u64,
}

/// A short training run.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Optimizer steps.
    pub steps: u64,
    /// Learning rate after the warmup.
    pub rate: f64,
    /// Loss on the held-out samples after these steps, in nats; absent when training diverged.
    pub loss: Option<f64>,
}

/// The result of a search; `rates.json` of a run.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FoundRate {
    /// The proposed rate.
    pub lr_init: f64,
    /// The lowest rate that is probably as good: within 2 % of the loss.
    pub lowest: f64,
    /// The highest such rate.
    pub highest: f64,
    /// Optimizer steps of the run that the rate is for.
    pub total_steps: u64,
    /// Samples that the losses are taken over.
    pub held_out: u64,
    /// The trials, by length and rate.
    pub trials: Vec<Trial>,
}

impl FoundRate {
    /// Name of the file in the run directory.
    pub const FILE: &str = "rates.json";
}

/// The best rate of trials of one length, and how fast the logarithm of the loss rises beside it.
#[derive(Clone, Copy, Debug)]
struct Vertex {
    /// Natural logarithm of the rate.
    at: f64,
    /// Half of the second derivative of the logarithm of the loss by that of the rate; 0 where the trials do not tell.
    bend: f64,
}

impl RateSearch {
    /// Steps of a trial of the first and of the second round.
    pub fn trial_steps(&self) -> [u64; 2] {
        [0, 1].map(|round| {
            let most = MOST_STEPS[round].min(self.total_steps).max(1);
            (self.total_steps / SHARES[round]).max(LEAST_STEPS[round]).min(most)
        })
    }

    /// Steps of all trials, unless a round is extended.
    pub fn expected_steps(&self) -> u64 {
        let [first, second] = self.trial_steps();
        FIRST_RATES as u64 * first + 3 * second
    }

    /// Searches. `measure` gives the loss of a trial with a rate and a number of steps, or `None` when training diverged.
    /// `None` when every trial diverged.
    ///
    /// # Errors
    /// Those of `measure`.
    pub fn find<E>(
        &self,
        held_out: u64,
        mut measure: impl FnMut(f64, u64) -> Result<Option<f64>, E>,
    ) -> Result<Option<FoundRate>, E> {
        let [first, second] = self.trial_steps();
        let mut trials = Vec::new();
        // The best rate of a short trial is higher than the usual one.
        let center = self.usual * self.correction(first);
        let middle = f64::from(FIRST_RATES - 1) / 2.0;
        let grid = (0..FIRST_RATES).map(|i| center * COARSE.powf(f64::from(i) - middle));
        let coarse = Round { factor: COARSE, most: MOST_RATES, steps: first, least: self.least };
        let Some(vertex) = coarse.run(grid.collect(), &mut trials, &mut measure)? else {
            return Ok(None);
        };
        let center = vertex.at.exp() * self.correction(second) / self.correction(first);
        let grid = [-1, 0, 1].map(|i| center * FINE.powi(i));
        let fine = Round { factor: FINE, most: SECOND_RATES, steps: second, least: self.least };
        let Some(vertex) = fine.run(grid.to_vec(), &mut trials, &mut measure)? else {
            return Ok(None);
        };
        let rate = (vertex.at.exp() / self.correction(second)).max(self.least);
        let reach = match vertex.bend > 0.0 {
            true => (AS_GOOD.ln() / vertex.bend).sqrt().exp().min(COARSE),
            false => COARSE,
        };
        trials.sort_by(|a, b| (a.steps, a.rate).partial_cmp(&(b.steps, b.rate)).expect("finite"));
        Ok(Some(FoundRate {
            lr_init: short(rate),
            lowest: short((rate / reach).max(self.least)),
            highest: short(rate * reach),
            total_steps: self.total_steps,
            held_out,
            trials,
        }))
    }

    /// The best rate of a trial of `steps` steps over that of the whole run.
    fn correction(&self, steps: u64) -> f64 {
        (self.total_steps as f64 / steps as f64).powf(POWER).clamp(1.0, MOST_CORRECTION)
    }
}

/// Trials of one length.
struct Round {
    /// Factor between neighbouring rates.
    factor: f64,
    /// Trials at most.
    most: usize,
    steps: u64,
    /// Rates below are not tried.
    least: f64,
}

impl Round {
    /// Tries the ascending `rates`, and further ones while the best is the first or the last; `None` when all diverged.
    fn run<E>(
        &self,
        mut rates: Vec<f64>,
        trials: &mut Vec<Trial>,
        measure: &mut impl FnMut(f64, u64) -> Result<Option<f64>, E>,
    ) -> Result<Option<Vertex>, E> {
        rates.retain(|rate| *rate >= self.least);
        if rates.is_empty() {
            rates.push(self.least);
        }
        let mut losses = Vec::new();
        for rate in &rates {
            losses.push(measure(*rate, self.steps)?);
        }
        while rates.len() < self.most {
            let next = match best(&losses) {
                Some(at) if at + 1 == rates.len() && at > 0 => rates[at] * self.factor,
                // Even the lowest rate diverged, or it is the best one.
                Some(0) | None => rates[0] / self.factor,
                Some(_) => break,
            };
            if next < self.least || !next.is_finite() {
                break;
            }
            let loss = measure(next, self.steps)?;
            let at = if next < rates[0] { 0 } else { rates.len() };
            rates.insert(at, next);
            losses.insert(at, loss);
        }
        let tried = rates.iter().zip(&losses);
        trials.extend(tried.map(|(&rate, &loss)| Trial { steps: self.steps, rate, loss }));
        Ok(vertex(&rates, &losses))
    }
}

/// The index of the lowest loss.
fn best(losses: &[Option<f64>]) -> Option<usize> {
    let known = losses.iter().enumerate().filter_map(|(at, loss)| Some((at, (*loss)?)));
    known.min_by(|a, b| a.1.total_cmp(&b.1)).map(|(at, _)| at)
}

/// The lowest point of the parabola through the best trial and its neighbours, between these; the best trial where a neighbour
/// is missing or diverged.
fn vertex(rates: &[f64], losses: &[Option<f64>]) -> Option<Vertex> {
    let at = best(losses)?;
    let here = Vertex { at: rates[at].ln(), bend: 0.0 };
    let point = |at: Option<usize>| {
        let at = at?;
        let loss = (*losses.get(at)?)?;
        (loss > 0.0).then(|| (rates[at].ln(), loss.ln()))
    };
    let points = (point(at.checked_sub(1)), point(Some(at)), point(Some(at + 1)));
    let (Some((x0, y0)), Some((x1, y1)), Some((x2, y2))) = points else { return Some(here) };
    let (left, right) = ((y1 - y0) / (x1 - x0), (y2 - y1) / (x2 - x1));
    let bend = (right - left) / (x2 - x0);
    if bend <= 0.0 {
        return Some(here);
    }
    let lowest = (x0 + x1) / 2.0 - left / (2.0 * bend);
    Some(Vertex { at: lowest.clamp(x0, x2), bend })
}

/// The number with two significant digits, which a person can write down.
fn short(number: f64) -> f64 {
    format!("{number:.1e}").parse().expect("a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEARCH: RateSearch = RateSearch { usual: 1.0, least: 0.0, total_steps: 240 };

    /// A loss whose best rate is `best` after 240 steps, and higher after fewer.
    fn bowl(best: f64, rate: f64, steps: u64) -> f64 {
        let best = best * (240.0 / steps as f64).powf(POWER);
        2.0 * (0.05 * (rate / best).ln().powi(2)).exp()
    }

    fn find(search: RateSearch, loss: impl Fn(f64, u64) -> Option<f64>) -> Option<FoundRate> {
        search.find(8, |rate, steps| Ok::<_, ()>(loss(rate, steps))).expect("no error")
    }

    #[test]
    fn a_rate_near_and_far_from_the_usual_one() {
        for best in [1.0, 0.4, 3.3, 0.02, 60.0, 1e-4] {
            let found = find(SEARCH, |rate, steps| Some(bowl(best, rate, steps))).expect("a rate");
            assert!((found.lr_init / best).ln().abs() < 0.1, "{best}: {found:?}");
            assert!(found.lowest < found.lr_init && found.lr_init < found.highest);
            let at_end = bowl(best, found.highest, 240) / bowl(best, best, 240);
            assert!((1.01..1.03).contains(&at_end), "{at_end}");
        }
    }

    #[test]
    fn the_trials_are_a_fraction_of_the_run() {
        let found = find(SEARCH, |rate, steps| Some(bowl(1.0, rate, steps))).expect("a rate");
        let steps: u64 = found.trials.iter().map(|trial| trial.steps).sum();
        assert_eq!((SEARCH.trial_steps(), steps), ([6, 48], 168));
        assert_eq!(SEARCH.expected_steps(), 168);
        assert_eq!(RateSearch { total_steps: 1_000_000, ..SEARCH }.expected_steps(), 380);
        assert_eq!(RateSearch { total_steps: 3, ..SEARCH }.trial_steps(), [2, 3]);
        assert_eq!(RateSearch { total_steps: 1, ..SEARCH }.trial_steps(), [1, 1]);
    }

    #[test]
    fn a_rate_that_diverges_is_above_the_range() {
        let loss = |rate: f64, steps| (rate < 2.0).then(|| bowl(1.0, rate, steps));
        let found = find(SEARCH, loss).expect("a rate");
        assert!(found.lr_init < 2.0 && found.trials.iter().any(|trial| trial.loss.is_none()));
        assert_eq!(find(SEARCH, |_, _| None), None);
        // Every rate of the first grid diverges.
        let loss = |rate: f64, steps| (rate < 1e-3).then(|| bowl(1e-5, rate, steps));
        assert!(find(SEARCH, loss).expect("a rate").lr_init < 1e-3);
    }

    #[test]
    fn no_rate_below_the_last_one_of_the_schedule() {
        let search = RateSearch { least: 0.01, ..SEARCH };
        let found = find(search, |rate, steps| Some(bowl(1e-4, rate, steps))).expect("a rate");
        assert_eq!(found.lr_init, 0.01);
        assert!(found.trials.iter().all(|trial| trial.rate >= 0.01));
        let none = RateSearch { least: 1e9, ..SEARCH };
        let found = find(none, |rate, steps| Some(bowl(1.0, rate, steps))).expect("a rate");
        assert_eq!(found.lr_init, 1e9);
    }

    #[test]
    fn flat_losses_find_something() {
        let found = find(SEARCH, |_, _| Some(2.0)).expect("a rate");
        assert!(found.lr_init > 0.0 && found.trials.len() <= MOST_RATES + SECOND_RATES);
    }
}
