//! A run that is killed at any call that changes its directory, and resumed, ends as an unbroken one: with the same
//! chain, checkpoints, best and last, exported files, records and status.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::case::{Case, Output, STATE, program};

/// The best evaluation comes in the middle, and one checkpoint besides it is kept.
const SETTINGS: [&str; 14] = [
    "--set",
    "schedule.lr_init=2.5",
    "--set",
    "eval.every_steps=1",
    "--set",
    "checkpoint.keep_last=1",
    "--set",
    "train.epoch_count=3",
    "--set",
    "log.sinks=[\"jsonl\",\"train_log\",\"loss_data\",\"tensorboard\"]",
    "--set",
    "sample.max_tokens=4",
    "--set",
    "sample.held_out=1",
];
/// Points that are tried in the short test.
const SAMPLE: usize = 14;

/// The library that kills the program.
fn library(case: &Case) -> PathBuf {
    let path = case.path("kill.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/cli/kill.c");
    let mut build = Command::new("cc");
    build.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&path).args([source, "-ldl"]);
    let built = build.status();
    assert!(built.expect("a C compiler, which the build needs, too").success());
    path
}

/// Runs the experiment, killed at call number `at` (0: never), and returns the calls; `None` when it was not killed.
fn run_killed(case: &Case, library: &Path, more: &[&str], at: usize) -> (bool, Vec<String>) {
    let log = case.path("calls.txt");
    let _ = fs::remove_file(&log);
    let output = program()
        .current_dir(case.path(""))
        .args(["run", STATE])
        .args(SETTINGS)
        .args(more)
        .env("LD_PRELOAD", library)
        .env("KILL_AT", at.to_string())
        .env("KILL_LOG", &log)
        .output()
        .expect("the program starts");
    let killed = output.status.signal() == Some(9);
    assert!(killed || output.status.success(), "{output:?}");
    let calls = fs::read_to_string(&log).unwrap_or_default();
    (killed, calls.lines().map(str::to_owned).collect())
}

fn resume(case: &Case, more: &[&str]) -> Output {
    case.statetune(&[&["run", STATE, "--resume", "auto"][..], &SETTINGS, more].concat())
}

/// Everything in a run directory but times and what depends on the number of processes.
fn content(case: &Case, run: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    collect(&case.path(run), "", &mut found);
    let name = run.file_name().expect("a name").to_string_lossy().into_owned();
    found.values_mut().for_each(|text| *text = text.replace(&name, "RUN"));
    found
}

fn collect(folder: &Path, prefix: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        if entry.path().is_dir() {
            found.insert(name.clone(), "a folder".to_string());
            collect(&entry.path(), &format!("{name}/"), found);
            continue;
        }
        let bytes = fs::read(entry.path()).expect("a file");
        let text = |bytes: &[u8]| bytes.iter().map(|&byte| char::from(byte)).collect::<String>();
        if name.ends_with(".st") {
            // The order of the metadata differs from process to process.
            let (len, rest) = bytes.split_first_chunk().expect("a header");
            let tensors = &rest[u64::from_le_bytes(*len) as usize..];
            found.insert(name, text(tensors));
            continue;
        }
        let text = text(&bytes);
        let text = match &*name {
            "events.jsonl" => evaluations(&text),
            "LOCK" | "times.jsonl" | "report.html" | "plan.json" => "there".to_string(),
            "status.json" => without(&text, &["started", "updated"]),
            "train_log.txt" => {
                let first = |line: &str| line.split(' ').take(4).collect::<Vec<_>>().join(" ");
                text.lines().skip(1).map(first).collect::<Vec<_>>().join("\n")
            }
            "loss_data.jsonl" => {
                text.lines().map(|line| without(line, &["t_cost", "kt_s"])).collect()
            }
            name if name.starts_with("tensorboard/") => continue, // a file per process
            name if name.ends_with("digests.json") => "there".to_string(),
            name if name.ends_with("position.json") => without(&text, &["totals"]),
            _ => text,
        };
        found.insert(name, text);
    }
}

/// JSON without some keys.
fn without(text: &str, keys: &[&str]) -> String {
    let mut object: Value = serde_json::from_str(text).expect("JSON");
    keys.iter().for_each(|key| {
        object.as_object_mut().expect("an object").remove(*key);
    });
    format!("{object}\n")
}

/// Every line of the events is whole; those of evaluations, each once, are those of an unbroken run.
fn evaluations(text: &str) -> String {
    let lines = text.lines().map(|line| -> Value { serde_json::from_str(line).expect("JSON") });
    let evals = lines.filter(|line| line["event"] == "eval");
    let evals: BTreeMap<u64, String> = evals
        .map(|line| (line["steps"].as_u64().expect("steps"), line["val_loss"].to_string()))
        .collect();
    format!("{evals:?}")
}

/// Kills a run with `more` settings at these calls, of those that an unbroken run makes, and compares what becomes of it.
pub fn survives(more: &[&str], choose: impl Fn(usize) -> Vec<usize>) {
    let case = Case::new();
    let library = library(&case);
    resume(&case, more).is_done(); // prepares the documents
    fs::remove_dir_all(case.path(case.only_run())).expect("removed");
    let (killed, calls) = run_killed(&case, &library, more, 0);
    assert!(!killed);
    let whole = content(&case, &case.only_run());
    if more.is_empty() {
        let best = &whole["ckpt/best"];
        assert!(best.starts_with("step-") || best.starts_with("epoch-000"), "{best}");
        assert!(whole.contains_key("export/rwkv-best.pth"), "the best is not the last: {best}");
    }
    for at in choose(calls.len()) {
        let place = &calls[at - 1];
        clear(&case);
        let (killed, _) = run_killed(&case, &library, more, at);
        assert!(killed, "at {place}");
        let is_done =
            case.runs().iter().any(|run| case.json(run.join("status.json"))["status"] == "done");
        if !is_done {
            let output = resume(&case, more);
            assert_eq!(output.code, Some(0), "at {place}: {output:?}");
        }
        let runs = case.runs();
        assert_eq!(runs.len(), 1, "at {place}");
        let found = content(&case, &runs[0]);
        for (name, expected) in &whole {
            let found = found.get(name);
            assert!(found == Some(expected), "at {place}: {name} differs");
        }
        let more: Vec<_> = found.keys().filter(|name| !whole.contains_key(*name)).collect();
        assert!(more.is_empty() || is_done, "at {place}: {more:?}");
    }
    println!("killed at {} of {} calls", choose(calls.len()).len(), calls.len());
}

/// Removes all runs, and what is left of them, but not the prepared documents.
fn clear(case: &Case) {
    for name in case.list("runs").into_iter().filter(|name| name != ".cache") {
        fs::remove_dir_all(case.path("runs").join(name)).expect("removed");
    }
}

#[test]
fn killed_at_some_calls_it_ends_the_same() {
    survives(&[], |calls| (0..SAMPLE).map(|i| 1 + (2 * i + 1) * calls / (2 * SAMPLE)).collect());
}

#[test]
#[ignore = "some minutes"]
fn killed_at_every_call_it_ends_the_same() {
    survives(&[], |calls| (1..=calls).collect());
}
