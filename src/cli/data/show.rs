//! `statetune data show`.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use rand::{RngCore as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use statetune_core::data::{Origin, Tokenizer};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::look::inspect::{Item, Sample, read};
use statetune_core::plan::{Experiment, Plan, Purpose};
use statetune_engine::RunError;
use statetune_engine::inference::{LoadedModel, max_tokens, mean_loss};
use statetune_engine::model::Model;
use statetune_engine::run::{load_tokenizer, load_weights};
use statetune_engine::tensors::kind;

use super::ledger;
use super::sample_text::{Style, print_sample};
use crate::subject::fail;
use crate::{Color, ExperimentArgs, MovedFiles, say, show as show_fault};

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
    moved: MovedFiles,
    #[command(flatten)]
    experiment: ExperimentArgs,
}

impl ShowArgs {
    /// Whether a model ranks the documents.
    pub(super) fn computes(&self) -> bool {
        self.worst.is_some()
    }

    /// The experiment file, without a run.
    fn file(&self) -> &Path {
        self.file.as_deref().expect("clap wants a file or `--run`")
    }
}

/// Shows the documents that a model ranks.
pub(super) fn show_worst(args: &ShowArgs, color: Color) -> ExitCode {
    let count = args.worst.expect("documents are ranked");
    if let Some(run) = &args.run {
        let runs_dir = args.experiment.runs_dir.as_deref();
        return ledger::show(run, count, runs_dir, &args.moved, color);
    }
    let plan = match args.experiment.plan(args.file(), Purpose::Run, color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    match print_worst(count, &plan, color.for_stdout()) {
        Ok(()) => ExitCode::Ok,
        Err(error) => fail(&error, color),
    }
}

/// Shows the documents that no model ranks.
pub(super) fn show(args: &ShowArgs, color: Color) -> ExitCode {
    let plan = match args.experiment.plan_data(args.file(), color) {
        Ok(plan) => plan,
        Err(code) => return code,
    };
    match print(args, &plan, color.for_stdout()) {
        Ok(None) => ExitCode::Ok,
        Ok(Some(passed)) => {
            show_fault(&passed.fault(args.line, &plan.experiment), color);
            ExitCode::Data
        }
        Err(error) => fail(&error, color),
    }
}

/// What the data has in place of the selected documents.
#[derive(Default)]
struct Passed {
    /// The file of the first document, and the numbers of the first and the last one in it.
    documents: Option<(PathBuf, usize, usize)>,
    /// The numbers of the lines that are not valid documents.
    faulty: Vec<usize>,
}

impl Passed {
    fn add(&mut self, item: &Item) {
        let place = match item {
            Item::Sample(Sample { origin: Origin::Jsonl(place), .. }) => place,
            Item::Sample(_) => return,
            Item::Fault { place, .. } => {
                self.faulty.push(place.number());
                return;
            }
        };
        match &mut self.documents {
            None => {
                self.documents = Some((place.file.clone(), place.number(), place.number()));
            }
            Some((file, _, last)) if *file == place.file => *last = place.number(),
            Some(_) => {}
        }
    }

    /// The error that no document is on `line`; `experiment` is what was read.
    fn fault(&self, line: Option<usize>, experiment: &Experiment) -> Diagnostic {
        let names_lines = msg!(DATA_CHECK_NAMES_LINES, experiment = experiment.arguments());
        let Some(line) = line else {
            let fault = Diagnostic::error(msg!(NO_DOCUMENT_HERE));
            return fault.help(names_lines);
        };
        let fault = Diagnostic::error(msg!(NO_DOCUMENT_ON_LINE, line));
        let fault = match &self.documents {
            Some((data, first, last)) => fault.note(msg!(DOCUMENTS_ARE_ON, data, first, last)),
            None => fault,
        };
        let is_faulty = self.faulty.contains(&line) || self.documents.is_none();
        if is_faulty { fault.help(names_lines) } else { fault }
    }
}

/// Prints the selected documents; returns what the data has instead if there are none.
fn print(args: &ShowArgs, plan: &Plan, colored: bool) -> Result<Option<Passed>, RunError> {
    let tokenizer = load_tokenizer(plan)?;
    let style = Style { colored };
    let mut choice = Choice::new(args);
    let mut passed = Passed::default();
    read(plan, &tokenizer, &mut |item| {
        passed.add(&item);
        if let Item::Sample(sample) = item {
            choice.offer(sample);
        }
    })?;
    for (_, sample) in &choice.kept {
        print_sample(sample, plan, &tokenizer, &style);
    }
    Ok(choice.kept.is_empty().then_some(passed))
}

fn print_worst(count: usize, plan: &Plan, colored: bool) -> Result<(), RunError> {
    let style = Style { colored };
    let (worst, tokenizer) = worst_documents(plan, load_tokenizer(plan)?, count)?;
    for (loss, sample) in worst {
        say(style.heading(&format!("mean loss {loss:.4}")));
        print_sample(&sample, plan, &tokenizer, &style);
    }
    Ok(())
}

/// The `count` documents with the highest mean loss (nats per target token within `ctx_len`), highest first, under
/// the base weights of the experiment; and the tokenizer.
fn worst_documents(
    plan: &Plan,
    tokenizer: Tokenizer,
    count: usize,
) -> Result<(Vec<(f64, Sample)>, Tokenizer), RunError> {
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
    match failed {
        Some(error) => Err(error.into()),
        None => Ok((worst, loaded.tokenizer)),
    }
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
