//! Loss, gradients and steps: every way of computing the same thing gives the same numbers.

use std::process::Command;

use statetune_core::data::Batch;
use statetune_core::plan::Sharing;
use statetune_engine::kernels::Op;
use statetune_engine::kernels::reference::relative_error;
use statetune_engine::model::dtype_of;
use statetune_engine::model::{Copies, Hidden, Model, Shape, Version, Weights};
use statetune_engine::optim::AdamOptions;
use statetune_engine::peft::{
    Compute, Method, Parts, StatePart, StateSpec, StateTuning, TuningSpec, WeightTuning,
};
use statetune_engine::train::BatchTensors;
use statetune_engine::train::{
    Devices, HeadLoss, LossScaler, NonFiniteValue, Single, StepOptions, TrainError, Trainer,
    head_loss,
};
use tch::{Device, Kind, Reduction, Tensor};

pub(super) const OPTIONS: StepOptions = StepOptions {
    head_chunk: 7,
    grad_cp: false,
    chunks: None,
    l2wrap: 0.0,
    gradient_clip_val: 0.0,
};
const OP: Op = Op::Cpu;
const ADAM: AdamOptions = AdamOptions { beta1: 0.9, beta2: 0.99, eps: 1e-8, weight_decay: 0.0 };

/// An RWKV-7 model of random weights.
fn weights(n_layer: i64, vocab_size: i64) -> Weights {
    weights_of(Shape::for_scratch(Version::V7, n_layer, 128, vocab_size))
}

/// Random weights without zeros, so that everything has a gradient. Norms and decays are near those of trained models.
pub(super) fn weights_of(shape: Shape) -> Weights {
    tch::manual_seed(1);
    Weights::from_fn(shape, |name, size| {
        let random = Tensor::randn(size, (Kind::Float, Device::Cpu)) * 0.1;
        match name.rsplit('.').next() {
            Some("weight") if name.contains("ln") => random + 1.0,
            Some("time_decay" | "w0") => random - 2.0,
            _ => random,
        }
    })
}

/// State tuning from a state without zeros.
pub(super) fn state_tuning(weights: &Weights, kind: Kind) -> StateTuning {
    let method = StateTuning::new(Model::new(weights, kind, OP));
    tch::manual_seed(2);
    tch::no_grad(|| {
        for mut parameter in method.parameters() {
            let _ = parameter.tensor.normal_(0.0, 0.2);
        }
    });
    method
}

/// The WKV states and the shift states of all layers.
pub(super) fn both_parts() -> StateSpec {
    StateSpec { parts: vec![StatePart::Wkv, StatePart::Shift], ..StateSpec::wkv(1.0) }
}

/// All weights are trained.
pub(super) fn full_tuning(weights: &Weights, kind: Kind) -> WeightTuning {
    let recipe = TuningSpec { adapter: None, parts: Parts::All, state_lr_scale: None };
    let compute = Compute { kind, op: OP, seed: 0, quant: None };
    WeightTuning::start(&recipe, weights.share(), compute).expect("finite weights")
}

pub(super) fn trainer(method: &dyn Method, kind: Kind, options: StepOptions) -> Trainer<'_> {
    trainer_on(method, kind, options, (&Single, Sharing::Ddp))
}

pub(super) fn trainer_on<'a>(
    method: &'a dyn Method,
    kind: Kind,
    options: StepOptions,
    on: (&'a dyn Devices, Sharing),
) -> Trainer<'a> {
    Trainer::shared(method, ADAM, LossScaler::for_dtype(dtype_of(kind)), options, on)
}

/// Rows of these lengths, padded to the longest, with a target at every third position.
pub(super) fn batch(seed: i64, vocab_size: i64, lengths: &[i64]) -> Batch {
    tch::manual_seed(seed);
    let rows: Vec<Tensor> = lengths
        .iter()
        .map(|&len| Tensor::randint(vocab_size, [len + 1], (Kind::Int64, Device::Cpu)))
        .collect();
    batch_of(&rows)
}

