//! The layers of an experiment: what each sets, where each key stands in its text, and how they merge.

pub(super) mod collect;
pub(super) mod layer;
pub(super) mod layers;
pub(super) mod overrides;
