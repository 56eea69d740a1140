//! A step with an observer, with an objective of its own, and on several devices.

use std::ops::ControlFlow;

use statetune_core::data::Batch;
use statetune_engine::model::{Shape, Version};
use statetune_engine::peft::Method;
use statetune_engine::train::{
    BatchTensors, CrossEntropy, Devices, Direction, Objective, Reading, RowLogProbs, Single,
    StepOptions, Weighed, trace,
};
use tch::{Device, Kind, Tensor};

use super::numerics::{
    OPTIONS, assert_close, batch, full_tuning, gradients, state_tuning, trainer, weights_of,
};

/// The readings of a traced step, and its gradients.
fn readings(method: &dyn Method, kind: Kind) -> (Vec<Reading>, Vec<Tensor>) {
    let batches = [batch(21, 61, &[9, 5]), batch(22, 61, &[4])];
    let trainer = trainer(method, kind, OPTIONS);
    let mut seen = Vec::new();
    trace(&trainer, &batches, 0, &mut |reading| {
        seen.push(reading);
        ControlFlow::Continue(())
    })
    .expect("a sound step");
    let traced: Vec<_> = trainer.adam.gradients().iter().map(Tensor::copy).collect();
    let (_, expected) = gradients(method, kind, OPTIONS, &batches);
    assert_close(&traced, &expected, 1e-5);
    (seen, traced)
}

#[test]
fn gradients_of_a_traced_step_are_those_of_the_step() {
    for version in [Version::V5, Version::V6, Version::V7] {
        let weights = weights_of(Shape::for_scratch(version, 3, 128, 61));
        let methods: [&dyn Method; 2] =
            [&state_tuning(&weights, Kind::Float), &full_tuning(&weights, Kind::Float)];
        for method in methods {
            let (seen, gradients) = readings(method, Kind::Float);
            assert!(seen.iter().all(|one| one.not_finite == 0 && one.rms.is_finite()));
            let of = |direction, micro_batch| {
                let seen = seen.iter().filter(move |one: &&Reading| {
                    one.direction == direction && one.micro_batch == micro_batch
                });
                seen.map(|one| one.place.as_str()).collect::<Vec<_>>()
            };
            let forward = of(Direction::Forward, Some(1));
            assert_eq!(forward[..3], ["emb", "blocks.0.att WKV", "blocks.0.att"]);
            assert_eq!(forward[forward.len() - 2..], ["ln_out", "head"]);
            let backward = of(Direction::Backward, Some(0));
            assert_eq!(backward[..4], ["head", "ln_out", "blocks.2.ffn", "blocks.2.att WKV"]);
            assert_eq!(of(Direction::Before, None).len(), gradients.len());
            assert_eq!(of(Direction::Backward, None).len(), gradients.len());
        }
    }
}

/// Minimises `sum over rows of log(1 + 1 / p(row))`.
#[derive(Debug)]
struct RowObjective;

impl Objective for RowObjective {
    fn needs_log_probs(&self) -> bool {
        true
    }

    fn weigh(&self, batches: &[Batch], log_probs: &[RowLogProbs]) -> Weighed {
        let weight = |log_prob: &f64| 1.0 / (1.0 + log_prob.exp());
        let of_batch = |one: &RowLogProbs| one.rows.iter().map(weight).collect();
        let count = batches.iter().map(Batch::learned).sum();
        Weighed {
            rows: Some(log_probs.iter().map(of_batch).collect()),
            count,
            ..Weighed::default()
        }
    }
}

/// Every target weighs 1, said in weights.
#[derive(Debug)]
struct Ones;

impl Objective for Ones {
    fn weigh(&self, batches: &[Batch], _: &[RowLogProbs]) -> Weighed {
        let rows = batches.iter().map(|batch| vec![1.0; batch.rows]).collect();
        let count = batches.iter().map(Batch::learned).sum();
        Weighed { rows: Some(rows), count, ..Weighed::default() }
    }
}

/// Loss and gradients of a step that changes nothing.
fn gradients_of(
    method: &dyn Method,
    grad_cp: bool,
    (objective, devices): (&dyn Objective, &dyn Devices),
    batches: &[Batch],
) -> (f64, Vec<Tensor>) {
    let options = StepOptions { grad_cp, l2wrap: 0.5, gradient_clip_val: 1.0, ..OPTIONS };
    let mut trainer = trainer(method, Kind::Float, options);
    (trainer.objective, trainer.devices) = (objective, devices);
    let outcome = trainer.step(batches, 0, 0.0).expect("finite numbers");
    (outcome.loss, trainer.adam.gradients().iter().map(Tensor::copy).collect())
}

#[test]
fn weights_of_one_change_no_bit() {
    let weights = weights_of(Shape::for_scratch(Version::V7, 2, 128, 61));
    let method = full_tuning(&weights, Kind::Float);
    let batches = [batch(31, 61, &[9, 5]), batch(32, 61, &[4])];
    for grad_cp in [false, true] {
        let (loss, found) = gradients_of(&method, grad_cp, (&Ones, &Single), &batches);
        let (plain_loss, plain) =
            gradients_of(&method, grad_cp, (&CrossEntropy, &Single), &batches);
        assert_eq!(loss, plain_loss);
        assert!(found.iter().zip(&plain).all(|(x, y)| x.equal(y)));
    }
}

#[test]
fn an_objective_of_rows_has_the_gradient_of_its_formula() {
    let weights = weights_of(Shape::for_scratch(Version::V7, 2, 128, 61));
    let method = state_tuning(&weights, Kind::Float);
    let plain = batch(33, 61, &[5, 4, 7]);
    let batch = BatchTensors::new(&plain, Device::Cpu);
    let model = method.model();
    let start = model.start(&method.time_state(), 3);
    let (hidden, _) = model.forward(&batch.inputs, &start, None).expect("sound inputs");
    let log_probs = model.logits(&hidden.at(&batch.target_positions)).log_softmax(-1, Kind::Float);
    let log_probs = log_probs.gather(-1, &batch.targets.unsqueeze(-1), false).squeeze_dim(-1);
    let row = batch.target_positions.floor_divide_scalar(batch.inputs.size()[1]);
    let of_rows = Tensor::zeros([3], (Kind::Float, Device::Cpu)).index_add(0, &row, &log_probs);
    let formula = of_rows.neg().softplus().sum(Kind::Float) / plain.targets.len() as f64;
    let states = method.time_state().wkv;
    let expected = Tensor::run_backward(&[formula], &states, false, false);
    for grad_cp in [false, true] {
        let options = StepOptions { grad_cp, ..OPTIONS };
        let mut trainer = trainer(&method, Kind::Float, options);
        trainer.objective = &RowObjective;
        trainer.step(std::slice::from_ref(&plain), 0, 0.0).expect("finite numbers");
        assert_close(&trainer.adam.gradients(), &expected, 1e-5);
    }
}