fn batch_of(rows: &[Tensor]) -> Batch {
    let t = rows.iter().map(|row| row.size()[0] - 1).max().expect("at least one row");
    let (mut inputs, mut target_positions, mut targets) = (Vec::new(), Vec::new(), Vec::new());
    for (i, row) in rows.iter().enumerate() {
        let len = row.size()[0] - 1;
        let row_inputs = row.narrow(0, 0, len).constant_pad_nd([0, t - len]);
        inputs.extend(Vec::<i64>::try_from(row_inputs).expect("one axis"));
        for at in (0..len).filter(|at| at % 3 == 0) {
            target_positions.push(i as i64 * t + at);
            targets.push(row.int64_value(&[at + 1]));
        }
    }
    Batch {
        documents: Vec::new(),
        answers: None,
        rows: rows.len(),
        tokens: t as usize,
        inputs,
        restarts: None,
        learned_at: target_positions,
        targets,
    }
}

/// Loss and gradients of one step that changes nothing.
pub(super) fn gradients(
    method: &dyn Method,
    kind: Kind,
    options: StepOptions,
    batches: &[Batch],
) -> (f64, Vec<Tensor>) {
    let mut trainer = trainer(method, kind, options);
    let outcome = trainer.step(batches, 0, 0.0).expect("finite numbers");
    assert!(!outcome.skipped);
    (outcome.loss, trainer.adam.gradients().iter().map(Tensor::copy).collect())
}

#[track_caller]
pub(super) fn assert_close(found: &[Tensor], expected: &[Tensor], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (x, reference)) in found.iter().zip(expected).enumerate() {
        let error = relative_error(x, reference);
        assert!(error <= tolerance, "tensor {i} is off by {error:e}, allowed {tolerance:e}");
    }
}

/// A model with trainable weights that computes in `kind`, hidden states of 150 positions that may copy tokens, and
/// their targets.
pub(super) fn head_case(kind: Kind) -> (Model, Hidden, Tensor) {
    let shape = Shape::for_scratch(Version::V6, 1, 64, 1000);
    let weights = weights_of(shape);
    let weights = Weights::from_fn(shape, |name, _| {
        weights.get(name, kind).detach().copy().set_requires_grad(true)
    });
    let options = (Kind::Double, Device::Cpu);
    let learning =
        |size: &[i64]| Tensor::randn(size, options).to_kind(kind).set_requires_grad(true);
    let ids = Tensor::randint(1000, [150, 9], (Kind::Int64, Device::Cpu));
    let hidden = Hidden {
        x: learning(&[150, 64]),
        copies: Some(Copies { scores: learning(&[150, 9]), ids }),
    };
    let targets = Tensor::randint(1000, [150], (Kind::Int64, Device::Cpu));
    (Model::new(&weights, kind, OP), hidden, targets)
}

/// The same in the plain form, by libtorch's autograd: loss, and the gradients of hidden states, scores and head.
fn plain(model: &Model, hidden: &Hidden, targets: &Tensor, l2wrap: f64, scale: f64) -> [Tensor; 4] {
    let logits = model.logits(hidden);
    let logits = if logits.kind() == Kind::BFloat16 { logits.to_kind(Kind::Float) } else { logits };
    let sum = logits.cross_entropy_loss::<Tensor>(targets, None, Reduction::Sum, -100, 0.0);
    let pull = logits.max_dim(-1, false).0.square().sum(None::<Kind>) * (l2wrap / 2.0);
    let total = (&sum + pull) * scale;
    let scores = &hidden.copies.as_ref().expect("copies").scores;
    let found = Tensor::run_backward(&[total], &[&hidden.x, scores, model.head()], false, false);
    let [d_hidden, d_scores, d_head] = found.try_into().expect("three gradients");
    [sum.detach(), d_hidden, d_scores, d_head]
}

#[test]
fn head_loss_equals_the_plain_form_for_every_chunk_size() {
    for (kind, tolerance) in [(Kind::Double, 1e-13), (Kind::Float, 5e-6), (Kind::BFloat16, 2e-2)] {
        let (model, hidden, targets) = head_case(kind);
        for l2wrap in [0.0, 0.05] {
            let expected = plain(&model, &hidden, &targets, l2wrap, 0.125);
            for head_chunk in [1, 7, 64, 150, 4096] {
                let options = StepOptions { head_chunk, l2wrap, ..OPTIONS };
                let HeadLoss { sum, d_hidden, d_scores, d_head } =
                    head_loss(&model, &hidden, &targets, None, &options, 0.125).expect("a kernel");
                assert_eq!(d_hidden.kind(), kind);
                let (d_scores, d_head) = (d_scores.expect("copies"), d_head.expect("it learns"));
                let found = [sum, d_hidden, d_scores, d_head];
                assert_close(&found, &expected, tolerance);
            }
        }
    }
}

