//! What is expected of a run: from its plan, the header of its weights, and its documents where they are prepared.

use crate::tensors::device;
use serde_json::{Value, json};

use super::RunError;
use super::data::{Datasets, is_prepared, prepare_data};
use super::model::{load_tokenizer, model_shape};
use super::tune::{coverage_of, fit_options};
use crate::kernels::{Op, available_bytes, device_name};
use crate::model::Shape;
use crate::train::FitOptions;
use statetune_core::config::{Dataload, ExportDtype, Origin, Peft};
use statetune_core::data::Coverage;
use statetune_core::diagnostic::Diagnostic;
use statetune_core::forecast::{
    DataFacts, Forecast, ModelFacts, Origins, Proposal, Rate, RatePoint, Saves, Settings, Trains,
    Warning, Workload, gib, proposals,
};
use statetune_core::plan::{PeftPlan, Plan};

/// Points of the learning-rate curve in a forecast.
const POINTS: u64 = 33;

/// What a forecast is made from.
pub struct Outlook<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The sizes of its model.
    pub shape: Shape,
    /// What the documents say; absent while they are not prepared.
    pub data: Option<Documents>,
}

/// What the documents of a run say about it.
#[derive(Debug)]
pub struct Documents {
    facts: DataFacts,
    options: FitOptions,
    /// Tokens of the rows of a micro-batch, on average.
    mean_length: f64,
}

impl<'a> Outlook<'a> {
    /// Looks at the model of a plan, and at its documents where they are prepared, or prepares them when
    /// `prepare` says so.
    ///
    /// # Errors
    /// What a run would refuse before it reads weights.
    pub fn new(plan: &'a Plan, prepare: bool) -> Result<Outlook<'a>, RunError> {
        let tokenizer = load_tokenizer(plan)?;
        let shape = model_shape(plan, &tokenizer)?;
        if !prepare && !is_prepared(plan, &tokenizer)? {
            return Ok(Outlook { plan, shape, data: None });
        }
        let data = prepare_data(plan, &tokenizer, shape.vocab_size)?;
        Ok(Outlook::of_run(plan, shape, &data))
    }

    /// The outlook of a run whose documents are read.
    pub(super) fn of_run(plan: &'a Plan, shape: Shape, data: &Datasets<'_>) -> Outlook<'a> {
        Outlook { plan, shape, data: Some(Documents::new(plan, data)) }
    }

