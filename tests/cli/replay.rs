//! Steps of objectives that compare answers, computed again alone: with the loss that they had in the run.

use serde_json::{Value, json};
use tch::{Kind, Tensor};

use crate::case::{Case, STATE};
use crate::guard::{record, two_heads};
use crate::preferences::{case_of, labelled, pairs, with_objective};

/// A base whose loss is finite and whose gradient overflows.
fn overflowing() -> Case {
    two_heads(|name, tensor| {
        let randn = |scale: f64| Tensor::randn_like(&tensor.to_kind(Kind::Float)) * scale;
        match name {
            "blocks.1.ffn.key.weight" => randn(1e-12),
            "blocks.1.ffn.value.weight" => randn(1e24),
            "head.weight" => randn(1e20),
            _ => tensor,
        }
    })
}

/// Runs into an incident with a finite loss, replays it, and returns the record and the replay.
#[track_caller]
fn replayed(case: &Case, more: &[&str]) -> (Value, Value) {
    let settings = ["run", STATE, "--set=data.val_split=0", "--set=sample.held_out=0"];
    let output = case.statetune(&[&settings[..], more].concat());
    assert_eq!(output.code, Some(24), "{output:?}");
    assert!(output.stderr.contains("gradient norm became NaN"), "{output:?}");
    let incident = record(case, &case.only_run());
    let name = format!("latest/{}", incident["step"]);
    let again = case.statetune(&["incident", "replay", &name, "--format", "json"]);
    assert_eq!(again.code, Some(1), "{again:?}");
    let again: Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert!(incident["loss"].is_number(), "{incident}");
    assert_eq!((&again["loss"], &again["loss_of_run"]), (&incident["loss"], &incident["loss"]));
    let shown = case.statetune(&["incident", "show", &name]);
    let loss = incident["loss"].as_f64().expect("a number");
    assert!(shown.stdout.contains(&format!("\nloss        {loss}\n")), "{shown:?}");
    (incident, again)
}

#[test]
fn a_replay_has_the_loss_of_the_run() {
    for name in ["sft", "dpo", "orpo"] {
        let case = match name {
            "sft" => overflowing(),
            name => with_objective(overflowing(), name, &pairs()),
        };
        let (incident, again) = replayed(&case, &[]);
        assert_eq!(incident["step"], 1, "{name}");
        let first = again["readings"].as_array().expect("readings").iter();
        let first = first.clone().find(|one| one["not_finite"] != 0).expect("a bad one");
        assert_eq!(
            (&first["place"], &first["direction"]),
            (&json!("blocks.1.ffn"), &json!("backward"))
        );
    }
}

/// Good answers weigh so much that gradients overflow: the steps before the first of them train, and the model has left its reference.
#[test]
fn a_replay_of_weighted_answers_has_the_loss_of_the_run() {
    let few_good = labelled().into_iter().enumerate().map(|(i, mut record)| {
        record["label"] = json!(i == 0);
        record
    });
    let case = case_of("kto", &few_good.collect::<Vec<_>>());
    let (incident, _) = replayed(&case, &["--set=objective.desirable_weight=1e40"]);
    let step = incident["step"].as_u64().expect("a step");
    assert!(step > 1, "{incident}");
    let loss = incident["loss"].as_f64().expect("a number");
    // One good answer of four, at `1 - sigmoid(beta (gain - z))`, which is a half without training.
    let share = loss * 4.0 / 1e40;
    assert!(share > 0.3 && share < 0.7 && (share - 0.5).abs() > 1e-6, "{share}");
    let rows = case.lines(case.only_run().join(format!("incidents/{step:06}/batch.jsonl")));
    let own = rows.iter().filter(|row| row["answer"]["side"].is_string()).count();
    let mismatched = rows.iter().filter(|row| row["mismatched"] == true).count();
    assert_eq!((own, mismatched), (4, 4));
    assert!(rows.iter().all(|row| row["reference"].is_number()), "{rows:?}");
}