#[test]
fn head_loss_skips_frozen_and_missing_parts() {
    let (model, hidden, targets) = head_case(Kind::Float);
    let full = head_loss(&model, &hidden, &targets, None, &OPTIONS, 1.0).expect("a kernel");
    assert!(full.d_scores.is_some() && full.d_head.is_some());
    let frozen = Model::new(&weights_of(*model.shape()), Kind::Float, OP);
    let hidden = Hidden { x: hidden.x, copies: None };
    let less = head_loss(&frozen, &hidden, &targets, None, &OPTIONS, 1.0).expect("a kernel");
    assert!(less.d_scores.is_none() && less.d_head.is_none());
}

#[test]
fn l2wrap_changes_gradients_and_not_the_loss() {
    let weights = weights(2, 61);
    let method = state_tuning(&weights, Kind::Float);
    let batches = [batch(4, 61, &[9, 14]), batch(5, 61, &[20])];
    let pulled = |l2wrap, batches| {
        gradients(&method, Kind::Float, StepOptions { l2wrap, ..OPTIONS }, batches)
    };
    let (loss, without) = pulled(0.0, &batches);
    let (same_loss, with) = pulled(0.5, &batches);
    assert_eq!(loss, same_loss);
    // Accumulation: as if all target positions of the step were one batch, in one autograd graph.
    let targets: u64 = batches.iter().map(|batch| batch.learned()).sum();
    let model = method.model();
    let pull = batches.iter().map(|batch| {
        let batch = BatchTensors::new(batch, Device::Cpu);
        let start = model.start(&method.time_state(), batch.inputs.size()[0]);
        let (hidden, _) = model.forward(&batch.inputs, &start, None).expect("a sound batch");
        model
            .logits(&hidden.at(&batch.target_positions))
            .amax([-1], false)
            .square()
            .sum(Kind::Float)
    });
    let pull = pull.reduce(|a, b| a + b).expect("two batches") * (0.25 / targets as f64);
    let states = method.time_state().wkv;
    let expected: Vec<Tensor> = Tensor::run_backward(&[pull], &states, false, false)
        .iter()
        .zip(&without)
        .map(|(pull, g)| pull + g)
        .collect();
    assert_close(&with, &expected, 5e-6);
}

#[test]
fn grad_cp_changes_no_bit() {
    let shape = |version| Shape::for_scratch(version, 3, 128, 61);
    let batches = [batch(6, 61, &[17, 30]), batch(7, 61, &[12])];
    for (shape, kind) in [
        (Shape { pre_ffn: true, ..shape(Version::V5) }, Kind::Float),
        (Shape { head_qk: 16, ..shape(Version::V6) }, Kind::Float),
        (shape(Version::V7), Kind::Float),
        (shape(Version::V7), Kind::BFloat16),
    ] {
        let weights = weights_of(shape);
        let methods: [Box<dyn Method>; 2] =
            [Box::new(state_tuning(&weights, kind)), Box::new(full_tuning(&weights, kind))];
        for method in methods {
            let (kept_loss, kept) = gradients(method.as_ref(), kind, OPTIONS, &batches);
            let again = StepOptions { grad_cp: true, ..OPTIONS };
            let (loss, found) = gradients(method.as_ref(), kind, again, &batches);
            assert_eq!(loss, kept_loss);
            for (parameter, (x, y)) in method.parameters().iter().zip(found.iter().zip(&kept)) {
                let what = format!("{} in {kind:?}: {}", shape.version(), parameter.name);
                assert_eq!(x.kind(), Kind::Float, "{what}");
                assert!(y.any().int64_value(&[]) == 1, "{what} has no gradient");
                assert!(x.equal(y), "{what} differs");
            }
        }
    }
}

#[test]
fn twenty_steps_with_grad_cp_are_the_same() {
    let weights = weights(2, 61);
    let batches = [batch(8, 61, &[24, 20])];
    let losses = |grad_cp| -> Vec<f64> {
        let method = state_tuning(&weights, Kind::Float);
        let options = StepOptions { grad_cp, gradient_clip_val: 1.0, ..OPTIONS };
        let mut trainer = trainer(&method, Kind::Float, options);
        (0..20).map(|step| trainer.step(&batches, step, 0.05).expect("finite").loss).collect()
    };
    let kept = losses(false);
    assert_eq!(losses(true), kept);
    assert!(kept[19] < kept[0] - 0.1, "{kept:?}");
}

