//! What a command puts to use: a run, a state file, or a bare model.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use serde::de::Error as _;
use tch::Device;

use super::{Color, ExperimentArgs, show, tell};
use crate::config::{Peft, Quant, Tokenizer as TokenizerSetting};
use crate::data::Template;
use crate::diagnostic::Diagnostic;
use crate::exit::ExitCode;
use crate::kernels::Op;
use crate::model::Shape;
use crate::output::{Passport, PassportError, Product, state_beside};
use crate::pipeline::{AdapterFile, CHARACTERS, RunError, Subject, product_at};
use crate::plan::{ModelPlan, PeftPlan, Plan, Purpose, format, recipe};
use crate::quant::Format;
use crate::runs::{
    Moment, NO_RUN, StoredRun, directory, find_moment, newest_product, nothing_saved,
};
use crate::sample::GenerateOptions;
use crate::tensorfile::TensorFile;

/// Tokens of an answer where no run says how many.
const MAX_TOKENS: usize = 256;

/// Where runs lie, and which files stand in for theirs.
#[derive(Args, Debug)]
pub(super) struct SubjectArgs {
    /// The weights, instead of those that the run started from.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The vocabulary [default: that of the run, else `world`].
    #[arg(long, value_name = "world|FILE")]
    tokenizer: Option<PathBuf>,
    /// Where run directories lie.
    #[arg(long, value_name = "DIR", default_value = "runs")]
    runs_dir: PathBuf,
    /// Override a setting of the run, such as `sample.temperature`; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

/// How answers are drawn.
#[derive(Args, Debug)]
pub(super) struct SampleArgs {
    /// Logits are divided by it; 0 always takes the most likely token [default: the run's
    /// `sample.temperature`, else 0].
    #[arg(long, value_name = "NUMBER", value_parser = at_least_0)]
    temperature: Option<f64>,
    /// Draw from the most likely tokens that together have this probability [default: the run's
    /// `sample.top_p`, else 1].
    #[arg(long, value_name = "NUMBER", value_parser = probability)]
    top_p: Option<f64>,
    /// Taken from the logit of every token that the answer has already.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    presence_penalty: Option<f64>,
    /// Taken from the logit of a token for each time that the answer has it already.
    #[arg(long, value_name = "NUMBER", allow_negative_numbers = true)]
    frequency_penalty: Option<f64>,
    /// End the answer before this text too; repeatable.
    #[arg(long, value_name = "TEXT", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    stop: Vec<String>,
    /// Seed of the draws [default: the run's `sample.random_seed`, else 0].
    #[arg(long, value_name = "NUMBER")]
    seed: Option<u64>,
    /// Tokens of an answer, at most [default: the run's `sample.max_tokens`, else 256].
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u32).range(1..))]
    max_tokens: Option<u32>,
}

/// Reads a number of at least 0.
pub(super) fn at_least_0(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if number >= 0.0 && number.is_finite() { Ok(number) } else { Err("must be at least 0".into()) }
}

/// Reads a number above 0 and at most 1.
pub(super) fn probability(text: &str) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_string())?;
    if number > 0.0 && number <= 1.0 {
        Ok(number)
    } else {
        Err("must be above 0 and at most 1".into())
    }
}

impl SampleArgs {
    /// The options of a run, or greedy ones, with those of the command line over them.
    pub(super) fn options(&self, plan: Option<&Plan>) -> GenerateOptions {
        let mut options = match plan {
            Some(plan) => plan.generate.clone(),
            None => GenerateOptions {
                max_tokens: MAX_TOKENS,
                temperature: 0.0,
                top_p: 1.0,
                presence_penalty: 0.0,
                frequency_penalty: 0.0,
                seed: 0,
                stops: Template::rwkv_qa().next_question().into_iter().collect(),
            },
        };
        let set = |value: &mut f64, asked: Option<f64>| *value = asked.unwrap_or(*value);
        set(&mut options.temperature, self.temperature);
        set(&mut options.top_p, self.top_p);
        set(&mut options.presence_penalty, self.presence_penalty);
        set(&mut options.frequency_penalty, self.frequency_penalty);
        options.seed = self.seed.unwrap_or(options.seed);
        options.max_tokens = self.max_tokens.map_or(options.max_tokens, |tokens| tokens as usize);
        options.stops.extend(self.stop.iter().cloned());
        options
    }
}

