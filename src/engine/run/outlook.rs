//! The forecast of a run, from its plan, the header of its weights, and its documents once prepared.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use statetune_core::data::{Coverage, Dataload};
use statetune_core::diagnostic::{Diagnostic, Join, Text, msg};
use statetune_core::digest::sha256_hex;
use statetune_core::forecast::{
    DataFacts, Forecast, ModelFacts, Proposal, Rate, RatePoint, Saves, Settings, Strategies,
    StreamFacts, Streaming, SuitesFacts, Time, Trains, Warning, Workload, proposals,
};
use statetune_core::plan::{EpochSteps, ModelSource, PeftPlan, Plan, Stream};
use statetune_core::records::read_metrics;
use statetune_core::store::all_runs;
use statetune_core::tensorfile::disk_speed;
use statetune_core::words::{gib, grouped};

use super::job::{coverage, fit_options};
use super::prepare::{Datasets, is_prepared, load_tokenizer, model_shape, prepare_data};
use super::recent_steps::median;
use super::settings::{set_up_libtorch, widened_products};
use super::suites::{load_suites, suites_facts};
use crate::RunError;
use crate::inference::TokenizedSuite;
use crate::kernels::{Op, available_bytes, recorded_device};
use crate::model::Shape;
use crate::tensors::device;
use crate::train::FitOptions;

/// Points of the learning-rate curve.
const POINTS: u64 = 33;

/// The inputs of a forecast.
pub struct Outlook<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// The sizes of the model.
    pub shape: Shape,
    /// Token ids of the tokenizer.
    ids: usize,
    /// Figures about the documents; absent until they are prepared.
    pub data: Option<Documents>,
    /// What the suites cost; absent without suites.
    suites: Option<SuitesFacts>,
}

/// Figures about the documents of a run.
#[derive(Debug)]
pub struct Documents {
    facts: DataFacts,
    options: FitOptions,
    /// Mean row length of a micro-batch, in tokens.
    mean_length: f64,
    /// Mean number of rows of a sample: 2 where answers of pairs are compared.
    rows_per_sample: f64,
    /// Warnings about the turns of the documents.
    warnings: Vec<Diagnostic>,
}

impl<'a> Outlook<'a> {
    /// The outlook of a plan, with its documents if they are prepared or `prepare` is true.
    ///
    /// # Errors
    /// Everything that a run would refuse before it reads weights.
    pub fn new(plan: &'a Plan, prepare: bool) -> Result<Outlook<'a>, RunError> {
        set_up_libtorch(plan); // the forecast names its threads
        let tokenizer = load_tokenizer(plan)?;
        let shape = model_shape(plan, &tokenizer)?;
        let suites = load_suites(plan, &tokenizer)?;
        let has_data = !plan.data.sources.is_empty();
        if !has_data || !prepare && !is_prepared(plan, &tokenizer)? {
            let suites = suites_facts(plan, &suites, None);
            return Ok(Outlook { plan, shape, ids: tokenizer.vocab_size(), data: None, suites });
        }
        let data = prepare_data(plan, &tokenizer, shape.vocab_size)?;
        Ok(Outlook::of_run(plan, shape, &data, &suites))
    }

    /// The outlook of a run with open documents and suites.
    pub(super) fn of_run(
        plan: &'a Plan,
        shape: Shape,
        data: &Datasets<'_>,
        suites: &[TokenizedSuite],
    ) -> Outlook<'a> {
        let ids = data.train.tokenizer().vocab_size();
        let documents = Documents::new(plan, data);
        let suites = suites_facts(plan, suites, Some(&documents.options));
        Outlook { plan, shape, ids, data: Some(documents), suites }
    }

    /// Whether frozen weights come block by block. Where `hardware.stream` leaves that open: if they can, and are larger than
    /// `available` bytes, by default the free memory of the device.
    pub fn streams(&self, available: Option<u64>) -> bool {
        match self.plan.train.stream {
            Stream::On => true,
            Stream::Off => false,
            Stream::Auto => self.workload(available).is_some_and(|one| one.stream == Streaming::On),
        }
    }

    fn available(&self, available: Option<u64>) -> Option<u64> {
        available.or_else(|| available_bytes(device(self.plan.train.device)))
    }