#[test]
fn four_samples_at_once_accumulated_or_packed_are_the_same() {
    let options = (Kind::Int64, Device::Cpu);
    let lengths = [5, 21, 1, 13];
    for version in Version::ALL {
        let weights = weights_of(Shape::for_scratch(version, 2, 128, 61));
        let rows = lengths.map(|len| Tensor::randint(61, [len + 1], options));
        let at_once = [batch_of(&rows)];
        let accumulated: Vec<Batch> =
            rows.iter().map(|row| batch_of(std::slice::from_ref(row))).collect();
        let tensors: Vec<BatchTensors> =
            accumulated.iter().map(|batch| BatchTensors::new(batch, Device::Cpu)).collect();
        let method = state_tuning(&weights, Kind::Float);
        let (loss, together) = gradients(&method, Kind::Float, OPTIONS, &at_once);
        let (same_loss, one_by_one) = gradients(&method, Kind::Float, OPTIONS, &accumulated);
        assert!((same_loss / loss - 1.0).abs() < 1e-6, "{same_loss} {loss}");
        assert_close(&one_by_one, &together, 4e-6);

        // One row with all four, in which the state restarts four times.
        let inputs: Vec<&Tensor> = tensors.iter().map(|batch| &batch.inputs).collect();
        let inputs = Tensor::cat(&inputs, 1);
        let restarts = inputs.zeros_like().to_kind(Kind::Bool);
        let (mut first, mut positions) = (0, Vec::new());
        for (batch, len) in tensors.iter().zip(lengths) {
            let _ = restarts.narrow(1, first, 1).fill_(1);
            positions.push(&batch.target_positions + first);
            first += len;
        }
        let model = method.model();
        let start = model.start(&method.time_state(), 1);
        let (hidden, _) = model.forward(&inputs, &start, Some(&restarts)).expect("sound inputs");
        let logits = model.logits(&hidden.at(&Tensor::cat(&positions, 0)));
        let targets: Vec<&Tensor> = tensors.iter().map(|batch| &batch.targets).collect();
        let packed_loss = logits.cross_entropy_for_logits(&Tensor::cat(&targets, 0));
        let same_loss = packed_loss.double_value(&[]);
        assert!((same_loss / loss - 1.0).abs() < 1e-6, "{same_loss} {loss}");
        let states = method.time_state().wkv;
        let packed = Tensor::run_backward(&[packed_loss], &states, false, false);
        assert_close(&packed, &together, 4e-6);
    }
}

#[test]
fn low_precision_gradients_are_near_those_of_float32() {
    let batches = [batch(10, 61, &[40, 25])];
    for version in Version::ALL {
        let weights = weights_of(Shape::for_scratch(version, 2, 128, 61));
        let of = |kind| gradients(&state_tuning(&weights, kind), kind, OPTIONS, &batches);
        let (loss, exact) = of(Kind::Float);
        for (kind, tolerance) in [(Kind::BFloat16, 1e-1), (Kind::Half, 1e-2)] {
            let (near_loss, near) = of(kind);
            let error = (near_loss / loss - 1.0).abs();
            assert!(error < tolerance / 10.0, "{version}, {kind:?}: {near_loss} {loss}");
            assert_close(&near, &exact, tolerance);
        }
    }
}

#[test]
fn a_step_that_overflows_float16_is_skipped_and_halves_the_scale() {
    let weights = weights(1, 4096);
    let method = state_tuning(&weights, Kind::Half);
    let mut trainer = trainer(&method, Kind::Half, OPTIONS);
    let mut batches = [batch(11, 4096, &[3])];
    // The only target token is the least likely one: the gradient of its logit is nearly -1, and
    // -65536 is beyond float16.
    let model = method.model();
    let start = model.start(&method.time_state(), 1);
    let tensors = BatchTensors::new(&batches[0], Device::Cpu);
    let (hidden, _) = model.forward(&tensors.inputs, &start, None).expect("a sound batch");
    let least = model.logits(&hidden.at(&tensors.target_positions)).argmin(-1, false);
    batches[0].targets = Vec::try_from(least).expect("one axis");
    let before = method.time_state().wkv[0].copy();
    let first = trainer.step(&batches, 0, 0.1).expect("an overflow is not an error");
    assert!(first.skipped && !first.grad_norm.is_finite() && first.loss.is_finite());
    assert_eq!(trainer.scaler.expect("float16 is scaled").scale(), 32768.0);
    assert!(method.time_state().wkv[0].equal(&before));
    let second = trainer.step(&batches, 1, 0.1).expect("finite numbers");
    assert!(!second.skipped && second.grad_norm.is_finite());
    assert_eq!(trainer.scaler.expect("float16 is scaled").scale(), 32768.0);
    assert!(!method.time_state().wkv[0].equal(&before));
}

