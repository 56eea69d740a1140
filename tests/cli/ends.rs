//! How processes end when they are asked to, at whatever moment: documented exit codes, nothing on the screen after our last
//! line, nothing half written, and the same numbers after a resume.

use std::collections::BTreeMap;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Output};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::Value;

use statetune_engine::model::{Shape, Version};

use crate::case::{Case, STATE, checkpoint};
use crate::resume::{chain_len, same_numbers, signal, spawn, wait_for_second_run, wait_until};

/// Sixty steps with an evaluation after each, one checkpoint kept.
const MANY: [&str; 6] = [
    "--set=train.epoch_steps=1",
    "--set=train.epoch_count=60",
    "--set=checkpoint.keep_last=1",
    "--set=sample.held_out=2",
    "--set=sample.max_tokens=4",
    "--set=data.overlong=truncate",
];
/// Steps that take longer than the test waits.
const SLOW: [&str; 3] = [
    "--set=train.accumulate_grad_batches=100000",
    "--set=sample.held_out=0",
    "--set=data.overlong=truncate",
];
/// Signals by name, with the exit code of a process that one of them ends at once.
const SIGNALS: [(&str, i32); 3] = [("-INT", 130), ("-TERM", 143), ("-HUP", 129)];

/// The exit code as a shell reports it.
fn code(output: &Output) -> i32 {
    let status = output.status;
    status.code().unwrap_or_else(|| 128 + status.signal().expect("a code or a signal"))
}

/// Nothing but whole lines of ours.
#[track_caller]
pub(crate) fn is_clean(output: &Output) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.is_empty() || stderr.ends_with('\n'), "{stderr}");
    for foreign in ["panicked", "terminate called", "INTERNAL ASSERT", "PyTorch", "error["] {
        assert!(!stderr.contains(foreign), "{stderr}");
    }
}

pub(crate) fn arguments<'a>(first: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    [first, more].concat()
}

/// Asks a run with these settings, whose last checkpoint is `last`, twice to stop at random moments of its first `millis`
/// and resumes it, `rounds` times.
fn two_signals(case: &Case, settings: &[&str], last: &str, millis: u64, rounds: usize) {
    let mut rng = ChaCha8Rng::seed_from_u64(rounds as u64);
    case.statetune(&arguments(&["run", STATE], settings)).is_done_with_warnings();
    let whole = case.only_run();
    let again = arguments(&["run", STATE, "--resume", "auto"], settings);
    for round in 0..rounds {
        let child = spawn(case, &again);
        sleep(Duration::from_millis(rng.random_range(0..millis)));
        let (first, first_code) = SIGNALS[rng.random_range(0..SIGNALS.len())];
        let (second, second_code) = SIGNALS[rng.random_range(0..SIGNALS.len())];
        signal(&child, first);
        // Together, or a request of its own.
        sleep(Duration::from_millis([rng.random_range(0..150), 1100][round % 2]));
        signal(&child, second);
        let output = child.wait_with_output().expect("it ends");
        is_clean(&output);
        let codes = [0, 75, first_code, second_code];
        assert!(codes.contains(&code(&output)), "{first} {second}: {output:?}");
    }
    case.statetune(&again).is_done_with_warnings();
    let other = case.runs().into_iter().filter(|run| *run != whole);
    for run in other {
        same_numbers(case, &whole, &run, last);
        // What was evaluated after the last checkpoint is evaluated again.
        let evals = |run: &Path| -> BTreeMap<u64, f64> {
            let lines = case.lines(run.join("events.jsonl")).into_iter();
            let evals = lines.filter(|line| line["event"] == "eval");
            let number = |line: &Value| Some((line["steps"].as_u64()?, line["val_loss"].as_f64()?));
            evals.map(|line| number(&line).expect("numbers")).collect()
        };
        assert_eq!(evals(&whole), evals(&run));
    }
}

#[test]
fn two_signals_at_random_moments() {
    two_signals(&Case::new(), &MANY, "epoch-0059", 1500, 24);
}

#[test]
#[ignore = "takes ten minutes"]
fn two_signals_at_two_hundred_moments() {
    two_signals(&Case::new(), &MANY, "epoch-0059", 1500, 200);
}

