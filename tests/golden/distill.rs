//! A student and its teacher: loss and gradients against full logits and autograd, for whole rows, chunks and documents side
//! by side.

use std::rc::Rc;

use statetune_core::data::{Batch, DataError};
use statetune_engine::kernels::Op;
use statetune_engine::model::{Model, State, Version};
use statetune_engine::peft::Method;
use statetune_engine::train::{
    BatchTensors, CrossEntropy, Distillation, Divergence, Keep, Objective, StepOptions, Teacher,
};
use tch::{Device, Kind, Tensor};

use super::chunk_ctx::{ALL_KEPT, Trained, batches, in_chunks, shape};
use super::numerics::{OPTIONS, assert_close, batch, state_tuning, trainer, weights_of};

/// What a teacher has read before every document.
const PROMPT: [i64; 9] = [3, 1, 4, 1, 5, 9, 2, 6, 5];

/// The teacher of a version, whose weights are those of the student where they do not train.
fn teacher(version: Version, divergence: Divergence) -> Teacher {
    let model = Rc::new(Model::new(&weights_of(shape(version)), Kind::Double, Op::Cpu));
    let zeros = model.start(&model.initial_states().to(Kind::Double, Device::Cpu), 1);
    let ids = Tensor::from_slice(&PROMPT).unsqueeze(0);
    let (_, start) = model.forward(&ids, &zeros, None).expect("sound operands");
    Teacher { model, start, divergence }
}

/// The documents of a batch: row, first token, and the token after the last one.
fn documents(batch: &Batch) -> Vec<[i64; 3]> {
    let tokens = batch.tokens as i64;
    let mut found = Vec::new();
    for row in 0..batch.rows as i64 {
        let is_start = |at: &i64| {
            let restarts = batch.restarts.as_ref();
            *at > 0 && restarts.is_some_and(|all| all[(row * tokens + at) as usize])
        };
        let starts: Vec<i64> = (0..tokens).filter(|at| *at == 0 || is_start(at)).collect();
        let ends = starts[1..].iter().copied().chain([tokens]);
        found.extend(starts.iter().zip(ends).map(|(first, end)| [row, *first, end]));
    }
    found
}

/// The logits (targets, V) of a model that starts every document from `start`, by document.
fn logits(model: &Model, start: &State, batch: &Batch) -> Tensor {
    let tensors = BatchTensors::new(batch, Device::Cpu);
    let all: Vec<Tensor> = documents(batch)
        .into_iter()
        .map(|[at, first, end]| {
            let ids = tensors.inputs.narrow(0, at, 1).narrow(1, first, end - first);
            let (hidden, _) = model.forward(&ids, start, None).expect("sound operands");
            model.logits(&hidden).squeeze_dim(0)
        })
        .collect();
    Tensor::cat(&all, 0).index_select(0, &tensors.target_positions)
}

#[test]
fn a_student_has_the_gradients_of_its_distance_from_the_teacher() {
    for version in Version::ALL {
        let weights = weights_of(shape(version));
        for (all, divergence) in [
            (false, Divergence { temperature: 2.0, top_k: 0, alpha: 0.0 }),
            (true, Divergence { temperature: 1.0, top_k: 6, alpha: 0.3 }),
        ] {
            let trained = Trained::new(&weights, Kind::Double, Op::Cpu, all);
            let objective = Distillation { teacher: teacher(version, divergence) };
            for (name, batch) in batches() {
                let expected = formula(&trained, &objective.teacher, &batch);
                for options in [
                    OPTIONS,
                    StepOptions { grad_cp: true, ..OPTIONS },
                    in_chunks(16, ALL_KEPT),
                    in_chunks(13, 0),
                ] {
                    let found = trained.pass(&batch, (None, Some(&objective.teacher)), &options);
                    let what = format!("{version} {name} {options:?}");
                    trained.assert_same(&what, &found, &expected, 1e-8);
                }
            }
        }
    }
}

/// General text of one batch.
#[derive(Debug)]
struct Rows(Batch, Distillation);

impl Keep for Rows {
    fn strength(&self) -> f64 {
        0.25
    }

    fn base(&self) -> &Distillation {
        &self.1
    }

    fn batch(&self, _: u64) -> Result<Batch, DataError> {
        Ok(self.0.clone())
    }
}

#[test]
fn the_penalty_adds_the_gradient_of_the_mean_distance_from_the_base() {
    let weights = weights_of(shape(Version::V7));
    let method = state_tuning(&weights, Kind::Float);
    let general = batch(72, 61, &[11, 6]);
    let model = method.model();
    let start = model.start(&model.initial_states(), 1);
    let teacher = Teacher { model, start, divergence: Divergence::KL };
    let rows = Rows(general.clone(), Distillation { teacher });
    let step = |objective: &dyn Objective, keep: Option<&dyn Keep>, batches: &[Batch]| {
        let mut trainer = trainer(&method, Kind::Float, OPTIONS);
        (trainer.objective, trainer.keep) = (objective, keep);
        let outcome = trainer.step(batches, 0, 0.0).expect("finite numbers");
        let gradients = trainer.adam.gradients();
        (outcome.loss, gradients.iter().map(Tensor::copy).collect::<Vec<_>>())
    };
    let batches = [batch(70, 61, &[9, 5]), batch(71, 61, &[4])];
    let (loss, plain) = step(&CrossEntropy, None, &batches);
    let (_, distance) = step(&rows.1, None, &[general]);
    let (kept_loss, kept) = step(&CrossEntropy, Some(&rows), &batches);
    let expected: Vec<Tensor> = plain.iter().zip(&distance).map(|(x, d)| x + d * 0.25).collect();
    assert_eq!(kept_loss, loss);
    assert_close(&kept, &expected, 1e-6);
}

/// Loss and gradients of the formula.
fn formula(trained: &Trained, teacher: &Teacher, batch: &Batch) -> (f64, Vec<Tensor>) {
    let Divergence { temperature: t, top_k, alpha } = teacher.divergence;
    let of_teacher = logits(&teacher.model, &teacher.start, batch);
    let start = trained.model.start(&trained.states, 1);
    let z = logits(&trained.model, &start, batch);
    let p = (of_teacher / t).softmax(-1, None::<Kind>).detach();
    let q = (&z / t).softmax(-1, None::<Kind>);
    let kl = match top_k {
        0 => (&p * (p.log() - q.log())).sum(None::<Kind>),
        k => {
            let (_, ids) = p.topk(k, -1, true, true);
            let is_one = p.zeros_like().scatter_value(-1, &ids, 1.0);
            let others = is_one.ones_like() - &is_one;
            let rest = |x: &Tensor| (x * &others).sum_dim_intlist(-1, false, None::<Kind>);
            let each = (&is_one * &p * (p.log() - q.log())).sum(None::<Kind>);
            each + (rest(&p) * (rest(&p).log() - rest(&q).log())).sum(None::<Kind>)
        }
    };
    let targets = Tensor::from_slice(&batch.targets).unsqueeze(-1);
    let plain = z.log_softmax(-1, None::<Kind>).gather(-1, &targets, false).sum(None::<Kind>);
    let loss = kl * (t * t * (1.0 - alpha)) - plain * alpha;
    let leaves: Vec<&Tensor> = trained.leaves.iter().map(|(_, leaf)| leaf).collect();
    let gradients = Tensor::run_backward(&[&loss * 0.125], &leaves, false, false);
    (loss.double_value(&[]), gradients)
}
