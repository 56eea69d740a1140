//! State tuning in every version and precision: the loss falls, nothing else moves, and a saved state resumes exactly.

use statetune_core::peft::StateSpec;
use statetune_core::tensorfile::Dtype;
use statetune_engine::exports::ExportOptions;
use statetune_engine::kernels::Op;
use statetune_engine::model::{Model, TimeState, Version};
use statetune_engine::peft::{Method as _, StateTuning};
use statetune_engine::train::Trainer;

use super::peft::{KINDS, batch, logits_of, passport, shape, trainer, weights};

/// Losses of steps at a rate for states.
fn train(trainer: &mut Trainer<'_>, steps: std::ops::Range<u64>) -> Vec<f64> {
    let outcomes = steps.map(|step| trainer.step(&[batch()], step, 0.3).expect("finite numbers"));
    outcomes.filter(|outcome| !outcome.skipped).map(|outcome| outcome.loss).collect()
}

#[test]
fn states_are_trained_in_every_version_and_precision() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for version in Version::ALL {
        for kind in KINDS {
            let what = format!("{version}, {kind:?}");
            let base = weights(shape(version));
            let before: Vec<_> =
                base.iter().map(|(name, x)| (name.to_string(), x.copy())).collect();
            let model = || Model::new(&base, kind, Op::Cpu);
            let run = StateTuning::new(model());
            let losses = train(&mut trainer(&run, kind), 0..8);
            assert!(losses[losses.len() - 1] < losses[0] - 0.01, "{what}: {losses:?}");
            assert!(run.time_state().wkv.iter().all(|s| s.abs().max().double_value(&[]) > 0.0));
            for (name, x) in &before {
                assert!(base.get(name, x.kind()).equal(x), "{what}: {name}");
            }

            let export = ExportOptions { dtype: Dtype::F32, passport: &passport(base.shape()) };
            let files = run.export(&folder.path().join("state"), &export).expect("written");
            let state = TimeState::load(&files[0], base.shape()).expect("a state");
            let again = StateTuning::from(model(), &state, StateSpec::wkv(1.0));
            assert_eq!(logits_of(&again), logits_of(&run), "{what}");
            // With equal optimizers, both continue equally.
            let losses = |method| train(&mut trainer(method, kind), 8..10);
            assert_eq!(losses(&again), losses(&run), "{what}");
            for (found, expected) in again.time_state().wkv.iter().zip(&run.time_state().wkv) {
                assert_eq!(found, expected, "{what}");
            }
        }
    }
}