/// The shape of World 0.1B: loading the weights, a step and an evaluation take seconds each.
#[test]
#[ignore = "takes ten minutes"]
fn two_signals_at_twelve_moments_of_a_large_model() {
    let shape = Shape::for_scratch(Version::V7, 12, 768, 65536);
    let case = Case::new().having("base.pth", checkpoint(shape)).with(
        STATE,
        "tokenizer = \"vocab.txt\"",
        "tokenizer = \"world\"",
    );
    let mut settings = MANY.to_vec();
    settings[1] = "--set=train.epoch_count=5";
    settings.push("--set=eval.limit=4");
    let began = Instant::now();
    case.statetune(&arguments(&["run", STATE, "--runs-dir", "alone"], &settings))
        .is_done_with_warnings();
    let millis = began.elapsed().as_millis() as u64;
    two_signals(&case, &settings, "epoch-0004", millis, 12);
}

/// The number of steps of a run, and a run within its first step.
fn within_a_step(case: &Case, more: &[&str]) -> Child {
    let before = case.runs();
    let child = spawn(case, &arguments(&["run", STATE], &[&SLOW[..], more].concat()));
    wait_until(|| {
        let new = case.runs().into_iter().find(|run| !before.contains(run));
        new.is_some_and(|run| {
            let events = std::fs::read_to_string(case.path(run.join("events.jsonl")));
            events.is_ok_and(|events| events.contains("\"eval\""))
        })
    });
    sleep(Duration::from_millis(200));
    child
}

