//! Differences between stored runs and their causes: settings, documents, environment, metrics, samples, and the first
//! step that differs. Compares records only; reads no tensors.

mod causes;
mod compare;
mod divergence;
mod documents;
mod metrics;
mod recorded;

pub use crate::suite::Better;
pub use causes::Cause;
pub use compare::{Diff, EnvironmentRow, Name, Pair, SampleRow, SettingRow, Validation};
pub use divergence::{Divergence, Part};
pub use documents::{DataChange, Documents};
pub use metrics::{Align, Course, Evaluation, MetricRow, MetricRows, SPEED, STEPS};
pub use recorded::Recorded;
