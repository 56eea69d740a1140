//! `statetune eval`.

use std::path::PathBuf;
use std::str::FromStr;

use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use super::subject::{Found, Part, SubjectArgs, check, fail};
use super::table::table;
use super::{Color, Format, say, show};
use crate::config::{LossMask, Overlong};
use crate::data::{Mask, PrepareSpec, prepare};
use crate::diagnostic::Diagnostic;
use crate::exit::ExitCode;
use crate::output::Passport;
use crate::pipeline::{EvalData, EvalOptions, Loaded, RunError, questions};
use crate::plan::Plan;
use crate::sample::{generate, rate};

/// Name and version of what `--format json` prints.
const SCHEMA: &str = "statetune.eval/1";
/// Where no run says otherwise: tokens of a sample, samples and positions at a time.
const CTX_LEN: usize = 4096;
const MICRO_BSZ: u64 = 4;
const HEAD_CHUNK: i64 = 2048;

/// Arguments of `eval`.
#[derive(Args, Debug)]
pub(super) struct EvalArgs {
    /// A run, or a state file for `--model`.
    #[arg(value_name = "RUN|STATE")]
    name: String,
    /// Documents: a JSONL file, or the prefix of a pair of token files [default: those that the run held
    /// out].
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Exit with 1 unless this holds, such as `val_loss < 1.2`.
    #[arg(long, value_name = "METRIC OP NUMBER")]
    require: Option<Requirement>,
    /// Which tokens count [default: as in the run].
    #[arg(long, value_name = "MASK", value_enum)]
    loss_mask: Option<MaskName>,
    #[command(flatten)]
    subject: SubjectArgs,
    /// Form of what is printed.
    #[arg(long, value_enum, default_value_t = Format::Human)]
    format: Format,
}

/// Which tokens count.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum MaskName {
    /// All of them.
    Pad,
    /// What the assistant says.
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

/// What was measured, by name.
type Metrics = Vec<(String, f64)>;

pub(super) fn eval(args: &EvalArgs, color: Color) -> ExitCode {
    let tuned = match args.subject.find(Some(&args.name), Part::Tuned, color) {
        Ok(found) => found,
        Err(code) => return code,
    };
    // A model that was trained from scratch has nothing to be compared with.
    let base = match tuned.has_base(args.subject.has_model()) {
        true => args.subject.find(Some(&args.name), Part::Base, color).map(Some),
        false => Ok(None),
    };
    let base = match base {
        Ok(base) => base,
        Err(code) => return code,
    };
    if let Err(message) = args.check_request(&tuned, base.is_some()) {
        show(&message, color);
        return ExitCode::Invalid;
    }
    match args.measure(&tuned, base.as_ref(), color) {
        Ok(met) if met => ExitCode::Ok,
        Ok(_) => ExitCode::AnswerNo,
        Err(error) => fail(&error, color),
    }
}

impl EvalArgs {
    /// Refuses what cannot be measured, before anything is.
    fn check_request(&self, tuned: &Found, has_base: bool) -> Result<(), Box<Diagnostic>> {
        if self.file.is_none() && !tuned.plan().is_some_and(holds_out) {
            let message = format!("`{}` held out no documents", self.name);
            let help = "name some: `eval RUN FILE`";
            return Err(Box::new(Diagnostic::error("ST0209", message).help(help)));
        }
        let Some(requirement) = &self.require else { return Ok(()) };
        let names = metric_names(tuned.plan(), has_base);
        if names.contains(&requirement.metric) {
            return Ok(());
        }
        let message = format!("there is no metric `{}`", requirement.metric);
        let help = format!("metrics: {}", names.join(", "));
        Err(Box::new(Diagnostic::error("ST0210", message).help(help)))
    }

