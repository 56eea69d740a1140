//! What differs between stored runs, down to the reason: settings, documents, environment, metrics, samples, and
//! the first step in which they part. Works on what runs recorded; no tensor is read.

mod causes;
mod divergence;
mod documents;
mod metrics;

pub use causes::{Cause, DATA, START, TOKENIZER, WEIGHTS, causes};
pub use divergence::{Divergence, Part};
pub use documents::DataChange;
pub use metrics::{Align, Better, Course, MetricRow, MetricRows, SPEED, metric_rows};
