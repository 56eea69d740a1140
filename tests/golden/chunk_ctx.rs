//! Long rows in chunks with carried states: the loss and the gradients of whole rows.

use std::ops::ControlFlow;
use std::rc::Rc;

use statetune_core::arch::is_of_shift;
use statetune_core::data::Batch;
use statetune_engine::kernels::Op;
use statetune_engine::kernels::reference::relative_error;
use statetune_engine::model::{Model, Shape, TimeState, Version, Weights};
use statetune_engine::peft::{
    AdapterSpec, AnyMethod, Compute, Disha, Lora, Method, Parts, Pissa, TuningSpec, WeightTuning,
};
use statetune_engine::quant::{Format, quantise};
use statetune_engine::train::{
    BatchTensors, Chunks, CrossEntropy, Direction, LossOptions, Pass, Reading, StepModel,
    StepOptions, Subject, Teacher, batch_loss, trace,
};
use tch::{Device, Kind, Tensor};

use super::numerics::{
    OPTIONS, assert_close, batch, full_tuning, gradients, state_tuning, trainer, weights_of,
};

const VOCAB_SIZE: i64 = 61;
pub(super) const ALL_KEPT: u64 = u64::MAX;

/// What is trained: the initial states, and with `all` the weights too.
pub(super) struct Trained {
    pub(super) model: Model,
    pub(super) states: TimeState,
    pub(super) leaves: Vec<(String, Tensor)>,
}

impl Trained {
    pub(super) fn new(weights: &Weights, kind: Kind, op: Op, all: bool) -> Trained {
        let mut leaves = Vec::new();
        let shape = *weights.shape();
        let names: Vec<String> = weights.iter().map(|(name, _)| name.to_string()).collect();
        let mut copies = weights.share();
        for name in names {
            let leaf = weights.get(&name, kind).detach().copy().set_requires_grad(all);
            copies.set(&name, leaf.shallow_clone());
            leaves.push((name, leaf));
        }
        let zeros = TimeState::zeros(&shape, kind, Device::Cpu).with_shift(shape.n_embd);
        let states = zeros.map(|s| {
            let numbers = Tensor::arange(s.numel() as i64, (kind, Device::Cpu));
            (numbers * 1.7).sin().view_as(s) * 0.3
        });
        for (layer, name, s) in states.tensors() {
            let _ = s.set_requires_grad(is_of_shift(&name) || shape.has_time_mix(layer));
            leaves.push((name, s.shallow_clone()));
        }
        leaves.retain(|(_, leaf)| leaf.requires_grad());
        Trained { model: Model::new(&copies, kind, op), states, leaves }
    }

    /// Loss and gradients, with a weight for each row, and with a teacher, if any.
    pub(super) fn pass(
        &self,
        batch: &Batch,
        (of_rows, teacher): (Option<&[f64]>, Option<&Teacher>),
        options: &StepOptions,
    ) -> (f64, Vec<Tensor>) {
        let batch = &BatchTensors::new(batch, Device::Cpu);
        let start = &self.model.start(&self.states, batch.inputs.size()[0]);
        for (_, leaf) in &self.leaves {
            leaf.shallow_clone().zero_grad();
        }
        let model = StepModel::without_dropout(&self.model);
        let weights = of_rows.map(|of_rows| batch.weights(of_rows));
        let weights = weights.as_ref();
        let pass = Pass { model, start, batch, weights, teacher, options, scale: 0.125 };
        let loss = pass.backward().expect("sound operands").double_value(&[]);
        let gradient = |(name, leaf): &(String, Tensor)| {
            let gradient = leaf.grad();
            // The last channel mix sees its shift state at the first token alone, which may have no target.
            if is_of_shift(name) && !gradient.defined() {
                return leaf.detach().zeros_like();
            }
            let is_zero = gradient.any().int64_value(&[]) == 0;
            assert!(!is_zero || is_of_shift(name), "{name}");
            gradient.copy()
        };
        (loss, self.leaves.iter().map(gradient).collect())
    }

    #[track_caller]
    pub(super) fn assert_same(
        &self,
        what: &str,
        found: &(f64, Vec<Tensor>),
        expected: &(f64, Vec<Tensor>),
        tolerance: f64,
    ) {
        let error = (found.0 / expected.0 - 1.0).abs();
        assert!(error <= tolerance, "{what}: the loss is off by {error:e}");
        for ((name, _), (x, reference)) in self.leaves.iter().zip(found.1.iter().zip(&expected.1)) {
            if reference.any().int64_value(&[]) == 0 {
                assert_eq!(x, reference, "{what}: {name}");
                continue;
            }
            let error = relative_error(x, reference);
            assert!(error <= tolerance, "{what}: {name} is off by {error:e}");
        }
    }
}

pub(super) fn in_chunks(tokens: i64, room: u64) -> StepOptions {
    StepOptions { chunks: Some(Chunks { tokens, room }), ..OPTIONS }
}

pub(super) fn shape(version: Version) -> Shape {
    Shape::for_scratch(version, 3, 64, VOCAB_SIZE)
}

