//! Suites: questions with known answers, and texts, by which a model is measured before and after training.
//!
//! [`Suite::read`] reads a file of items, one JSON object a line, and says what is wrong with a line where it stands.
//! [`Suite::asks`] writes the texts that a model reads. What the model makes of them becomes [`SuiteScores`], numbers for
//! each item, and [`Comparison`] sets two of them side by side, with intervals.

mod ask;
mod compare;
mod expected;
mod interval;
mod item;
mod metric;
mod read;

pub use ask::{Ask, Asks, Likelihood, Reading};
pub use compare::{Comparison, Flip, MetricRow, Value, Verdict, intervals};
pub use expected::Matching;
pub use interval::{Interval, RESAMPLES};
pub use item::{Item, ItemText, Kind};
pub use metric::{Better, Metric, SuiteScores};
pub use read::{Form, Suite, find_suites};