#[test]
fn a_second_request_ends_a_step_at_once() {
    let case = Case::new();
    for (name, expected) in SIGNALS {
        let before = case.runs();
        let child = within_a_step(&case, &[]);
        signal(&child, "-INT");
        sleep(Duration::from_millis(1100));
        signal(&child, name);
        let output = child.wait_with_output().expect("it ends");
        is_clean(&output);
        assert_eq!(output.status.code(), Some(expected), "{name}: {output:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        let mut new = case.runs().into_iter().filter(|run| !before.contains(run));
        let run = new.next().expect("a run").to_string_lossy().into_owned();
        let expected = format!(
            "stopping and saving everything; interrupt again to stop at once\n\
             stopped at once; no step is saved yet: `statetune resume {run}` starts over\n"
        );
        assert!(stderr.ends_with(&expected), "{stderr}");
    }
}

/// A step that takes long says how far it is: to who asked for its end, to `watch` and to `ctl`.
#[test]
fn a_long_step_says_how_far_it_is() {
    let case = Case::new();
    let child = within_a_step(&case, &[]);
    let run = case.only_run();
    let now = || std::fs::read_to_string(case.path(run.join("now.json"))).unwrap_or_default();
    wait_until(|| now().contains("\"text\":\"this step "));
    let name = run.to_str().expect("UTF-8");
    let watched = case.statetune(&["watch", name, "--once"]);
    assert!(watched.is_done().stdout.contains("\n  this step "), "{watched:?}");
    signal(&child, "-INT");
    sleep(Duration::from_millis(2500));
    signal(&child, "-INT");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let stderr = String::from_utf8_lossy(&output.stderr);
    // Two threads say these lines.
    for said in ["interrupt again to stop at once\n", "\nstopping after this step 0 %  ETA "] {
        assert!(stderr.contains(said), "{stderr}");
    }
}

/// As `timeout` and a closed terminal send them, to the process and to its group.
#[test]
fn signals_that_arrive_together_are_one_request() {
    let case = Case::new();
    for (name, _) in SIGNALS {
        let child = within_a_step(&case, &[]);
        for wait in [0, 30, 300] {
            sleep(Duration::from_millis(wait));
            signal(&child, name);
        }
        sleep(Duration::from_millis(900));
        let mut child = child;
        assert!(child.try_wait().expect("a child").is_none(), "the step continues");
        child.kill().expect("killed");
        child.wait().expect("it ends");
    }
}

#[test]
fn without_grace_sigterm_ends_a_step_at_once() {
    let case = Case::new();
    for _ in 0..3 {
        let child = within_a_step(&case, &["--grace", "0"]);
        signal(&child, "-TERM");
        let output = child.wait_with_output().expect("it ends");
        is_clean(&output);
        assert_eq!(output.status.code(), Some(143), "{output:?}");
    }
    let child = within_a_step(&case, &["--grace", "1"]);
    let asked = Instant::now();
    signal(&child, "-TERM");
    let output = child.wait_with_output().expect("it ends");
    is_clean(&output);
    assert_eq!(output.status.code(), Some(143), "{output:?}");
    assert!((1..20).contains(&asked.elapsed().as_secs()), "{:?}", asked.elapsed());
}

/// A run whose evaluation takes longer than the test waits: nearly all of many documents are validation documents.
pub(crate) fn long_evaluation() -> Case {
    let line = |i: usize| {
        let words = "one two three four five six seven eight ".repeat(2);
        format!("{{\"text\": \"User: {i} {words}?\\n\\nAssistant: {words} {i}.\"}}\n")
    };
    let case = Case::new().with(STATE, "val_split = 0.2", "val_split = 0.99");
    case.write("data.jsonl", (0..8000).map(line).collect::<String>());
    case
}

/// The run in its evaluation before training.
pub(crate) fn within_evaluation(case: &Case, more: &[&str]) -> (Child, PathBuf) {
    let before = case.runs().into_iter().next().unwrap_or_default();
    let child = spawn(case, &arguments(&["run", STATE, "--set=train.micro_bsz=1"], more));
    let run = wait_for_second_run(case, &before);
    wait_until(|| case.path(run.join("now.json")).exists());
    (child, run)
}

#[test]
fn an_evaluation_stops_at_a_signal_and_is_done_after_the_resume() {
    let case = long_evaluation();
    let few = ["--set=eval.limit=8", "--set=train.epoch_count=1"];
    case.statetune(&arguments(&["run", STATE, "--set=train.micro_bsz=1"], &few)).is_done();
    let whole = case.only_run();
    let (child, run) = within_evaluation(&case, &["--set=train.epoch_count=1"]);
    let watched = case.statetune(&["watch", run.to_str().expect("UTF-8"), "--once"]);
    assert!(watched.is_done().stdout.contains("\n  validation loss "), "{watched:?}");
    let asked = Instant::now();
    signal(&child, "-INT");
    let output = child.wait_with_output().expect("it ends");
    is_clean(&output);
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    let stdout = String::from_utf8_lossy(&output.stdout);
    assert!(stdout.contains("stopped after step 0 of 2, everything is saved\n"), "{stdout}");
    assert_eq!(case.list(run.join("ckpt")), ["last", "step-0000000"]);
    assert!(!case.path(run.join("now.json")).exists());
    case.statetune(&["resume", run.to_str().expect("UTF-8"), "--set=eval.limit=8"]).is_done();
    same_numbers(&case, &whole, &run, "epoch-0000");
    let losses = |run: &Path| -> Vec<_> {
        let lines = case.lines(run.join("events.jsonl")).into_iter();
        lines.filter(|line| line["event"] == "eval").map(|line| line["val_loss"].clone()).collect()
    };
    assert_eq!((losses(&whole).len(), losses(&whole)), (2, losses(&run)));
}

#[test]
fn a_request_during_an_evaluation_is_explained_and_a_stop_is_followed() {
    let case = long_evaluation();
    let (child, run) = within_evaluation(&case, &[]);
    let name = run.to_str().expect("UTF-8").to_string();
    let mut waiting = spawn(&case, &["ctl", &name, "save"]);
    sleep(Duration::from_millis(2500));
    assert!(waiting.try_wait().expect("a child").is_none(), "the evaluation continues");
    let stopped = case.statetune(&["ctl", &name, "stop"]);
    let lines: Vec<&str> = stopped.is_done().stdout.lines().collect();
    assert_eq!(
        lines[..2],
        ["accepted after step 0", "done after step 0: everything is saved, the run ends"]
    );
    let saved = waiting.wait_with_output().expect("it ends");
    let stderr = String::from_utf8_lossy(&saved.stderr);
    assert!(stderr.contains("waiting: the run is at work on validation loss "), "{stderr}");
    let stdout = String::from_utf8_lossy(&saved.stdout);
    assert!(stdout.contains("done after step 0: checkpoint step-0000000"), "{stdout}");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(75), "{output:?}");
}

