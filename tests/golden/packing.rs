//! Documents side by side, packed into rows, and one by one: the same losses, gradients, and validation loss.

use std::collections::HashMap;
use std::ops::ControlFlow;

use statetune_core::data::{
    Batch, Binidx, BinidxWriter, Cuts, Loader, LoaderOptions, Mask, Muted, Template, Tokenizer,
};
use statetune_core::data::{Dataload, Overlong, Walk};
use statetune_engine::kernels::Op;
use statetune_engine::kernels::reference::relative_error;
use statetune_engine::model::{Model, Shape, TimeState, Version, Weights};
use statetune_engine::optim::AdamOptions;
use statetune_engine::peft::{
    Compute, Method, Parts, StateSpec, StateTuning, TuningSpec, WeightTuning,
};
use statetune_engine::train::BatchTensors;
use statetune_engine::train::{CrossEntropy, Devices, Single, Subject};
use statetune_engine::train::{DocumentSums, LossOptions, Rounds, StepOptions, Trainer, mean_loss};
use tch::{Device, Kind, Tensor};
use tempfile::TempDir;

use super::in_turn::{Threads, on_threads};
use super::numerics::both_parts;

const VOCAB_SIZE: i64 = 4096;
const CTX_LEN: usize = 48;
const TEXTS: [&str; 7] = [
    "User: hi\n\nAssistant: hello you",
    "User: how are you today?\n\nAssistant: fine, thanks!\n\nUser: good\n\nAssistant: yes, very",
    "User: a\n\nAssistant: b",
    "User: what is this?\n\nAssistant: a test\n\nUser: oh. I did not know that at all",
    "Assistant: one word",
    "User: x\n\nAssistant: a little longer than the others are",
    "User: last\n\nAssistant: end",
];

/// The documents as a pair, and their tokenizer.
struct Documents {
    folder: TempDir,
    tokenizer: Tokenizer,
    mask: Mask,
}

impl Documents {
    fn new() -> Documents {
        let folder = tempfile::tempdir().expect("a folder");
        let tokenizer = Tokenizer::load("models/tiny-vocab.txt".as_ref()).expect("a vocabulary");
        let mask = Mask::Assistant(Template::rwkv_qa());
        let mut pair =
            BinidxWriter::create(&folder.path().join("d"), VOCAB_SIZE as usize).expect("a pair");
        for text in TEXTS {
            pair.push(&mask.encode(&tokenizer, text.as_bytes())).expect("a document");
        }
        pair.finish().expect("a pair");
        Documents { folder, tokenizer, mask }
    }

    fn loader(&self, dataload: Dataload) -> Loader<'_> {
        let options = LoaderOptions {
            ctx_len: CTX_LEN,
            dataload,
            walk: Walk::Random,
            overlong: Overlong::Error,
            mask: self.mask.clone(),
            muted: Muted::NONE,
            cuts: Cuts::NONE,
            mismatched: false,
            seed: 3,
        };
        let data = Binidx::open(&self.folder.path().join("d")).expect("a pair");
        Loader::new(data, &self.tokenizer, options, VOCAB_SIZE as usize, &[]).expect("a loader")
    }

    /// All samples of a pass, in batches of this size.
    fn batches(&self, dataload: Dataload, micro_bsz: u64) -> Vec<Batch> {
        let mut loader = self.loader(dataload);
        let samples = loader.samples_per_pass();
        let firsts = (0..samples).step_by(micro_bsz as usize);
        firsts
            .map(|first| loader.batch(first, micro_bsz.min(samples - first)).expect("a batch"))
            .collect()
    }
}

fn weights(version: Version) -> Weights {
    tch::manual_seed(1);
    Weights::from_fn(Shape::for_scratch(version, 2, 64, VOCAB_SIZE), |name, size| {
        let random = Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.1;
        match name.rsplit('.').next() {
            Some("weight") if name.contains("ln") => random + 1.0,
            Some("time_decay" | "w0") => random - 2.0,
            _ => random,
        }
    })
}

/// State tuning from a state without zeros.
fn state_tuning(version: Version, kind: Kind, op: Op, states: StateSpec) -> StateTuning {
    let method = StateTuning::start(Model::new(&weights(version), kind, op), states);
    tch::no_grad(|| {
        for mut parameter in method.parameters() {
            let _ = parameter.tensor.normal_(0.0, 0.2);
        }
    });
    method
}

