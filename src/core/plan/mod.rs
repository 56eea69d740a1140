//! What will be done: every rule between settings is checked here, before anything is read or made.

mod base_template;
mod chunks;
mod context;
mod data;
mod device;
mod distill;
mod experiment;
mod gpus;
mod guard;
mod missing_file;
mod model;
mod objective;
mod peft;
mod probe;
mod probes;
mod rates;
mod records;
mod shape;
mod sources;
mod stream;
mod suites;
mod sweep;
mod train;
mod units;

use crate::arch::{NoGpu, Op, Shape};
use crate::config::{self, Config, Loaded, Quant};
pub use crate::config::{EpochSteps, Stream};
use crate::diagnostic::{Diagnostic, Severity, msg};
pub use crate::lr_curve::{LrCurve, LrInit, LrSchedule};
use crate::objective::Objective;
use crate::peft::Peft;
use crate::quant::Format;
use crate::records::SinkName;
pub use data::{DataPlan, built_in as built_in_template};
pub use device::{Compute, Device, DeviceFault, Setting, choose};
pub use experiment::{Change, Experiment, Origins, Reach, reach};
pub use missing_file::missing_path_helps;
pub use model::{ModelPlan, ModelSource, TokenizerPlan};
pub use peft::{MethodPlan, PeftPlan, StatePlan, StateStart};
pub use probe::{Probe, rate, rates};
pub use probes::Metric;
pub use records::{
    CheckpointPlan, EvalPlan, GenerateOptions, GuardPlan, LogPlan, RecordsPlan, SamplePlan,
};
pub use shape::ShapeError;
use std::path::PathBuf;
pub use sweep::{MOST_MEMBERS, Member, as_text, members};
pub use train::{AdamOptions, DevicesPlan, SchedulePlan, Sharing, TrainPlan};
pub use units::{Samples, Steps, Tokens};

/// The folder of prepared data in the folder of runs.
pub const CACHE: &str = ".cache";

/// Everything that a run will do: settings that fit together, with every default filled in.
///
/// Each stage reads its slice; no stage reads the settings.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Which documents the run is trained on, and how they become samples.
    pub data: DataPlan,
    /// The model that the run starts from, and its tokenizer.
    pub model: ModelPlan,
    /// Which parameters are trained, and how the frozen ones are kept.
    pub method: MethodPlan,
    /// What training minimises.
    pub objective: Objective,
    /// How training computes.
    pub train: TrainPlan,
    /// When the run evaluates, and what follows from it.
    pub eval: EvalPlan,
    /// The questions that the model answers.
    pub sample: SamplePlan,
    /// What happens when the loss or a gradient is NaN or infinite, or time runs out.
    pub guard: GuardPlan,
    /// What the run writes, and where.
    pub records: RecordsPlan,
    /// The experiment file, to be recorded and pointed at.
    pub experiment: Experiment,
    /// What the user should know before the run starts.
    pub warnings: Vec<Diagnostic>,
}

impl Plan {
    /// Chooses the same validation documents as the run with these `recorded` settings, if it is of a version in which
    /// `train.random_seed` chose them.
    pub fn take_split_of(&mut self, recorded: &Experiment) {
        if let Some(seed) = self.experiment.take_split_of(recorded) {
            self.data.val_seed = seed;
        }
    }

    /// Splits off the validation documents with this seed.
    pub fn take_val_seed(&mut self, seed: u64) {
        self.experiment.take_val_seed(seed);
        self.data.val_seed = seed;
    }

    /// Computes on the GPU of this process.
    pub fn take_gpu(&mut self, gpu: usize) {
        self.train.device = Device::Gpu(gpu);
    }

    /// Starts from the learning rate that a range test found, if the experiment leaves it open.
    pub fn take_rate(&mut self, lr_init: f64) {
        if self.train.schedule.is_to_find {
            let found = self.train.schedule.with_rate(lr_init);
            self.train.schedule = SchedulePlan { is_to_find: false, ..found };
            self.experiment.take_rates(lr_init, found.lr_final);
        }
    }

    /// Starts from the learning rate of the run with these `recorded` settings, if the experiment leaves the rate open.
    pub fn take_rate_of(&mut self, recorded: &Experiment) {
        if let LrInit::Rate(rate) = recorded.config().schedule.lr_init {
            self.take_rate(rate);
        }
    }

    /// Sets the number of mini-epochs, as `statetune ctl` asked for at `step`.
    pub fn extend(&mut self, epoch_count: u32, step: u64) {
        self.train.epoch_count = epoch_count;
        self.experiment.extend(epoch_count, step);
    }
}

