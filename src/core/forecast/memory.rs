//! How much memory a run needs at its peak: a pure function of sizes and settings.
//!
//! The peak is in a training step, when the backward pass begins: memory then holds the weights, the trainable
//! parameters with their gradients and moments, everything that autograd keeps of the forward pass, and either the
//! logits of a chunk or the gradients inside one block.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::Serialize;

use super::boundaries::{kept_every, most_kept};
use crate::arch::{
    Arch, LOSS_PART_LEN, Pass, SAVED_EVERY, SavedForBackward, Shape, Tape, Trains, block_of,
    is_linear, open_model, shape_of_file,
};
use crate::diagnostic::{Text, msg};
use crate::peft::{StatePart, StateSpec, TuningSpec, is_adapter_tensor};
use crate::plan::{AdamOptions, PeftPlan, Plan, Sharing, Stream};
use crate::quant::{self, Format};
use crate::tensorfile::{Dtype, TensorFile};

/// Resident bytes of the program itself, with the parts of libtorch that a run touches, their threads and buffers,
/// on a CPU: measured, see `docs/benchmarks.md`.
pub const PROGRAM_BYTES: u64 = 160_000_000;
/// The same on a GPU, in its memory: context, kernels, and the workspace of cuBLAS.
const GPU_CONTEXT_BYTES: u64 = 450_000_000;
/// Fragmentation, in percent of the bytes that a step allocates and frees, measured likewise.
const HOLES_PERCENT: u64 = 8;
/// Bytes of a token of a micro-batch that is computed in chunks: its id, its target and their places, in the lists of the
/// batch, as tensors, and by chunk.
const TOKEN_BYTES: u64 = 80;

/// What memory depends on.
#[derive(Clone, Copy, Debug)]
pub struct Workload<'a> {
    /// The sizes of the model.
    pub shape: &'a Shape,
    /// The trainable weights; absent when only initial states train.
    pub recipe: Option<&'a TuningSpec>,
    /// The initial states that train where no weights do; absent: the WKV states of all layers.
    pub states: Option<&'a StateSpec>,
    /// How the linear layers of the frozen model are kept; absent: in `dtype`.
    pub quant: Option<Format>,
    /// The dtype in which the model computes.
    pub dtype: Dtype,
    /// Whether activations are computed again in the backward pass.
    pub grad_cp: bool,
    /// Tokens of a row that are computed at a time; absent: all.
    pub chunk_ctx: Option<u64>,
    /// Positions whose logits exist at a time.
    pub head_chunk: u64,
    /// Rows of a batch.
    pub rows: u64,
    /// Rows of a sample: 2 where the answers of a pair are compared.
    pub rows_per_sample: u64,
    /// Tokens of its longest row.
    pub tokens: u64,
    /// Whether a GPU computes.
    pub on_gpu: bool,
    /// Who teaches; absent for other objectives.
    pub teacher: Option<TeacherLoad>,
    /// Devices that share a step.
    pub devices: u64,
    /// How several devices share a step.
    pub sharing: Sharing,
    /// Whether frozen weights come block by block.
    pub stream: Streaming,
}

/// Whether the frozen weights of blocks come block by block, from the file, or to a GPU from the host, so that memory holds two blocks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Streaming {
    /// They cannot be.
    No,
    /// They could be.
    Possible,
    /// They are; blocks are then computed again in the backward pass as with `grad_cp`.
    On,
}

/// What memory depends on where a teacher takes part.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TeacherLoad {
    /// Bytes of weights that are loaded besides those of the student; 0 where the student's own teach.
    pub weights: u64,
    /// Whether the most likely tokens alone are compared one by one.
    pub selects: bool,
}

