//! What a run writes: the run directory, its records, and reading single records back.
//!
//! ```text
//! runs/2026-11-24-emoji-state-k3f9/
//!   experiment.toml   the experiment file as it was when the run began
//!   resolved.toml     every setting, each with its origin
//!   overrides.toml    the settings that did not come from the experiment file
//!   lock.toml         inputs and environment: data, weights, tokenizer, program, libtorch, kernels
//!   earlier/          settings and lock of earlier steps, where they changed during the run
//!   events.jsonl      events, with times
//!   metrics.jsonl     one line per reported interval; append-only
//!   times.jsonl       throughput of each of these intervals
//!   val_losses.jsonl  loss of validation documents at each evaluation
//!   suites.jsonl      scores of every item of `eval.suites` at each evaluation
//!   train_log.txt     one line per mini-epoch, as RWKV trainers write it
//!   loss_data.jsonl   one line per step, as RWKV-PEFT writes it (`log.sinks`)
//!   tensorboard/      event files (`log.sinks`)
//!   output.txt        printed output of a run that left its terminal (`--detach`)
//!   report.html       the page of `statetune report`
//!   samples/          answers: base.jsonl before training, tuned.jsonl after, step-0000120.jsonl in between
//!   control/          requests to a live run; exists only while there are requests
//!   now.json          long work of a live run besides its steps; exists only meanwhile
//!   chain.bin         16 bytes per step: digests of batches, loss and trainable parameters
//!   documents.bin     8 bytes per document: digest of its text
//!   copies.bin        4 bytes per document: its copies in the training data, or that it is a validation document
//!   ckpt/epoch-0000/  trainable parameters, optimizer moments, position; ckpt/last names the newest checkpoint
//!   incidents/        steps with NaN or infinite numbers, each with its batch
//!   left_out.jsonl    steps and documents that later steps skip
//!   export/           rwkv-N.pth and .st after mini-epoch N
//!   ledger.jsonl      loss of every document before and after training, written on request
//!   status.json       status, results so far, and the format version of the directory
//!   marks.toml        tags, note and pin added by the user
//!   LOCK              locked by the process that trains the run
//! ```

mod checkpoint;
mod clock;
mod control;
mod digests;
mod earlier;
mod error;
mod events;
mod holder;
mod incident;
mod json_lines;
mod ledger;
mod lock;
mod metrics;
mod names;
mod now;
mod past_settings;
mod run_dir;
mod schema;
mod seal;
mod sinks;
mod skipped_samples;
mod status;
mod step;
mod suite_history;
mod totals;
mod val_losses;

pub(crate) use checkpoint::CHECKPOINTS;
pub use checkpoint::{
    Checkpoint, CheckpointRecord, OPTIMIZER, TRAINABLE, best_checkpoint, best_checkpoint_name,
    checkpoint_folders, checkpoints, named_checkpoint, newest_checkpoint, rewind_records,
    save_checkpoint, settle_checkpoints,
};
pub use clock::local_time;
pub use control::{
    Answer, ReceivedRequest, Request, RequestOutcome, RequestSource, SentRequest, WaitingRequest,
    is_asked_to_stop, send_request, take_requests,
};
pub use digests::{
    Chain, LINK_BYTES, Link, VALIDATION, read_chain, read_copies, read_documents, record_copies,
    record_documents,
};
pub(crate) use earlier::run_of_settings;
pub use error::{CheckpointError, LoadCheckpointError, OpenRunError, ReadRunError, RunDirError};
pub use events::{Event, EventLine, Fact, FirstNonFinite, Nonfinite, ProbeCount, suite_values};
pub use holder::holder_note;
pub use incident::{BatchRow, Environment, Incident, incident_folders, save_incident};
pub use json_lines::{read_last_line, read_lines, read_records};
pub use ledger::{Ledger, LedgerHeader, LedgerLine, LedgerRecord};
pub use lock::{Lock, LockDifferences, LockedFile, LockedQuant};
pub use metrics::{Metrics, Times, read_metrics};
pub use names::dir_name;
pub use now::{Now, NowWriter};
pub use past_settings::PastSettings;
pub(crate) use run_dir::{FOLDERS, LOCK_FILE, UNPACKING, remove_folder, take_lock};
pub use run_dir::{RunDir, is_busy, name_and_id};
pub use schema::record_schemas;
pub use seal::check_seal;
pub use sinks::{SinkName, Sinks, copy_sinks};
pub use skipped_samples::SkippedSample;
pub use status::{Best, ProbeRate, RunRecord, Status};
pub use step::{LossScaler, NonFiniteValue, Position, StepRecord};
pub use suite_history::{SuiteHistory, SuitesRecord};
pub use totals::Totals;
pub use val_losses::{MostChanged, ValChange, ValDocument, ValLosses, ValLossesRecord};
