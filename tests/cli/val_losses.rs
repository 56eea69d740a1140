//! The losses of single validation documents, in the record of a run and where they are shown.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;

use crate::case::{Case, STATE};

/// The losses that the record of a run has, by steps and place of the document.
fn recorded(case: &Case, run: &Path) -> BTreeMap<u64, BTreeMap<String, f64>> {
    let lines = case.lines(run.join("val_losses.jsonl"));
    let places: Vec<String> = lines[0]["documents"]
        .as_array()
        .expect("documents")
        .iter()
        .map(|one| one["document"].as_str().expect("a place").to_string())
        .collect();
    let losses = |line: &Value| -> BTreeMap<String, f64> {
        let losses = line["losses"].as_array().expect("losses").iter();
        places.iter().cloned().zip(losses.map(|loss| loss.as_f64().expect("a loss"))).collect()
    };
    let evaluations = lines[1..].iter();
    evaluations.map(|line| (line["steps"].as_u64().expect("steps"), losses(line))).collect()
}

/// Target tokens of the same documents, and their losses before and after training, by `data show --worst`, which reads each
/// document alone.
fn scored(case: &Case, run: &Path) -> BTreeMap<String, [f64; 3]> {
    case.statetune(&["data", "show", "--run", "latest", "--worst", "1"]).is_done();
    let lines = case.lines(run.join("ledger.jsonl"));
    let line = |line: &Value| {
        let name = line["document"].as_str().expect("a name"); // line 3 of `data.jsonl`
        let number = name.split(' ').nth(1).expect("a number");
        let value = |key: &str| line[key].as_f64().expect("a number");
        let values = ["learned_tokens", "before", "after"].map(value);
        (format!("data.jsonl:{number}"), values)
    };
    lines[1..].iter().map(line).collect()
}

#[test]
fn losses_are_those_of_each_document_alone() {
    for more in ["data.dataload=\"pad\"", "data.dataload=\"pack\"", "train.micro_bsz=1"] {
        let case = Case::new();
        let output = case.statetune(&["run", STATE, "--set", more, "--set", "data.loss_mask=pad"]);
        output.is_done();
        let run = case.only_run();
        let recorded = recorded(&case, &run);
        assert_eq!(recorded.keys().collect::<Vec<_>>(), [&0, &2, &4], "{more}");
        let scored = scored(&case, &run);
        assert!(recorded[&0].len() > 1, "{more}");
        let events = case.lines(run.join("events.jsonl"));
        for (steps, place_in_line) in [(0, 1), (4, 2)] {
            let (mut sum, mut targets) = (0.0, 0.0);
            for (place, loss) in &recorded[&steps] {
                let found = scored[place][place_in_line];
                assert!((loss - found).abs() < 1e-3, "{more}, {place}: {loss}, alone {found}");
                sum += loss * scored[place][0];
                targets += scored[place][0];
            }
            let is_eval = |one: &&Value| one["event"] == "eval" && one["steps"] == steps;
            let val_loss = events.iter().find(is_eval).expect("an evaluation")["val_loss"].as_f64();
            let mean = sum / targets;
            assert!(
                val_loss.is_some_and(|loss| (loss - mean).abs() < 2e-6),
                "{mean}, {val_loss:?}"
            );
        }
    }
}

