//! `statetune data show`.

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use statetune_core::data::{Origin, Tokenizer};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::look::inspect::{Item, Sample, read};
use statetune_core::plan::{Plan, Purpose};
use statetune_engine::RunError;
use statetune_engine::inference::{LoadedModel, max_tokens, mean_loss};
use statetune_engine::model::Model;
use statetune_engine::run::{load_tokenizer, load_weights};
use statetune_engine::tensors::kind;

use super::ledger;
use super::sample_text::{Style, print_sample};
use crate::{Color, ExperimentArgs, say, show as show_fault};

/// Number of documents shown by default.
const FIRST: usize = 3;

#[derive(Args, Debug)]
pub(super) struct ShowArgs {
    /// The experiment file.
    #[arg(value_name = "FILE", required_unless_present = "run")]
    file: Option<PathBuf>,
    /// Show the document on this line of the data, or the document with this number in a pair.
    #[arg(long, value_name = "N", conflicts_with = "random")]
    line: Option<usize>,
    /// Show N random documents, the same ones every time.
    #[arg(long, value_name = "N")]
    random: Option<usize>,
    /// Show the N documents with the highest mean loss per target token under the weights of the experiment, such as
    /// broken or foreign-language documents.
    #[arg(long, value_name = "N", conflicts_with_all = ["line", "random"])]
    worst: Option<usize>,
    /// With `--worst`: rank by the loss under the trained model of this run, next to the loss before training. The
    /// losses are computed once and stored in the run's `ledger.jsonl`.
    #[arg(
        long,
        value_name = "RUN",
        requires = "worst",
        conflicts_with_all = ["file", "profiles", "set", "set_json", "unset"]
    )]
    run: Option<String>,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

pub(super) fn show(args: &ShowArgs, color: Color) -> ExitCode {
    if let (Some(run), Some(worst)) = (&args.run, args.worst) {
        return ledger::show(run, worst, args.experiment.runs_dir.as_deref(), color);
    }
    let file = args.file.as_deref().expect("clap wants a file or `--run`");
    let purpose = if args.worst.is_some() { Purpose::Run } else { Purpose::Data };
    let plan = match args.experiment.plan(file, purpose, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    match print(args, &plan, color.for_stdout()) {
        Ok(true) => ExitCode::Ok,
        Ok(false) => {
            let message = match args.line {
                Some(line) => msg!(NO_DOCUMENT_ON_LINE, line),
                None => msg!(NO_DOCUMENT_HERE),
            };
            let fault = Diagnostic::error(message).help(msg!(DATA_CHECK_NAMES_LINES));
            show_fault(&fault, color);
            ExitCode::Data
        }
        Err(error) => {
            show_fault(&error.diagnostic(), color);
            error.exit_code()
        }
    }
}

/// Prints the selected documents; returns whether there are any.
fn print(args: &ShowArgs, plan: &Plan, colored: bool) -> Result<bool, RunError> {
    let tokenizer = load_tokenizer(plan)?;
    let style = Style { colored };
    if let Some(worst) = args.worst {
        for (loss, sample) in worst_documents(plan, load_tokenizer(plan)?, worst)? {
            say(style.heading(&format!("mean loss {loss:.4}")));
            print_sample(&sample, plan, &tokenizer, &style);
        }
        return Ok(true);
    }
    let mut choice = Choice::new(args);
    read(plan, &tokenizer, &mut |item| {
        if let Item::Sample(sample) = item {
            choice.offer(sample);
        }
    })?;
    for (_, sample) in &choice.kept {
        print_sample(sample, plan, &tokenizer, &style);
    }
    Ok(!choice.kept.is_empty())
}

/// The `count` documents with the highest mean loss (nats per target token within `ctx_len`), highest first, under
/// the base weights of the experiment.
fn worst_documents(
    plan: &Plan,
    tokenizer: Tokenizer,
    count: usize,
) -> Result<Vec<(f64, Sample)>, RunError> {
    let weights = load_weights(plan, &tokenizer)?;
    let model = Rc::new(Model::new(&weights, kind(plan.train.dtype), plan.train.op));
    let state = model.initial_states();
    let loaded = LoadedModel { model, state, tokenizer };
    let mut worst: Vec<(f64, Sample)> = Vec::new();
    let mut failed = None;
    read(plan, &loaded.tokenizer, &mut |item| {
        let Item::Sample(sample) = item else { return };
        if failed.is_some() {
            return;
        }
        match mean_loss(&loaded, &sample, max_tokens(plan)) {
            Ok(Some(loss)) => {
                let place = worst.partition_point(|(other, _)| *other >= loss);
                worst.insert(place, (loss, sample));
                worst.truncate(count);
            }
            Ok(None) => {}
            Err(error) => failed = Some(error),
        }
    })?;
    failed.map_or(Ok(worst), |error| Err(error.into()))
}

/// The selected documents, each with its position in the data.
struct Choice {
    line: Option<usize>,
    random: Option<usize>,
    rng: ChaCha8Rng,
    offered: usize,
    kept: Vec<(usize, Sample)>,
}

impl Choice {
    fn new(args: &ShowArgs) -> Choice {
        let rng = ChaCha8Rng::seed_from_u64(0);
        Choice { line: args.line, random: args.random, rng, offered: 0, kept: Vec::new() }
    }

    fn offer(&mut self, sample: Sample) {
        let place = self.offered;
        self.offered += 1;
        match (self.line, self.random) {
            (Some(wanted), _) => {
                let number = match &sample.origin {
                    Origin::Jsonl(place) => place.number(),
                    Origin::Binidx { index, .. } => *index,
                    Origin::Text(_) => place,
                };
                if number == wanted {
                    self.kept.push((place, sample));
                }
            }
            // Reservoir sampling: each document so far is kept with the same probability.
            (None, Some(n)) if self.kept.len() >= n => {
                let slot = (self.rng.next_u64() % self.offered as u64) as usize;
                if slot < n {
                    self.kept[slot] = (place, sample);
                }
            }
            (None, None) if self.kept.len() >= FIRST => {}
            (None, _) => self.kept.push((place, sample)),
        }
        self.kept.sort_by_key(|(place, _)| *place);
    }
}