/// Loss and gradients of one step over all batches.
fn step(method: &dyn Method, batches: &[Batch], grad_cp: bool) -> (f64, Vec<Tensor>) {
    let adam = AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };
    let options =
        StepOptions { head_chunk: 7, grad_cp, chunks: None, l2wrap: 0.0, gradient_clip_val: 0.0 };
    let mut trainer = Trainer::new(method, adam, None, options);
    let outcome = trainer.step(batches, 0, 0.0).expect("finite numbers");
    (outcome.loss, trainer.adam.gradients().iter().map(Tensor::copy).collect())
}

#[track_caller]
fn assert_same(found: &(f64, Vec<Tensor>), expected: &(f64, Vec<Tensor>), tolerance: f64) {
    let error = (found.0 / expected.0 - 1.0).abs();
    assert!(error <= tolerance, "the loss is off by {error:e}");
    for (x, reference) in found.1.iter().zip(&expected.1) {
        let error = relative_error(x, reference);
        assert!(error <= tolerance, "a gradient is off by {error:e}");
    }
}

#[test]
fn packed_documents_have_the_gradients_of_separate_ones() {
    let documents = Documents::new();
    let [packed, padded, alone] = [(Dataload::Pack, 2), (Dataload::Pad, 4), (Dataload::Only, 1)]
        .map(|(dataload, micro_bsz)| documents.batches(dataload, micro_bsz));
    assert_eq!(alone.len(), TEXTS.len());
    assert!(packed.iter().any(|batch| batch.restarts.is_some()), "documents share rows");
    assert!(padded.iter().chain(&alone).all(|batch| batch.restarts.is_none()));
    let positions = |batches: &[Batch]| batches.iter().map(|b| b.inputs.len()).sum::<usize>();
    assert!(positions(&packed) < positions(&padded), "less is padded");
    let targets = |batches: &[Batch]| batches.iter().map(|batch| batch.learned()).sum::<u64>();
    assert_eq!(targets(&packed), targets(&alone));

    for version in [Version::V5, Version::V6, Version::V7] {
        let wkv = || StateSpec::wkv(1.0);
        for (op, states) in [(Op::Cpu, wkv()), (Op::Cpu, both_parts()), (Op::Chunk, both_parts())] {
            let method = state_tuning(version, Kind::Float, op, states);
            let expected = step(&method, &alone, false);
            assert_same(&step(&method, &packed, false), &expected, 1e-5);
            assert_same(&step(&method, &packed, true), &expected, 1e-5);
            assert_same(&step(&method, &padded, false), &expected, 1e-5);
        }
    }
    let recipe = TuningSpec { adapter: None, parts: Parts::All, state_lr_scale: None };
    let compute = Compute { kind: Kind::Float, op: Op::Cpu, seed: 0, quant: None };
    let method =
        WeightTuning::start(&recipe, weights(Version::V7), compute).expect("finite weights");
    assert_same(&step(&method, &packed, false), &step(&method, &alone, false), 1e-5);
}

/// Sample by sample: the target positions of a document have the same loss in its row as alone.
#[test]
fn each_packed_document_has_its_loss_alone() {
    let documents = Documents::new();
    let method = state_tuning(Version::V7, Kind::Float, Op::Cpu, both_parts());
    let losses = |batches: Vec<Batch>| -> Vec<f64> {
        let mut losses: Vec<f64> =
            batches.iter().flat_map(|b| position_losses(&method, b)).collect();
        losses.sort_by(f64::total_cmp);
        losses
    };
    let packed = losses(documents.batches(Dataload::Pack, 1));
    let alone = losses(documents.batches(Dataload::Only, 1));
    assert_eq!(packed.len(), alone.len());
    for (packed, alone) in packed.iter().zip(&alone) {
        assert!((packed - alone).abs() <= 1e-5 * alone.abs(), "{packed} and {alone}");
    }
}

/// The loss of every target position.
fn position_losses(method: &StateTuning, batch: &Batch) -> Vec<f64> {
    let _guard = tch::no_grad_guard();
    let model = method.model();
    let batch = BatchTensors::new(batch, tch::Device::Cpu);
    let start = model.start(&method.time_state(), batch.inputs.size()[0]);
    let (hidden, _) =
        model.forward(&batch.inputs, &start, batch.restarts.as_ref()).expect("valid operands");
    let logits = model.logits(&hidden.at(&batch.target_positions));
    let losses =
        logits.cross_entropy_loss::<Tensor>(&batch.targets, None, tch::Reduction::None, -100, 0.0);
    Vec::try_from(losses).expect("a vector")
}