#[test]
fn documents_that_changed_most_are_shown() {
    let text = r#"{"text": "User: <b>\u001b]0;x\u0007 and\n\nAssistant: fine"}"#;
    let case = Case::new();
    let data = format!("{}{text}\n", case.read("data.jsonl"));
    let case = case.having("data.jsonl", data);
    let run = ["run", STATE, "--set", "data.val_split=0.9", "--set", "log.report=true"];
    case.statetune(&run).is_done();
    let run = case.only_run();
    let shown = case.statetune(&["runs", "show", "latest"]).is_done().stdout.clone();
    let improved = shown.lines().filter(|line| line.starts_with("improved ")).count();
    assert_eq!(improved, 3, "{shown}");
    let losses = recorded(&case, &run);
    let best = case.json(run.join("status.json"))["best"]["steps"].as_u64().expect("a best step");
    let change = |place: &String| losses[&best][place] - losses[&0][place];
    let most = losses[&0].keys().min_by(|one, other| change(one).total_cmp(&change(other)));
    let most = most.expect("documents");
    let place = shown.lines().find(|line| line.starts_with("improved ")).expect("a line");
    assert!(place.starts_with(&format!("improved    {most}: ")), "{most}: {place}");

    let json =
        case.statetune(&["runs", "show", "latest", "--format", "json"]).is_done().stdout.clone();
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["validation_documents"]["improved"][0]["document"], **most);
    let html = case.read(run.join("report.html"));
    assert!(html.contains("<h2>Validation documents</h2>"));
    assert!(!html.contains('\u{1b}'));
    assert!(!html.contains("<b>"));
    assert!(html.contains("<th>improved</th><th>before</th><th>after</th><th>change</th>"));
    assert!(html.contains(&format!("<td><code>{most}</code></td>")), "{most}");
}

/// The record of a run that was resumed at each of its checkpoints is that of an unbroken one, a broken line is passed
/// over, and a run of an earlier version begins its record when it is resumed.
#[test]
fn a_resumed_run_has_the_same_record() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let file = run.join("val_losses.jsonl");
    let whole = case.read(&file);
    std::fs::remove_dir_all(case.path(run.join("ckpt/epoch-0001"))).expect("removed");
    case.write(run.join("ckpt/last"), "epoch-0000\n");
    let half = r#"{"record":"losses","steps":3,"los"#;
    case.write(&file, format!("{whole}{half}"));
    let status = case.read(run.join("status.json"));
    case.write(run.join("status.json"), status.replacen("\"done\"", "\"interrupted\"", 1));
    case.statetune(&["resume", "latest"]).is_done();
    assert_eq!(case.read(&file), whole);

    case.write(&file, format!("{half}\n{whole}"));
    assert!(case.statetune(&["runs", "show", "latest"]).is_done().stdout.contains("\nimproved "));
    std::fs::remove_file(case.path(&file)).expect("removed");
    case.statetune(&["resume", "latest", "--set", "train.epoch_count=3"]).is_done();
    assert_eq!(recorded(&case, &run).into_keys().collect::<Vec<_>>(), [6]);
    let shown = case.statetune(&["runs", "show", "latest"]).is_done().stdout.clone();
    assert!(!shown.contains("improved "), "nothing to compare with: {shown}");
}

#[test]
fn the_record_is_bounded() {
    let line = |at: usize| format!("{{\"text\": \"User: {at}\\n\\nAssistant: yes {at}\"}}\n");
    let data: String = (0..1200).map(line).collect();
    let case = Case::new().having("data.jsonl", data);
    let small = ["--set", "data.val_split=0.5", "--set", "train.epoch_count=1"];
    case.statetune(&[&["run", STATE, "--set", "train.micro_bsz=32"][..], &small].concat())
        .is_done();
    let run = case.only_run();
    let lines = case.lines(run.join("val_losses.jsonl"));
    assert_eq!(lines[0]["documents"].as_array().map(Vec::len), Some(512));
    assert!(lines[0]["of"].as_u64().is_some_and(|of| of > 550), "{}", lines[0]["of"]);
    assert!(lines[1].to_string().len() < 512 * 12);
    let report = case.statetune(&["report", "latest", "--out", "r.html"]);
    report.is_done();
    assert!(case.read("r.html").contains("Losses of the first 512 of "));
    let limited = ["--set", "eval.limit=3", "--set", "train.epoch_count=1"];
    let case = Case::new();
    case.statetune(&[&["run", STATE, "--set", "data.val_split=0.9"][..], &limited].concat())
        .is_done();
    let lines = case.lines(case.only_run().join("val_losses.jsonl"));
    assert_eq!(
        (lines[0]["documents"].as_array().map(Vec::len), &lines[0]["of"]),
        (Some(3), &3.into())
    );
}
