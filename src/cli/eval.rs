//! `statetune eval`.

mod suites;

pub(super) use suites::{INTERVALS, metrics_table};

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use statetune_core::data::{Mask, Overlong};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::{Plan, Purpose};
use statetune_core::words::count;
use statetune_core::work::Work;
use statetune_engine::RunError;
use statetune_engine::exports::Passport;
use statetune_engine::inference::{
    EvalData, EvalOptions, LoadedModel, generate, most_tokens, rate,
};
use statetune_engine::run::{prepare_sources, questions, without_thinking};

use super::subject::{Found, Part, SubjectArgs, check, fail, tell_parts};
use super::table::table;
use super::{Color, Format, say, show};

/// Name and version of the JSON output.
const SCHEMA: &str = "statetune.eval/1";
/// Defaults without a run: tokens per sample, samples per batch, positions per chunk.
const CTX_LEN: usize = 4096;
const MICRO_BSZ: u64 = 4;
const HEAD_CHUNK: i64 = 2048;

#[derive(Args, Debug)]
pub(super) struct EvalArgs {
    /// A run, or a state or adapter file for `--model` or the weights of the experiment; with `--suite` also a whole model.
    #[arg(value_name = "RUN|STATE")]
    name: String,
    /// Documents: a JSONL file, the prefix of a pair of token files, or an experiment file to use its validation
    /// documents, prompts and probes [default: those of the run].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Measure a suite of questions with known answers, or of texts, instead of documents: a file, folder or pattern;
    /// repeatable.
    #[arg(long = "suite", value_name = "FILE", conflicts_with_all = ["file", "loss_mask"])]
    suites: Vec<PathBuf>,
    /// Exit with code 1 unless the condition holds, such as `val_loss < 1.2`, or `facts.acc >= 0.5` for a suite.
    #[arg(long, value_name = "METRIC OP NUMBER")]
    require: Option<Requirement>,
    /// Tokens to take the loss over [default: as in the run].
    #[arg(long, value_name = "MASK", value_enum)]
    loss_mask: Option<MaskName>,
    #[command(flatten)]
    subject: SubjectArgs,
    /// Output format.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Tokens that the loss is taken over.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum MaskName {
    /// All tokens.
    Pad,
    /// Replies of the assistant.
    Assistant,
}

