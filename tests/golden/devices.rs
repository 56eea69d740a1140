//! Whole steps, scores and full tuning on a device, against the reference in float64 on the CPU. The device is a
//! parameter: always the CPU, and the first GPU if there is one.

use statetune_engine::inference::{ReadMode, score, score_with_gradient};
use statetune_engine::kernels::Op;
use statetune_engine::model::{Model, Shape, TimeState, Version, Weights};
use statetune_engine::peft::{Compute, Method, Parts, StateTuning, TuningSpec, WeightTuning};
use statetune_engine::train::StepOptions;
use tch::{Device, Kind, Tensor};

use super::gpu::has_gpu;
use super::numerics::{OPTIONS, assert_close, batch, both_parts, gradients};

const VOCAB_SIZE: i64 = 61;

/// Devices and implementations that must give the same numbers.
fn places() -> Vec<(Device, Op)> {
    let mut places = vec![(Device::Cpu, Op::Cpu), (Device::Cpu, Op::Chunk)];
    if has_gpu() {
        places.extend([(Device::Cuda(0), Op::Cuda), (Device::Cuda(0), Op::Chunk)]);
    }
    places
}

/// Numbers in [-1, 1] that, unlike random numbers, do not depend on other threads.
fn numbers(size: &[i64], seed: f64) -> Tensor {
    let count: i64 = size.iter().product();
    let phase = Tensor::arange(count, (Kind::Double, Device::Cpu)) * 12.9898 + seed;
    (phase.sin() * 43.7585).sin().to_kind(Kind::Float).view(size)
}

/// Weights without zeros, with norms and decays near those of trained models.
fn weights(version: Version) -> Weights {
    let shape = Shape::for_scratch(version, 2, 128, VOCAB_SIZE);
    Weights::from_fn(shape, |name, size| {
        let seed = name.bytes().fold(0.0, |sum, byte| sum * 1.7 % 97.0 + f64::from(byte));
        let small = numbers(size, seed) * 0.15;
        match name.rsplit('.').next() {
            Some("weight") if name.contains("ln") => small + 1.0,
            Some("time_decay" | "w0") => small - 2.0,
            _ => small,
        }
    })
}

/// States without zeros, the same for every dtype and device.
fn states(shape: &Shape) -> TimeState {
    let zeros = TimeState::zeros(shape, Kind::Float, Device::Cpu).with_shift(shape.n_embd);
    zeros.map(|s| numbers(&s.size(), s.dim() as f64) * 0.3)
}

fn state_tuning(version: Version, kind: Kind, (device, op): (Device, Op)) -> StateTuning {
    let model = Model::new(&weights(version).on(device), kind, op);
    let method = StateTuning::start(model, both_parts());
    tch::no_grad(|| {
        let states = states(method.model().shape());
        for (mut parameter, (_, name, state)) in
            method.parameters().into_iter().zip(states.tensors())
        {
            assert_eq!(parameter.name, name);
            parameter.tensor.copy_(state);
        }
    });
    method
}

fn on_the_cpu(tensors: &[Tensor]) -> Vec<Tensor> {
    tensors.iter().map(|x| x.to_device(Device::Cpu)).collect()
}

#[test]
fn a_step_of_state_tuning_is_the_same_on_every_device() {
    let batches = [batch(20, VOCAB_SIZE, &[40, 25])];
    for version in Version::ALL {
        let reference = state_tuning(version, Kind::Float, (Device::Cpu, Op::Reference));
        let (loss, exact) = gradients(&reference, Kind::Float, OPTIONS, &batches);
        for place in places() {
            for (kind, tolerance) in
                [(Kind::Float, 1e-4), (Kind::BFloat16, 1e-1), (Kind::Half, 1e-2)]
            {
                for grad_cp in [false, true] {
                    let method = state_tuning(version, kind, place);
                    assert_eq!(method.model().device(), place.0);
                    let options = StepOptions { grad_cp, ..OPTIONS };
                    let (near_loss, near) = gradients(&method, kind, options, &batches);
                    let error = (near_loss / loss - 1.0).abs();
                    assert!(error < tolerance / 10.0, "{version} {place:?} {kind:?}: {error:e}");
                    assert_close(&on_the_cpu(&near), &exact, tolerance);
                }
            }
        }
    }
}

#[test]
fn a_step_of_full_tuning_is_the_same_on_every_device() {
    let batches = [batch(21, VOCAB_SIZE, &[18])];
    for version in Version::ALL {
        let of = |(device, op)| {
            let recipe = TuningSpec { adapter: None, parts: Parts::All, state_lr_scale: None };
            let compute = Compute { kind: Kind::Float, op, seed: 0, quant: None };
            let method = WeightTuning::start(&recipe, weights(version).on(device), compute);
            let method = method.expect("finite weights");
            gradients(&method, Kind::Float, OPTIONS, &batches)
        };
        let (loss, exact) = of((Device::Cpu, Op::Reference));
        for place in places() {
            let (near_loss, near) = of(place);
            assert!((near_loss / loss - 1.0).abs() < 1e-5, "{version} {place:?}");
            assert_close(&on_the_cpu(&near), &exact, 1e-3);
        }
    }
}

#[test]
fn scores_are_the_same_on_every_device() {
    // More tokens than the logits of one part.
    let ids: Vec<i64> = (0..300).map(|i| i * i % VOCAB_SIZE).collect();
    for version in Version::ALL {
        let of = |(device, op), kind, reading| {
            let model = Model::new(&weights(version).on(device), kind, op);
            let exact = if kind == Kind::Double { kind } else { Kind::Float };
            let states = states(model.shape()).to(exact, device);
            let scores = score(&model, &states, &ids, reading).expect("sound operands");
            on_the_cpu(&[scores.logprobs, scores.last_logits])
        };
        let exact = of((Device::Cpu, Op::Reference), Kind::Double, ReadMode::Whole);
        assert_eq!(exact[0].size(), [299]);
        for place in places() {
            assert_close(&of(place, Kind::Float, ReadMode::Whole), &exact, 1e-4);
            assert_close(&of(place, Kind::Float, ReadMode::Recurrent), &exact, 1e-4);
        }
    }
}

#[test]
fn gradients_of_scores_are_the_same_on_every_device() {
    let sequences = [vec![3, 1, 4, 1, 5, 9, 2, 6], vec![5], vec![3, 5, 8, 9]];
    for version in Version::ALL {
        let of = |(device, op), kind| {
            let model = Model::new(&weights(version).on(device), kind, op);
            let exact = if kind == Kind::Double { kind } else { Kind::Float };
            let states = states(model.shape()).to(exact, device);
            let (_, gradient) =
                score_with_gradient(&model, &states, &sequences).expect("sound operands");
            on_the_cpu(&gradient.wkv)
        };
        let exact = of((Device::Cpu, Op::Reference), Kind::Double);
        for place in places() {
            assert_close(&of(place, Kind::Float), &exact, 1e-4);
        }
    }
}
