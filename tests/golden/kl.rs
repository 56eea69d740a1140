//! The distance of a student from a teacher, against full logits and autograd.

use std::rc::Rc;

use statetune_engine::train::{
    Divergence, HeadLoss, Lesson, StepOptions, head_loss, kl_loss, kl_losses,
};
use tch::{Device, Kind, Tensor};

use super::numerics::{OPTIONS, assert_close, head_case};
use statetune_engine::model::{Hidden, Model};

/// A student with trainable weights, its hidden states of 150 positions and their targets, and the lesson of a teacher.
fn case(kind: Kind, divergence: Divergence) -> (Model, Hidden, Tensor, Lesson) {
    let (model, hidden, targets) = head_case(kind);
    let teacher = Rc::new(head_case(kind).0);
    let taught = tch::no_grad(|| Tensor::randn([150, 64], (Kind::Double, Device::Cpu)) * 2.0);
    let taught = Hidden { x: taught.to_kind(kind), copies: None };
    (model, hidden, targets, Lesson { model: teacher, hidden: taught, divergence })
}

/// The losses (n) of the formula with full logits, through autograd.
fn formula(model: &Model, hidden: &Hidden, targets: &Tensor, lesson: &Lesson) -> Tensor {
    let Divergence { temperature: t, top_k, alpha } = lesson.divergence;
    let wide = |x: Tensor| if x.kind() == Kind::Double { x } else { x.to_kind(Kind::Float) };
    let logits = wide(model.logits(hidden));
    let p = (wide(lesson.model.logits(&lesson.hidden)) / t).softmax(-1, None::<Kind>).detach();
    let q = (&logits / t).softmax(-1, None::<Kind>);
    let sum = |x: Tensor| x.sum_dim_intlist(-1, false, None::<Kind>);
    let kl = match top_k {
        0 => sum(&p * (p.log() - q.log())),
        k => {
            let (of_p, ids) = p.topk(k, -1, true, true);
            let of_q = q.gather(-1, &ids, false);
            let (rest_p, rest_q): (Tensor, Tensor) =
                (1.0 - sum(of_p.copy()), 1.0 - sum(of_q.copy()));
            sum(&of_p * (of_p.log() - of_q.log())) + &rest_p * (rest_p.log() - rest_q.log())
        }
    };
    let plain = logits.log_softmax(-1, None::<Kind>).gather(-1, &targets.unsqueeze(-1), false);
    kl * (t * t * (1.0 - alpha)) - plain.squeeze_dim(-1) * alpha
}

#[test]
fn the_distance_from_a_teacher_has_the_gradient_of_its_formula() {
    let kinds = [(Kind::Double, 1e-12), (Kind::Float, 2e-5), (Kind::BFloat16, 3e-2)];
    for (temperature, top_k, alpha) in
        [(1.0, 0, 0.0), (2.0, 0, 0.0), (0.5, 5, 0.0), (1.5, 20, 0.25), (1.0, 1000, 0.75)]
    {
        // Among logits in bfloat16 are equal ones, of which each may be one of the most likely.
        let has_ties = |kind| kind == Kind::BFloat16 && (1..1000).contains(&top_k);
        for (kind, tolerance) in kinds.into_iter().filter(|(kind, _)| !has_ties(*kind)) {
            let divergence = Divergence { temperature, top_k, alpha };
            let (model, hidden, targets, lesson) = case(kind, divergence);
            let of_all = Divergence { top_k: top_k % 1000, ..divergence };
            let lesson_of_all = Lesson { divergence: of_all, ..lesson };
            let losses = formula(&model, &hidden, &targets, &lesson_of_all);
            let lesson = Lesson { divergence, ..lesson_of_all };
            let weights = tch::no_grad(|| Tensor::rand([150], (Kind::Float, Device::Cpu)));
            let l2wrap = 0.05;
            let largest = model.logits(&hidden).max_dim(-1, false).0.to_kind(losses.kind());
            let pull = largest.square().sum(None::<Kind>) * (l2wrap / 2.0);
            let sum = (&losses * &weights).sum(None::<Kind>);
            let scores = &hidden.copies.as_ref().expect("copies").scores;
            let of = [&hidden.x, scores, model.head()];
            let expected = Tensor::run_backward(&[(&sum + pull) * 0.125], &of, false, false);
            for head_chunk in [1, 7, 33, 150, 4096] {
                let options = StepOptions { head_chunk, l2wrap, ..OPTIONS };
                let HeadLoss { sum: found_sum, d_hidden, d_scores, d_head } =
                    kl_loss(&model, &hidden, &targets, Some(&weights), &lesson, &options, 0.125)
                        .expect("sound operands");
                assert_close(&[found_sum], &[sum.detach()], tolerance);
                let found = [d_hidden, d_scores.expect("copies"), d_head.expect("trainable")];
                assert_close(&found, &expected, tolerance);
                let each = kl_losses(&model, &hidden, &targets, &lesson, head_chunk);
                assert_close(&[each.expect("sound operands")], &[losses.detach()], tolerance);
            }
        }
    }
}

#[test]
fn a_student_that_is_its_teacher_has_no_distance() {
    let (model, hidden, targets) = head_case(Kind::Float);
    let model = Rc::new(model);
    for (temperature, top_k) in [(1.0, 0), (3.0, 4)] {
        let divergence = Divergence { temperature, top_k, alpha: 0.0 };
        let of_teacher = Hidden { x: hidden.x.detach(), copies: None };
        let of_student = Hidden { x: hidden.x.shallow_clone(), copies: None };
        let lesson = Lesson { model: Rc::clone(&model), hidden: of_teacher, divergence };
        let found = kl_loss(&model, &of_student, &targets, None, &lesson, &OPTIONS, 1.0)
            .expect("sound operands");
        assert!(found.sum.double_value(&[]).abs() < 1e-6);
        assert!(found.d_hidden.abs().max().double_value(&[]) < 1e-5);
    }
}

#[test]
fn a_share_of_one_is_the_plain_cross_entropy() {
    let divergence = Divergence { alpha: 1.0, ..Divergence::KL };
    let (model, hidden, targets, lesson) = case(Kind::Double, divergence);
    let found = kl_loss(&model, &hidden, &targets, None, &lesson, &OPTIONS, 0.5).expect("sound");
    let plain = head_loss(&model, &hidden, &targets, None, &OPTIONS, 0.5).expect("sound");
    assert_close(&[found.sum, found.d_hidden], &[plain.sum, plain.d_hidden], 1e-14);
}
