//! Objectives over preferences: loss and gradient of a step against formulas of full logits in float64.

use statetune_core::data::{Batch, RowAnswer, RowAnswers, Side};
use statetune_core::objective::{Dpo, DpoLoss, Kto, Objective, Orpo, Simpo};
use statetune_engine::model::{Shape, TimeState, Version};
use statetune_engine::peft::Method;
use statetune_engine::train::{BatchTensors, Chunks, Preferences, References, StepOptions};
use tch::{Device, Kind, Tensor};

use super::numerics::{
    OPTIONS, assert_close, batch, full_tuning, state_tuning, trainer, weights_of,
};

const VOCAB: i64 = 61;

/// What each row is: the record and the side.
type Rows<'a> = &'a [(usize, Side)];

const PAIRS: Rows<'static> =
    &[(0, Side::Chosen), (0, Side::Rejected), (1, Side::Chosen), (1, Side::Rejected)];
const LABELLED: Rows<'static> =
    &[(0, Side::Chosen), (1, Side::Rejected), (2, Side::Rejected), (3, Side::Chosen)];

/// Random rows of these answers, of different lengths, with a mismatched row for each record.
fn answers(seed: i64, rows: Rows<'_>) -> Batch {
    let lengths: Vec<i64> = (0..rows.len() as i64).map(|row| 9 + 13 * row % 20).collect();
    let mut batch = batch(seed, VOCAB, &lengths);
    let mut records: Vec<usize> = rows.iter().map(|(record, _)| *record).collect();
    records.dedup();
    let lengths: Vec<i64> = records.iter().map(|record| 7 + 5 * *record as i64).collect();
    let mismatched = super::numerics::batch(seed + 100, VOCAB, &lengths);
    let rows = rows.iter().map(|&(record, side)| RowAnswer { record, side }).collect();
    batch.answers = Some(Box::new(RowAnswers { rows, mismatched }));
    batch
}

/// The log-probability of each row of a batch: (rows) float64, from the logits of all positions.
fn log_probs(method: &dyn Method, states: &TimeState, batch: &Batch) -> Tensor {
    let tensors = BatchTensors::new(batch, Device::Cpu);
    let model = method.model();
    let start = model.start(states, batch.rows as i64);
    let (hidden, _) = model.forward(&tensors.inputs, &start, None).expect("sound inputs");
    let logits = model.logits(&hidden.at(&tensors.target_positions)).to_kind(Kind::Double);
    let of_targets = logits.log_softmax(-1, Kind::Double);
    let of_targets = of_targets.gather(-1, &tensors.targets.unsqueeze(-1), false).squeeze_dim(-1);
    let zeros = Tensor::zeros([batch.rows as i64], (Kind::Double, Device::Cpu));
    zeros.index_add(0, &tensors.rows(), &of_targets)
}

/// Targets of each row, as float64.
fn targets(batch: &Batch) -> Vec<f64> {
    let count = |row: usize| {
        let of_row = batch.learned_at.iter().filter(|at| **at as usize / batch.tokens == row);
        of_row.count() as f64
    };
    (0..batch.rows).map(count).collect()
}

