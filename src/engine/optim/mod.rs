//! How gradients change what learns: the learning-rate curve, the parameter groups and Adam.

mod adam;

pub use adam::{Adam, Moments, Parameter, clip_gradients};
pub use statetune_core::arch::group;
pub use statetune_core::plan::{AdamOptions, LrCurve};