/// What takes memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Item {
    /// Frozen weights, and the model's copies of the trainable weights, in the dtype in which it computes.
    Weights,
    /// Quantized linear layers.
    PackedWeights,
    /// Trainable parameters in float32, with gradients and Adam's two running means.
    Learning,
    /// What autograd keeps of the forward pass.
    Activations,
    /// The states between the chunks of a sample, with the gradients of one, and the tokens.
    Boundaries,
    /// The logits of a chunk of positions, in part as float32.
    Logits,
    /// Gradients on their way through a block, and room for what is dense of a packed matrix at a time.
    Workspace,
    /// Room between tensors that come and go.
    Holes,
    /// The program, libtorch, and the context of a GPU.
    Program,
}

impl Item {
    /// Its name, for people.
    pub fn text(self) -> Text {
        match self {
            Item::Weights => msg!(ITEM_WEIGHTS),
            Item::PackedWeights => msg!(ITEM_PACKED_WEIGHTS),
            Item::Learning => msg!(ITEM_LEARNING),
            Item::Activations => msg!(ITEM_ACTIVATIONS),
            Item::Boundaries => msg!(ITEM_BOUNDARIES),
            Item::Logits => msg!(ITEM_LOGITS),
            Item::Workspace => msg!(ITEM_WORKSPACE),
            Item::Holes => msg!(ITEM_HOLES),
            Item::Program => msg!(ITEM_PROGRAM),
        }
    }
}

/// The memory of a run at its peak, in bytes.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Memory {
    /// The sum of the items.
    pub total: u64,
    /// What it is made of.
    pub items: Vec<ItemBytes>,
}

/// One item and its size.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, JsonSchema)]
pub struct ItemBytes {
    /// What takes memory.
    pub item: Item,
    /// How much.
    pub bytes: u64,
}

/// The states between the chunks of the longest samples.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize, JsonSchema)]
pub struct Boundaries {
    /// Chunks of a sample.
    pub chunks: u64,
    /// Every how many-th state is kept; those between are computed again. 1: all.
    pub kept_every: u64,
    /// The largest number of states at a time.
    pub kept: u64,
    /// Bytes of one.
    pub bytes: u64,
}

impl<'a> Workload<'a> {
    /// The workload of a plan for a model of this shape whose longest row has `tokens` tokens.
    pub fn of_plan(plan: &'a Plan, shape: &'a Shape, tokens: u64) -> Workload<'a> {
        let train = &plan.train;
        let (recipe, states) = match &plan.method.peft {
            PeftPlan::State(plan) => (None, Some(&plan.states)),
            PeftPlan::Weights(recipe) => (Some(&**recipe), None),
        };
        Workload {
            shape,
            recipe,
            states,
            quant: plan.method.quant,
            dtype: train.dtype,
            grad_cp: train.grad_cp,
            chunk_ctx: train.chunk_ctx.map(|tokens| tokens.as_u64()),
            head_chunk: train.head_chunk.as_u64(),
            rows: train.micro_bsz.as_u64(),
            rows_per_sample: 1,
            tokens,
            on_gpu: train.device.is_gpu(),
            teacher: TeacherLoad::of_plan(plan, shape),
            devices: train.devices.count(),
            sharing: plan.sharing(shape),
            stream: match train.stream {
                Stream::On => Streaming::On,
                _ if plan.can_stream() => Streaming::Possible,
                _ => Streaming::No,
            },
        }
        .of_samples(plan.objective.rows_per_sample())
    }

    /// The workload of the same samples with `rows_per_sample` rows each.
    pub fn of_samples(self, rows_per_sample: u64) -> Workload<'a> {
        let rows = self.rows / self.rows_per_sample * rows_per_sample;
        Workload { rows, rows_per_sample, ..self }
    }
}

