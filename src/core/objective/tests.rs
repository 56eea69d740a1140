//! Losses, slopes and rewards of the objectives over preferences.

use super::*;

/// Records with these `[log p, log p of the reference, tokens]` of the chosen, the rejected and the mismatched answer.
fn samples() -> Vec<Sample> {
    let answer = |[log_prob, reference, tokens]: [f64; 3]| {
        Some(Answer { log_prob, reference, tokens: tokens as u64 })
    };
    [
        [[-12.0, -14.5, 7.0], [-30.0, -28.25, 11.0], [-40.0, -42.0, 9.0]],
        [[-3.5, -3.0, 4.0], [-5.0, -6.5, 3.0], [-21.0, -20.0, 6.0]],
        [[-80.0, -76.0, 40.0], [-9.0, -9.5, 8.0], [-15.0, -18.0, 5.0]],
    ]
    .into_iter()
    .map(|[chosen, rejected, mismatched]| Sample {
        chosen: answer(chosen),
        rejected: answer(rejected),
        mismatched: answer(mismatched),
    })
    .collect()
}

/// Every objective over preferences, with settings that are not the defaults.
fn objectives() -> Vec<Objective> {
    let dpo =
        |label_smoothing, loss| Objective::Dpo(Dpo { beta: 0.3, label_smoothing, loss, keep: 0.0 });
    vec![
        dpo(0.0, DpoLoss::Sigmoid),
        dpo(0.2, DpoLoss::Sigmoid),
        dpo(0.0, DpoLoss::Ipo),
        Objective::Orpo(Orpo { beta: 0.4, keep: 0.0 }),
        Objective::Simpo(Simpo { beta: 1.5, gamma: 0.7, keep: 0.0 }),
        Objective::Kto(Kto {
            beta: 0.3,
            desirable_weight: 1.2,
            undesirable_weight: 0.8,
            keep: 0.0,
        }),
    ]
}

fn total(objective: &Objective, samples: &[Sample]) -> f64 {
    let preference = objective.preference().expect("an objective over preferences");
    preference.judge(samples).iter().map(|judged| judged.loss).sum()
}

#[test]
fn slopes_are_those_of_finite_differences() {
    const STEP: f64 = 1e-5;
    for objective in objectives() {
        let preference = objective.preference().expect("an objective over preferences");
        let judged = preference.judge(&samples());
        for (i, judged) in judged.iter().enumerate() {
            for side in 0..2 {
                let moved = |by: f64| {
                    let mut samples = samples();
                    let Sample { chosen, rejected, .. } = &mut samples[i];
                    let answer = if side == 0 { chosen } else { rejected };
                    answer.as_mut().expect("a pair").log_prob += by;
                    total(&objective, &samples)
                };
                let slope = (moved(STEP) - moved(-STEP)) / (2.0 * STEP);
                let error = (slope - judged.slopes[side]).abs();
                assert!(error < 1e-8, "{objective:?}, record {i}, side {side}: {error:e}");
            }
        }
    }
}

#[test]
fn an_unmoved_model_has_the_loss_of_indifference() {
    let at_start: Vec<Sample> = samples()
        .into_iter()
        .map(|sample| {
            let start = |answer: Option<Answer>| {
                answer.map(|answer| Answer { log_prob: answer.reference, ..answer })
            };
            let Sample { chosen, rejected, mismatched } = sample;
            let [chosen, rejected, mismatched] = [chosen, rejected, mismatched].map(start);
            Sample { chosen, rejected, mismatched }
        })
        .collect();
    let mean = |objective: Objective| total(&objective, &at_start) / 3.0;
    let close = |x: f64, y: f64| assert!((x - y).abs() < 1e-12, "{x} {y}");
    close(mean(Objective::Dpo(Dpo::default())), 2.0_f64.ln());
    let ipo = Dpo { loss: DpoLoss::Ipo, ..Dpo::default() };
    close(mean(Objective::Dpo(ipo)), 25.0);
    close(mean(Objective::Kto(Kto::default())), 1.0);
}

#[test]
fn a_divergence_below_zero_counts_as_zero() {
    let objective = Objective::Kto(Kto::default());
    let with = |reference: f64| {
        let mut samples = samples();
        for sample in &mut samples {
            sample.mismatched = Some(Answer { log_prob: -10.0, reference, tokens: 5 });
        }
        total(&objective, &samples)
    };
    assert_eq!(with(-9.0), with(-10.0));
    assert_ne!(with(-11.0), with(-10.0));
}

#[test]
fn extreme_differences_stay_finite() {
    for objective in objectives() {
        let preference = objective.preference().expect("an objective over preferences");
        for (chosen, rejected) in [(-1e-9, -1e6), (-1e6, -1e-9)] {
            let answer = |log_prob| Some(Answer { log_prob, reference: -50.0, tokens: 3 });
            let sample = Sample {
                chosen: answer(chosen),
                rejected: answer(rejected),
                mismatched: answer(-50.0),
            };
            let [judged] = preference.judge(&[sample])[..] else { panic!("one record") };
            assert!(judged.loss.is_finite(), "{objective:?} {judged:?}");
            assert!(
                judged.slopes.iter().all(|slope| slope.is_finite()),
                "{objective:?} {judged:?}"
            );
        }
    }
}

#[test]
fn rewards_are_counted_by_pairs_and_without_them_by_all_pairings() {
    let means = |records: &[[Option<f64>; 2]]| {
        let mut sums = RewardSums::default();
        for &rewards in records {
            sums.add(&Judged { rewards, ..Judged::default() });
        }
        sums.means()
    };
    assert_eq!(means(&[]), None);
    let pairs = means(&[[Some(1.0), Some(0.0)], [Some(0.0), Some(0.5)]]).expect("answers");
    assert_eq!(
        (pairs.chosen, pairs.rejected, pairs.margin, pairs.accuracy),
        (Some(0.5), Some(0.25), Some(0.25), Some(0.5))
    );
    let single =
        means(&[[Some(1.0), None], [Some(3.0), None], [None, Some(2.0)]]).expect("answers");
    assert_eq!((single.margin, single.accuracy), (Some(0.0), Some(0.5)));
    let good = means(&[[Some(1.0), None]]).expect("an answer");
    assert_eq!((good.rejected, good.margin, good.accuracy), (None, None, None));
}