/// Which of what a name stands for is put to use.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// What was learned.
    Tuned,
    /// The weights alone.
    Base,
    /// This state on the weights.
    State(PathBuf),
}

/// What a name stands for.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) subject: Subject,
    /// The run, when it is one.
    pub(super) run: Option<(PathBuf, Plan)>,
}

impl Found {
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.run.as_ref().map(|(_, plan)| plan)
    }

    /// Whether there are weights without what was learned: those of the run, or, `given`, others.
    pub(super) fn has_base(&self, given: bool) -> bool {
        given || !matches!(self.plan().map(|plan| &plan.model), Some(ModelPlan::Scratch { .. }))
    }
}

impl SubjectArgs {
    /// Runs in this folder, with nothing that stands in for theirs.
    pub(super) fn of_runs(runs_dir: PathBuf) -> SubjectArgs {
        SubjectArgs { model: None, tokenizer: None, runs_dir, set: Vec::new() }
    }

    /// Where run directories lie.
    pub(super) fn runs_dir(&self) -> &Path {
        &self.runs_dir
    }

    /// Whether other weights stand in for those of a run.
    pub(super) fn has_model(&self) -> bool {
        self.model.is_some()
    }

    /// Finds what `name` stands for: a run, or a file of what was learned for the weights `--model`, which are
    /// put to use alone when there is no name. What `purpose` needs must be there. Prints what is wrong.
    pub(super) fn find(
        &self,
        name: Option<&str>,
        part: Part,
        purpose: Purpose,
        color: Color,
    ) -> Result<Found, ExitCode> {
        self.find_for(None, name, part, purpose, color)
    }

    /// As [`SubjectArgs::find`]; where `name` is a file, `experiment` tells its weights, their vocabulary and
    /// how to compute, unless the command line does.
    pub(super) fn find_for(
        &self,
        experiment: Option<&Plan>,
        name: Option<&str>,
        part: Part,
        purpose: Purpose,
        color: Color,
    ) -> Result<Found, ExitCode> {
        match name {
            Some(name)
                if Path::new(name).is_file() && find_moment(&self.runs_dir, name).is_err() =>
            {
                self.of_files(Some(Path::new(name)), part, experiment, color)
            }
            Some(name) => self.find_run(name, part, purpose, color),
            None => self.of_files(None, part, experiment, color),
        }
    }

    /// Like [`Self::find`], for a run alone.
    pub(super) fn find_run(
        &self,
        name: &str,
        part: Part,
        purpose: Purpose,
        color: Color,
    ) -> Result<Found, ExitCode> {
        match find_moment(&self.runs_dir, name) {
            Ok((run, moment)) => self.of_run(run, moment, part, purpose, color),
            Err(refusal) => refuse(*refusal, color),
        }
    }

    /// Plans an experiment file, with the settings of the command line over it. Prints what is wrong.
    pub(super) fn experiment(&self, file: &Path, color: Color) -> Result<Plan, ExitCode> {
        self.plan(file, Purpose::Run, color)
    }

    fn plan(&self, file: &Path, purpose: Purpose, color: Color) -> Result<Plan, ExitCode> {
        let experiment = ExperimentArgs {
            set: self.set.clone(),
            runs_dir: Some(self.runs_dir.clone()),
            ..ExperimentArgs::default()
        };
        experiment.plan(file, purpose, color)
    }

    fn of_run(
        &self,
        run: PathBuf,
        moment: Option<Moment>,
        part: Part,
        purpose: Purpose,
        color: Color,
    ) -> Result<Found, ExitCode> {
        let plan = self.plan(&run.join(StoredRun::SETTINGS), purpose, color)?;
        let base = self.model.clone().or_else(|| match &plan.model {
            ModelPlan::Load(path) => Some(path.clone()),
            ModelPlan::Scratch { .. } => None,
        });
        let product = match part {
            Part::Tuned => Some(product(&plan, &run, moment, color)?),
            _ => None,
        };
        let is_product = product.is_some();
        let (weights, adapter, state) = match (part, product, &plan.peft) {
            (Part::State(file), _, _) => (base, None, Some(file)),
            (_, None, _) => (base, None, None),
            (_, Some(product), PeftPlan::State(_)) => (base, None, Some(product)),
            (_, Some(product), PeftPlan::Weights(recipe)) => {
                let state = recipe.state_lr_scale.map(|_| state_of(&product));
                if recipe.adapter.is_some() {
                    let recipe = Rc::clone(recipe);
                    (base, Some(AdapterFile { file: product, recipe }), state)
                } else {
                    (Some(product), None, state)
                }
            }
        };
        let Some(weights) = weights else {
            let message =
                format!("the run `{}` trained a new model, it has no base", run.display());
            return refuse(Diagnostic::error("ST6009", message), color);
        };
        let named = if state.is_none() && !is_product { &weights } else { &run };
        let at = moment.filter(|_| is_product).map_or(String::new(), |moment| format!("@{moment}"));
        let subject = Subject {
            name: directory(named) + &at,
            weights,
            adapter,
            state,
            tokenizer: self.tokenizer(Some((&run, &plan))),
            quant: plan.quant,
            kind: plan.kind,
            tf32: plan.tf32,
            op: plan.op,
            device: plan.device,
            template: plan.template.clone(),
        };
        Ok(Found { subject, run: Some((run, plan)) })
    }