/// The formula of an objective, written with tensors: the loss of a batch whose rows have these log-probabilities.
fn formula(
    objective: &Objective,
    batch: &Batch,
    log_probs: &Tensor,
    reference: &Tensor,
    mismatched: (&Tensor, &Tensor),
) -> Tensor {
    let rows = &batch.answers.as_ref().expect("answers").rows;
    let counts = targets(batch);
    let (log_p, log_r) =
        (|row: usize| log_probs.get(row as i64), |row: usize| reference.get(row as i64));
    let mean = |row: usize| log_p(row) / counts[row];
    let pairs = || (0..rows.len()).step_by(2);
    let losses: Vec<Tensor> = match objective {
        Objective::Sft(_) | Objective::Distill(_) => unreachable!("compares nothing"),
        Objective::Dpo(Dpo { beta, label_smoothing, loss: DpoLoss::Sigmoid, .. }) => pairs()
            .map(|w| {
                let h = (log_p(w) - log_r(w)) - (log_p(w + 1) - log_r(w + 1));
                let h = h * *beta;
                h.log_sigmoid() * (label_smoothing - 1.0) - h.neg().log_sigmoid() * *label_smoothing
            })
            .collect(),
        Objective::Dpo(Dpo { beta, .. }) => pairs()
            .map(|w| {
                let gain = |row: usize| (log_p(row) - log_r(row)) / counts[row];
                (gain(w) - gain(w + 1) - 0.5 / beta).square()
            })
            .collect(),
        Objective::Orpo(Orpo { beta, .. }) => pairs()
            .map(|w| {
                let log_odds = |row: usize| {
                    let p = mean(row).exp();
                    (&p / (Tensor::from(1.0) - &p)).log()
                };
                mean(w).neg() - (log_odds(w) - log_odds(w + 1)).sigmoid().log() * *beta
            })
            .collect(),
        Objective::Simpo(Simpo { beta, gamma, .. }) => pairs()
            .map(|w| ((mean(w) - mean(w + 1)) * *beta - *gamma).sigmoid().log().neg())
            .collect(),
        Objective::Kto(Kto { beta, desirable_weight, undesirable_weight, .. }) => {
            let z = (mismatched.0 - mismatched.1).mean(Kind::Double).detach().clamp_min(0.0);
            let value = |row: usize| match rows[row].side {
                Side::Chosen => {
                    let value = ((log_p(row) - log_r(row) - &z) * *beta).sigmoid();
                    (value.neg() + 1.0) * *desirable_weight
                }
                Side::Rejected => {
                    let value = ((&z - log_p(row) + log_r(row)) * *beta).sigmoid();
                    (value.neg() + 1.0) * *undesirable_weight
                }
            };
            (0..rows.len()).map(value).collect()
        }
    };
    Tensor::stack(&losses, 0).mean(Kind::Double)
}

/// Every objective with its rows.
fn cases() -> Vec<(Objective, Rows<'static>)> {
    let dpo =
        |label_smoothing, loss| Objective::Dpo(Dpo { beta: 0.3, label_smoothing, loss, keep: 0.0 });
    let kto = Objective::Kto(Kto {
        beta: 0.3,
        desirable_weight: 1.3,
        undesirable_weight: 0.8,
        keep: 0.0,
    });
    vec![
        (dpo(0.0, DpoLoss::Sigmoid), PAIRS),
        (dpo(0.2, DpoLoss::Sigmoid), PAIRS),
        (dpo(0.0, DpoLoss::Ipo), PAIRS),
        (Objective::Orpo(Orpo { beta: 0.7, keep: 0.0 }), PAIRS),
        (Objective::Simpo(Simpo { beta: 1.5, gamma: 0.4, keep: 0.0 }), PAIRS),
        (kto.clone(), PAIRS),
        (kto, LABELLED),
    ]
}

/// The references of a batch: those of its rows, and of its mismatched rows, all moved away from the model.
fn references(
    batch: &Batch,
    log_probs: &Tensor,
    mismatched: &Tensor,
) -> (References, Tensor, Tensor) {
    let away = |of: &Tensor| {
        let n = of.size()[0];
        of.detach() + (Tensor::arange(n, (Kind::Double, Device::Cpu)) * 2.1).sin() * 1.5 - 0.6
    };
    let (of_rows, of_others) = (away(log_probs), away(mismatched));
    let rows = &batch.answers.as_ref().expect("answers").rows;
    let mut references = References::of_records(8);
    for (i, RowAnswer { record, side }) in rows.iter().enumerate() {
        let side = usize::from(*side == Side::Rejected);
        references.0[*record][side] = of_rows.double_value(&[i as i64]);
    }
    let mut records: Vec<usize> = rows.iter().map(|row| row.record).collect();
    records.dedup();
    for (i, record) in records.into_iter().enumerate() {
        references.0[record][2] = of_others.double_value(&[i as i64]);
    }
    (references, of_rows, of_others)
}