#[test]
fn preparing_data_stops_at_a_signal_and_leaves_nothing() {
    let case = long_evaluation();
    let lines = case.read("data.jsonl");
    case.write("data.jsonl", lines.repeat(60));
    for command in [&["data", "prepare", STATE][..], &["run", STATE]] {
        let child = spawn(&case, command);
        let building = || {
            let names = case.list("runs/.cache").into_iter();
            names.filter(|name| name.starts_with(".data-")).count()
        };
        wait_until(|| building() > 0);
        signal(&child, "-INT");
        let output = child.wait_with_output().expect("it ends");
        is_clean(&output);
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert_eq!((building(), case.runs().len()), (0, 0));
    }
}

/// A case with a suite of this many items that the model answers, and one of as many cloze texts.
pub(crate) fn with_suites(items: usize) -> Case {
    let question =
        |i: usize| format!("{{\"question\": \"How many is {i}?\", \"regex\": \"[aeiou]\"}}\n");
    let text = |i: usize| format!("{{\"text\": \"After {i} comes\", \"target\": \"{}\"}}\n", i + 1);
    let suites = "[eval]\nsuites = [\"asked.jsonl\", \"cloze.jsonl\"]\n\n[log]";
    Case::new()
        .having("asked.jsonl", (0..items).map(question).collect::<String>())
        .having("cloze.jsonl", (0..items).map(text).collect::<String>())
        .with(STATE, "[log]", suites)
}

/// One Ctrl-C, and two that are one request, within the suites before training and after a mini-epoch.
#[test]
fn suites_stop_at_a_signal_and_are_measured_after_the_resume() {
    suites_stop_on(&[]);
}

/// As on one device; the moments that are saved are on both.
#[test]
fn suites_of_several_devices_stop_at_a_signal() {
    suites_stop_on(&["--set=hardware.devices=2", "--set=hardware.strategy=zero1"]);
}

fn suites_stop_on(devices: &[&str]) {
    let case = with_suites(400);
    let settings = ["--set=sample.held_out=0"];
    case.statetune(&arguments(&["run", STATE], &settings)).is_done();
    let whole = case.only_run();
    let again = [&["run", STATE, "--resume", "auto"], &settings[..], devices].concat();
    let other = || case.runs().into_iter().find(|run| *run != whole);
    let epoch = chain_len(&case, &whole) / 2;
    for (steps, signals) in [(0, 1), (2, 2)] {
        let child = spawn(&case, &again);
        let is_measuring = |run: &PathBuf| {
            let now = std::fs::read_to_string(case.path(run.join("now.json"))).unwrap_or_default();
            now.contains("\"suites\"") && chain_len(&case, run) >= steps * epoch / 2
        };
        wait_until(|| other().is_some_and(|run| is_measuring(&run)));
        for _ in 0..signals {
            signal(&child, "-INT");
            sleep(Duration::from_millis(50));
        }
        let output = child.wait_with_output().expect("it ends");
        is_clean(&output);
        assert_eq!(output.status.code(), Some(75), "{output:?}");
        let stdout = String::from_utf8_lossy(&output.stdout);
        let line = format!("stopped after step {steps} of 4, everything is saved\n");
        assert!(stdout.contains(&line), "{stdout}");
    }
    case.statetune(&again).is_done_with_warnings();
    let run = other().expect("a second run");
    same_numbers(&case, &whole, &run, "epoch-0001");
    let suites = |run: &Path| case.read(run.join("suites.jsonl"));
    assert!(suites(&whole) == suites(&run), "suites.jsonl differs");
    assert_eq!(case.lines(run.join("suites.jsonl")).len(), 2 + 3 * 2);
}

/// `eval` has nothing to save: one Ctrl-C ends it, at whatever moment.
#[test]
fn an_evaluation_of_suites_ends_at_a_signal() {
    let case = with_suites(20_000);
    let suites = ["--suite", "asked.jsonl", "--suite", "cloze.jsonl"];
    let eval = arguments(&["eval", "base.pth", "--tokenizer", "vocab.txt"], &suites);
    for millis in [5, 300, 900] {
        let child = spawn(&case, &eval);
        sleep(Duration::from_millis(millis));
        signal(&child, "-INT");
        let asked = Instant::now();
        let output = child.wait_with_output().expect("it ends");
        is_clean(&output);
        assert_eq!((code(&output), output.stdout.len()), (130, 0), "{output:?}");
        assert!(asked.elapsed() < Duration::from_secs(10), "{:?}", asked.elapsed());
    }
}