    /// What memory depends on; absent where the implementation of the recurrence keeps an unknown part.
    pub fn workload(&self) -> Option<Workload<'_>> {
        let (plan, train) = (self.plan, &self.plan.config().train);
        if matches!(plan.op, Op::Chunk | Op::Reference) {
            return None;
        }
        let recipe = match &plan.peft {
            PeftPlan::State(_) => None,
            PeftPlan::Weights(recipe) => Some(&**recipe),
        };
        let longest = self.data.as_ref().map_or(train.ctx_len.into(), |data| data.facts.longest);
        Some(Workload {
            shape: &self.shape,
            recipe,
            quant: plan.quant,
            dtype: plan.dtype,
            grad_cp: train.grad_cp,
            head_chunk: train.head_chunk.into(),
            rows: train.micro_bsz.into(),
            tokens: longest,
            on_gpu: plan.device.is_gpu(),
        })
    }

    /// Everything that is expected. `available` bytes stand in the place of what the device has.
    pub fn forecast(&self, available: Option<u64>) -> Forecast {
        let plan = self.plan;
        let workload = self.workload();
        let shape = &self.shape;
        let numbers = plan.numbers_that_learn(shape);
        let model = ModelFacts {
            version: shape.version().code().to_string(),
            n_layer: shape.n_layer,
            n_embd: shape.n_embd,
            vocab_size: shape.vocab_size,
            parameters: shape.parameters(),
        };
        let settings = settings(plan);
        let of_documents = self.warning();
        let warnings = plan
            .warnings
            .iter()
            .chain(&of_documents)
            .map(|one| Warning { code: one.code.to_string(), message: one.message.clone() });
        Forecast {
            schema: Forecast::SCHEMA.to_string(),
            name: plan.config().name.clone(),
            trains: Trains { numbers, share: numbers as f64 / shape.parameters() as f64 },
            data: self.data.as_ref().map(|data| data.facts.clone()),
            rate: self.data.as_ref().map(|data| rate(plan, &data.options)),
            memory: workload.map(|workload| workload.memory()),
            available_bytes: available.or_else(|| available_bytes(device(plan.device))),
            time: self.data.as_ref().and_then(|data| {
                super::measure::known(self, &model, &settings, data.positions(), data.facts.steps)
            }),
            saves: self.data.as_ref().map(|data| saves(plan, shape, numbers, &data.options)),
            warnings: warnings.collect(),
            origins: origins(plan),
            model,
            settings,
        }
    }

    /// Settings with which the run needs no more than `available` bytes, the smallest edits first; none where memory
    /// is not known.
    pub fn proposals(&self, available: u64) -> Vec<Proposal> {
        let Some(workload) = self.workload() else { return Vec::new() };
        let config = self.plan.config();
        let may_quantise = !matches!(config.peft, Peft::Full(_) | Peft::Pissa(_));
        let accumulate = config.train.accumulate_grad_batches.into();
        proposals(&workload, accumulate, available, may_quantise)
    }

    /// The refusal of a run that needs more than `available` bytes, or than the device has; `None` where it fits or
    /// nobody knows.
    pub fn refusal(&self, available: Option<u64>) -> Option<Diagnostic> {
        let available = available.or_else(|| available_bytes(device(self.plan.device)))?;
        let memory = self.workload()?.memory();
        if memory.total <= available {
            return None;
        }
        let device = if self.plan.device.is_gpu() { "the GPU" } else { "this machine" };
        let message = format!(
            "this run needs about {}, {device} has {} free",
            gib(memory.total),
            gib(available)
        );
        let items =
            memory.items.iter().map(|one| format!("{} {}", one.item.name(), gib(one.bytes)));
        let items: Vec<String> = items.collect();
        let train = &self.plan.config().train;
        let (rows, chunk) = (train.micro_bsz, train.head_chunk);
        let longest = self.data.as_ref().map_or(train.ctx_len.into(), |data| data.facts.longest);
        let mut refusal = Diagnostic::error("ST5001", message)
            .note(items.join(", "))
            .note(format!("a micro-batch has up to {rows} x {longest} positions, {chunk} of them with logits at a time"));
        let file = self.plan.loaded.file.display();
        let mut lines = Vec::new();
        for (letter, one) in ('A'..).zip(self.proposals(available)) {
            lines.push(format!("{letter}  {}", one.line()));
        }
        if !lines.is_empty() {
            refusal = refusal
                .help(lines.join("\n"))
                .help(format!("`statetune plan {file} --apply A` edits the file"));
        }
        refusal = refusal.help("`--allow-oom` tries anyway");
        Some(self.plan.loaded.at("train.micro_bsz", refusal))
    }

    /// The warning about documents that the run never sees.
    pub fn warning(&self) -> Option<Diagnostic> {
        let facts = &self.data.as_ref()?.facts;
        let coverage = Coverage {
            documents: facts.documents,
            samples_per_pass: facts.samples_per_pass,
            samples: facts.steps * facts.samples_per_step,
            exposures: facts.exposures,
            unseen: facts.unseen,
        };
        super::coverage::warning(self.plan, facts.copies, &coverage, facts.samples_per_step)
    }

    /// Tokens of a row, and learned tokens among them, of a micro-batch of middle size.
    pub(super) fn mean_batch(&self) -> Option<(u64, f64)> {
        let data = self.data.as_ref()?;
        let positions = data.facts.samples_per_pass as f64 * data.mean_length;
        Some((data.mean_length.round().max(1.0) as u64, data.facts.learned as f64 / positions))
    }
}

