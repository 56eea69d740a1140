//! Edits by which a run that is too large fits.
//!
//! `ctx_len` and the samples of an update stay as they are, so that the run trains the same way; only quantised weights
//! change its numbers by more than rounding.

use super::{Streaming, Workload};
use crate::diagnostic::{Text, msg};
use crate::plan::Experiment;
use crate::quant::Format;
use crate::shell::shell_assignment;
use crate::words::gib;

/// The smallest chunk of positions whose logits are worth a matrix multiplication of their own.
const SMALLEST_CHUNK: u64 = 32;

/// The chunks of tokens that are proposed: below, matrix products are slow.
const SHORTEST_PART: u64 = 512;
const LONGEST_PART: u64 = 4096;

/// A setting and what it becomes.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// Dotted key.
    pub key: &'static str,
    /// The value in TOML.
    pub value: String,
}

/// Edits that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct Proposal {
    /// In the order of the experiment file's tables.
    pub edits: Vec<Edit>,
    /// Bytes at the peak with them.
    pub total: u64,
    /// Whether that is little enough.
    pub fits: bool,
    /// What they cost.
    pub cost: Text,
}

impl Proposal {
    /// Whether the edits have an effect in the file of `experiment`: no profile, environment variable or option sets one of
    /// their keys, and the file is not the record of a run.
    pub fn can_be_in_file_of(&self, experiment: &Experiment) -> bool {
        let is_set = self.edits.iter().any(|edit| experiment.is_set_over_file(edit.key));
        !is_set && !experiment.is_of_run()
    }

    /// The edits as options of a command.
    pub fn options(&self) -> String {
        let option = |edit: &Edit| format!("--set {}", shell_assignment(edit.key, &edit.value));
        self.edits.iter().map(option).collect::<Vec<_>>().join(" ")
    }

    /// Its settings, what they leave, and what they cost.
    pub fn line(&self) -> Text {
        let settings = self.edits.iter().map(|edit| {
            let key = edit.key.strip_prefix("train.").unwrap_or(edit.key);
            format!("{key} = {}", edit.value)
        });
        let settings = settings.collect::<Vec<_>>().join(", ");
        let verdict = match (self.fits, self.edits.len()) {
            (true, _) => self.cost.clone(),
            (false, 1) => msg!(DOES_NOT_FIT_ALONE),
            (false, _) => msg!(DOES_NOT_FIT),
        };
        msg!(PROPOSAL, settings = format_args!("{settings:48}"), total = gib(self.total), verdict)
    }
}

/// One way to need less.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Lever {
    GradCp,
    HeadChunk,
    MicroBsz,
    ChunkCtx,
    Int8,
    Nf4,
    Stream,
}

impl Lever {
    /// The smallest change first.
    const ALL: [Lever; 7] = [
        Lever::GradCp,
        Lever::HeadChunk,
        Lever::MicroBsz,
        Lever::ChunkCtx,
        Lever::Int8,
        Lever::Nf4,
        Lever::Stream,
    ];

    fn cost(self, on_gpu: bool) -> Text {
        match self {
            Lever::GradCp => msg!(COST_THIRD_SLOWER),
            Lever::HeadChunk => msg!(COST_HARDLY_SLOWER),
            Lever::MicroBsz => msg!(COST_SAME_SAMPLES),
            Lever::ChunkCtx => msg!(COST_CHUNKS),
            Lever::Int8 => msg!(COST_8_BITS),
            Lever::Nf4 => msg!(COST_4_BITS),
            Lever::Stream if on_gpu => msg!(COST_STREAM_TO_GPU),
            Lever::Stream => msg!(COST_STREAM),
        }
    }