#[test]
fn gradients_that_overflow_at_every_scale_end_the_run() {
    let weights = weights(1, 61);
    let method = state_tuning(&weights, Kind::Half);
    let options = StepOptions { l2wrap: 1e9, ..OPTIONS };
    let mut trainer = trainer(&method, Kind::Half, options);
    let batches = [batch(12, 61, &[9])];
    for step in 0..16 {
        assert!(trainer.step(&batches, step, 0.1).expect("a smaller scale is left").skipped);
    }
    let error = trainer.step(&batches, 16, 0.1).expect_err("no smaller scale is left");
    assert!(matches!(error, TrainError::LossScale { step: 16 }), "{error}");
}

#[test]
fn a_step_that_is_not_finite_changes_nothing() {
    let weights = weights(1, 61);
    let batches = [batch(13, 61, &[9])];
    let method = state_tuning(&weights, Kind::Float);
    let before = method.time_state().wkv[0].copy();
    let mut trainer = trainer(&method, Kind::Float, StepOptions { l2wrap: 1e39, ..OPTIONS });
    let outcome = trainer.step(&batches, 3, 0.1).expect("gradients overflow");
    assert_eq!((outcome.fault, outcome.skipped), (Some(NonFiniteValue::Gradients), true));
    assert!(method.time_state().wkv[0].equal(&before));
    let _ = tch::no_grad(|| method.time_state().wkv[0].fill_(f64::NAN));
    let outcome = trainer.step(&batches, 4, 0.1).expect("a NaN loss is not an error");
    assert_eq!(
        (outcome.fault, outcome.skipped),
        (Some(NonFiniteValue::Loss { micro_batch: 0 }), true)
    );
}

/// Set in the child process of the next test: whether it uses `grad_cp`.
const GRAD_CP: &str = "STATETUNE_TEST_GRAD_CP";

#[test]
fn grad_cp_saves_memory() {
    if !cfg!(target_os = "linux") {
        println!("skipped: the peak of a process is read from /proc");
        return;
    }
    // A peak belongs to a process, so each case has its own.
    let peak = |grad_cp: &str| -> f64 {
        let program = std::env::current_exe().expect("a test has a file");
        let child = Command::new(program)
            .args(["--exact", "numerics::peak_of_a_step", "--ignored", "--nocapture"])
            .env(GRAD_CP, grad_cp)
            // Freed tensors return to the system at once, so that the peak counts live tensors.
            .env("MALLOC_MMAP_THRESHOLD_", "32768")
            .output()
            .expect("the test binary can start itself");
        let text = String::from_utf8_lossy(&child.stdout).into_owned();
        let peak = text.lines().find_map(|line| line.split("peak_mib ").nth(1)?.parse().ok());
        peak.unwrap_or_else(|| panic!("no peak in {text}"))
    };
    let (kept, again) = (peak("no"), peak("yes"));
    println!("a step needs {kept:.0} MiB, and {again:.0} MiB with blocks computed again");
    assert!(again < kept / 3.0, "{again} MiB of {kept} MiB");
}

#[test]
#[ignore = "runs in the child process of another test"]
fn peak_of_a_step() {
    let grad_cp = std::env::var(GRAD_CP).is_ok_and(|value| value == "yes");
    let weights = weights(12, 61);
    let method = state_tuning(&weights, Kind::Float);
    let mut trainer = trainer(&method, Kind::Float, StepOptions { grad_cp, ..OPTIONS });
    let mib = |field: &str| -> f64 {
        let status = std::fs::read_to_string("/proc/self/status").expect("linux has it");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("the field");
        line.trim_start_matches(':').trim().trim_end_matches(" kB").parse::<f64>().expect("kB")
            / 1024.0
    };
    trainer.step(&[batch(14, 61, &[16])], 0, 0.1).expect("finite numbers");
    // Reset the peak.
    std::fs::write("/proc/self/clear_refs", "5").expect("a process may do this to itself");
    let before = mib("VmRSS");
    trainer.step(&[batch(15, 61, &[128, 128])], 1, 0.1).expect("finite numbers");
    println!("peak_mib {}", mib("VmHWM") - before);
}