    /// The inputs of the memory forecast with `available` bytes, by default the free memory of the device; `None` for
    /// implementations of the recurrence with unknown memory needs.
    pub fn workload(&self, available: Option<u64>) -> Option<Workload<'_>> {
        let workload = self.unstreamed()?;
        let is_open = self.plan.train.stream == Stream::Auto;
        let is_larger = || {
            let weights = workload.weight_bytes().saturating_mul(self.processes());
            self.available(available).is_some_and(|available| weights > available)
        };
        Some(match workload.stream {
            Streaming::Possible if is_open && is_larger() => {
                Workload { stream: Streaming::On, ..workload }
            }
            _ => workload,
        })
    }

    /// [`Outlook::workload`] before `hardware.stream = "auto"` is decided.
    fn unstreamed(&self) -> Option<Workload<'_>> {
        let (plan, train) = (self.plan, &self.plan.train);
        if matches!(plan.train.op, Op::Chunk | Op::Reference) {
            return None;
        }
        let longest = self.data.as_ref().map_or(train.ctx_len.as_u64(), |data| data.facts.longest);
        let workload = Workload::of_plan(plan, &self.shape, longest);
        // Records with a label have one answer, unless some are pairs.
        let has_pairs = self.data.as_ref().map(|data| data.rows_per_sample > 1.0);
        Some(match has_pairs {
            Some(has_pairs) => workload.of_samples(1 + u64::from(has_pairs)),
            None => workload,
        })
    }

    /// The forecast. `available` replaces the free memory of the device, in bytes.
    pub fn forecast(&self, available: Option<u64>) -> Forecast {
        let plan = self.plan;
        let workload = self.workload(available);
        let shape = &self.shape;
        let numbers = plan.method.trainable_parameters(shape);
        let model = ModelFacts {
            version: shape.version().code().to_string(),
            n_layer: shape.n_layer,
            n_embd: shape.n_embd,
            vocab_size: shape.vocab_size,
            parameters: shape.parameters(),
        };
        let stream = workload.as_ref().and_then(|workload| self.stream(workload, available));
        let streams =
            workload.map_or(plan.train.stream == Stream::On, |one| one.stream == Streaming::On);
        let settings = settings(plan, streams);
        let of_documents = self.warnings();
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
            suites: self.suites.clone(),
            rate: self.data.as_ref().and_then(|data| rate(plan, &data.options)),
            range_test: None,
            memory: workload.map(|workload| workload.memory()),
            strategies: workload.and_then(|workload| Strategies::of(&workload)),
            boundaries: workload.and_then(|workload| workload.boundaries()),
            stream,
            available_bytes: self.available(available),
            time: self.data.as_ref().and_then(|data| {
                let known = known(self, &model, &settings, data.positions(), data.facts.steps);
                let of_disk = stream.and_then(|stream| self.time_of_disk(stream, data));
                match (known, of_disk) {
                    (Some(known), Some(disk)) if disk.secs > known.secs => Some(disk),
                    (known, disk) => known.or(disk),
                }
            }),
            saves: self.data.as_ref().map(|data| saves(plan, shape, numbers, &data.options)),
            warnings: warnings.collect(),
            origins: plan.experiment.origins(),
            model,
            settings,
        }
    }

    /// The weights that come block by block.
    fn stream(&self, workload: &Workload<'_>, available: Option<u64>) -> Option<StreamFacts> {
        let (bytes, held) = (workload.streamed(), workload.held());
        if bytes == 0 {
            return None;
        }
        if self.plan.train.device.is_gpu() {
            // The last two blocks of one direction are the first two of the other.
            let read = 2 * (bytes - held);
            return Some(StreamFacts { bytes, held, read, disk: None, to_gpu: Some(true) });
        }
        let disk = match &self.plan.model.source {
            ModelSource::Load(path) => disk_speed(path),
            ModelSource::Scratch { .. } => None, // weights that are still to be fetched
        };
        // Passes go up and down: what is read last in one direction is read first in the other.
        let needed = workload.memory().total.saturating_mul(self.processes());
        let cached = held + self.available(available).unwrap_or(0).saturating_sub(needed);
        let read = 2 * bytes.saturating_sub(cached);
        Some(StreamFacts { bytes, held, read, disk, to_gpu: None })
    }

    /// The time in which the disk reads the weights; `None` where memory keeps them all.
    fn time_of_disk(&self, stream: StreamFacts, data: &Documents) -> Option<Time> {
        let passes = f64::from(self.plan.train.accumulate_grad_batches);
        let step_secs = stream.read as f64 / stream.disk? * passes;
        let basis = "the speed of the disk alone".to_string();
        let secs = step_secs * data.facts.steps as f64;
        let positions_per_step = data.positions();
        (step_secs > 0.0).then_some(Time { secs, step_secs, positions_per_step, basis })
    }

    /// Settings with which the run fits into `available` bytes, smallest edits first; none when the need is unknown.
    pub fn proposals(&self, available: u64) -> Vec<Proposal> {
        let Some(workload) = self.workload(Some(available)) else { return Vec::new() };
        let may_quantise = match &self.plan.method.peft {
            PeftPlan::State(_) => true,
            PeftPlan::Weights(recipe) => {
                recipe.adapter.as_ref().is_some_and(|adapter| !adapter.method.splits_matrix())
            }
        };
        let accumulate = self.plan.train.accumulate_grad_batches.into();
        proposals(&workload, accumulate, available / self.processes(), may_quantise)
    }

    /// The processes of the run that share the memory of a device, each with the whole model: all of this machine on a CPU, and one
    /// on a GPU.
    fn processes(&self) -> u64 {
        match self.plan.train.device.is_gpu() {
            true => 1,
            false => self.plan.train.devices.per_machine.max(1).into(),
        }
    }

    /// The refusal of a run that needs more than `available` bytes, by default the free memory of the device; `None` when
    /// the run fits or its need is unknown.
    pub fn refusal(&self, available: Option<u64>) -> Option<Diagnostic> {
        let available = self.available(available)?;
        let memory = self.workload(Some(available))?.memory();
        let processes = self.processes();
        let needed = memory.total.saturating_mul(processes);
        if needed <= available {
            return None;
        }
        let device =
            if self.plan.train.device.is_gpu() { msg!(THE_GPU) } else { msg!(THIS_MACHINE) };
        let message = msg!(RUN_NEEDS_MEMORY, needed = gib(needed), device, free = gib(available));
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
        if processes > 1 {
            let (count, each) = (grouped(processes), gib(memory.total));
            refusal = refusal.note(msg!(DEVICES_ARE_PROCESSES, count, each));
        }
        let proposals = self.proposals(available);
        let lines = ('A'..).zip(&proposals);
        let lines = lines.map(|(letter, one)| msg!(PROPOSAL_LINE, letter, proposal = one.line()));
        if !proposals.is_empty() {
            let experiment = &self.plan.experiment;
            let apply = match proposals[0].can_be_in_file_of(experiment) {
                true => msg!(PLAN_APPLY_EDITS, experiment = experiment.arguments()),
                false => msg!(ADD_PROPOSAL, options = proposals[0].options()),
            };
            refusal = refusal.help(Text::list(Join::Line, lines)).help(apply);
        }
        if processes > 1 {
            refusal = refusal.help(msg!(LOWER_DEVICES));
        }
        refusal = refusal.help(msg!(ALLOW_OOM_TRIES));
        Some(self.plan.experiment.at("train.micro_bsz", refusal))
    }

    /// The warnings about the vocabulary and the documents: their turns, data that the run never sees, and a warmup that is
    /// longer than the run.
    pub fn warnings(&self) -> Vec<Diagnostic> {
        let of_vocabulary = self.plan.vocabulary_warning(&self.shape, self.ids);
        let of_turns = self.data.iter().flat_map(|data| data.warnings.iter().cloned());
        let steps = self.data.as_ref().map(|data| data.facts.steps);
        let warmup = steps.and_then(|steps| self.plan.long_warmup(steps));
        of_vocabulary.into_iter().chain(of_turns).chain(self.unseen()).chain(warmup).collect()
    }

    /// The warning about data that the run never sees.
    fn unseen(&self) -> Option<Diagnostic> {
        let facts = &self.data.as_ref()?.facts;
        let coverage = Coverage {
            documents: facts.documents,
            samples_per_pass: facts.samples_per_pass,
            samples: facts.steps * facts.samples_per_step,
            exposures: facts.exposures,
            unseen: facts.unseen,
        };
        coverage_warning(self.plan, facts.copies, &coverage, facts.samples_per_step)
    }

    /// Mean row length in tokens, and the share of target tokens.
    pub(super) fn mean_batch(&self) -> Option<(u64, f64)> {
        let data = self.data.as_ref()?;
        let rows = data.facts.samples_per_pass as f64 * data.rows_per_sample;
        let positions = rows * data.mean_length;
        Some((data.mean_length.round().max(1.0) as u64, data.facts.learned as f64 / positions))
    }
}

