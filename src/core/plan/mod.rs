//! What will be done: every rule between settings is checked here, before anything is read or made.

mod adam;
mod changes;
mod data;
mod device;
mod guard;
mod lr_curve;
mod model;
mod peft;
mod presets;
mod probe;
mod probes;
mod rates;
mod sampling;
mod sources;
mod sweep;

pub use adam::AdamOptions;
pub use changes::{Change, Reach, changes, reach, settings_of_numbers};
pub use data::built_in as built_in_template;
pub use device::{Compute, Device, DeviceFault, Setting, choose};
pub use lr_curve::LrCurve;
pub use model::ModelPlan;
pub use peft::{PeftPlan, StateStart, recipe};
pub use presets::{ModelPreset, model_preset, model_presets};
pub use probe::{Probe, rate, rates};
pub use probes::Metric;
pub use sampling::GenerateOptions;
pub use sweep::{MOST_MEMBERS, Member, as_text, members};

use std::path::{Path, PathBuf};

use crate::arch::{NoGpu, Op, Shape};
use crate::config::{
    self, Config, EpochSteps, Loaded, LrSchedule, Optimizer, Peft, Precision, Quant, SinkName,
};
use crate::data::{Mask, Source, Template};
use crate::diagnostic::{Diagnostic, Severity};
use crate::quant::Format;
use crate::tensorfile::Dtype;

/// The folder of prepared data in the folder of runs.
pub const CACHE: &str = ".cache";

/// Share of all steps in which a warmup-stable-decay curve falls, where nobody wrote one
/// (arXiv:2404.06395, section 4.3).
const DECAY_SHARE: f64 = 0.1;

/// A run that can start: settings that fit together.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The experiment file and what was set over it.
    pub loaded: Loaded,
    /// Where run directories lie.
    pub runs_dir: PathBuf,
    /// Where prepared data lies.
    pub cache_dir: PathBuf,
    /// Where the documents come from; empty in a plan for [`Purpose::Generate`].
    pub sources: Vec<Source>,
    /// Whether the characters of the documents are the vocabulary.
    pub characters: bool,
    /// Which model, and from where.
    pub model: ModelPlan,
    /// How conversations are written in the documents.
    pub template: Template,
    /// Which text is learned.
    /// What learns.
    pub peft: PeftPlan,
    /// Which tokens are learned.
    pub mask: Mask,
    /// The dtype in which the model computes.
    pub dtype: Dtype,
    /// Whether matrix products of float32 may round their operands to TF32, where a device can.
    pub tf32: bool,
    /// Where the model lies and computes.
    pub device: Device,
    /// The implementation of the recurrence.
    pub op: Op,
    /// How the linear layers of the frozen model are kept; absent: in `dtype`.
    pub quant: Option<Format>,
    /// The constants of the optimizer.
    pub adam: AdamOptions,
    /// Largest norm of all gradients together; 0: not clipped.
    pub gradient_clip_val: f64,
    /// Rate at the end of the run.
    pub lr_final: f64,
    /// Share of all steps in which a warmup-stable-decay curve falls.
    pub decay_share: f64,
    /// How answers are drawn.
    pub generate: GenerateOptions,
    /// What is counted in the answers.
    pub probes: Vec<Probe>,
    /// What tells which evaluation is the best.
    pub metric: Metric,
    /// What the user should know before the run starts.
    pub warnings: Vec<Diagnostic>,
}

impl Plan {
    /// The settings.
    pub fn config(&self) -> &Config {
        &self.loaded.config
    }

    /// The pair that is read as it is, when the data is one.
    pub fn one_pair(&self) -> Option<&Path> {
        sources::one_pair(&self.config().data, &self.sources)
    }

    /// How many numbers learn in a model of this shape.
    pub fn numbers_that_learn(&self, shape: &Shape) -> u64 {
        match &self.peft {
            PeftPlan::State(_) => shape.state_parameters().unsigned_abs(),
            PeftPlan::Weights(recipe) => recipe.numbers_that_learn(shape),
        }
    }

    /// Steps of one mini-epoch when one pass over the data has `samples_per_pass` samples.
    pub fn epoch_steps(&self, samples_per_pass: u64) -> u64 {
        let train = &self.config().train;
        match train.epoch_steps {
            EpochSteps::Steps(steps) => u64::from(steps),
            EpochSteps::Pass => {
                let samples_per_step =
                    u64::from(train.micro_bsz) * u64::from(train.accumulate_grad_batches);
                samples_per_pass.div_ceil(samples_per_step)
            }
        }
    }
}

/// What a plan is made for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// A run, which needs everything.
    Run,
    /// Use of the model alone; the documents need not be there any more.
    Generate,
    /// A look at the documents alone; the weights need not be there yet.
    Data,
    /// A look at the settings: what would be fetched need not be there yet.
    Check,
    /// A forecast of a run: as for the run, but what would be fetched need not be there yet.
    Plan,
}