/// Rows of documents that begin at these places.
pub(super) fn packed(seed: i64, tokens: i64, rows: &[&[usize]]) -> Batch {
    let mut batch = batch(seed, VOCAB_SIZE, &vec![tokens; rows.len()]);
    let mut restarts = vec![false; batch.inputs.len()];
    for (row, starts) in rows.iter().enumerate() {
        starts.iter().for_each(|start| restarts[row * tokens as usize + start] = true);
    }
    batch.restarts = Some(restarts);
    batch
}

/// The batch without its targets before the token `first` of each row.
fn masked(mut batch: Batch, first: i64) -> Batch {
    let is_late = |at: &i64| at % batch.tokens as i64 >= first;
    let pairs = batch.learned_at.iter().copied().zip(batch.targets.iter().copied());
    (batch.learned_at, batch.targets) = pairs.filter(|(at, _)| is_late(at)).unzip();
    batch
}

/// Padded rows; rows of which only the end is learned; and documents that begin at, before and behind the borders of
/// chunks of 16 and of 13 tokens.
pub(super) fn batches() -> [(&'static str, Batch); 4] {
    [
        ("padded", batch(51, VOCAB_SIZE, &[70, 41, 9])),
        ("masked", masked(batch(55, VOCAB_SIZE, &[70, 66]), 50)),
        ("packed", packed(52, 70, &[&[0, 16, 33], &[15, 17, 48, 52], &[]])),
        ("one row", packed(53, 53, &[&[0, 12, 13, 14, 26, 52]])),
    ]
}

#[test]
fn gradients_are_those_of_whole_rows() {
    for version in Version::ALL {
        let weights = weights_of(shape(version));
        for (kind, tolerance) in [(Kind::Double, 1e-12), (Kind::Float, 1e-5)] {
            for all in [false, true] {
                let trained = Trained::new(&weights, kind, Op::Cpu, all);
                for (name, batch) in &batches() {
                    let whole = trained.pass(batch, (None, None), &OPTIONS);
                    for (tokens, grad_cp) in [(16, false), (16, true), (13, false), (13, true)] {
                        let options = StepOptions { grad_cp, ..in_chunks(tokens, ALL_KEPT) };
                        let found = trained.pass(batch, (None, None), &options);
                        let what = format!(
                            "{version} {kind:?} {name}, chunks of {tokens}, grad_cp {grad_cp}, all {all}"
                        );
                        trained.assert_same(&what, &found, &whole, tolerance);
                    }
                }
            }
        }
    }
}

#[test]
fn every_op_and_option_carries_gradients() {
    let options = [
        (Shape { pre_ffn: true, ..shape(Version::V5) }, Op::Cpu),
        (Shape { head_qk: 16, ..shape(Version::V6) }, Op::Cpu),
        (shape(Version::V5), Op::Chunk),
        (shape(Version::V6), Op::Chunk),
        (shape(Version::V7), Op::Chunk),
        (shape(Version::V7), Op::Reference),
    ];
    for (shape, op) in options {
        let weights = weights_of(shape);
        for all in [false, true] {
            let trained = Trained::new(&weights, Kind::Double, op, all);
            for (name, batch) in &batches() {
                let whole = trained.pass(batch, (None, None), &OPTIONS);
                for grad_cp in [false, true] {
                    let options = StepOptions { grad_cp, ..in_chunks(16, 0) };
                    let found = trained.pass(batch, (None, None), &options);
                    let what = format!("{} {op:?} {name} all {all}", shape.version());
                    trained.assert_same(&what, &found, &whole, 1e-12);
                }
            }
        }
    }
}

/// States between chunks that are kept, and those that are computed again, are the same.
#[test]
fn thinned_states_change_no_bit() {
    for (version, kind) in [
        (Version::V5, Kind::Float),
        (Version::V6, Kind::BFloat16),
        (Version::V7, Kind::Float),
        (Version::V7, Kind::BFloat16),
    ] {
        let weights = weights_of(shape(version));
        let methods: [&dyn Method; 2] =
            [&state_tuning(&weights, kind), &full_tuning(&weights, kind)];
        for (method, (name, batch)) in methods.into_iter().zip(batches()).cycle().take(6) {
            let batches = std::slice::from_ref(&batch);
            for grad_cp in [false, true] {
                let of = |room| {
                    let options = StepOptions { grad_cp, ..in_chunks(5, room) };
                    gradients(method, kind, options, batches)
                };
                let (kept, thinned) = (of(ALL_KEPT), of(0));
                assert_eq!(kept.0, thinned.0, "{version} {kind:?} {name}");
                let mut pairs = kept.1.iter().zip(&thinned.1);
                assert!(pairs.all(|(x, y)| x.equal(y)), "{version} {kind:?} {name}");
            }
        }
    }
}

#[test]
fn rows_of_one_chunk_are_computed_as_ever() {
    let weights = weights_of(shape(Version::V7));
    let method = full_tuning(&weights, Kind::Float);
    for (_, batch) in batches() {
        let batches = std::slice::from_ref(&batch);
        let whole = gradients(&method, Kind::Float, OPTIONS, batches);
        let options = in_chunks(batch.tokens as i64, ALL_KEPT);
        assert_eq!(gradients(&method, Kind::Float, options, batches), whole);
    }
}

#[test]
fn adapters_have_the_gradients_of_whole_rows() {
    let lora = || Lora { rank: 8, alpha: 16.0, ..Lora::default() };
    let methods = [
        (AnyMethod::Lora(lora()), None),
        (AnyMethod::Lora(lora()), Some(Format::Nf4 { double: false })),
        (AnyMethod::Lora(lora()), Some(Format::Int8)),
        (AnyMethod::Pissa(Pissa { rank: 8, ..Pissa::default() }), None),
        (AnyMethod::Disha(Disha { rank: 16, ..Disha::default() }), None),
    ];
    for (method, quant) in methods {
        let recipe = TuningSpec {
            adapter: Some(AdapterSpec { method, targets: None }),
            parts: Parts::Groups(Vec::new()),
            state_lr_scale: Some(1.0),
        };
        let mut weights = weights_of(shape(Version::V7));
        if let Some(format) = quant {
            quantise(&mut weights, format, |_| false).expect("finite weights");
        }
        let compute = Compute { kind: Kind::Float, op: Op::Cpu, seed: 1, quant: None };
        let tuning = WeightTuning::start(&recipe, weights, compute).expect("finite weights");
        // Updates that are not zero, whose other half would have no gradient.
        tch::no_grad(|| {
            for parameter in tuning.parameters() {
                let numbers = parameter.tensor.numel() as i64;
                let wave = Tensor::arange(numbers, (Kind::Float, Device::Cpu)).sin() * 0.1;
                let _ = parameter.tensor.shallow_clone().g_add_(&wave.view_as(&parameter.tensor));
            }
        });
        for (_, batch) in batches() {
            let batches = std::slice::from_ref(&batch);
            let (loss, whole) = gradients(&tuning, Kind::Float, OPTIONS, batches);
            let (same, found) = gradients(&tuning, Kind::Float, in_chunks(16, 0), batches);
            assert!((same / loss - 1.0).abs() < 1e-6, "{same} {loss}");
            assert_close(&found, &whole, 1e-5);
        }
    }
}

#[test]
fn weights_of_targets_stay_with_their_targets() {
    let trained = Trained::new(&weights_of(shape(Version::V7)), Kind::Float, Op::Cpu, true);
    for (name, batch) in &batches() {
        let of_rows: Vec<f64> = (1..=batch.rows).map(|row| 0.3 * row as f64).collect();
        let whole = trained.pass(batch, (Some(&of_rows), None), &OPTIONS);
        let found = trained.pass(batch, (Some(&of_rows), None), &in_chunks(16, ALL_KEPT));
        trained.assert_same(name, &found, &whole, 1e-5);
    }
}

#[test]
fn losses_without_gradients_are_those_of_whole_rows() {
    for version in Version::ALL {
        let method = state_tuning(&weights_of(shape(version)), Kind::Float);
        let (model, states): (Rc<Model>, TimeState) = (method.model(), method.time_state());
        for (name, batch) in &batches() {
            let subject = Subject { model: &model, state: &states, objective: &CrossEntropy };
            let loss = |chunk_ctx| {
                let options = LossOptions { head_chunk: 7, chunk_ctx };
                batch_loss(subject, batch, options).expect("sound operands")
            };
            let (whole, found) = (loss(None), loss(Some(13)));
            assert!((found / whole - 1.0).abs() < 1e-6, "{version} {name}: {found} {whole}");
        }
    }
}

/// Every value of every chunk is seen once in each direction, and the gradients stay the same.
#[test]
fn a_traced_step_names_the_tokens() {
    let method = full_tuning(&weights_of(shape(Version::V7)), Kind::Float);
    let batches = [packed(54, 40, &[&[], &[16, 20]])];
    let mut trainer = trainer(&method, Kind::Float, in_chunks(16, 0));
    let mut seen: Vec<Reading> = Vec::new();
    trace(&trainer, &batches, 0, &mut |reading| {
        seen.push(reading);
        ControlFlow::Continue(())
    })
    .expect("a sound step");
    let traced: Vec<Tensor> = trainer.adam.gradients().iter().map(Tensor::copy).collect();
    trainer.step(&batches, 0, 0.0).expect("finite numbers");
    assert_close(&traced, &trainer.adam.gradients(), 1e-5);
    let places = |direction| -> Vec<&str> {
        let here = seen.iter().filter(|one| one.direction == direction);
        here.map(|one| one.place.as_str())
            .filter(|place| place.starts_with("blocks.1.ffn"))
            .collect()
    };
    let forward = [
        "blocks.1.ffn, tokens 0..16",
        "blocks.1.ffn, tokens 16..32",
        "blocks.1.ffn, tokens 32..40",
        "blocks.1.ffn, tokens 0..16",
        "blocks.1.ffn, tokens 16..32",
        "blocks.1.ffn, tokens 32..40",
    ];
    assert_eq!(places(Direction::Forward), forward);
    let backward: Vec<&str> = forward[..3].iter().rev().cycle().take(6).copied().collect();
    let found = places(Direction::Backward);
    assert_eq!(found[..6], backward);
}
