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
//!   samples/          base.jsonl, tuned.jsonl: answers before and after
//!   ckpt/epoch-0000/  what learned, the optimizer's moments, the position; ckpt/last names the newest
//!   export/           rwkv-N.pth and .st after mini-epoch N
//!   status.json       running, done or failed
//! ```

mod checkpoint;
mod dir;
mod find;
mod lock;
mod records;
mod resolved;

pub use checkpoint::{CheckpointError, save_checkpoint};
pub use dir::{RunDir, RunDirError, Status};
pub use find::{find_run, newest_product, nothing_saved, product_file};
pub use lock::{Lock, LockedFile, LockedQuant, sha256_of};
pub use records::{Metrics, TrainLog};
pub use resolved::resolved_toml;

use std::path::{Path, PathBuf};

/// The path as a record names it: it holds whatever folder the record is read from.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
