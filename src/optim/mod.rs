//! How gradients change what learns: the learning-rate curve and Adam.

mod adam;
mod schedule;

pub use adam::{Adam, AdamOptions, Moments, Parameter, clip_gradients};
pub use schedule::LrCurve;