impl Documents {
    fn new(plan: &Plan, data: &Datasets<'_>) -> Documents {
        let (loader, survey) = (&data.train, data.train.survey());
        let options = fit_options(plan, loader.samples_per_pass());
        let coverage = coverage(loader, &options);
        let lengths = loader.batch_lengths(options.micro_bsz);
        let rows_per_sample = loader.rows_per_sample();
        let positions = (lengths.iter().sum::<u64>() * options.micro_bsz) as f64;
        let computed = positions * rows_per_sample;
        // Windows have no padding.
        let padding = match plan.data.dataload {
            Dataload::Get => 0.0,
            _ => (1.0 - survey.positions as f64 / computed).max(0.0),
        };
        let facts = DataFacts {
            documents: survey.documents,
            copies: survey.copies,
            held_out: data.held_out,
            tokens: survey.tokens,
            cut_tokens: survey.cut_tokens,
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
        let warnings = data.warnings.clone();
        Documents { facts, options, mean_length, rows_per_sample, warnings }
    }

    /// Mean number of positions of a step.
    fn positions(&self) -> f64 {
        self.mean_length * self.rows_per_sample * self.options.samples_per_step() as f64
    }
}

fn settings(plan: &Plan, streams: bool) -> Settings {
    let train = &plan.train;
    Settings {
        peft: plan.method.peft_table.clone(),
        quant: plan.method.quant_table.clone(),
        precision: train.precision.name().to_string(),
        products: widened_products(plan).map(str::to_string),
        ctx_len: train.ctx_len.0,
        micro_bsz: train.micro_bsz.0,
        accumulate_grad_batches: train.accumulate_grad_batches,
        grad_cp: train.grad_cp,
        chunk_ctx: train.chunk_ctx.map(|tokens| tokens.0),
        stream: streams.then_some(true),
        head_chunk: train.head_chunk.0,
        op: plan.train.op.name().to_string(),
        objective: objective(plan),
        device: recorded_device(device(plan.train.device)),
        devices: Some(train.devices.count()).filter(|count| *count > 1),
        in_chunks: train.devices.take_chunks(),
        libtorch: crate::LIBTORCH_VERSION.to_string(),
    }
}

/// What a step minimises, as far as its time depends on it; `None` for plain imitation.
fn objective(plan: &Plan) -> Option<String> {
    let (objective, name) = (&plan.objective, plan.objective.name());
    match objective.keep() > 0.0 {
        true => Some(format!("{name}, keep")),
        false => (!objective.is_default()).then(|| name.to_string()),
    }
}

/// The learning rates; `None` while a range test has not found them.
fn rate(plan: &Plan, options: &FitOptions) -> Option<Rate> {
    if plan.train.schedule.is_to_find {
        return None;
    }
    let steps = options.total_steps();
    let last = steps - 1;
    let mut at: Vec<u64> = (0..POINTS).map(|i| last * i / (POINTS - 1)).collect();
    at.dedup();
    let schedule = &plan.train.schedule;
    let name = json!(schedule.curve);
    Some(Rate {
        schedule: name.as_str().unwrap_or_default().to_string(),
        warmup_steps: schedule.warmup_steps.as_u64(),
        points: at.into_iter().map(|step| RatePoint { step, lr: options.curve.at(step) }).collect(),
    })
}

/// The size of what a run writes. A checkpoint holds the trainable parameters and two running means of each, float32.
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
        PeftPlan::State(states) => {
            // A `.pth`, and without shift states a `.st` in 16 bits; both with the states of all layers.
            let wkv = shape.n_layer.unsigned_abs() * shape.state_numbers();
            let shift = 2 * (shape.n_layer * shape.n_embd).unsigned_abs();
            match states.states.has_shift() {
                true => (wkv + shift) * written,
                false => wkv * (written + 2),
            }
        }
        // A `.pth` and a `.safetensors`, float32.
        PeftPlan::Weights(recipe) if recipe.adapter.is_some() => 2 * 4 * numbers,
        PeftPlan::Weights(_) => shape.parameters().unsigned_abs() * written,
    };
    let checkpoint_bytes = 3 * 4 * numbers;
    let disk_bytes = kept * checkpoint_bytes + checkpoints * export_bytes;
    Saves { checkpoints, kept, checkpoint_bytes, export_bytes, disk_bytes }
}

