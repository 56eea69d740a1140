//! What a command puts to use: a run, a file of what was learned, or a bare model.

mod learned;
mod sampling;

use statetune_engine::tensors::device;
use statetune_engine::tensors::kind;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use tch::Device;

use self::learned::{Learned, state_of};
pub(super) use self::sampling::{SampleArgs, at_least_0, probability};
use super::{Color, ExperimentArgs, show, tell};
use statetune_core::data::Template;
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::{ModelSource, PeftPlan, Plan, Purpose, TokenizerPlan};
use statetune_core::runs::{
    Moment, NO_RUN, StoredRun, directory, find_moment, newest_product, nothing_saved,
};
use statetune_engine::kernels::Op;
use statetune_engine::model::Shape;
use statetune_engine::pipeline::{AdapterFile, CHARACTERS, RunError, Subject, product_at};

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
        given
            || !matches!(
                self.plan().map(|plan| &plan.model.source),
                Some(ModelSource::Scratch { .. })
            )
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
        let base = self.model.clone().or_else(|| match &plan.model.source {
            ModelSource::Load(path) => Some(path.clone()),
            ModelSource::Scratch { .. } => None,
        });
        let product = match part {
            Part::Tuned => Some(product(&plan, &run, moment, color)?),
            _ => None,
        };
        let is_product = product.is_some();
        let (weights, adapter, state) = match (part, product, &plan.method.peft) {
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
            let message = msg!(RUN_HAS_NO_BASE, run);
            return refuse(Diagnostic::error(message), color);
        };
        let named = if state.is_none() && !is_product { &weights } else { &run };
        let at = moment.filter(|_| is_product).map_or(String::new(), |moment| format!("@{moment}"));
        let subject = Subject {
            name: directory(named) + &at,
            weights,
            adapter,
            state,
            tokenizer: self.tokenizer(Some((&run, &plan))),
            quant: plan.method.quant,
            kind: kind(plan.train.dtype),
            tf32: plan.train.tf32(),
            op: plan.train.op,
            device: device(plan.train.device),
            template: plan.data.template.clone(),
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
        let of_experiment = experiment.and_then(|plan| match &plan.model.source {
            ModelSource::Load(path) => Some(path.clone()),
            ModelSource::Scratch { .. } => None,
        });
        let Some(weights) = self.model.clone().or(of_experiment) else {
            let message = match learned {
                Some(file) => msg!(WHICH_WEIGHTS, file),
                None => msg!(NO_RUN_OR_MODEL),
            };
            let refusal = Diagnostic::error(message).help(msg!(NAME_MODEL));
            return refuse(refusal, color);
        };
        if let ([set, ..], None) = (&*self.set, experiment) {
            let message = msg!(SET_NEEDS_RUN, set);
            return refuse(Diagnostic::error(message), color);
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
            quant: found.quant.or(experiment.and_then(|plan| plan.method.quant)),
            tokenizer: match (&self.tokenizer, experiment) {
                (None, Some(plan)) => plan.model.tokenizer.clone(),
                _ => self.tokenizer(None),
            },
            kind: experiment.map_or(tch::Kind::Float, |plan| kind(plan.train.dtype)),
            tf32: experiment.is_some_and(|plan| plan.train.tf32()),
            op: experiment.map_or(Op::Cpu, |plan| plan.train.op),
            device: experiment.map_or(Device::Cpu, |plan| device(plan.train.device)),
            template: experiment.map_or_else(Template::rwkv_qa, |plan| plan.data.template.clone()),
        };
        Ok(Found { subject, run: None })
    }

    fn tokenizer(&self, run: Option<(&Path, &Plan)>) -> TokenizerPlan {
        match (&self.tokenizer, run) {
            (Some(asked), _) => TokenizerPlan::named(asked),
            (None, Some((run, plan))) => match &plan.model.tokenizer {
                TokenizerPlan::Characters => TokenizerPlan::File(run.join(CHARACTERS)),
                other => other.clone(),
            },
            (None, None) => TokenizerPlan::World,
        }
    }
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
            let message = msg!(NO_FILE_OR_RUN, name, runs);
            return refuse(Diagnostic::error(message), color);
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
        let tensors = recipe.trained_tensors(shape).len();
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