/// Compares a step of `method`, whose trainable tensors are `leaves`, with the formula.
fn check(method: &dyn Method, leaves: &[Tensor], options: StepOptions, seed: i64) {
    for (objective, rows) in cases() {
        let batch = answers(seed, rows);
        let states = method.time_state();
        let of_rows = log_probs(method, &states, &batch);
        let others = &batch.answers.as_ref().expect("answers").mismatched;
        let of_others = log_probs(method, &states, others);
        let (known, reference, of_reference) = references(&batch, &of_rows, &of_others);
        let expected =
            formula(&objective, &batch, &of_rows, &reference, (&of_others, &of_reference));
        let gradients = Tensor::run_backward(&[&expected], leaves, false, false);
        let preferences = Preferences::new(objective.preference().expect("compares answers"));
        preferences.start_from(known);
        let mut trainer = trainer(method, Kind::Float, options);
        trainer.objective = &preferences;
        let outcome = trainer.step(std::slice::from_ref(&batch), 0, 0.0).expect("finite numbers");
        let error = (outcome.loss - expected.double_value(&[])).abs();
        assert!(error < 1e-4, "{objective:?}: the loss is off by {error:e}");
        assert!(outcome.rewards.is_some(), "{objective:?}");
        assert_close(&trainer.adam.gradients(), &gradients, 1e-4);
    }
}

#[test]
fn every_objective_has_the_loss_and_the_gradient_of_its_formula() {
    for version in [Version::V5, Version::V6, Version::V7] {
        let weights = weights_of(Shape::for_scratch(version, 2, 128, VOCAB));
        let states = state_tuning(&weights, Kind::Float);
        check(&states, &states.time_state().wkv, OPTIONS, 71);
    }
    let weights = weights_of(Shape::for_scratch(Version::V7, 2, 128, VOCAB));
    let states = state_tuning(&weights, Kind::Float);
    let leaves = states.time_state().wkv;
    check(&states, &leaves, StepOptions { grad_cp: true, ..OPTIONS }, 72);
    let chunks = Some(Chunks { tokens: 16, room: 0 });
    check(&states, &leaves, StepOptions { chunks, ..OPTIONS }, 73);
}

/// A step over two micro-batches is that over one batch of all rows: the estimate of KTO and all means are those of a step.
#[test]
fn accumulated_micro_batches_are_one_batch() {
    let weights = weights_of(Shape::for_scratch(Version::V7, 2, 128, VOCAB));
    let method = full_tuning(&weights, Kind::Float);
    for (objective, rows) in cases() {
        let whole = answers(81, rows);
        let cut = |first: usize, count: usize| {
            let part = |batch: &Batch, first: usize, count: usize| {
                let plain = batch.plain();
                Batch::from_plain(&plain[first..first + count])
            };
            let all = whole.answers.as_ref().expect("answers");
            let rows = all.rows[first..first + count].to_vec();
            let records = all.mismatched.rows / 2;
            let first_record = if first == 0 { 0 } else { records };
            let mismatched = part(&all.mismatched, first_record, records);
            let answers = Some(Box::new(RowAnswers { rows, mismatched }));
            Batch { answers, ..part(&whole, first, count) }
        };
        let states = method.time_state();
        let of_rows = log_probs(&method, &states, &whole);
        let others = &whole.answers.as_ref().expect("answers").mismatched;
        let of_others = log_probs(&method, &states, others);
        let step = |batches: &[Batch]| {
            let (known, ..) = references(&whole, &of_rows, &of_others);
            let preferences = Preferences::new(objective.preference().expect("compares answers"));
            preferences.start_from(known);
            let mut trainer = trainer(&method, Kind::Float, OPTIONS);
            trainer.objective = &preferences;
            let outcome = trainer.step(batches, 0, 0.0).expect("finite numbers");
            let gradients = trainer.adam.gradients();
            (outcome.loss, gradients.iter().map(Tensor::copy).collect::<Vec<_>>())
        };
        let (loss, gradients) = step(std::slice::from_ref(&whole));
        let (same, found) = step(&[cut(0, 2), cut(2, 2)]);
        assert!((loss - same).abs() < 1e-5, "{objective:?}: {loss} {same}");
        assert_close(&found, &gradients, 1e-4);
    }
}