impl Plan {
    /// How several devices share a step of a model of this shape.
    pub fn sharing(&self, shape: &Shape) -> Sharing {
        self.train.devices.sharing(self.method.trainable_parameters(shape))
    }

    /// The template and where it was found, if no layer sets it and the weights say which.
    pub fn guessed_template(&self) -> Option<String> {
        let origin = self.experiment.loaded().origins.get("data.template")?;
        let is_guess = matches!(origin, config::Origin::Passport | config::Origin::WeightsName);
        is_guess.then(|| format!("{} (from the {origin})", self.data.template.name))
    }
}

/// What a plan is made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A run, which needs everything.
    Run,
    /// Use of the model alone; the documents may be missing.
    Generate,
    /// A look at the documents alone; the weights may be missing.
    Data,
    /// A look at the settings; files and a GPU may be missing on this machine, which is a warning.
    Check,
    /// A forecast of a run; files that the run would fetch may be missing.
    Plan,
}

/// Checks the rules between settings and fills in what follows from them. `find_gpu` is asked only where
/// the settings want a GPU; it returns how many this process sees, if their number is known.
///
/// # Errors
/// Every broken rule (ST21 for settings that contradict each other, ST3 and ST4 for missing files, ST5 for an
/// unavailable device), each with its place, and the warnings.
pub fn resolve(
    loaded: Loaded,
    purpose: Purpose,
    runs_dir: PathBuf,
    find_gpu: impl FnOnce() -> Result<Option<usize>, NoGpu>,
) -> Result<Plan, Vec<Diagnostic>> {
    let mut faults = Faults { loaded: &loaded, found: loaded.lints() };
    base_template::check(&mut faults);
    faults.check_schedule();
    faults.check_guard();
    rates::check(&mut faults);
    rates::check_warmup(&mut faults);
    chunks::check(&mut faults);
    context::check(&mut faults);
    objective::check(&mut faults);
    let sources = sources::sources(&mut faults, purpose);
    let data = data::resolve(&mut faults, sources, runs_dir.join(CACHE));
    faults.check_sinks();
    faults.check_sample(data.pair.is_some());
    let probes = probes::resolve(&mut faults);
    let suites = suites::resolve(&mut faults, purpose);
    let source = model::resolve(&mut faults, purpose);
    let peft = peft::resolve(&mut faults, purpose);
    let quant = faults.quant();
    distill::check(&mut faults, purpose, &data.template);
    distill::check_general(&mut faults, purpose);
    let compute = faults.compute(find_gpu);
    let mut found = faults.found;
    if purpose == Purpose::Check {
        found = found.into_iter().map(of_machine_as_warning).collect();
    }
    found.retain(|one| !one.is_allowed());
    let can_start = found.iter().all(|one| one.severity == Severity::Warning);
    let compute = compute.or((purpose == Purpose::Check).then(|| Compute::on_gpu(None)));
    let Some((source, compute)) = source.zip(compute).filter(|_| can_start) else {
        return Err(found);
    };

    let config = &loaded.config;
    let stops = data.template.stops();
    Ok(Plan {
        data,
        model: ModelPlan { source, tokenizer: TokenizerPlan::of(config) },
        method: MethodPlan::new(config, peft, quant),
        objective: config.objective.clone(),
        train: TrainPlan::new(config, &compute),
        eval: EvalPlan::new(config, suites),
        sample: SamplePlan::new(config, stops, probes),
        guard: GuardPlan::new(config),
        records: RecordsPlan::new(config, runs_dir),
        warnings: found,
        experiment: Experiment::new(loaded),
    })
}

/// Codes of errors about what this machine lacks: data files, weights and states, a GPU. An experiment file is valid
/// without them.
const OF_MACHINE: [&str; 4] = ["ST3005", "ST3010", "ST4001", "ST5003"];

/// An error about what this machine lacks as a warning.
fn of_machine_as_warning(fault: Diagnostic) -> Diagnostic {
    if !OF_MACHINE.contains(&fault.code) {
        return fault;
    }
    Diagnostic { severity: Severity::Warning, ..fault }.note(msg!(RUN_NEEDS_ON_MACHINE))
}

/// The format that `[quant]` names; none where weights stay dense.
pub fn format(quant: &Quant) -> Option<Format> {
    Some(match quant {
        Quant::None(_) => return None,
        Quant::Int8(_) => Format::Int8,
        Quant::Nf4(nf4) => Format::Nf4 { double: nf4.double },
        Quant::Fp4(fp4) => Format::Fp4 { double: fp4.double },
        Quant::Fp8(_) => Format::Fp8,
    })
}

