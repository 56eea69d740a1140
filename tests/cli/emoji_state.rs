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

/// The rate of answers with emoji in the probe of an event, `base` or `tuned`.
fn rate(event: &Value, moment: &str) -> f64 {
    event["probes"][0][moment].as_f64().expect("a rate")
}

#[test]
#[ignore = "minutes: trains until the state is near the prompt"]
fn a_prompt_becomes_a_state() {
    let case = Case::new();
    let example = project("configs/emoji-prompt.toml");
    let output = case.statetune(&["run", &example, "--runs-dir", "runs"]);
    assert!(output.is_done().stdout.contains("saved    a prompt of "), "{}", output.stdout);
    let run = case.only_run();
    let events = case.lines(run.join("events.jsonl"));
    let losses: Vec<f64> = events.iter().filter_map(|event| event["val_loss"].as_f64()).collect();
    let (before, after) = (losses[0], losses[losses.len() - 1]);
    assert!(after <= before / 10.0, "the distance from the teacher went from {before} to {after}");
    // The same questions after the prompt, to the untouched model.
    let text = std::fs::read_to_string(&example).expect("the example");
    let settings: toml::Table = text.parse().expect("TOML");
    let prompt = settings["objective"]["prompt"].as_str().expect("a text");
    let asked = case.lines(run.join("samples/base.jsonl"));
    let asked: Vec<String> = asked
        .iter()
        .map(|line| prompt.to_owned() + line["prompt"].as_str().expect("a text"))
        .collect();
    let prompts = format!("sample.prompts={}", Value::from(asked));
    let prompted = case.statetune(&[
        "run",
        &example,
        "--runs-dir",
        "prompted",
        "--unset",
        "objective.answers",
        "--unset",
        "objective.draw_tokens",
        "--unset",
        "objective.prompt",
        "--set",
        "objective.type=sft",
        "--set",
        "sample.held_out=0",
        "--set-json",
        &prompts,
        "--set",
        "train.epoch_steps=1",
        "--set",
        "train.epoch_count=1",
        "--set",
        "schedule.warmup_steps=0",
    ]);
    prompted.is_done_with_warnings();
    let folder = case.list("prompted").into_iter().find(|name| !name.starts_with('.'));
    let prompted =
        case.lines(Path::new("prompted").join(folder.expect("a run")).join("events.jsonl"));
    let teacher = rate(prompted.last().expect("events"), "base");
    let tuned = rate(events.last().expect("events"), "tuned");
    println!("distance {before} -> {after}, emoji of teacher {teacher}, of student {tuned}");
    assert!(teacher > 0.5 && (tuned - teacher).abs() <= 0.1, "teacher {teacher}, student {tuned}");
}

#[test]
fn every_example_is_valid() {
    Case::new().statetune(&["check", &project("configs/short-answers.toml")]).is_done();
    for example in
        ["configs/emoji-state.toml", "configs/emoji-prompt.toml", "configs/tiny-base.toml"]
    {
        // The texts of the base model are fetched, not shipped; any documents will do here.
        let data = format!("data.data_file={}", project("data/emoji-qa.jsonl"));
        Case::new().statetune(&["check", &project(example), "--set", &data]).is_done();
    }
}
