//! Run directories: their layout, and how records get into them.
//!
//! ```text
//! runs/2026-11-24-emoji-state-k3f9/
//!   experiment.toml   the file as written
//!   resolved.toml     every setting, each with where it came from
//!   lock.toml         what the run depended on: data, weights, tokenizer, program, libtorch, kernels
//!   events.jsonl      what happened, with times
//!   metrics.jsonl     one line per reported interval; only grows
//!   train_log.txt     the line per mini-epoch that RWKV trainers write
//!   samples/          base.jsonl, tuned.jsonl: answers before and after; step-0000120.jsonl in between
//!   control/          what a live run is asked for, only while somebody does
//!   chain.bin         16 bytes a step: digests of batches, loss and what learned
//!   ckpt/epoch-0000/  what learned, the optimizer's moments, the position; ckpt/last names the newest
//!   export/           rwkv-N.pth and .st after mini-epoch N
//!   status.json       running, done, interrupted or failed
//!   LOCK              locked by the process that works on the run
//! ```

mod chain;
mod checkpoint;
mod control;
mod dir;
mod find;
mod follow;
mod lock;
mod records;
mod resolved;

pub use chain::{Chain, LINK_BYTES, Link, read_chain};
pub use checkpoint::{
    Checkpoint, CheckpointError, LoadCheckpointError, Place, best_checkpoint, checkpoints,
    name_best, remove_old_checkpoints, save_checkpoint,
};
pub use control::{Answer, Asked, Asker, Pending, Request, Ticket, ask, pending};
pub use dir::{OpenRunError, RunDir, RunDirError, Status, is_busy};
pub use find::{
    all_runs, find_run, name_and_id, newest_product, nothing_saved, product_file, runs_named,
};
pub use follow::{Eval, Follower, Life, life};
pub use lock::{Lock, LockDifferences, LockedFile, LockedQuant, sha256_of};
pub use records::{Best, Metrics, Totals, TrainLog, rewind_records};
pub use resolved::resolved_toml;

use std::path::{Path, PathBuf};

/// The path as a record names it: it holds whatever folder the record is read from.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
