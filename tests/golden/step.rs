//! A step that is looked at value by value computes what a step does.

use std::ops::ControlFlow;

use statetune_engine::model::{Shape, Version};
use statetune_engine::peft::Method;
use statetune_engine::train::{Direction, Reading, trace};
use tch::Kind;

use super::numerics::{
    OPTIONS, assert_close, batch, full_tuning, gradients, state_tuning, trainer, weights_of,
};

/// Everything that is seen of a step.
fn readings(method: &dyn Method, kind: Kind) -> (Vec<Reading>, Vec<tch::Tensor>) {
    let batches = [batch(21, 61, &[9, 5]), batch(22, 61, &[4])];
    let trainer = trainer(method, kind, OPTIONS);
    let mut seen = Vec::new();
    trace(&trainer, &batches, 0, &mut |reading| {
        seen.push(reading);
        ControlFlow::Continue(())
    })
    .expect("a sound step");
    let traced: Vec<_> = trainer.adam.gradients().iter().map(tch::Tensor::copy).collect();
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