/// A condition on a metric.
#[derive(Clone, Debug, PartialEq)]
struct Requirement {
    metric: String,
    comparison: Comparison,
    bound: f64,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Comparison {
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl FromStr for Requirement {
    type Err = String;

    fn from_str(text: &str) -> Result<Requirement, String> {
        let form = || "write `METRIC < NUMBER`, or with `<=`, `>`, `>=`".to_string();
        let at = text.find(['<', '>']).ok_or_else(form)?;
        let (metric, rest) = text.split_at(at);
        let (comparison, bound) = match rest.as_bytes() {
            [b'<', b'=', ..] => (Comparison::LessOrEqual, &rest[2..]),
            [b'>', b'=', ..] => (Comparison::GreaterOrEqual, &rest[2..]),
            [b'<', ..] => (Comparison::Less, &rest[1..]),
            _ => (Comparison::Greater, &rest[1..]),
        };
        let bound: f64 = bound.trim().parse().map_err(|_| form())?;
        let metric = metric.trim().to_string();
        if metric.is_empty() || bound.is_nan() {
            return Err(form());
        }
        Ok(Requirement { metric, comparison, bound })
    }
}

impl Requirement {
    fn is_met(&self, value: f64) -> bool {
        match self.comparison {
            Comparison::Less => value < self.bound,
            Comparison::LessOrEqual => value <= self.bound,
            Comparison::Greater => value > self.bound,
            Comparison::GreaterOrEqual => value >= self.bound,
        }
    }
}

/// Measured values by name.
type Metrics = Vec<(String, f64)>;

pub(super) fn eval(args: &EvalArgs, color: Color) -> ExitCode {
    if !args.suites.is_empty() {
        return suites::eval_suites(args, color);
    }
    match Measured::find(args, color) {
        Ok(measured) => match args.measure(&measured, color) {
            Ok(met) if met => ExitCode::Ok,
            Ok(_) => ExitCode::AnswerNo,
            Err(error) => fail(&error, color),
        },
        Err(code) => code,
    }
}

/// The models and documents of a measurement.
struct Measured {
    tuned: Found,
    /// The base model; `None` for a model trained from scratch.
    base: Option<Found>,
    /// The experiment file named on the command line, for its documents and probes.
    experiment: Option<Plan>,
}

impl Measured {
    /// Finds everything that the command line names. Shows the error.
    fn find(args: &EvalArgs, color: Color) -> Result<Measured, ExitCode> {
        let experiment = match args.file.as_deref().filter(|file| is_experiment(file)) {
            Some(file) => Some(args.subject.experiment(file, color)?),
            None => None,
        };
        // Without FILE, the documents are the validation documents of the run.
        let purpose = if args.file.is_some() { Purpose::Generate } else { Purpose::Run };
        let find = |part| {
            args.subject.find_for(experiment.as_ref(), Some(&args.name), part, purpose, color)
        };
        let tuned = find(Part::Tuned)?;
        let base = match tuned.has_base(args.subject.has_model()) {
            true => Some(find(Part::Base)?),
            false => None,
        };
        let measured = Measured { tuned, base, experiment };
        match args.check_request(&measured) {
            Ok(()) => Ok(measured),
            Err(message) => {
                show(&message, color);
                Err(ExitCode::Invalid)
            }
        }
    }

    /// The settings for documents and probes: those of the named experiment, otherwise those of the run.
    fn plan(&self) -> Option<&Plan> {
        self.experiment.as_ref().or(self.tuned.plan())
    }
}

/// Whether FILE is an experiment file.
fn is_experiment(file: &Path) -> bool {
    file.extension().is_some_and(|extension| extension == "toml")
}

impl EvalArgs {
    /// Checks that the requested metrics can be measured, before the model is loaded.
    fn check_request(&self, measured: &Measured) -> Result<(), Box<Diagnostic>> {
        let own = self.file.as_deref().filter(|file| !is_experiment(file));
        if own.is_none() && !measured.plan().is_some_and(holds_out) {
            let name =
                self.file.as_ref().map_or(self.name.clone(), |file| file.display().to_string());
            let message = msg!(RUN_HAS_NO_VALIDATION_DOCUMENTS, name);
            let help = msg!(NAME_DOCUMENTS_TO_EVAL);
            return Err(Box::new(Diagnostic::error(message).help(help)));
        }
        let Some(requirement) = &self.require else { return Ok(()) };
        let names = metric_names(measured.plan(), measured.base.is_some());
        if names.contains(&requirement.metric) {
            return Ok(());
        }
        let message = msg!(NO_METRIC, name = requirement.metric);
        let help = msg!(METRICS_ARE, names = names.join(", "));
        Err(Box::new(Diagnostic::error(message).help(help)))
    }

    /// Measures and prints; returns whether the requirement is met.
    fn measure(&self, what: &Measured, color: Color) -> Result<bool, RunError> {
        let Measured { tuned, base, .. } = what;
        if tuned.run.is_none() || self.subject.has_model() {
            check(&tuned.subject, color)?;
        }
        let loaded = tuned.subject.load()?;
        tell_parts(&tuned.subject, &loaded.model);
        let data = self.data(what, &loaded)?;
        let (mut metrics, documents, tokens) = measured(&loaded, &data, what.plan(), "")?;
        drop(loaded);
        if let Some(base) = base {
            metrics.extend(measured(&base.subject.load()?, &data, what.plan(), "base_")?.0);
        }
        let value = |name: &str| metrics.iter().find(|(n, _)| n == name).map(|(_, value)| *value);
        let met =
            self.require.as_ref().map(|one| value(&one.metric).is_some_and(|v| one.is_met(v)));
        match self.format {
            Format::Json => {
                let numbers: Map<String, Value> =
                    metrics.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
                say(json!({
                    "schema": SCHEMA,
                    "name": tuned.subject.name,
                    "documents": documents,
                    "tokens": tokens,
                    "metrics": numbers,
                    "required": met,
                }));
            }
            Format::Human => {
                say(format_args!(
                    "{}, {}",
                    count(documents, "document"),
                    count(tokens, "target token")
                ));
                let mut rows = table(&["", "base", "tuned"]);
                let shown = |name: &str| value(name).map_or("-".to_string(), |v| format!("{v:.4}"));
                for (name, _) in metrics.iter().filter(|(name, _)| !name.starts_with("base_")) {
                    rows.add_row([name.clone(), shown(&format!("base_{name}")), shown(name)]);
                }
                say(rows);
                if let (Some(one), Some(false)) = (&self.require, met) {
                    say(format_args!("not met: {} is {}", one.metric, shown(&one.metric)));
                }
            }
        }
        Ok(met.unwrap_or(true))
    }

    /// The tokenised documents.
    fn data(&self, what: &Measured, loaded: &LoadedModel) -> Result<EvalData, RunError> {
        let (options, tuned) = (self.options(what)?, &what.tuned);
        let of_run = tuned.plan().filter(|_| self.file.is_none());
        if let Some(plan) = what.experiment.as_ref().or(of_run)
            && let Some(refusal) = plan.refuses_imitation("eval")
        {
            let refusal = refusal.help(msg!(EVAL_OTHER_DOCUMENTS));
            return Err(RunError::Contradiction(Box::new(refusal)));
        }
        if let Some(plan) = &what.experiment {
            return EvalData::of_run(prepare_sources(plan, &loaded.tokenizer)?, options);
        }
        match (&self.file, tuned.plan()) {
            (Some(file), plan) => {
                let runs_dir = plan.map_or(self.subject.runs_dir(), |plan| &plan.records.runs_dir);
                let template = &tuned.subject.template;
                let cache = runs_dir.join(".cache");
                EvalData::whole(file, &loaded.tokenizer, template, &cache, options)
            }
            (None, Some(plan)) => {
                let prepared = prepare_sources(plan, &loaded.tokenizer)?;
                let exported = tuned.subject.state.as_ref().unwrap_or(&tuned.subject.weights);
                let learned_from = Passport::of(exported)?.and_then(|passport| passport.data);
                if learned_from.is_some_and(|key| key != prepared.key) {
                    let message = msg!(DOCUMENTS_CHANGED);
                    let refusal = Diagnostic::error(message)
                        .note(msg!(VALIDATION_SPLIT_CHANGED))
                        .help(msg!(EVAL_UNSEEN_DOCUMENTS));
                    return Err(RunError::Documents(Box::new(refusal)));
                }
                EvalData::of_run(prepared, options)
            }
            (None, None) => unreachable!("a file was asked for"),
        }
    }

    fn options(&self, what: &Measured) -> Result<EvalOptions, RunError> {
        let tuned = &what.tuned;
        let template = &tuned.subject.template;
        let asked = self.loss_mask.map(|mask| match mask {
            MaskName::Pad => Mask::All,
            MaskName::Assistant => Mask::Assistant(template.clone()),
        });
        if let Some(plan) = what.plan() {
            return Ok(EvalOptions {
                ctx_len: plan.train.ctx_len.as_usize(),
                mask: asked.unwrap_or_else(|| plan.data.mask.clone()),
                overlong: plan.data.overlong_in_validation(),
            });
        }
        let passport = match &tuned.subject.state {
            Some(state) => Passport::of(state)?,
            None => None,
        };
        let has_turns = passport.is_some_and(|passport| passport.template.is_some());
        let learned = if has_turns { Mask::Assistant(template.clone()) } else { Mask::All };
        let mask = asked.unwrap_or(learned);
        Ok(EvalOptions { ctx_len: CTX_LEN, mask, overlong: Overlong::Error })
    }
}

/// Whether a run has validation documents.
fn holds_out(plan: &Plan) -> bool {
    plan.data.has_val_split()
}

/// Whether the settings ask for answers with probes.
fn asks(plan: &Plan) -> bool {
    plan.sample.asks()
}

fn metric_names(plan: Option<&Plan>, has_base: bool) -> Vec<String> {
    let mut names = vec!["val_loss".to_string(), "perplexity".to_string()];
    if let Some(plan) = plan.filter(|plan| asks(plan)) {
        names.extend(plan.sample.probes.iter().map(|probe| format!("probe.{}", probe.name)));
    }
    if has_base {
        names.extend(names.clone().iter().map(|name| format!("base_{name}")));
    }
    names
}

/// Loss, perplexity and probes by name, each with `prefix`, and the number of documents and tokens.
fn measured(
    loaded: &LoadedModel,
    data: &EvalData,
    plan: Option<&Plan>,
    prefix: &str,
) -> Result<(Metrics, u64, u64), RunError> {
    let train = plan.map(|plan| &plan.train);
    let micro_bsz = train.map_or(MICRO_BSZ, |train| train.micro_bsz.as_u64());
    let head_chunk = train.map_or(HEAD_CHUNK, |train| train.head_chunk.as_i64());
    let (loss, documents, tokens) = data.loss(loaded, micro_bsz, head_chunk)?;
    let mut metrics = Metrics::new();
    if let Some(loss) = loss {
        metrics.push((format!("{prefix}val_loss"), loss));
        metrics.push((format!("{prefix}perplexity"), loss.exp()));
    }
    if let Some(plan) = plan.filter(|plan| asks(plan) && !plan.sample.probes.is_empty()) {
        let questions = questions(plan, &loaded.tokenizer, Some(data.prefix()))?;
        let prompts: Vec<&str> = questions.iter().map(String::as_str).collect();
        let LoadedModel { model, state, tokenizer } = loaded;
        let options = &plan.sample.generate;
        let mut look = Work::begin("answers", most_tokens(tokenizer, &prompts, options)).look();
        let answers = generate(model, state, tokenizer, &prompts, options, &mut look)?;
        let answers = without_thinking(plan, &prompts, &answers.unwrap_or_default());
        for probe in &plan.sample.probes {
            if let Some(rate) = rate(probe, &answers) {
                metrics.push((format!("{prefix}probe.{}", probe.name), rate));
            }
        }
    }
    Ok((metrics, documents, tokens))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requirements() {
        let met = |text: &str, value: f64| text.parse::<Requirement>().expect(text).is_met(value);
        assert!(met("val_loss < 1.2", 1.1) && !met("val_loss<1.2", 1.2));
        assert!(met("probe.a-b <= 1.2e0", 1.2) && !met("x>=1", 0.5) && met("x >  -1", 0.0));
        assert!(!met("x < 1", f64::NAN) && !met("x >= 1", f64::NAN));
        for text in ["val_loss", "< 1", "x < ", "x < y", "x == 1", "x < nan"] {
            assert!(text.parse::<Requirement>().is_err(), "{text}");
        }
    }
}