    /// Measures, prints, and says whether the requirement is met.
    fn measure(&self, tuned: &Found, base: Option<&Found>, color: Color) -> Result<bool, RunError> {
        if tuned.run.is_none() || self.subject.has_model() {
            check(&tuned.subject, color)?;
        }
        let loaded = tuned.subject.load()?;
        let data = self.data(tuned, &loaded)?;
        let (mut metrics, documents, tokens) = measured(&loaded, &data, tuned.plan(), "")?;
        drop(loaded);
        if let Some(base) = base {
            metrics.extend(measured(&base.subject.load()?, &data, tuned.plan(), "base_")?.0);
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
                say(format_args!("{documents} documents, {tokens} tokens that count"));
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

    /// The documents, tokenised.
    fn data(&self, tuned: &Found, loaded: &Loaded) -> Result<EvalData, RunError> {
        let options = self.options(tuned)?;
        match (&self.file, tuned.plan()) {
            (Some(file), plan) => {
                let runs_dir = plan.map_or(self.subject.runs_dir(), |plan| &plan.runs_dir);
                EvalData::whole(file, &loaded.tokenizer, &runs_dir.join(".cache"), options)
            }
            (None, Some(plan)) => {
                let data = &plan.config().data;
                let prepared = prepare(&PrepareSpec {
                    source: &data.data_file,
                    tokenizer: &loaded.tokenizer,
                    val_split: data.val_split,
                    repeat: data.repeat,
                    seed: plan.config().train.random_seed,
                    cache_dir: &plan.runs_dir.join(".cache"),
                })?;
                let product = tuned.subject.state.as_ref().unwrap_or(&tuned.subject.weights);
                let learned_from = Passport::of(product)?.and_then(|passport| passport.data);
                if learned_from.is_some_and(|sha256| sha256 != prepared.report.source_sha256) {
                    let file = data.data_file.display();
                    let message = format!("`{file}` has changed since the run");
                    let refusal = Diagnostic::error("ST3050", message)
                        .note(
                            "other documents would be held out now, some of which it learned from",
                        )
                        .help("name documents that it has not seen: `eval RUN FILE`");
                    return Err(RunError::Documents(Box::new(refusal)));
                }
                let prefix = prepared.val.unwrap_or(prepared.train);
                Ok(EvalData::new(prefix, options))
            }
            (None, None) => unreachable!("a file was asked for"),
        }
    }

    fn options(&self, tuned: &Found) -> Result<EvalOptions, RunError> {
        let asked = self.loss_mask.map(|mask| match mask {
            MaskName::Pad => Mask::Pad,
            MaskName::Assistant => Mask::Assistant,
        });
        if let Some(plan) = tuned.plan() {
            let config = plan.config();
            return Ok(EvalOptions {
                ctx_len: config.train.ctx_len as usize,
                mask: asked.unwrap_or(match config.data.loss_mask {
                    LossMask::Pad => Mask::Pad,
                    LossMask::Assistant => Mask::Assistant,
                }),
                overlong: config.data.overlong,
            });
        }
        let passport = match &tuned.subject.state {
            Some(state) => Passport::of(state)?,
            None => None,
        };
        let has_turns = passport.is_some_and(|passport| passport.template.is_some());
        let learned = if has_turns { Mask::Assistant } else { Mask::Pad };
        let mask = asked.unwrap_or(learned);
        Ok(EvalOptions { ctx_len: CTX_LEN, mask, overlong: Overlong::Error })
    }
}

/// Whether a run kept documents back.
fn holds_out(plan: &Plan) -> bool {
    plan.config().data.data_type == crate::config::DataType::Jsonl
        && plan.config().data.val_split > 0.0
}

/// Whether a run's settings ask for answers in which something is counted.
fn asks(plan: &Plan) -> bool {
    let sample = &plan.config().sample;
    sample.held_out > 0 || !sample.prompts.is_empty()
}

fn metric_names(plan: Option<&Plan>, has_base: bool) -> Vec<String> {
    let mut names = vec!["val_loss".to_string(), "perplexity".to_string()];
    if let Some(plan) = plan.filter(|plan| asks(plan)) {
        names.extend(plan.probes.iter().map(|probe| format!("probe.{}", probe.name)));
    }
    if has_base {
        names.extend(names.clone().iter().map(|name| format!("base_{name}")));
    }
    names
}

/// Loss, perplexity and probes, with `prefix` before each name, and the number of documents and tokens.
fn measured(
    loaded: &Loaded,
    data: &EvalData,
    plan: Option<&Plan>,
    prefix: &str,
) -> Result<(Metrics, u64, u64), RunError> {
    let train = plan.map(|plan| &plan.config().train);
    let micro_bsz = train.map_or(MICRO_BSZ, |train| train.micro_bsz.into());
    let head_chunk = train.map_or(HEAD_CHUNK, |train| train.head_chunk.into());
    let (loss, documents, tokens) = data.loss(loaded, micro_bsz, head_chunk)?;
    let mut metrics = Metrics::new();
    if let Some(loss) = loss {
        metrics.push((format!("{prefix}val_loss"), loss));
        metrics.push((format!("{prefix}perplexity"), loss.exp()));
    }
    if let Some(plan) = plan.filter(|plan| asks(plan) && !plan.probes.is_empty()) {
        let questions = questions(plan, &loaded.tokenizer, Some(&data.prefix))?;
        let prompts: Vec<&str> = questions.iter().map(String::as_str).collect();
        let Loaded { model, state, tokenizer } = loaded;
        let answers = generate(model, state, tokenizer, &prompts, &plan.generate)?;
        for probe in &plan.probes {
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
