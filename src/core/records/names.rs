//! Names in a run directory.

use std::path::Path;

/// The file of events.
pub(super) const EVENTS: &str = "events.jsonl";
/// Starts of the names of checkpoints; a number follows.
pub(super) const EPOCH: &str = "epoch-";
pub(super) const STEP: &str = "step-";

/// The directory's name: of a run, `DATE-NAME-ID`.
pub fn dir_name(run: &Path) -> String {
    run.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether `name` is that of a checkpoint.
pub(super) fn is_checkpoint_name(name: &str) -> bool {
    let number = name.strip_prefix(EPOCH).or(name.strip_prefix(STEP)).unwrap_or_default();
    !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
}