/// The warning about data that the run never sees, if any. A pass has `copies` documents, repeats included.
fn coverage_warning(
    plan: &Plan,
    copies: u64,
    coverage: &Coverage,
    samples_per_step: u64,
) -> Option<Diagnostic> {
    let EpochSteps::Steps(_) = plan.train.epoch_steps else { return None };
    if coverage.unseen == 0.0 {
        return None;
    }
    let Coverage { documents, samples, samples_per_pass, unseen, .. } = *coverage;
    let percent = unseen * 100.0;
    let message = msg!(DATA_NEVER_SEEN, percent = format_args!("{percent:.0}"));
    let steps = samples / samples_per_step;
    let copies = match copies / documents {
        0 | 1 => msg!(DOCUMENTS_OF_DATA, documents = grouped(documents)),
        repeats => msg!(DOCUMENTS_AND_REPEATS, documents = grouped(documents), repeats),
    };
    let pass = samples_per_pass.div_ceil(samples_per_step);
    let warning = Diagnostic::warning(message)
        .note(msg!(
            SAMPLES_SEEN,
            steps = grouped(steps),
            samples_per_step,
            seen = grouped(samples),
            all = grouped(samples_per_pass),
            copies
        ))
        .note(msg!(EPOCH_IS_INTERVAL))
        .help(msg!(FULL_PASS, pass));
    Some(plan.experiment.at("train.epoch_steps", warning)).filter(|one| !one.is_allowed())
}