    /// The workloads that this lever makes of one, the least change first.
    fn pulled<'a>(self, from: Workload<'a>, may_quantise: bool) -> Vec<Workload<'a>> {
        match self {
            Lever::GradCp if !from.grad_cp => vec![Workload { grad_cp: true, ..from }],
            Lever::HeadChunk => {
                let positions = from.rows * from.tokens;
                let halves =
                    std::iter::successors(Some(from.head_chunk / 2), |chunk| Some(chunk / 2));
                let halves = halves.take_while(|chunk| *chunk >= SMALLEST_CHUNK);
                let halves = halves.filter(|chunk| *chunk < positions);
                halves.map(|head_chunk| Workload { head_chunk, ..from }).collect()
            }
            Lever::MicroBsz => {
                let per_sample = from.rows_per_sample;
                let samples = from.rows / per_sample;
                let divisors = (1..samples).rev().filter(|n| samples.is_multiple_of(*n));
                divisors.map(|n| Workload { rows: n * per_sample, ..from }).collect()
            }
            Lever::ChunkCtx if from.tokens > SHORTEST_PART => {
                let halves = std::iter::successors(Some(LONGEST_PART), |part| Some(part / 2));
                let halves = halves.take_while(|part| *part >= SHORTEST_PART);
                let halves = halves.filter(|part| *part < from.chunk_ctx.unwrap_or(from.tokens));
                halves.map(|part| Workload { chunk_ctx: Some(part), ..from }).collect()
            }
            Lever::Int8 if may_quantise && from.quant.is_none() => {
                vec![Workload { quant: Some(Format::Int8), ..from }]
            }
            Lever::Nf4 if may_quantise && matches!(from.quant, None | Some(Format::Int8)) => {
                vec![Workload { quant: Some(Format::Nf4 { double: false }), ..from }]
            }
            Lever::Stream if from.stream == Streaming::Possible => {
                vec![Workload { stream: Streaming::On, ..from }]
            }
            _ => Vec::new(),
        }
    }
}

/// Edits that bring `workload` under `budget` bytes, the smallest first; and behind those that do, single ones
/// that do not. `accumulate` are the micro-batches of an update, and `may_quantise` says whether weights can be
/// packed.
pub fn proposals(
    workload: &Workload<'_>,
    accumulate: u64,
    budget: u64,
    may_quantise: bool,
) -> Vec<Proposal> {
    let fits = |changed: &Workload<'_>| changed.memory().total <= budget;
    let gentlest = |lever: Lever, from| {
        let pulled = lever.pulled(from, may_quantise);
        pulled.iter().copied().find(fits).or(pulled.last().copied())
    };
    let proposal = |changed: &Workload<'_>, cost| {
        let edits = edits(workload, changed, accumulate);
        let total = changed.memory().total;
        Proposal { edits, total, fits: total <= budget, cost }
    };
    let single =
        |lever: Lever| Some(proposal(&gentlest(lever, *workload)?, lever.cost(workload.on_gpu)));
    let (mut found, alone): (Vec<_>, Vec<_>) =
        Lever::ALL.into_iter().filter_map(single).partition(|one| one.fits);
    if found.is_empty() {
        let mut changed = *workload;
        for lever in Lever::ALL {
            changed = gentlest(lever, changed).unwrap_or(changed);
            if fits(&changed) {
                break;
            }
        }
        found.push(proposal(&changed, msg!(COST_ALL_TOGETHER)));
    }
    let smaller = alone.into_iter().filter(|one| one.total < workload.memory().total);
    found.extend(smaller);
    found
}

/// The settings by which `to` differs from `from`.
fn edits(from: &Workload<'_>, to: &Workload<'_>, accumulate: u64) -> Vec<Edit> {
    let mut edits = Vec::new();
    let mut add = |key, value| edits.push(Edit { key, value });
    if let Some(format) = to.quant.filter(|_| to.quant != from.quant) {
        add("quant.type", format!("\"{}\"", format.name()));
    }
    if to.rows != from.rows {
        add("train.micro_bsz", (to.rows / to.rows_per_sample).to_string());
        add("train.accumulate_grad_batches", (accumulate * (from.rows / to.rows)).to_string());
    }
    if to.grad_cp != from.grad_cp {
        add("train.grad_cp", to.grad_cp.to_string());
    }
    if let Some(chunk_ctx) = to.chunk_ctx.filter(|_| to.chunk_ctx != from.chunk_ctx) {
        add("train.chunk_ctx", chunk_ctx.to_string());
    }
    if to.stream != from.stream {
        add("hardware.stream", "true".to_owned());
    }
    if to.head_chunk != from.head_chunk {
        add("train.head_chunk", to.head_chunk.to_string());
    }
    edits
}