#[test]
fn the_validation_loss_does_not_depend_on_packing() {
    let documents = Documents::new();
    let method = state_tuning(Version::V7, Kind::Float, Op::Cpu, both_parts());
    let loss = |dataload, micro_bsz, chunk_ctx| {
        let options = LossOptions { head_chunk: 16, chunk_ctx };
        let mut loader = documents.loader(dataload);
        let (model, state) = (method.model(), method.time_state());
        let mut look = |_| ControlFlow::Continue(());
        let mut none = DocumentSums::of_first(0);
        let subject = Subject { model: &model, state: &state, objective: &CrossEntropy };
        let rounds = &mut Rounds::alone(&mut look);
        let found = mean_loss(subject, &mut loader, micro_bsz, options, &mut none, rounds);
        found.expect("finite").continue_value().flatten().expect("target tokens")
    };
    let alone = loss(Dataload::Only, 1, None);
    for (dataload, micro_bsz, chunk_ctx) in [
        (Dataload::Pack, 2, None),
        (Dataload::Pad, 3, None),
        (Dataload::Pack, 2, Some(16)),
        (Dataload::Pad, 3, Some(16)),
    ] {
        let found = loss(dataload, micro_bsz, chunk_ctx);
        assert!((found / alone - 1.0).abs() < 1e-6, "{found} and {alone}");
    }
}

/// Weights by name: a thread gets copies of its own.
type Named = Vec<(String, Tensor)>;

fn copies(weights: &Named) -> Named {
    weights.iter().map(|(name, x)| (name.clone(), x.copy())).collect()
}

/// The bits of the validation loss on a device, and of those of its documents, from a state of this size.
fn bits(
    devices: &dyn Devices,
    weights: &Named,
    (dataload, micro_bsz): (Dataload, u64),
    state: f64,
) -> (u64, Vec<u64>) {
    let documents = Documents::new();
    let known: HashMap<&str, &Tensor> = weights.iter().map(|(name, x)| (&**name, x)).collect();
    let shape = Shape::for_scratch(Version::V7, 2, 64, VOCAB_SIZE);
    let weights = Weights::from_fn(shape, |name, _| known[name].copy());
    let model = Model::new(&weights, Kind::Float, Op::Cpu);
    let wave = |x: &Tensor| {
        let numbers = x.numel() as i64;
        (Tensor::arange(numbers, (Kind::Float, Device::Cpu)) * 0.7).sin().view_as(x) * state
    };
    let state = TimeState::zeros(&shape, Kind::Float, Device::Cpu).map(wave);
    let subject = Subject { model: &model, state: &state, objective: &CrossEntropy };
    let options = LossOptions { head_chunk: 16, chunk_ctx: None };
    let mut sums = DocumentSums::of_first(TEXTS.len());
    let mut look = |_| ControlFlow::Continue(());
    let rounds = &mut Rounds::new(devices, &mut look);
    let mut loader = documents.loader(dataload);
    let found = mean_loss(subject, &mut loader, micro_bsz, options, &mut sums, rounds);
    let loss = found.expect("no device fails").continue_value().flatten().expect("target tokens");
    let means = sums.means().into_iter().map(|mean| mean.expect("target tokens").to_bits());
    (loss.to_bits(), means.collect())
}

#[test]
fn any_number_of_devices_gets_the_bits_of_the_validation_loss() {
    let weights: Named =
        weights(Version::V7).iter().map(|(name, x)| (name.to_string(), x.copy())).collect();
    for batches in [(Dataload::Pad, 2), (Dataload::Pack, 1), (Dataload::Only, 1)] {
        let one = bits(&Single, &weights, batches, 0.3);
        let on_devices = |states: &[f64]| {
            let works = states.iter().map(|&state| {
                let weights = copies(&weights);
                move |devices: &Threads| bits(devices, &weights, batches, state)
            });
            on_threads(works.collect())
        };
        for count in [2, 3] {
            let all = on_devices(&vec![0.3; count]);
            assert!(all.iter().all(|found| *found == one), "{batches:?} on {count} devices");
        }
        // A device with another state gives its part other numbers, so it has computed this part.
        let all = on_devices(&[0.3, 0.4]);
        assert!(all[0] == all[1] && all[0].0 != one.0, "{batches:?}");
        if batches.0 == Dataload::Only {
            let differ = all[0].1.iter().zip(&one.1).filter(|(one, other)| one != other).count();
            assert_eq!((TEXTS.len(), differ), (7, 3), "the second of each two documents");
        }
    }
}
