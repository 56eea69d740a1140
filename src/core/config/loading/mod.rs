//! The layers of an experiment: what each sets, the position of each key in its text, and how the layers merge.

pub(super) mod collect;
pub(super) mod foreign_path;
pub(super) mod layer;
pub(super) mod layers;
pub(super) mod overrides;
pub(super) mod text;
pub(super) mod unreadable;
