//! Runs on disk: find, read, annotate, follow, remove, pack and unpack them.

mod find;
mod follow;
mod mark;
mod moved;
mod pack;
mod remove;
mod stored_run;

pub use find::{
    CheckpointRef, NO_RUN, all_runs, find_run, find_run_ref, folders_near, newest_export,
    no_export, runs_here, runs_named, runs_of_experiment, split_run_ref, unreadable,
};
pub use follow::{Evaluation, Follower};
pub use mark::change_annotations;
pub use moved::follow_moved_inputs;
pub use pack::{PACK_EXTENSION, PackManifest, PackedFile, pack_run, unpack_run};
pub use remove::{ChangeRunError, Prunable, disk_usage, prunable, prune_run, remove_run};
pub use stored_run::{Annotations, RunState, SampleLine, StoredRun, run_state};