impl TeacherLoad {
    /// That of a plan for a model of this shape.
    fn of_plan(plan: &Plan, shape: &Shape) -> Option<TeacherLoad> {
        let distill = plan.objective.distill();
        let compares = plan.eval.forgetting || plan.objective.keep() > 0.0;
        if distill.is_none() && !compares {
            return None;
        }
        let elt = plan.train.dtype.size() as u64;
        let is_adapter = |file: &PathBuf| {
            TensorFile::open(file).is_ok_and(|file| file.names().any(is_adapter_tensor))
        };
        let keeps_base = match &plan.method.peft {
            PeftPlan::State(_) => true,
            PeftPlan::Weights(recipe) => recipe.keeps_base(),
        };
        let teacher = distill.and_then(|distill| distill.teacher.as_ref());
        let weights = match distill.and_then(|distill| distill.teacher_model.as_ref()) {
            Some(file) => {
                let shape =
                    open_model(file).ok().and_then(|found| shape_of_file(file, &found).ok());
                shape.map_or(0, |shape| quant::bytes(&shape, elt, plan.method.quant))
            }
            None if keeps_base && !teacher.is_some_and(is_adapter) => 0,
            None => quant::bytes(shape, elt, plan.method.quant),
        };
        let selects = distill.is_some_and(|distill| distill.top_k > 0);
        Some(TeacherLoad { weights, selects })
    }
}