#[cfg(test)]
mod tests {
    use crate::tensorfile::Dtype;

    use super::super::memory::TeacherLoad;
    use super::*;
    use crate::arch::{Shape, Version};
    use crate::plan::Sharing;

    fn workload(shape: &Shape) -> Workload<'_> {
        Workload {
            shape,
            recipe: None,
            states: None,
            quant: None,
            dtype: Dtype::BF16,
            grad_cp: false,
            chunk_ctx: None,
            head_chunk: 256,
            rows: 16,
            rows_per_sample: 1,
            tokens: 1024,
            on_gpu: true,
            teacher: None,
            devices: 1,
            sharing: Sharing::Ddp,
            stream: Streaming::No,
        }
    }

    #[test]
    fn a_teacher_of_the_same_weights_takes_at_most_a_tenth() {
        for (n_layer, n_embd) in [(12, 768), (24, 1024), (24, 2048), (32, 2560)] {
            let shape = Shape::for_scratch(Version::V7, n_layer, n_embd, 65536);
            for (rows, on_gpu) in [(1, false), (1, true), (16, true)] {
                let alone = Workload { rows, on_gpu, ..workload(&shape) };
                let total = |weights| {
                    let teacher = Some(TeacherLoad { weights, selects: true });
                    Workload { teacher, ..alone }.memory().total
                };
                let (without, with) = (alone.memory().total, total(0));
                assert!(with > without && with <= without * 11 / 10, "{with} {without}");
                assert!(total(1 << 30) - with == 1 << 30);
            }
        }
    }

    /// Runs of every size on cards that are too small for them: the first proposal fits.
    #[test]
    fn the_first_proposal_fits() {
        let (mut cases, mut fitting) = (0, 0);
        for version in [Version::V5, Version::V6, Version::V7] {
            for (n_layer, n_embd) in [(12, 768), (24, 1024), (24, 2048), (32, 2560)] {
                let shape = Shape::for_scratch(version, n_layer, n_embd, 65536);
                let workload = workload(&shape);
                let needed = workload.memory().total;
                for share in [90, 60, 30] {
                    let budget = needed * share / 100;
                    let first = &proposals(&workload, 2, budget, true)[0];
                    cases += 1;
                    fitting += usize::from(first.fits && first.total <= budget);
                }
            }
        }
        assert_eq!(cases, 36);
        assert!(fitting >= 34, "{fitting} of {cases}");
    }

    #[test]
    fn the_smallest_edit_comes_first_and_keeps_the_samples_of_an_update() {
        let shape = Shape::for_scratch(Version::V7, 24, 1024, 65536);
        let workload = Workload { grad_cp: true, ..workload(&shape) };
        let budget = workload.memory().total * 7 / 10;
        let found = proposals(&workload, 2, budget, false);
        let edit = |key, value: &str| Edit { key, value: value.to_string() };
        assert_eq!(
            found[0].edits,
            [edit("train.micro_bsz", "8"), edit("train.accumulate_grad_batches", "4")]
        );
        assert!(found[0].fits && !found[1].fits, "{found:?}");
        assert_eq!(found[1].edits, [edit("train.head_chunk", "32")]);
    }

    #[test]
    fn where_no_edit_is_enough_all_are_made() {
        let shape = Shape::for_scratch(Version::V7, 24, 1024, 65536);
        let found = proposals(&workload(&shape), 1, 1 << 20, true);
        let keys: Vec<&str> = found[0].edits.iter().map(|edit| edit.key).collect();
        let all = [
            "quant.type",
            "train.micro_bsz",
            "train.accumulate_grad_batches",
            "train.grad_cp",
            "train.chunk_ctx",
            "train.head_chunk",
        ];
        assert_eq!(keys, all);
        assert!(!found[0].fits);
    }
}
