//! Numbers that must come out right: kernels, models, files.

mod files;
mod model;
mod wkv7;