impl Workload<'_> {
    /// The initial states that train.
    fn trained_states(&self) -> Option<StateSpec> {
        match (self.recipe, self.states) {
            (Some(recipe), _) => recipe.states(),
            (None, states) => Some(states.cloned().unwrap_or_else(|| StateSpec::wkv(1.0))),
        }
    }

    /// Whether the part of the initial states of a layer trains.
    fn trains_state(&self, layer: i64, part: StatePart) -> bool {
        self.trained_states().is_some_and(|states| states.trains(self.shape, layer, part))
    }

    /// Tokens of a row that are computed at once.
    fn at_once(&self) -> u64 {
        self.chunk_ctx.map_or(self.tokens, |chunk| chunk.min(self.tokens))
    }

    /// Bytes that the states between chunks may take before only some of them are kept: half of what a chunk keeps for
    /// its backward pass.
    pub fn boundary_room(&self) -> u64 {
        self.activations() / 2
    }

    /// The states between the chunks; `None` where the longest row is one chunk.
    pub fn boundaries(&self) -> Option<Boundaries> {
        let chunks = self.tokens.div_ceil(self.chunk_ctx?);
        let count = chunks.checked_sub(1).filter(|count| *count > 0)?;
        let numbers =
            4 * self.shape.state_numbers() + 2 * self.elt() * self.shape.n_embd.unsigned_abs();
        let bytes = self.rows * self.shape.n_layer.unsigned_abs() * numbers;
        let (kept_every, kept) = if self.devices > 1 && self.sharing == Sharing::Context {
            // A state comes from another device, which cannot be asked again.
            (1, chunks.div_ceil(self.devices))
        } else {
            let every = kept_every(count, bytes, self.boundary_room());
            (every, most_kept(count, every))
        };
        Some(Boundaries { chunks, kept_every, kept, bytes })
    }

    /// Bytes of the states between the chunks; the states of the chunk in progress and their gradients are three more, of which
    /// those on their way to another device are a part.
    fn boundary_bytes(&self) -> u64 {
        let tokens = self.rows * self.tokens * TOKEN_BYTES;
        self.boundaries().map_or(0, |one| (one.kept + 3) * one.bytes + tokens)
    }

    /// The memory of a run at its peak.
    pub fn memory(&self) -> Memory {
        let [weights, packed] = self.weights();
        let away = self.streamed() - self.held();
        let (weights, packed) = match self.quant {
            Some(_) => (weights, packed - away),
            None => (weights - away, packed),
        };
        let passing = [self.activations(), self.logits(), self.workspace()];
        let [activations, logits, workspace] = passing;
        let items = [
            (Item::Weights, weights + self.teacher.map_or(0, |teacher| teacher.weights)),
            (Item::PackedWeights, packed),
            (Item::Learning, self.learning()),
            (Item::Activations, activations),
            (Item::Boundaries, self.boundary_bytes()),
            (Item::Logits, logits),
            (Item::Workspace, workspace),
            (Item::Holes, passing.iter().sum::<u64>() * HOLES_PERCENT / 100),
            (Item::Program, if self.on_gpu { GPU_CONTEXT_BYTES } else { PROGRAM_BYTES }),
        ];
        let items = items.into_iter().filter(|(_, bytes)| *bytes > 0);
        let items: Vec<_> = items.map(|(item, bytes)| ItemBytes { item, bytes }).collect();
        Memory { total: items.iter().map(|one| one.bytes).sum(), items }
    }

    /// Bytes of the weights of each block that can come when the block is computed: of packed linear layers, else of all frozen tensors;
    /// to a GPU, of frozen linear layers.
    fn block_bytes(&self) -> Vec<u64> {
        let mut blocks = vec![0; self.shape.n_layer.unsigned_abs() as usize];
        for (name, size) in self.shape.tensors() {
            let Some(layer) = block_of(&name) else { continue };
            blocks[layer] += match self.quant {
                Some(format) if is_linear(&name) => format.bytes([size[0], size[1]]),
                None if self.on_gpu && !is_linear(&name) => 0,
                None if !self.tensor(&name) => self.elt() * numbers(&size),
                _ => 0,
            };
        }
        blocks
    }

    /// Bytes of the weights that a pass reads from the file, or copies to the GPU, once forward and once backward; 0 where they stay in
    /// memory.
    pub fn streamed(&self) -> u64 {
        match self.stream {
            Streaming::On => self.block_bytes().iter().sum(),
            Streaming::No | Streaming::Possible => 0,
        }
    }

    /// Bytes of streamed weights in memory: those of a block and of the next one.
    pub fn held(&self) -> u64 {
        match self.stream {
            Streaming::On => self
                .block_bytes()
                .windows(2)
                .map(|two| two.iter().sum())
                .max()
                .unwrap_or_else(|| self.streamed()),
            Streaming::No | Streaming::Possible => 0,
        }
    }

    /// Whether activations are computed again in the backward pass.
    fn recomputes(&self) -> bool {
        self.grad_cp || self.stream == Streaming::On
    }

    /// Bytes of all weights in memory, packed or not.
    pub fn weight_bytes(&self) -> u64 {
        self.weights().iter().sum()
    }

    fn elt(&self) -> u64 {
        self.dtype.size() as u64
    }

    fn pass(&self) -> Pass<'_> {
        let Workload { shape, rows, on_gpu, .. } = *self;
        let tokens = self.at_once();
        let widens = self.dtype == Dtype::F16 && !on_gpu;
        let fuses = !widens;
        Pass { shape, trains: self, rows, tokens, widens, on_gpu, fuses }
    }

    /// Bytes of weights in the dtype of the model, and of packed weights. Trainable weights are float32; a model that
    /// computes in another dtype also holds a copy of them in that dtype. Of the embedding there is no copy, and a frozen
    /// one takes nothing of a GPU.
    fn weights(&self) -> [u64; 2] {
        let all = quant::bytes(self.shape, self.elt(), self.quant);
        let packed = self.quant.map_or(0, |format| {
            let linears = self.shape.linears();
            linears.iter().map(|(_, size)| format.bytes([size[0], size[1]])).sum()
        });
        let shared =
            if self.dtype == Dtype::F32 { self.elt() * self.tensors_that_learn() } else { 0 };
        let copies = if self.dtype == Dtype::F32 { 0 } else { self.elt() * self.adapter_numbers() };
        let shape = self.shape;
        let embedding = self.elt() * numbers(&[shape.vocab_size, shape.n_embd]);
        let elsewhere = match self.tensor("emb.weight") {
            true => self.dtype != Dtype::F32,
            false => self.on_gpu,
        };
        let absent = if elsewhere { embedding } else { 0 };
        [all - packed - shared + copies - absent, packed]
    }

    /// Number of elements of the trainable tensors of the model.
    fn tensors_that_learn(&self) -> u64 {
        self.recipe.map_or(0, |recipe| recipe.trainable_tensor_parameters(self.shape))
    }

    /// Number of elements of the adapters, including frozen ones.
    fn adapter_numbers(&self) -> u64 {
        let adapter = self.recipe.and_then(|recipe| recipe.adapter.as_ref());
        let tensors = adapter.map(|adapter| adapter.tensors(self.shape)).unwrap_or_default();
        tensors.iter().map(|(_, size)| numbers(size)).sum()
    }

    /// Trainable parameters in float32, as much again for gradients, and twice as much for the moments of Adam; plus
    /// the frozen tensors of adapters.
    fn learning(&self) -> u64 {
        let states = || self.trained_states().map_or(0, |all| all.trainable_parameters(self.shape));
        let numbers =
            self.recipe.map_or_else(states, |recipe| recipe.trainable_parameters(self.shape));
        4 * (numbers + self.of_optimizer(numbers))
            + 4 * self.recipe.and_then(|recipe| recipe.adapter.as_ref()).map_or(0, |adapter| {
                self.adapter_numbers() - adapter.trainable_parameters(self.shape)
            })
    }

    /// Gradients and moments of `numbers` trainable parameters that a device keeps. Several devices add up the gradients of the passes in
    /// slices; those of GPUs do so in the memory of the host, and all gradients of a pass exist until it ends.
    fn of_optimizer(&self, numbers: u64) -> u64 {
        let slice = numbers.div_ceil(self.devices);
        match self.sharing {
            _ if self.devices == 1 => (1 + AdamOptions::MOMENTS) * numbers,
            Sharing::Ddp if self.on_gpu => (1 + AdamOptions::MOMENTS) * numbers,
            Sharing::Ddp => (1 + AdamOptions::MOMENTS) * numbers + slice,
            Sharing::Zero1 => numbers + (1 + AdamOptions::MOMENTS) * slice,
            Sharing::Zero2 if self.on_gpu => numbers + AdamOptions::MOMENTS * slice,
            Sharing::Zero2 => (1 + AdamOptions::MOMENTS) * slice,
            // Gradients go from device to device with the chunks: their sum, and one on its way.
            Sharing::Context => (1 + AdamOptions::MOMENTS + 2) * numbers,
        }
    }

    /// What is kept of the forward pass: everything that autograd keeps, or with `grad_cp` the input of every block,
    /// the values that RWKV-7 blocks share, and everything of the block that keeps most.
    fn activations(&self) -> u64 {
        let pass = self.pass();
        let numbers = pass.numbers(self.shape.n_embd);
        let mut tape = Tape::new(self.elt());
        let emb = self.tensor("emb.weight");
        let embedded = tape.value(numbers, emb);
        let x = tape.norm(
            embedded,
            self.shape.n_embd.unsigned_abs(),
            self.tensor("blocks.0.ln0.weight"),
        );
        let last = self.recomputes().then(|| {
            // Inputs of all blocks, and the output of the last one.
            let kept = (self.shape.n_layer.unsigned_abs() + 1) * numbers * self.elt();
            // A block differentiates its input where a block below, or the embedding, trains.
            let mut needs_grad = x.needs_grad;
            let blocks = (0..self.shape.n_layer).map(|layer| {
                let mut tape = Tape::new(self.elt());
                let x = tape.held(numbers, needs_grad);
                let mut v_first = (layer > 0).then(|| tape.value(numbers, needs_grad));
                needs_grad = pass.block(&mut tape, layer, x, &mut v_first).needs_grad;
                tape.bytes()
            });
            kept + blocks.max().unwrap_or(0)
        });
        if let Some(bytes) = last {
            return bytes;
        }
        let mut v_first = None;
        let x = (0..self.shape.n_layer)
            .fold(x, |x, layer| pass.block(&mut tape, layer, x, &mut v_first));
        tape.norm(x, self.shape.n_embd.unsigned_abs(), self.tensor("ln_out.weight"));
        tape.bytes()
    }

    /// Around the loss: hidden states of all positions, those of the target positions with their gradient, the logits of
    /// a chunk, and without a kernel softmax and gradient of a part of the chunk in float32. A trainable head adds its
    /// float32 gradient and two temporary copies of it.
    fn logits(&self) -> u64 {
        let vocab = self.shape.vocab_size.unsigned_abs();
        let positions = self.rows * self.at_once();
        let chunk = self.head_chunk.min(positions);
        let part = if self.pass().fuses { 0 } else { chunk.min(LOSS_PART_LEN.unsigned_abs()) };
        let hidden = 3 * self.pass().numbers(self.shape.n_embd) * self.elt();
        let of_head = if self.tensor("head.weight") {
            vocab * self.shape.n_embd.unsigned_abs() * (4 + 2 * self.elt())
        } else {
            0
        };
        let of_teacher = self.teacher.map_or(0, |teacher| self.of_teacher(teacher));
        hidden + chunk * vocab * self.elt() + 2 * part * vocab * 4 + of_head + of_teacher
    }

    /// Around the distance from a teacher: the teacher's hidden states of all positions, and probabilities of a part of a chunk,
    /// as float32. The logits of teacher and student together take what those of a student take alone.
    fn of_teacher(&self, teacher: TeacherLoad) -> u64 {
        let vocab = self.shape.vocab_size.unsigned_abs();
        let positions = self.rows * self.tokens;
        let part = self.head_chunk.min(positions).min(LOSS_PART_LEN.unsigned_abs());
        let tables = if teacher.selects { 7 } else { 4 };
        positions * self.shape.n_embd.unsigned_abs() * self.elt() + tables * part * vocab * 4
    }

    /// In the backward pass of a block. Packed matrices are made dense one at a time, on a CPU tile by tile; so are the gradients of
    /// trainable matrices, in the dtype of the model and in float32.
    fn workspace(&self) -> u64 {
        let gradients = self.block_workspace();
        let linears = self.shape.linears();
        let largest = linears.iter().map(|(_, size)| numbers(size)).max().unwrap_or(0);
        let dense = match (&self.quant, self.on_gpu) {
            (None, _) => 0,
            (Some(_), true) => largest,
            (Some(_), false) => largest.min(quant::TILE),
        };
        let dense = dense * self.elt();
        let learned = if self.tensors_that_learn() > 0 { largest * (4 + self.elt()) } else { 0 };
        gradients + dense + learned
    }

    /// What the backward pass of a block makes. Without kernels the channel mix has four tensors of its hidden channels
    /// at once (the gradient of the square, and the three that the square's derivative is made of), and the gradients of
    /// its input and output; with kernels the first of the four and the result. The time mix of RWKV-7 has 16 tensors of
    /// its channels with kernels (operands and result of the recurrence, and their gradients), and on a CPU the states
    /// between chunks of tokens, float32, which a GPU keeps from the forward pass.
    fn block_workspace(&self) -> u64 {
        let (pass, shape) = (self.pass(), self.shape);
        if !pass.fuses {
            return pass.numbers(4 * shape.dim_ffn + 2 * shape.n_embd) * self.elt();
        }
        let channel_mix = pass.numbers(2 * shape.dim_ffn + 2 * shape.n_embd) * self.elt();
        if !matches!(shape.arch, Arch::V7(_)) {
            return channel_mix;
        }
        let chunks = if self.on_gpu { 0 } else { self.at_once().div_ceil(SAVED_EVERY) };
        let states = self.rows * chunks * shape.state_numbers();
        channel_mix.max(pass.numbers(16 * shape.dim_att()) * self.elt() + 4 * states)
    }
}

impl Trains for Workload<'_> {
    fn tensor(&self, name: &str) -> bool {
        self.recipe.is_some_and(|recipe| recipe.trains(self.shape, name))
    }

    fn update(&self, name: &str) -> Option<SavedForBackward> {
        let adapter = self.recipe?.adapter.as_ref()?;
        adapter.changes(name).then(|| adapter.method.saved_for_backward())
    }

    fn wkv_state(&self, layer: i64) -> bool {
        self.trains_state(layer, StatePart::Wkv)
    }

    fn shift_states(&self, layer: i64) -> bool {
        self.trains_state(layer, StatePart::Shift)
    }
}

fn numbers(size: &[i64]) -> u64 {
    size.iter().product::<i64>().unsigned_abs()
}
