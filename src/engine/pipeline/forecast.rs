//! What is expected of a run: from its plan, the header of its weights, and its documents where they are prepared.

use crate::tensors::device;
use serde_json::json;

use super::RunError;
use super::data::{Datasets, is_prepared, prepare_data};
use super::model::{load_tokenizer, model_shape};
use super::tune::{coverage_of, fit_options};
use crate::kernels::{Op, available_bytes, recorded_device};
use crate::model::Shape;
use crate::train::FitOptions;
use statetune_core::config::Dataload;
use statetune_core::data::Coverage;
use statetune_core::diagnostic::{Diagnostic, Join, Text, msg};
use statetune_core::forecast::{
    DataFacts, Forecast, ModelFacts, Proposal, Rate, RatePoint, Saves, Settings, Trains, Warning,
    Workload, gib, proposals,
};
use statetune_core::peft::AdapterMethod as _;
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
        let (plan, train) = (self.plan, &self.plan.train);
        if matches!(plan.train.op, Op::Chunk | Op::Reference) {
            return None;
        }
        let recipe = match &plan.method.peft {
            PeftPlan::State(_) => None,
            PeftPlan::Weights(recipe) => Some(&**recipe),
        };
        let longest = self.data.as_ref().map_or(train.ctx_len.as_u64(), |data| data.facts.longest);
        Some(Workload {
            shape: &self.shape,
            recipe,
            quant: plan.method.quant,
            dtype: plan.train.dtype,
            grad_cp: train.grad_cp,
            head_chunk: train.head_chunk.as_i64().unsigned_abs(),
            rows: train.micro_bsz.as_u64(),
            tokens: longest,
            on_gpu: plan.train.device.is_gpu(),
        })
    }

    /// Everything that is expected. `available` bytes stand in the place of what the device has.
    pub fn forecast(&self, available: Option<u64>) -> Forecast {
        let plan = self.plan;
        let workload = self.workload();
        let shape = &self.shape;
        let numbers = plan.method.trainable_parameters(shape);
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
            .map(|one| Warning { code: one.code.to_string(), message: one.message.to_string() });
        Forecast {
            schema: Forecast::SCHEMA.to_string(),
            name: plan.records.name.clone(),
            trains: Trains { numbers, share: numbers as f64 / shape.parameters() as f64 },
            data: self.data.as_ref().map(|data| data.facts.clone()),
            rate: self.data.as_ref().map(|data| rate(plan, &data.options)),
            memory: workload.map(|workload| workload.memory()),
            available_bytes: available.or_else(|| available_bytes(device(plan.train.device))),
            time: self.data.as_ref().and_then(|data| {
                super::measure::known(self, &model, &settings, data.positions(), data.facts.steps)
            }),
            saves: self.data.as_ref().map(|data| saves(plan, shape, numbers, &data.options)),
            warnings: warnings.collect(),
            origins: plan.experiment.origins(),
            model,
            settings,
        }
    }

    /// Settings with which the run needs no more than `available` bytes, the smallest edits first; none where memory
    /// is not known.
    pub fn proposals(&self, available: u64) -> Vec<Proposal> {
        let Some(workload) = self.workload() else { return Vec::new() };
        let may_quantise = match &self.plan.method.peft {
            PeftPlan::State(_) => true,
            PeftPlan::Weights(recipe) => {
                recipe.adapter.as_ref().is_some_and(|adapter| !adapter.method.splits_matrix())
            }
        };
        let accumulate = self.plan.train.accumulate_grad_batches.into();
        proposals(&workload, accumulate, available, may_quantise)
    }

    /// The refusal of a run that needs more than `available` bytes, or than the device has; `None` where it fits or
    /// nobody knows.
    pub fn refusal(&self, available: Option<u64>) -> Option<Diagnostic> {
        let available = available.or_else(|| available_bytes(device(self.plan.train.device)))?;
        let memory = self.workload()?.memory();
        if memory.total <= available {
            return None;
        }
        let device =
            if self.plan.train.device.is_gpu() { msg!(THE_GPU) } else { msg!(THIS_MACHINE) };
        let message =
            msg!(RUN_NEEDS_MEMORY, needed = gib(memory.total), device, free = gib(available));
        let items = memory
            .items
            .iter()
            .map(|one| msg!(MEMORY_OF_ITEM, item = one.item.text(), size = gib(one.bytes)));
        let items = Text::list(Join::Comma, items);
        let train = &self.plan.train;
        let (rows, chunk) = (train.micro_bsz.0, train.head_chunk.0);
        let longest = self.data.as_ref().map_or(train.ctx_len.0.into(), |data| data.facts.longest);
        let mut refusal = Diagnostic::error(message).note(items).note(msg!(
            MICRO_BATCH_POSITIONS,
            rows,
            longest,
            chunk
        ));
        let file = self.plan.experiment.file().display();
        let proposals = self.proposals(available);
        let lines = ('A'..).zip(&proposals);
        let lines = lines.map(|(letter, one)| msg!(PROPOSAL_LINE, letter, proposal = one.line()));
        if !proposals.is_empty() {
            refusal =
                refusal.help(Text::list(Join::Line, lines)).help(msg!(PLAN_APPLY_EDITS, file));
        }
        refusal = refusal.help(msg!(ALLOW_OOM_TRIES));
        Some(self.plan.experiment.at("train.micro_bsz", refusal))
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
        let padding = match plan.data.dataload {
            Dataload::Get => 0.0,
            _ => (1.0 - survey.positions as f64 / computed as f64).max(0.0),
        };
        let facts = DataFacts {
            documents: survey.documents,
            copies: survey.copies,
            held_out: data.held_out,
            tokens: survey.tokens,
            learned: survey.learned,
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
    let train = &plan.train;
    Settings {
        peft: plan.method.peft_table.clone(),
        quant: plan.method.quant_table.clone(),
        precision: train.precision.name().to_string(),
        ctx_len: train.ctx_len.0,
        micro_bsz: train.micro_bsz.0,
        accumulate_grad_batches: train.accumulate_grad_batches,
        grad_cp: train.grad_cp,
        head_chunk: train.head_chunk.0,
        op: plan.train.op.name().to_string(),
        device: recorded_device(device(plan.train.device)),
        libtorch: crate::LIBTORCH_VERSION.to_string(),
    }
}

fn rate(plan: &Plan, options: &FitOptions) -> Rate {
    let steps = options.total_steps();
    let last = steps - 1;
    let mut at: Vec<u64> = (0..POINTS).map(|i| last * i / (POINTS - 1)).collect();
    at.dedup();
    let schedule = &plan.train.schedule;
    let name = json!(schedule.curve);
    Rate {
        schedule: name.as_str().unwrap_or_default().to_string(),
        warmup_steps: schedule.warmup_steps.as_u64(),
        points: at.into_iter().map(|step| RatePoint { step, lr: options.curve.at(step) }).collect(),
    }
}

/// What a run writes. A checkpoint holds what learns and two running means of it, float32.
fn saves(plan: &Plan, shape: &Shape, numbers: u64, options: &FitOptions) -> Saves {
    let each = u64::from(plan.records.checkpoint.epoch_save);
    // After mini-epochs 0, each, 2 each and so on, and after the last one.
    let last = options.epoch_count - 1;
    let checkpoints = last / each + 1 + u64::from(!last.is_multiple_of(each));
    let kept = match plan.records.checkpoint.keep_last as u64 {
        0 => checkpoints,
        keep => keep.min(checkpoints),
    };
    let written = plan.records.export_dtype.size() as u64;
    let export_bytes = match &plan.method.peft {
        // A `.pth`, and a `.st` in 16 bits.
        PeftPlan::State(_) => numbers * (written + 2),
        // A `.pth` and a `.safetensors`, float32.
        PeftPlan::Weights(recipe) if recipe.adapter.is_some() => 2 * 4 * numbers,
        PeftPlan::Weights(_) => shape.parameters().unsigned_abs() * written,
    };
    let checkpoint_bytes = 3 * 4 * numbers;
    let disk_bytes = kept * checkpoint_bytes + checkpoints * export_bytes;
    Saves { checkpoints, kept, checkpoint_bytes, export_bytes, disk_bytes }
}
