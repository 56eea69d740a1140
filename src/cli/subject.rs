//! The model that a command uses: a run, a state or adapter file, or a base model.

mod sampling;

use std::path::{Path, PathBuf};
use std::rc::Rc;

use clap::Args;
use statetune_engine::tensors::{device, kind};
use tch::Device;

pub(super) use self::sampling::{SampleArgs, at_least_0, from_0_to_1, probability};
use super::replace::is_same_file;
use super::{Color, ExperimentArgs, MovedFiles, fetched, show, tell};
use statetune_core::config::template_of_weights;
use statetune_core::data::{Template, Tokenizer};
use statetune_core::diagnostic::{Diagnostic, msg};
use statetune_core::exit::ExitCode;
use statetune_core::plan::{
    ModelSource, PeftPlan, Plan, Purpose, TokenizerPlan, built_in_template, missing_path_helps,
};
use statetune_core::records::RunDir;
use statetune_core::records::dir_name;
use statetune_core::store::CheckpointRef;
use statetune_core::store::NO_RUN;
use statetune_core::store::find_run_ref;
use statetune_core::store::newest_export;
use statetune_core::store::no_export;
use statetune_core::tensorfile::TensorFile;
use statetune_engine::RunError;
use statetune_engine::exports::Passport;
use statetune_engine::inference::AdapterFile;
use statetune_engine::inference::Learned;
use statetune_engine::inference::ModelSpec;
pub(super) use statetune_engine::inference::{packed_format, state_of};
use statetune_engine::kernels::Op;
use statetune_engine::model::{Model, shape_in};
use statetune_engine::run::{CHARACTERS, export_at};

/// Folder of runs, and files that replace those of a run.
#[derive(Args, Clone, Debug)]
pub(super) struct SubjectArgs {
    /// Weights to use instead of the run's base; those of a hub are downloaded: `hf://OWNER/REPO/FILE`.
    #[arg(long, value_name = "FILE", global = true)]
    model: Option<PathBuf>,
    /// Vocabulary [default: that of the run, otherwise `world`].
    #[arg(long, value_name = "world|FILE", global = true)]
    tokenizer: Option<PathBuf>,
    /// Folder of run directories.
    #[arg(long, value_name = "DIR", default_value = "runs", global = true)]
    runs_dir: PathBuf,
    /// Override a setting of the run, such as `sample.temperature`; repeatable.
    #[arg(long = "set", value_name = "KEY=VALUE", global = true)]
    set: Vec<String>,
}

/// The part of a run to use.
#[derive(Clone, Debug)]
pub(super) enum Part {
    /// The tuned model.
    Tuned,
    /// The base model.
    Base,
    /// The base model with this initial state.
    State(PathBuf),
}

/// The model found for a name.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) subject: ModelSpec,
    /// The directory and plan, if the name is a run.
    pub(super) run: Option<(PathBuf, Plan)>,
}

impl Found {
    pub(super) fn plan(&self) -> Option<&Plan> {
        self.run.as_ref().map(|(_, plan)| plan)
    }

    /// Whether the weights are a whole model that the run trained, not its base.
    pub(super) fn is_whole_model(&self) -> bool {
        match self.plan().map(|plan| &plan.method.peft) {
            Some(PeftPlan::Weights(recipe)) => recipe.adapter.is_none(),
            _ => false,
        }
    }

    /// Whether a base model exists: the base of the run, or with `given` the weights of the command line.
    pub(super) fn has_base(&self, given: bool) -> bool {
        given
            || !matches!(
                self.plan().map(|plan| &plan.model.source),
                Some(ModelSource::Scratch { .. })
            )
    }
}

impl SubjectArgs {
    /// Runs in this folder, with replacements of moved files.
    pub(super) fn of_runs(runs_dir: PathBuf, moved: MovedFiles) -> SubjectArgs {
        let MovedFiles { model, tokenizer } = moved;
        SubjectArgs { model, tokenizer, runs_dir, set: Vec::new() }
    }

    /// Folder of run directories.
    pub(super) fn runs_dir(&self) -> &Path {
        &self.runs_dir
    }

    /// Whether `--model` replaces the weights of a run.
    pub(super) fn has_model(&self) -> bool {
        self.model.is_some()
    }

    /// Finds the model for `name`: a run, or a state or adapter file for the weights of `--model`; without a name,
    /// the weights of `--model` alone. Checks what `purpose` needs and shows the error.
    pub(super) fn find(
        &self,
        name: Option<&str>,
        part: Part,
        purpose: Purpose,
        color: Color,
    ) -> Result<Found, ExitCode> {
        self.find_for(None, name, part, purpose, color)
    }

