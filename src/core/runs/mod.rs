//! Run directories: their layout, and how records get into them.
//!
//! ```text
//! runs/2026-11-24-emoji-state-k3f9/
//!   experiment.toml   the file as written
//!   resolved.toml     every setting, each with where it came from
//!   overrides.toml    those of them that were set over the file
//!   lock.toml         what the run depended on: data, weights, tokenizer, program, libtorch, kernels
//!   earlier/          settings and lock of the first steps, where later ones have others
//!   events.jsonl      what happened, with times
//!   metrics.jsonl     one line per reported interval; only grows
//!   times.jsonl       how fast the steps of each of these lines were
//!   train_log.txt     the line per mini-epoch that RWKV trainers write
//!   loss_data.jsonl   the line per step that RWKV-PEFT writes (`log.sinks`)
//!   tensorboard/      event files (`log.sinks`)
//!   output.txt        what the program printed, where the run left its terminal (`--detach`)
//!   report.html       the page of `statetune report`
//!   samples/          base.jsonl, tuned.jsonl: answers before and after; step-0000120.jsonl in between
//!   control/          what a live run is asked for, only while somebody does
//!   chain.bin         16 bytes a step: digests of batches, loss and what learned
//!   documents.bin     8 bytes a document: a digest of its text
//!   ckpt/epoch-0000/  what learned, the optimizer's moments, the position; ckpt/last names the newest
//!   incidents/        steps whose numbers were not finite, each with its batch
//!   left_out.jsonl    what later steps leave out
//!   export/           rwkv-N.pth and .st after mini-epoch N
//!   ledger.jsonl      the loss of every document before and after, once somebody asked for it
//!   status.json       how it stands and what it has come to; names the version of the directory's format
//!   marks.toml        tags, a note and a pin that a person added
//!   LOCK              locked by the process that works on the run
//! ```

mod chain;
mod change;
mod checkpoint;
mod control;
mod dir;
mod documents;
mod earlier;
mod events;
mod find;
mod follow;
mod incident;
mod ledger;
mod left_out;
mod lines;
mod lock;
mod loss_scaler;
mod marks;
mod metrics;
mod pack;
mod record;
mod records;
mod resolved;
mod schema;
mod sinks;
mod step;
mod stored;
mod unpack;

pub use chain::{Chain, LINK_BYTES, Link, read_chain};
pub use change::{ChangeRunError, Waste, bytes_in, remove_run, remove_waste, waste};
pub use checkpoint::{
    Checkpoint, CheckpointError, LoadCheckpointError, OPTIMIZER, Place, TRAINABLE, best_checkpoint,
    checkpoints, name_best, remove_old_checkpoints, save_checkpoint,
};
pub use control::{Answer, Asked, Asker, Pending, Request, Ticket, Verdict, ask, pending};
pub use dir::{OpenRunError, RunDir, RunDirError, is_busy};
pub use documents::record_documents;
pub use earlier::Earlier;
pub use events::{Event, EventLine, Fact};
pub use find::{
    Moment, NO_RUN, all_runs, directory, find_moment, find_run, name_and_id, newest_product,
    nothing_saved, runs_named, split_moment,
};
pub use follow::{Eval, Follower, Life, life};
pub use incident::{BatchRow, Environment, FirstBad, Incident, incident_folders, save_incident};
pub use ledger::{Compared, Ledger, LedgerLine, LedgerRecord};
pub use left_out::LeftOut;
pub use lines::{read_last_line, read_lines};
pub use lock::{Lock, LockDifferences, LockedFile, LockedQuant};
pub use loss_scaler::LossScaler;
pub use marks::Marks;
pub use metrics::{Metrics, Times, read_metrics};
pub use pack::{Manifest, PACK_EXTENSION, PackedFile, pack_run};
pub use record::{ProbeRate, RunRecord, Status};
pub use records::{Best, Totals, rewind_records};
pub use resolved::{Resolved, overrides_toml, resolved_again, resolved_toml};
pub use schema::record_schemas;
pub use sinks::{Entry, Sinks, copy_sinks};
pub use step::{Fault, Position, StepRecord};
pub use stored::{ReadRunError, SampleLine, Standing, StoredRun};
pub use unpack::unpack_run;

use std::path::{Path, PathBuf};

/// The path as a record names it: it holds whatever folder the record is read from.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf())
}