    fn of_files(
        &self,
        learned: Option<&Path>,
        part: Part,
        experiment: Option<&Plan>,
        color: Color,
    ) -> Result<Found, ExitCode> {
        let of_experiment = experiment.and_then(|plan| match &plan.model {
            ModelPlan::Load(path) => Some(path.clone()),
            ModelPlan::Scratch { .. } => None,
        });
        let Some(weights) = self.model.clone().or(of_experiment) else {
            let message = match learned {
                Some(file) => format!("which weights is `{}` for?", file.display()),
                None => "there is nothing to use: no run and no model".to_string(),
            };
            let refusal = Diagnostic::error("ST0202", message).help("name them: `--model FILE`");
            return refuse(refusal, color);
        };
        if let ([set, ..], None) = (&*self.set, experiment) {
            let message =
                format!("`--set {set}` overrides a setting of a run, but there is no run");
            return refuse(Diagnostic::error("ST0203", message), color);
        }
        let learned = match part {
            Part::Tuned => learned.map(Path::to_path_buf),
            Part::Base => None,
            Part::State(file) => Some(file),
        };
        let named = learned.as_deref().unwrap_or(&weights);
        let name = named.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let found = match &learned {
            Some(file) => match Learned::find(file) {
                Ok(found) => found,
                Err(error) => return Err(fail(&error, color)),
            },
            None => Learned::default(),
        };
        let subject = Subject {
            name,
            weights,
            adapter: found.adapter,
            state: found.state,
            quant: found.quant.or(experiment.and_then(|plan| plan.quant)),
            tokenizer: match (&self.tokenizer, experiment) {
                (None, Some(plan)) => plan.config().model.tokenizer.clone(),
                _ => self.tokenizer(None),
            },
            kind: experiment.map_or(tch::Kind::Float, |plan| plan.kind),
            tf32: experiment.is_some_and(|plan| plan.tf32),
            op: experiment.map_or(Op::Cpu, |plan| plan.op),
            device: experiment.map_or(Device::Cpu, |plan| plan.device),
            template: experiment.map_or_else(Template::rwkv_qa, |plan| plan.template.clone()),
        };
        Ok(Found { subject, run: None })
    }

    fn tokenizer(&self, run: Option<(&Path, &Plan)>) -> TokenizerSetting {
        match (&self.tokenizer, run) {
            (Some(asked), _) => TokenizerSetting::from(asked.clone()),
            (None, Some((run, plan))) if plan.characters => {
                TokenizerSetting::File(run.join(CHARACTERS))
            }
            (None, Some((_, plan))) => plan.config().model.tokenizer.clone(),
            (None, None) => TokenizerSetting::World,
        }
    }
}

/// What a file of its own holds that was learned.
#[derive(Debug, Default)]
struct Learned {
    adapter: Option<AdapterFile>,
    state: Option<PathBuf>,
    /// How the weights were packed under an adapter.
    quant: Option<Format>,
}