/// Checks the rules between settings and fills in what follows from them. `find_gpu` is asked only where
/// the settings want a GPU.
///
/// # Errors
/// Every broken rule (ST21 for settings that do not fit each other, ST3 and ST4 for files that are not there,
/// ST5 for a device that is not there), each with its place, and the warnings.
pub fn resolve(
    loaded: Loaded,
    purpose: Purpose,
    runs_dir: PathBuf,
    find_gpu: impl FnOnce() -> Result<(), NoGpu>,
) -> Result<Plan, Vec<Diagnostic>> {
    let config = &loaded.config;
    let mut faults = Faults { loaded: &loaded, found: loaded.lints() };
    faults.check_schedule();
    faults.check_guard();
    rates::check(&mut faults);
    let sources = sources::sources(&mut faults, purpose);
    let (template, mask) = data::resolve(&mut faults);
    faults.check_sinks();
    faults.check_sample(sources::one_pair(&config.data, &sources).is_some());
    let probes = probes::resolve(&mut faults);
    let model = model::resolve(&mut faults, purpose);
    let peft = peft::resolve(&mut faults, purpose);
    let quant = faults.quant();
    let compute = faults.compute(find_gpu);
    let mut found = faults.found;
    found.retain(|one| !one.is_allowed());
    let can_start = found.iter().all(|one| one.severity == Severity::Warning);
    let Some((model, compute)) = model.zip(compute).filter(|_| can_start) else {
        return Err(found);
    };

    let Optimizer::Adam(adam) = &config.optimizer;
    let sample = &config.sample;
    Ok(Plan {
        cache_dir: runs_dir.join(CACHE),
        runs_dir,
        sources,
        characters: sources::uses_characters(config),
        model,
        peft,
        dtype: match config.train.precision {
            Precision::Fp32 | Precision::Tf32 => Dtype::F32,
            Precision::Bf16 => Dtype::BF16,
            Precision::Fp16 => Dtype::F16,
        },
        tf32: config.train.precision == Precision::Tf32,
        device: compute.device,
        op: compute.op,
        quant,
        adam: AdamOptions {
            beta1: adam.beta1,
            beta2: adam.beta2,
            eps: adam.adam_eps,
            weight_decay: adam.weight_decay,
        },
        gradient_clip_val: adam.gradient_clip_val,
        lr_final: config.schedule.lr_final.unwrap_or(config.schedule.lr_init),
        decay_share: config.schedule.decay_share.unwrap_or(DECAY_SHARE),
        generate: GenerateOptions {
            max_tokens: sample.max_tokens as usize,
            temperature: sample.temperature,
            top_p: sample.top_p,
            presence_penalty: sample.presence_penalty,
            frequency_penalty: sample.frequency_penalty,
            seed: sample.random_seed,
            stops: template.next_question().into_iter().collect(),
        },
        template,
        mask,
        probes,
        metric: Metric::of(&config.eval),
        warnings: found,
        loaded,
    })
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

/// Collects broken rules and warnings with their places.
struct Faults<'a> {
    loaded: &'a Loaded,
    found: Vec<Diagnostic>,
}