/// The folder of measurements in the cache.
pub(super) const MEASUREMENTS: &str = "measured";

/// The expected time of training, from runs of the same shape on the same device, else from a measurement, if any.
fn known(
    outlook: &Outlook<'_>,
    model: &ModelFacts,
    settings: &Settings,
    positions: f64,
    steps: u64,
) -> Option<Time> {
    let time = |step_secs: f64, basis: String| Time {
        secs: step_secs * steps as f64,
        step_secs,
        positions_per_step: positions,
        basis,
    };
    let speeds = speeds_of_runs(&outlook.plan.records.runs_dir, &json!(model), &json!(settings));
    if let Some(middle) = median(speeds.iter().copied()) {
        let plural = if speeds.len() == 1 { "run" } else { "runs" };
        let basis = format!("from {} {plural} of this shape on this device", speeds.len());
        return Some(time(positions / middle, basis));
    }
    let text = fs::read(file(outlook, model, settings)?).ok()?;
    let measured: Value = serde_json::from_slice(&text).ok()?;
    let step_secs = measured["step_secs"].as_f64()?;
    Some(time(step_secs, "measured on this device with models of fewer layers".to_string()))
}

/// Positions per second of each run with this model and these settings in its forecast.
fn speeds_of_runs(runs_dir: &Path, model: &Value, settings: &Value) -> Vec<f64> {
    let speed = |run: PathBuf| {
        let forecast: Value =
            serde_json::from_slice(&fs::read(run.join(Forecast::FILE)).ok()?).ok()?;
        if forecast["model"] != *model || forecast["settings"] != *settings {
            return None;
        }
        let lines = read_metrics(&run).ok()?;
        // The first interval includes warm-up.
        let speeds = lines.iter().skip(1).map(|line| line.positions_per_s);
        median(speeds.filter(|speed| speed.is_finite()))
    };
    all_runs(runs_dir).into_iter().filter_map(speed).collect()
}

/// The file of the measurement; `None` without documents.
pub(super) fn file(
    outlook: &Outlook<'_>,
    model: &ModelFacts,
    settings: &Settings,
) -> Option<PathBuf> {
    let (tokens, learned) = outlook.mean_batch()?;
    let learned = (learned * 100.0).round();
    let key = json!({
        "model": model, "settings": settings, "tokens": tokens, "learned_percent": learned,
        "machine": machine(),
    });
    let digest = sha256_hex(key.to_string());
    Some(outlook.plan.data.cache_dir.join(MEASUREMENTS).join(format!("{:.16}.json", digest)))
}

/// The name of the CPU.
fn machine() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1));
    name.unwrap_or_default().to_string()
}
