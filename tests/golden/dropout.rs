//! Dropout of LoRA: in training alone, drawn from the seed and the number of the micro-step.
//!
//! libtorch has one generator for all threads, so that these tests need a process in which nobody else draws:
//! this test binary, told to by its environment.

use std::env;
use std::process::Command;

use statetune_engine::kernels::reference::relative_error;
use statetune_engine::model::Version;
use statetune_engine::peft::{AnyMethod, Compute, Lora, Method as _, Recipe, Tuning, merged};
use tch::{Kind, Tensor};

use super::peft::{
    LORA, LR, adapter, batch, compute, learned, logits_of, shape, start, train, trainer, weights,
};

/// Says that the process is one for these tests.
const ALONE: &str = "STATETUNE_TEST_DROPOUT";

#[test]
fn in_a_process_of_its_own() {
    let child = Command::new(env::current_exe().expect("the path of this program"))
        .args(["--ignored", "--test-threads=1", "dropout::"])
        .env(ALONE, "1")
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&child.stdout);
    assert!(child.status.success() && told.contains("3 passed"), "{told}");
}

/// LoRA that leaves out this share.
fn recipe(dropout: f64) -> Recipe {
    Recipe { adapter: adapter(AnyMethod::Lora(Lora { dropout, ..LORA })), ..Recipe::nothing() }
}

/// A tuning whose updates are not nothing any more: without them dropout leaves out nothing.
fn tuning(dropout: f64, seed: u64) -> Tuning {
    let tuning = start(
        &recipe(dropout),
        &weights(shape(Version::V7)),
        Compute { seed, ..compute(Kind::Float) },
    );
    tch::no_grad(|| {
        for parameter in tuning.parameters().iter().filter(|p| p.name.ends_with("lora_B")) {
            let numbers =
                Tensor::arange(parameter.tensor.numel() as i64, (Kind::Float, tch::Device::Cpu));
            parameter
                .tensor
                .shallow_clone()
                .copy_(&(numbers.sin() * 0.3).view_as(&parameter.tensor));
        }
    });
    tuning
}

/// Loss and gradients of one step.
fn step(tuning: &Tuning, step: u64) -> (f64, Vec<Tensor>) {
    let mut trainer = trainer(tuning, Kind::Float);
    let loss = trainer.step(&[batch()], step, 0.0).expect("finite numbers").loss;
    (loss, trainer.adam.gradients().iter().map(Tensor::copy).collect())
}

#[test]
#[ignore = "run by `in_a_process_of_its_own`"]
fn a_training_step_leaves_out_what_seed_and_step_say() {
    if env::var_os(ALONE).is_none() {
        return;
    }
    let (plain, plain_gradients) = step(&tuning(0.0, 3), 0);
    let (loss, gradients) = step(&tuning(0.3, 3), 0);
    assert!((loss - plain).abs() > 1e-3, "{loss} {plain}");
    let mut pairs = gradients.iter().zip(&plain_gradients);
    assert!(pairs.all(|(x, y)| relative_error(x, y) > 1e-2));
    // The same seed and step: the same bits. Another step, or another seed: others.
    assert_eq!(step(&tuning(0.3, 3), 0), (loss, gradients));
    assert_ne!(step(&tuning(0.3, 3), 1).0, loss);
    assert_ne!(step(&tuning(0.3, 4), 0).0, loss);
}

#[test]
#[ignore = "run by `in_a_process_of_its_own`"]
fn nothing_is_left_out_of_what_was_learned() {
    if env::var_os(ALONE).is_none() {
        return;
    }
    let base = weights(shape(Version::V7)).to_kind(Kind::Float);
    let logits = |tuning: &Tuning| logits_of(tuning);
    assert_eq!(logits(&tuning(0.3, 3)), logits(&tuning(0.0, 3)));
    let (_, tensors) = learned(&recipe(0.3), &base, compute(Kind::Float));
    let all = |dropout: f64| -> Vec<Tensor> {
        merged(&recipe(dropout), &base, None, &tensors).map(|(_, x)| x).collect()
    };
    assert_eq!(all(0.3), all(0.0));
}

/// Steps after others, and the same steps in another process with what was learned by then.
#[test]
#[ignore = "run by `in_a_process_of_its_own`"]
fn steps_go_on_as_if_never_interrupted() {
    if env::var_os(ALONE).is_none() {
        return;
    }
    let base = weights(shape(Version::V7));
    let whole = start(&recipe(0.3), &base, compute(Kind::Float));
    let mut first = trainer(&whole, Kind::Float);
    train(&mut first, 0..2);
    let tensors = whole.product().map(|(name, x)| (name.to_string(), x.detach().copy())).collect();
    let again = Tuning::resume(&recipe(0.3), base.share(), &tensors, compute(Kind::Float));
    let again = again.expect("finite weights");
    // What was drawn in between makes no difference.
    tch::manual_seed(99);
    let losses = |method: &Tuning| -> Vec<f64> {
        let mut trainer = trainer(method, Kind::Float);
        (2..4).map(|step| trainer.step(&[batch()], step, LR).expect("finite").loss).collect()
    };
    assert_eq!(losses(&again), losses(&whole));
    for (found, expected) in again.parameters().iter().zip(whole.parameters()) {
        assert_eq!(found.tensor, expected.tensor, "{}", found.name);
    }
}
