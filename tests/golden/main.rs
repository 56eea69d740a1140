//! Numbers that must come out right: kernels, models, files.

mod wkv7;