    /// Like [`SubjectArgs::find`]; for a file, `experiment` gives the weights, vocabulary and compute settings that
    /// the command line does not.
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
                if Path::new(name).is_file() && find_run_ref(&self.runs_dir, name).is_err() =>
            {
                self.of_files(Some(Path::new(name)), part, experiment, color)
            }
            Some(name) => self.find_run(name, part, purpose, color),
            None => self.of_files(None, part, experiment, color),
        }
    }

    /// Like [`Self::find`], but accepts only a run.
    pub(super) fn find_run(
        &self,
        name: &str,
        part: Part,
        purpose: Purpose,
        color: Color,
    ) -> Result<Found, ExitCode> {
        match find_run_ref(&self.runs_dir, name) {
            Ok((run, moment)) => self.of_run(run, moment, part, purpose, color),
            Err(refusal) => refuse(*refusal, color),
        }
    }

    /// Finds the model for `name` like [`Self::find`]; a file may hold a whole model, too.
    pub(super) fn find_model(&self, name: &str, color: Color) -> Result<Found, ExitCode> {
        let file = Path::new(name);
        let is_model = file.is_file() && shape_in(file).is_ok();
        if !is_model || find_run_ref(&self.runs_dir, name).is_ok() {
            return self.find(Some(name), Part::Tuned, Purpose::Generate, color);
        }
        let of_file = SubjectArgs { model: Some(file.to_path_buf()), ..self.clone() };
        of_file.find(None, Part::Tuned, Purpose::Generate, color)
    }

    /// The file for `name`: itself, or the exported file of a run. Shows the error.
    pub(super) fn product_file(&self, name: &str, color: Color) -> Result<PathBuf, ExitCode> {
        if Path::new(name).is_file() {
            return Ok(PathBuf::from(name));
        }
        let (run, moment) = match find_run_ref(&self.runs_dir, name) {
            Ok(found) => found,
            Err(refusal) if refusal.code == NO_RUN => {
                let runs = self.runs_dir.display();
                let message = msg!(NO_FILE_OR_RUN, name, runs);
                return refuse(Diagnostic::error(message), color);
            }
            Err(refusal) => return refuse(*refusal, color),
        };
        if moment.is_none() {
            return newest(&run, color); // whatever became of its weights
        }
        let plan = self.plan(&run.join(RunDir::SETTINGS), Purpose::Generate, color)?;
        exported_file(&plan, &run, moment, color)
    }

    /// Plans an experiment file with the settings of the command line applied. Shows the error.
    pub(super) fn experiment(&self, file: &Path, color: Color) -> Result<Plan, ExitCode> {
        self.plan(file, Purpose::Run, color)
    }

    fn plan(&self, file: &Path, purpose: Purpose, color: Color) -> Result<Plan, ExitCode> {
        let experiment = ExperimentArgs {
            set: self.set.clone(),
            runs_dir: Some(self.runs_dir.clone()),
            moved: MovedFiles { model: self.model.clone(), tokenizer: self.tokenizer.clone() },
            ..ExperimentArgs::default()
        };
        experiment.plan(file, purpose, color)
    }

    fn of_run(
        &self,
        run: PathBuf,
        moment: Option<CheckpointRef>,
        part: Part,
        purpose: Purpose,
        color: Color,
    ) -> Result<Found, ExitCode> {
        let plan = self.plan(&run.join(RunDir::SETTINGS), purpose, color)?;
        let base = self.weights(color)?.or_else(|| match &plan.model.source {
            ModelSource::Load(path) => Some(path.clone()),
            ModelSource::Scratch { .. } => None,
        });
        let exported = match part {
            Part::Tuned => Some(exported_file(&plan, &run, moment, color)?),
            _ => None,
        };
        let is_exported = exported.is_some();
        let (weights, adapter, state) = match (part, exported, &plan.method.peft) {
            (Part::State(file), _, _) => (base, None, Some(file)),
            (_, None, _) => (base, None, None),
            (_, Some(exported), PeftPlan::State(_)) => (base, None, Some(exported)),
            (_, Some(exported), PeftPlan::Weights(recipe)) => {
                let state = recipe.state_lr_scale.map(|_| state_of(&exported));
                if recipe.adapter.is_some() {
                    let recipe = Rc::clone(recipe);
                    (base, Some(AdapterFile { file: exported, recipe }), state)
                } else {
                    (Some(exported), None, state)
                }
            }
        };
        let Some(weights) = weights else {
            let message = msg!(RUN_HAS_NO_BASE, run);
            return refuse(Diagnostic::error(message), color);
        };
        let named = if state.is_none() && !is_exported { &weights } else { &run };
        let at =
            moment.filter(|_| is_exported).map_or(String::new(), |moment| format!("@{moment}"));
        let subject = ModelSpec {
            name: dir_name(named) + &at,
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
        let Some(weights) = self.weights(color)?.or(of_experiment) else {
            return refuse(self.no_weights(learned), color);
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
        let subject = ModelSpec {
            name,
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
            template: match experiment {
                Some(plan) => plan.data.template.clone(),
                None => template_of(learned.as_deref(), &weights),
            },
            weights,
        };
        Ok(Found { subject, run: None })
    }

    /// The file of `--model`. Shows the error.
    fn weights(&self, color: Color) -> Result<Option<PathBuf>, ExitCode> {
        let Some(path) = &self.model else { return Ok(None) };
        let helps = missing_path_helps("model.load_model", path);
        let fault = match fetched(path) {
            Ok(file) if file.exists() || helps.is_empty() => return Ok(Some(file)),
            Ok(_) => Diagnostic { helps, ..Diagnostic::error(msg!(WEIGHTS_DO_NOT_EXIST, path)) },
            Err(fault) => *fault,
        };
        show(&fault, color);
        Err(ExitCode::of_message(fault.code))
    }

    /// The refusal of a command line without weights: names the base of the file `learned`, where its passport does.
    fn no_weights(&self, learned: Option<&Path>) -> Diagnostic {
        let Some(file) = learned else {
            return Diagnostic::error(msg!(NO_RUN_OR_MODEL)).help(msg!(NAME_MODEL));
        };
        if let Err(error) = TensorFile::open(file) {
            return RunError::from(error).diagnostic(); // another kind of file has no base model
        }
        let passport = Passport::of(file).ok().flatten();
        let Some(base) = passport.as_ref().and_then(|passport| passport.base.as_ref()) else {
            return Diagnostic::error(msg!(WHICH_WEIGHTS, file)).help(msg!(NAME_MODEL));
        };
        let fingerprint = &base.fingerprint;
        let mut refusal =
            Diagnostic::error(msg!(WEIGHTS_OF_FILE, file, base = base.file, fingerprint));
        let is_world = passport.as_ref().and_then(|passport| passport.tokenizer.as_deref())
            == Some(Tokenizer::world().fingerprint());
        refusal = refusal.help(match is_world || self.tokenizer.is_some() {
            true => msg!(NAME_MODEL),
            false => msg!(NAME_MODEL_AND_TOKENIZER),
        });
        match run_of(file) {
            Some(run) => refusal.help(msg!(NAME_RUN_OF_FILE, run)),
            None => refusal,
        }
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

/// The run whose newest exported file is `file`.
fn run_of(file: &Path) -> Option<PathBuf> {
    let run = file.parent()?.parent()?;
    let newest = newest_export(run)?;
    is_same_file(&newest, file).then(|| run.to_path_buf())
}

/// The template of a state or adapter file, else that of the weights, else `rwkv-qa`.
fn template_of(learned: Option<&Path>, weights: &Path) -> Template {
    let known = learned.and_then(template_of_weights).or_else(|| template_of_weights(weights));
    known.map_or_else(Template::rwkv_qa, |(name, _)| built_in_template(name))
}

/// The `.pth` exported at a checkpoint, or the newest one without a reference. Shows the error.
pub(super) fn exported_file(
    plan: &Plan,
    run: &Path,
    moment: Option<CheckpointRef>,
    color: Color,
) -> Result<PathBuf, ExitCode> {
    let Some(moment) = moment else { return newest(run, color) };
    export_at(plan, run, moment).map_err(|error| {
        show(&error.diagnostic(), color);
        match error {
            RunError::Resume(_) => ExitCode::Invalid, // no such checkpoint
            _ => error.exit_code(),
        }
    })
}

fn newest(run: &Path, color: Color) -> Result<PathBuf, ExitCode> {
    newest_export(run).map_or_else(|| refuse(no_export(run), color), Ok)
}

/// Checks the state of `subject` against its base. Shows warnings and errors.
pub(super) fn check(subject: &ModelSpec, color: Color) -> Result<(), RunError> {
    if let Some(warning) = subject.check()? {
        tell(format_args!("{}\n", warning.render(color.on())));
    }
    Ok(())
}

/// Prints how many tensors of an adapter were loaded: all tensors of the method for a model of this shape, since
/// missing or extra tensors are an error; and whether the model starts from states in its own file.
pub(super) fn tell_parts(subject: &ModelSpec, model: &Model) {
    if let Some(AdapterFile { file, recipe }) = &subject.adapter {
        let tensors = recipe.trained_tensors(model.shape()).len();
        tell(format_args!("adapter  {tensors} tensors of {}", file.display()));
    }
    if subject.state.is_none() && model.has_states() {
        let (layers, file) = (model.shape().n_layer, subject.weights.display());
        tell(format_args!("states   starts from the {layers} initial states in {file}"));
    }
}

/// Shows the error and returns its exit code.
pub(super) fn fail(error: &RunError, color: Color) -> ExitCode {
    show(&error.diagnostic(), color);
    error.exit_code()
}

fn refuse<T>(refusal: Diagnostic, color: Color) -> Result<T, ExitCode> {
    show(&refusal, color);
    Err(ExitCode::Invalid)
}
