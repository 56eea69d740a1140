//! The main job on what comes with the project: does the tuned state do what the README says?

use std::path::Path;

use serde_json::Value;

use crate::case::Case;

/// A file of the project.
fn project(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file).to_string_lossy().into_owned()
}

#[test]
fn the_state_alone_makes_answers_carry_emoji() {
    let case = Case::new();
    case.statetune(&["run", &project("configs/emoji-state.toml"), "--runs-dir", "runs"]).is_done();
    let run = case.only_run();
    let events = case.lines(run.join("events.jsonl"));
    let losses: Vec<f64> = events.iter().filter_map(|event| event["val_loss"].as_f64()).collect();
    let (before, after) = (losses[0], losses[losses.len() - 1]);
    assert!(after < before - 0.8, "validation loss went from {before} to {after}");

    let end: &Value = events.last().expect("a run has events");
    let rate = |moment: &str| end["probes"][0][moment].as_f64().expect("a rate");
    let (base, tuned) = (rate("base"), rate("tuned"));
    assert!(base <= 0.05, "the untouched model uses emoji in {base} of its answers");
    assert!(tuned >= 0.8, "the tuned model uses emoji in only {tuned} of its answers");
}

#[test]
fn every_example_is_valid() {
    let examples = ["configs/emoji-state.toml", "configs/tiny-base.toml"];
    Case::new().statetune(&["check", &project("configs/short-answers.toml")]).is_done();
    for example in examples {
        // The texts of the base model are fetched, not shipped; any documents will do here.
        let data = format!("data.data_file={}", project("data/emoji-qa.jsonl"));
        Case::new().statetune(&["check", &project(example), "--set", &data]).is_done();
    }
}
