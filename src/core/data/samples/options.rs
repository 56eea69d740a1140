//! How documents become samples.

use crate::data::conversation::{Mask, Muted};
use crate::data::{Dataload, Overlong, Walk};

/// How documents become samples.
#[derive(Clone, Debug)]
pub struct LoaderOptions {
    /// The most inputs of a sample, in tokens.
    pub ctx_len: usize,
    /// What a sample is: a document, as many documents as fit, or a window.
    pub dataload: Dataload,
    /// The order of windows.
    pub walk: Walk,
    /// What to do with documents that do not fit.
    pub overlong: Overlong,
    /// Selects the target tokens.
    pub mask: Mask,
    /// What is never target text, by document in source order.
    pub muted: Muted,
    /// The seed of the order.
    pub seed: u64,
}
