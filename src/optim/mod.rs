//! How gradients change what learns: the learning-rate curve, the parameter groups and Adam.

mod adam;
mod groups;
mod schedule;

pub use adam::{Adam, AdamOptions, Moments, Parameter, clip_gradients};
pub use groups::group;
pub use schedule::LrCurve;
