//! Dropout of LoRA: only in training, determined by the seed and the number of the micro-step.
//!
//! libtorch has one generator for all threads, so these tests run alone in a process: this test binary with a
//! variable in its environment.

use std::env;
use std::process::Command;

use statetune_engine::kernels::reference::relative_error;
use statetune_engine::model::{Hidden, Version};
use statetune_engine::peft::{
    AnyMethod, Compute, Lora, Method as _, TuningSpec, WeightTuning, merged,
};
use statetune_engine::train::{BatchTensors, Chunks, StepOptions};
use tch::{Device, Kind, Tensor};

use super::peft::{
    LR, adapter, batch, compute, logits_of, lora, shape, start, train, trained, trainer, weights,
};

/// Set in a process that runs only these tests.
const ALONE: &str = "STATETUNE_TEST_DROPOUT";

#[test]
fn in_a_process_of_its_own() {
    let child = Command::new(env::current_exe().expect("the path of this program"))
        .args(["--ignored", "--test-threads=1", "dropout::"])
        .env(ALONE, "1")
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && told.contains("4 passed"), "{told}");
}

/// LoRA with this dropout.
fn recipe(dropout: f64) -> TuningSpec {
    TuningSpec {
        adapter: adapter(AnyMethod::Lora(Lora { dropout, ..lora() })),
        ..TuningSpec::nothing()
    }
}

/// A tuning whose updates are not zero: dropout does not change a zero update.
fn tuning(dropout: f64, seed: u64) -> WeightTuning {
    let tuning = start(
        &recipe(dropout),
        &weights(shape(Version::V7)),
        Compute { seed, ..compute(Kind::Float) },
    );
    tch::no_grad(|| {
        for parameter in tuning.parameters().iter().filter(|p| p.name.ends_with("lora_B")) {
            let numbers =
                Tensor::arange(parameter.tensor.numel() as i64, (Kind::Float, Device::Cpu));
            parameter
                .tensor
                .shallow_clone()
                .copy_(&(numbers.sin() * 0.3).view_as(&parameter.tensor));
        }
    });
    tuning
}

/// Loss and gradients of one step.
fn step(tuning: &WeightTuning, step: u64) -> (f64, Vec<Tensor>) {
    let mut trainer = trainer(tuning, Kind::Float);
    let loss = trainer.step(&[batch()], step, 0.0).expect("finite numbers").loss;
    (loss, trainer.adam.gradients().iter().map(Tensor::copy).collect())
}

#[test]
#[ignore = "run by `in_a_process_of_its_own`"]
fn seed_and_step_determine_dropout() {
    if env::var_os(ALONE).is_none() {
        return;
    }
    let (plain, plain_gradients) = step(&tuning(0.0, 3), 0);
    let (loss, gradients) = step(&tuning(0.3, 3), 0);
    assert!((loss - plain).abs() > 1e-3, "{loss} {plain}");
    let mut pairs = gradients.iter().zip(&plain_gradients);
    assert!(pairs.all(|(x, y)| relative_error(x, y) > 1e-2));
    // The same seed and step give the same bits; another step or seed gives others.
    assert_eq!(step(&tuning(0.3, 3), 0), (loss, gradients));
    assert_ne!(step(&tuning(0.3, 3), 1).0, loss);
    assert_ne!(step(&tuning(0.3, 4), 0).0, loss);
}

/// Every chunk of a row drops inputs of its own, and the same ones when it is computed again.
#[test]
#[ignore = "run by `in_a_process_of_its_own`"]
fn chunks_drop_inputs_of_their_own() {
    if env::var_os(ALONE).is_none() {
        return;
    }
    let tuning = tuning(0.3, 3);
    let of = |chunks, grad_cp| {
        let mut trainer = trainer(&tuning, Kind::Float);
        trainer.options = StepOptions { chunks, grad_cp, ..trainer.options };
        let loss = trainer.step(&[batch()], 0, 0.0).expect("finite numbers").loss;
        (loss, trainer.adam.gradients().iter().map(Tensor::copy).collect::<Vec<_>>())
    };
    let chunks = |room| Some(Chunks { tokens: 3, room });
    let kept = of(chunks(u64::MAX), false);
    assert_eq!(of(chunks(0), false), kept);
    assert_eq!(of(chunks(u64::MAX), true), kept);
    assert_ne!(of(None, false).0, kept.0);

    // With the same inputs dropped in every chunk, the loss would be another one.
    let batch = BatchTensors::new(&batch(), Device::Cpu);
    let repeated = tuning.training_model(0);
    let start = repeated.start(&tuning.time_state(), batch.inputs.size()[0]);
    let (_guard, mut state, mut hidden) = (tch::no_grad_guard(), start, Vec::new());
    for part in batch.inputs.split(3, 1) {
        let (x, after) = repeated.forward(&part, &state, None).expect("sound operands");
        hidden.push(x.x);
        state = after;
    }
    let hidden = Hidden { x: Tensor::cat(&hidden, 1), copies: None };
    let logits = repeated.logits(&hidden.at(&batch.target_positions));
    let same = logits.cross_entropy_for_logits(&batch.targets).double_value(&[]);
    assert!((same / kept.0 - 1.0).abs() > 1e-4, "{same} {}", kept.0);
}

#[test]
#[ignore = "run by `in_a_process_of_its_own`"]
fn dropout_only_applies_in_training() {
    if env::var_os(ALONE).is_none() {
        return;
    }
    let base = weights(shape(Version::V7)).to_kind(Kind::Float);
    let logits = |tuning: &WeightTuning| logits_of(tuning);
    assert_eq!(logits(&tuning(0.3, 3)), logits(&tuning(0.0, 3)));
    let (_, tensors) = trained(&recipe(0.3), &base, compute(Kind::Float));
    let all = |dropout: f64| -> Vec<Tensor> {
        merged(&recipe(dropout), &base, None, &tensors).map(|(_, x)| x).collect()
    };
    assert_eq!(all(0.3), all(0.0));
}

/// Steps after others, and the same steps in another process from the parameters in between.
#[test]
#[ignore = "run by `in_a_process_of_its_own`"]
fn resumed_steps_equal_uninterrupted_ones() {
    if env::var_os(ALONE).is_none() {
        return;
    }
    let base = weights(shape(Version::V7));
    let whole = start(&recipe(0.3), &base, compute(Kind::Float));
    let mut first = trainer(&whole, Kind::Float);
    train(&mut first, 0..2);
    let tensors =
        whole.trained_tensors().map(|(name, x)| (name.to_string(), x.detach().copy())).collect();
    let again = WeightTuning::resume(&recipe(0.3), base.share(), &tensors, compute(Kind::Float));
    let again = again.expect("finite weights");
    // Random numbers drawn in between make no difference.
    tch::manual_seed(99);
    let losses = |method: &WeightTuning| -> Vec<f64> {
        let mut trainer = trainer(method, Kind::Float);
        (2..4).map(|step| trainer.step(&[batch()], step, LR).expect("finite").loss).collect()
    };
    assert_eq!(losses(&again), losses(&whole));
    for (found, expected) in again.parameters().iter().zip(whole.parameters()) {
        assert_eq!(found.tensor, expected.tensor, "{}", found.name);
    }
}