impl Documents {
    fn new(plan: &Plan, data: &Datasets<'_>) -> Documents {
        let (loader, survey) = (&data.train, data.train.survey());
        let options = fit_options(plan, loader.samples_per_pass());
        let coverage = coverage_of(loader, &options);
        let lengths = loader.batch_lengths(options.micro_bsz);
        let computed: u64 = lengths.iter().sum::<u64>() * options.micro_bsz;
        // Windows are full, whatever the documents' positions add up to.
        let padding = match plan.config().data.dataload {
            Dataload::Get => 0.0,
            _ => (1.0 - survey.positions as f64 / computed as f64).max(0.0),
        };
        let facts = DataFacts {
            documents: survey.documents,
            copies: survey.copies,
            held_out: data.held_out,
            tokens: survey.tokens,
            learned: survey.target_tokens,
            samples_per_pass: loader.samples_per_pass(),
            longest: lengths.iter().copied().max().unwrap_or(1),
            padding,
            steps: options.total_steps(),
            samples_per_step: options.samples_per_step(),
            exposures: coverage.exposures,
            unseen: coverage.unseen,
        };
        let mean_length = lengths.iter().sum::<u64>() as f64 / lengths.len() as f64;
        Documents { facts, options, mean_length }
    }

    /// Positions of a step, on average.
    fn positions(&self) -> f64 {
        self.mean_length * self.options.samples_per_step() as f64
    }
}

fn settings(plan: &Plan) -> Settings {
    let config = plan.config();
    let table = |value| -> Value { serde_json::to_value(value).expect("settings are plain data") };
    let train = &config.train;
    Settings {
        peft: serde_json::to_value(&config.peft).expect("settings are plain data"),
        quant: serde_json::to_value(&config.quant).expect("settings are plain data"),
        precision: table(json!(train.precision)).as_str().unwrap_or_default().to_string(),
        ctx_len: train.ctx_len,
        micro_bsz: train.micro_bsz,
        accumulate_grad_batches: train.accumulate_grad_batches,
        grad_cp: train.grad_cp,
        head_chunk: train.head_chunk,
        op: plan.op.name().to_string(),
        device: device_name(device(plan.device)),
        libtorch: crate::LIBTORCH_VERSION.to_string(),
    }
}

fn rate(plan: &Plan, options: &FitOptions) -> Rate {
    let steps = options.total_steps();
    let last = steps - 1;
    let mut at: Vec<u64> = (0..POINTS).map(|i| last * i / (POINTS - 1)).collect();
    at.dedup();
    let schedule = &plan.config().schedule;
    let name = json!(schedule.lr_schedule);
    Rate {
        schedule: name.as_str().unwrap_or_default().to_string(),
        warmup_steps: schedule.warmup_steps.into(),
        points: at.into_iter().map(|step| RatePoint { step, lr: options.curve.at(step) }).collect(),
    }
}

/// What a run writes. A checkpoint holds what learns and two running means of it, float32.
fn saves(plan: &Plan, shape: &Shape, numbers: u64, options: &FitOptions) -> Saves {
    let config = plan.config();
    let each = u64::from(config.checkpoint.epoch_save);
    // After mini-epochs 0, each, 2 each and so on, and after the last one.
    let last = options.epoch_count - 1;
    let checkpoints = last / each + 1 + u64::from(!last.is_multiple_of(each));
    let kept = match u64::from(config.checkpoint.keep_last) {
        0 => checkpoints,
        keep => keep.min(checkpoints),
    };
    let written = match config.export.dtype {
        ExportDtype::Fp32 => 4,
        ExportDtype::Bf16 => 2,
    };
    let export_bytes = match config.peft {
        // A `.pth`, and a `.st` in 16 bits.
        Peft::State(_) => numbers * (written + 2),
        Peft::Full(_) => shape.parameters().unsigned_abs() * written,
        // A `.pth` and a `.safetensors`, float32.
        _ => 2 * 4 * numbers,
    };
    let checkpoint_bytes = 3 * 4 * numbers;
    let disk_bytes = kept * checkpoint_bytes + checkpoints * export_bytes;
    Saves { checkpoints, kept, checkpoint_bytes, export_bytes, disk_bytes }
}

fn origins(plan: &Plan) -> Origins {
    plan.loaded.origins.values().fold(Origins::default(), |mut count, origin| {
        match origin {
            Origin::Default => count.default += 1,
            Origin::File { .. } => count.file += 1,
            Origin::Parent { .. } => count.parent += 1,
            Origin::Profile { .. } => count.profile += 1,
            Origin::Recipe { .. } => count.recipe += 1,
            Origin::Environment { .. } => count.environment += 1,
            Origin::CommandLine | Origin::Control { .. } => count.command_line += 1,
        }
        count
    })
}