impl<'a> Faults<'a> {
    fn config(&self) -> &'a Config {
        &self.loaded.config
    }

    /// Whether somebody wrote a value for `key` that is not its default; the settings of a run, which
    /// can be run again, name all defaults.
    fn written(&self, key: &str) -> bool {
        self.loaded.is_chosen(key)
    }

    /// Adds a fault at the value of `key`, or without a place where nobody wrote one.
    fn add(&mut self, key: &str, fault: Diagnostic) {
        self.found.push(self.loaded.at(key, fault));
    }

    /// Adds a fault at `key`, which is put right by taking its line out.
    fn add_superfluous(&mut self, key: &str, fault: Diagnostic) {
        let (fault, edits) = (self.loaded.at(key, fault), self.loaded.removal(key));
        self.found.push(match edits.is_empty() {
            true => fault.help("delete the line"),
            false => fault.fix("deletes the line", edits),
        });
    }

    fn check_schedule(&mut self) {
        let schedule = &self.config().schedule;
        let (curve, lr_final) = (schedule.lr_schedule, schedule.lr_final);
        if lr_final.is_none() && curve != LrSchedule::Constant {
            let fault = Diagnostic::error("ST2108", "`schedule.lr_final` is missing")
                .label("the rate starts here and needs an end")
                .note("a curve runs from `lr_init` to `lr_final`")
                .help("state tuning usually goes from 1.0 to 0.01: `lr_final = 0.01`")
                .help("or keep the rate as it is with `lr_schedule = \"constant\"`");
            self.add("schedule.lr_init", fault);
        }
        if lr_final == Some(0.0) && curve == LrSchedule::Exp {
            let fault =
                Diagnostic::error("ST2102", "an exponential curve never reaches `lr_final = 0`")
                    .help("choose a small rate such as 1e-4, or `lr_schedule = \"cos\"`");
            self.add("schedule.lr_final", fault);
        }
        if schedule.decay_share.is_some() && curve != LrSchedule::Wsd {
            let message = "`decay_share` has no meaning without `lr_schedule = \"wsd\"`";
            let fault = Diagnostic::error("ST2170", message)
                .note("the other curves fall all the way, or not at all")
                .help("delete the line, or write `lr_schedule = \"wsd\"`");
            self.add("schedule.decay_share", fault);
        }
    }

    fn check_sample(&mut self, one_pair: bool) {
        let (data, sample) = (&self.config().data, &self.config().sample);
        let nothing_held_out = one_pair || data.val_split == 0.0;
        if sample.held_out > 0 && nothing_held_out {
            let fault = Diagnostic::error(
                "ST2105",
                "`sample.held_out` asks for held-out documents, but there are none",
            )
            .help("hold some out with `data.val_split`, or write `sample.prompts`");
            self.add("sample.held_out", fault);
        }
        if sample.prompts.iter().any(String::is_empty) {
            self.add("sample.prompts", Diagnostic::error("ST2106", "a prompt is empty"));
        }
    }

    fn check_sinks(&mut self) {
        if !self.config().log.sinks.contains(&SinkName::Jsonl) {
            let fault = Diagnostic::error("ST6080", "`log.sinks` leaves out `jsonl`")
                .note("`metrics.jsonl` is what reports, comparisons and other terminals read")
                .help("write it beside the others: `sinks = [\"jsonl\", \"tensorboard\"]`");
            self.add("log.sinks", fault);
        }
    }

    /// Where and how to compute; `None` when a fault was added.
    fn compute(&mut self, find_gpu: impl FnOnce() -> Result<(), NoGpu>) -> Option<Compute> {
        let hardware = &self.config().hardware;
        if hardware.devices > 1 {
            let message = format!("a run uses one device, not {}", hardware.devices);
            let fault = Diagnostic::error("ST2117", message).help(
                "for as many samples in a step, raise `accumulate_grad_batches` or `micro_bsz`",
            );
            self.add("hardware.devices", fault);
        }
        let op = self.op();
        let spelt = |setting, value: &str| match setting {
            Setting::Accelerator => format!("accelerator = \"{value}\""),
            Setting::Op => format!("op = \"{value}\""),
        };
        match choose(hardware.accelerator, op, find_gpu) {
            Ok(compute) => {
                self.found.extend(compute.warning(spelt));
                Some(compute)
            }
            Err(fault) => {
                let key = match fault.setting() {
                    Setting::Accelerator => "hardware.accelerator",
                    Setting::Op => "train.op",
                };
                self.add(key, fault.diagnostic(spelt));
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
        let warning = Diagnostic::warning(
            "ST1301",
            format!("`op = \"{name}\"` runs the `chunk` form"),
        )
        .note(format!(
            "in other trainers `{name}` names a GPU-only implementation of the same chunked algebra,\n\
             which `chunk` computes on every device"
        ))
        .help("`op = \"chunk\"` does the same without this warning");
        self.add("train.op", warning);
        Op::Chunk
    }

    /// The format of the frozen weights, of which there must be some.
    fn quant(&mut self) -> Option<Format> {
        let format = format(&self.config().quant)?;
        if let Peft::Full(_) = self.config().peft {
            let message = format!(
                "`quant.type = \"{}\"` needs frozen weights, but `peft.type = \"full\"` trains them",
                format.name()
            );
            let fault = Diagnostic::error("ST2130", message)
                .note("a number of a few bits cannot take the small steps of training")
                .help(
                    "delete the table `[quant]`, or tune the state alone: `peft.type = \"state\"`",
                );
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

    pub(crate) fn no_gpu() -> Result<(), NoGpu> {
        Err(NoGpu { reason: "no driver".to_owned(), has_driver: false })
    }

    /// Plans a new model with `op` in `[train]`.
    fn plan_with_op(op: &str) -> Result<Plan, Vec<Diagnostic>> {
        let text = format!(
            "\
format = 1
name = \"op\"
data = {{ data_file = \"../data/emoji-qa.jsonl\" }}
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
            assert_eq!(plan.op, op, "{name}");
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
  = note: in other trainers `fla` names a GPU-only implementation of the same chunked algebra,
          which `chunk` computes on every device
  = help: `op = \"chunk\"` does the same without this warning";
        assert_eq!(warning.render(false), expected);
    }
}