/// The format that a recorded table `[quant]` names.
///
/// # Errors
/// A table that is not `[quant]`.
pub fn format_of_table(table: serde_json::Value) -> serde_json::Result<Option<Format>> {
    serde_json::from_value(table).map(|quant| format(&quant))
}

/// Collects broken rules and warnings with their places.
struct Faults<'a> {
    loaded: &'a Loaded,
    found: Vec<Diagnostic>,
}

impl<'a> Faults<'a> {
    fn config(&self) -> &'a Config {
        &self.loaded.config
    }

    /// Whether `key` is set to a value other than its default. The recorded settings of a run set every key, so a key
    /// that is set may have its default value.
    fn written(&self, key: &str) -> bool {
        self.loaded.is_chosen(key)
    }

    /// Adds a fault at the value of `key`, or without a place where the key is not set.
    fn add(&mut self, key: &str, fault: Diagnostic) {
        self.found.push(self.loaded.at(key, fault));
    }

    /// Adds a warning at `key`, with a help on how to silence it.
    fn add_silenceable(&mut self, key: &str, warning: Diagnostic) {
        self.found.push(self.loaded.at(key, warning).help_to_silence());
    }

    /// Adds a fault at `key`, which is put right by taking its line out.
    fn add_superfluous(&mut self, key: &str, fault: Diagnostic) {
        let (fault, edits) = (self.loaded.at(key, fault), self.loaded.removal(key));
        self.found.push(match edits.is_empty() {
            true => fault.help(msg!(DELETE_LINE)),
            false => fault.fix(msg!(DELETES_LINE), edits),
        });
    }

    fn check_schedule(&mut self) {
        let schedule = &self.config().schedule;
        let (curve, lr_final) = (schedule.lr_schedule, schedule.lr_final);
        let is_found = schedule.lr_init == LrInit::Auto;
        if lr_final.is_none() && !is_found && curve != LrSchedule::Constant {
            let fault = Diagnostic::error(msg!(LR_FINAL_MISSING))
                .label(msg!(RATE_NEEDS_END))
                .note(msg!(CURVE_RUNS))
                .help(msg!(STATE_TUNING_RATES))
                .help(msg!(OR_CONSTANT_RATE));
            self.add("schedule.lr_init", fault);
        }
        if lr_final == Some(0.0) && curve == LrSchedule::Exp {
            let fault = Diagnostic::error(msg!(EXPONENTIAL_TO_ZERO)).help(msg!(CHOOSE_SMALL_RATE));
            self.add("schedule.lr_final", fault);
        }
        if schedule.decay_share.is_some() && curve != LrSchedule::Wsd {
            let message = msg!(DECAY_SHARE_NEEDS_WSD);
            let fault =
                Diagnostic::error(message).note(msg!(OTHER_CURVES_FALL)).help(msg!(DELETE_OR_WSD));
            self.add("schedule.decay_share", fault);
        }
    }

    fn check_sample(&mut self, one_pair: bool) {
        let (data, sample) = (&self.config().data, &self.config().sample);
        let nothing_held_out = one_pair || data.val_split == 0.0;
        if sample.held_out > 0 && nothing_held_out {
            let fault =
                Diagnostic::error(msg!(SAMPLE_HELD_OUT_WITHOUT_SPLIT)).help(msg!(HOLD_SOME_OUT));
            self.add("sample.held_out", fault);
        }
        if sample.prompts.iter().any(String::is_empty) {
            self.add("sample.prompts", Diagnostic::error(msg!(PROMPT_IS_EMPTY)));
        }
    }

    fn check_sinks(&mut self) {
        if !self.config().log.sinks.contains(&SinkName::Jsonl) {
            let fault = Diagnostic::error(msg!(SINKS_WITHOUT_JSONL))
                .note(msg!(METRICS_ARE_READ))
                .help(msg!(ADD_JSONL_SINK));
            self.add("log.sinks", fault);
        }
    }

    /// Where and how to compute; `None` when a fault was added.
    fn compute(
        &mut self,
        find_gpu: impl FnOnce() -> Result<Option<usize>, NoGpu>,
    ) -> Option<Compute> {
        let op = self.op();
        let spelt = |setting, value: &str| match setting {
            Setting::Accelerator => format!("accelerator = \"{value}\""),
            Setting::Op => format!("op = \"{value}\""),
        };
        match self.choose_device(op, find_gpu, spelt) {
            Ok(compute) => {
                self.found.extend(compute.warning(spelt));
                self.check_gpus(&compute);
                self.check_stream();
                Some(compute)
            }
            Err(fault) => {
                let (key, fault) = *fault;
                self.add(key, fault);
                None
            }
        }
    }

    /// The implementation that `train.op` names; `None` for the fastest one.
    fn op(&mut self) -> Option<Op> {
        Some(match self.config().train.op {
            config::Op::Auto => return None,
            config::Op::Cpu => Op::Cpu,
            config::Op::Cuda => Op::Cuda,
            config::Op::Chunk => Op::Chunk,
            config::Op::Fla => self.chunk_called("fla"),
            config::Op::Triton => self.chunk_called("triton"),
            config::Op::Reference => Op::Reference,
        })
    }

    /// The chunked form, which the user called `name`.
    fn chunk_called(&mut self, name: &str) -> Op {
        let warning = Diagnostic::warning(msg!(OP_MEANS_CHUNK, name))
            .note(msg!(OP_IN_OTHER_TRAINERS, name))
            .help(msg!(OP_CHUNK_IS_SILENT));
        self.add("train.op", warning);
        Op::Chunk
    }

    /// The format of the frozen weights, of which there must be some.
    fn quant(&mut self) -> Option<Format> {
        let format = format(&self.config().quant)?;
        if let Peft::Full(_) = self.config().peft {
            let message = msg!(QUANT_NEEDS_FROZEN, kind = format.name());
            let fault = Diagnostic::error(message)
                .note(msg!(FEW_BITS_CANNOT_TRAIN))
                .help(msg!(DELETE_QUANT));
            self.add("quant.type", fault);
        }
        Some(format)
    }

    /// Whether the weights themselves learn, which need not be trained before.
    fn tunes_weights(&self) -> bool {
        matches!(self.config().peft, Peft::Full(_))
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// What a check finds in an experiment, as it is shown.
    pub(super) fn faults_of(loaded: &Loaded, check: impl FnOnce(&mut Faults<'_>)) -> Vec<String> {
        let mut faults = Faults { loaded, found: Vec::new() };
        check(&mut faults);
        faults.found.iter().map(|one| one.render(false)).collect()
    }

    pub(crate) fn no_gpu() -> Result<Option<usize>, NoGpu> {
        Err(NoGpu { reason: crate::diagnostic::Text::verbatim("no driver"), has_driver: false })
    }

    /// Plans a new model with `op` in `[train]`.
    fn plan_with_op(op: &str) -> Result<Plan, Vec<Diagnostic>> {
        let data = concat!(env!("CARGO_MANIFEST_DIR"), "/../../data/emoji-qa.jsonl");
        let text = format!(
            "\
format = 1
name = \"op\"
data = {{ data_file = \"{data}\" }}
model = {{ n_layer = 1, n_embd = 64 }}
peft = {{ type = \"full\" }}
schedule = {{ lr_schedule = \"constant\", lr_init = 1e-3 }}

[train]
op = \"{op}\"
"
        );
        let file = "configs/op.toml".as_ref();
        let loaded = config::parse(file, text, &config::Overrides::default());
        resolve(loaded.expect("a valid experiment file"), Purpose::Run, "runs".into(), no_gpu)
    }

    #[test]
    fn op_names_an_implementation() {
        let names = [
            ("auto", Op::Cpu),
            ("cpu", Op::Cpu),
            ("chunk", Op::Chunk),
            ("fla", Op::Chunk),
            ("triton", Op::Chunk),
            ("reference", Op::Reference),
        ];
        for (name, op) in names {
            let plan = plan_with_op(name).expect("a plan");
            assert_eq!(plan.train.op, op, "{name}");
            assert_eq!(plan.warnings.len(), usize::from(["fla", "triton"].contains(&name)));
        }
    }

    #[test]
    fn a_foreign_name_of_the_chunked_form_is_explained() {
        let plan = plan_with_op("fla").expect("a plan");
        let [warning] = plan.warnings.as_slice() else { panic!("one warning") };
        let expected = "\
warning[ST1301]: `op = \"fla\"` runs the `chunk` form
 --> configs/op.toml:9:6
  |
9 | op = \"fla\"
  |      ^^^^^
  |
  = note: in other trainers `fla` is a GPU-only implementation of the same chunked algebra,
          which `chunk` computes on every device
  = help: use `op = \"chunk\"` to silence this warning";
        assert_eq!(warning.render(false), expected);
    }
}