impl Learned {
    /// Looks what a file is: an adapter, of which its passport tells the method, or else a state.
    ///
    /// # Errors
    /// A file or a passport that cannot be read, and an adapter without a passport.
    fn find(file: &Path) -> Result<Learned, RunError> {
        let passport = Passport::of(file)?;
        let Some(passport) = passport.filter(|one| one.product == Product::Adapter) else {
            if TensorFile::open(file)?.names().any(is_of_adapter) {
                let message = format!("nothing says how the adapter `{}` is used", file.display());
                let refusal = Diagnostic::error("ST8022", message)
                    .note(format!("there is no passport `{}`", Passport::beside(file).display()))
                    .help("name its run instead, or keep the `.json` beside the `.pth`");
                return Err(RunError::Contradiction(Box::new(refusal)));
            }
            return Ok(Learned { state: Some(file.to_path_buf()), ..Learned::default() });
        };
        let form = |source| PassportError::Form { path: Passport::beside(file), source };
        let peft: Peft = serde_json::from_value(passport.method).map_err(form)?;
        if peft.rank() == Some(0) {
            return Err(form(serde_json::Error::custom("the rank is 0")).into());
        }
        let quant: Option<Quant> =
            passport.quant.map(serde_json::from_value).transpose().map_err(form)?;
        let recipe = recipe(&peft);
        let state = recipe.state_lr_scale.map(|_| state_of(file));
        let adapter = Some(AdapterFile { file: file.to_path_buf(), recipe: Rc::new(recipe) });
        Ok(Learned { adapter, state, quant: quant.as_ref().and_then(format) })
    }
}

/// Whether a tensor of a file is one of an adapter.
fn is_of_adapter(name: &str) -> bool {
    [".lora_A", ".lora_B", ".disha"].iter().any(|part| name.ends_with(part))
}

/// The states that learned beside what `product` holds.
fn state_of(product: &Path) -> PathBuf {
    state_beside(&product.with_extension("")).with_added_extension("pth")
}

/// The `.pth` of what a run had learned at a moment, the newest product without one. Prints what is wrong.
pub(super) fn product(
    plan: &Plan,
    run: &Path,
    moment: Option<Moment>,
    color: Color,
) -> Result<PathBuf, ExitCode> {
    let Some(moment) = moment else { return newest(run, color) };
    product_at(plan, run, moment).map_err(|error| {
        show(&error.diagnostic(), color);
        match error {
            RunError::Resume(_) => ExitCode::Invalid, // no such checkpoint
            _ => error.exit_code(),
        }
    })
}

fn newest(run: &Path, color: Color) -> Result<PathBuf, ExitCode> {
    newest_product(run).map_or_else(|| refuse(nothing_saved(run), color), Ok)
}

/// The file that `name` stands for: itself, or a product of a run. Prints what is wrong.
pub(super) fn product_file(runs_dir: &Path, name: &str, color: Color) -> Result<PathBuf, ExitCode> {
    if Path::new(name).is_file() {
        return Ok(PathBuf::from(name));
    }
    let (run, moment) = match find_moment(runs_dir, name) {
        Ok(found) => found,
        Err(refusal) if refusal.code == NO_RUN => {
            let runs = runs_dir.display();
            let message = format!("there is no file `{name}`, and no such run in `{runs}`");
            return refuse(Diagnostic::error("ST0205", message), color);
        }
        Err(refusal) => return refuse(*refusal, color),
    };
    if moment.is_none() {
        return newest(&run, color); // whatever became of its weights
    }
    let experiment =
        ExperimentArgs { runs_dir: Some(runs_dir.to_path_buf()), ..ExperimentArgs::default() };
    let plan = experiment.plan(&run.join(StoredRun::SETTINGS), Purpose::Generate, color)?;
    product(&plan, &run, moment, color)
}

/// Prints what `subject` has to say about its state, or what is wrong with it.
pub(super) fn check(subject: &Subject, color: Color) -> Result<(), RunError> {
    if let Some(warning) = subject.check()? {
        tell(format_args!("{}\n", warning.render(color.on())));
    }
    Ok(())
}

/// Says how many tensors of an adapter were loaded: all that the method has for a model of this shape, as
/// fewer or others are an error.
pub(super) fn tell_adapter(subject: &Subject, shape: &Shape) {
    if let Some(AdapterFile { file, recipe }) = &subject.adapter {
        let tensors = recipe.product_tensors(shape).len();
        tell(format_args!("adapter  {tensors} tensors of {}", file.display()));
    }
}

/// Prints what went wrong and returns its exit code.
pub(super) fn fail(error: &RunError, color: Color) -> ExitCode {
    show(&error.diagnostic(), color);
    error.exit_code()
}

fn refuse<T>(refusal: Diagnostic, color: Color) -> Result<T, ExitCode> {
    show(&refusal, color);
    Err(ExitCode::Invalid)
}
