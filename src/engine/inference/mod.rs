//! Models in use: loading a model with its adapter or state, generating, scoring, evaluating.

mod answer_buffer;
mod base_check;
mod document_losses;
mod eval_data;
mod generate;
mod learned;
mod likelihood;
mod load;
mod sampler;
mod score;
mod session;
mod suites;
mod tokens;
mod tuned;

pub use base_check::{as_warning, check_base};
pub use document_losses::{document_losses, ledger_of_documents, max_tokens, mean_loss};
pub use eval_data::{EvalData, EvalOptions};
pub use generate::{generate, generate_from, most_tokens};
pub use learned::{Learned, packed_format, state_of};
pub use likelihood::{RowScore, ScoredRow, score_rows};
pub use load::{AdapterFile, LoadedModel, ModelSpec};
pub(crate) use load::{pack_weights, place_weights, unfit};
pub use sampler::Sampler;
pub use score::{ReadMode, Score, exact_kind, mean_nll, score, score_with_gradient};
pub use session::{Answer, Session, StopReason};
pub use statetune_core::plan::{GenerateOptions, Probe, rate, rates};
pub use suites::{SuiteCost, TokenizedSuite};
pub use tokens::{Tokens, TokensError};
pub use tuned::{TunedModel, dense_base};
