//! Requests to runs while they train, and probes that decide when a run ends.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;

use serde_json::{Value, json};

use crate::case::{Case, STATE};
use crate::resume::{same_numbers, spawn, wait_for_second_run, wait_until};

/// Checkpoints only where they are asked for.
const FEW_FILES: [&str; 4] =
    ["--set", "checkpoint.epoch_save=5000", "--set", "checkpoint.keep_best=false"];

/// A question and a probe that every answer shows, or none.
fn probe(regex: &str, more: &str) -> String {
    format!(
        "[sample]\nprompts = [\"User: Hi\\n\\nAssistant:\"]\nmax_tokens = 2\n\n[[sample.probe]]\nname = \"seen\"\nregex = '{regex}'\n{more}\n\n[log]"
    )
}

/// A run of more steps than the test waits for.
fn start_long_run(case: &Case) -> (Child, PathBuf) {
    let child = spawn(
        case,
        &[&["run", STATE][..], &FEW_FILES, &["--set", "train.epoch_count=5000"]].concat(),
    );
    let run = wait_for_second_run(case, Path::new(""));
    wait_until(|| fs::metadata(case.path(run.join("chain.bin"))).is_ok_and(|file| file.len() > 0));
    (child, run)
}

fn events(case: &Case, run: &Path, name: &str) -> Vec<Value> {
    case.lines(run.join("events.jsonl")).into_iter().filter(|line| line["event"] == name).collect()
}

#[test]
fn a_live_run_does_what_it_is_asked_for() {
    let case = Case::new().with(STATE, "[log]", &probe(".", ""));
    let (child, run) = start_long_run(&case);
    let ask = |request: &[&str]| case.statetune(&[&["ctl", "latest"][..], request].concat());
    let said = |request: &[&str], expected: &str| {
        let output = ask(request);
        assert_eq!(output.code, Some(0), "{output:?}");
        let lines: Vec<&str> = output.stdout.lines().collect();
        assert!(lines[0].starts_with("accepted after step "), "{output:?}");
        assert!(
            lines[1].starts_with("done after step ") && lines[1].contains(expected),
            "{output:?}"
        );
    };
    said(&["save"], ": checkpoint ");
    said(&["sample"], ": samples/step-");
    said(&["eval"], ": validation loss #.####, seen 100 %");
    said(&["extend", "4"], ": 10004 steps; the learning rates of later steps change");
    let refused = ask(&["extend", "3"]);
    assert!(
        refused.stderr.starts_with("error[ST6091]: the run refused `extend 3` after step ")
            && refused.stderr.ends_with(
                "\n  |\n  = note: a run is extended by whole mini-epochs of 2 steps: 2\n"
            ),
        "{refused:?}"
    );
    assert_eq!(refused.code, Some(1));
    said(&["stop"], ": everything is saved, the run ends");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(75), "{output:?}");

    let asked: Vec<Value> =
        events(&case, &run, "control").into_iter().map(|one| one["request"].clone()).collect();
    let extend = |steps: u64| json!({ "extend": { "steps": steps } });
    assert_eq!(
        asked,
        [json!("save"), json!("sample"), json!("eval"), extend(4), extend(3), json!("stop")]
    );
    let resolved = case.read(run.join("resolved.toml"));
    assert!(resolved.contains("\nepoch_count = 5002  # ctl after step "), "{resolved}");
    assert_eq!(case.list(run.join("control")), Vec::<String>::new());

    let message = "\
error[ST6090]: the run `runs/DATE-tiny-ID` is not running
  |
  = help: if it is not finished, `statetune resume runs/DATE-tiny-ID` continues it
";
    let late = ask(&["save"]);
    assert_eq!((late.code, &*late.stderr, &*late.stdout), (Some(1), message, ""));
}

/// The steps after the extension are those of the longer run, also after a kill.
#[test]
fn an_extended_and_killed_run_resumes_bit_for_bit() {
    let case = Case::new();
    let (mut child, run) = start_long_run(&case);
    for request in [&["save"][..], &["eval"], &["extend", "6"]] {
        case.statetune(&[&["ctl", "latest"][..], request].concat()).is_done();
    }
    let grown = events(&case, &run, "control")[2]["steps"].as_u64().expect("steps");
    let steps = || fs::metadata(case.path(run.join("chain.bin"))).map_or(0, |f| f.len() / 16);
    wait_until(|| steps() > grown + 20);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    let chain = fs::read(case.path(run.join("chain.bin"))).expect("a chain");

    let child = spawn(&case, &["resume", "latest"]);
    wait_until(|| !events(&case, &run, "resume").is_empty());
    wait_until(|| steps() >= chain.len() as u64 / 16);
    case.statetune(&["ctl", "latest", "stop"]).is_done();
    let output = child.wait_with_output().expect("it ends");
    assert!(
        String::from_utf8_lossy(&output.stderr)
            .contains(&format!("\nresuming after step {grown}\n")),
        "{output:?}"
    );
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    let again = fs::read(case.path(run.join("chain.bin"))).expect("a chain");
    assert!(
        again.len() >= chain.len() - 16 && again[..chain.len() - 16] == chain[..chain.len() - 16]
    );
}

/// The learning rate is level, so that numbers do not depend on how long the run was meant to be.
#[test]
fn what_a_run_is_asked_for_leaves_its_numbers_alone() {
    let case = Case::new().with(STATE, "[log]", &probe(".", "")).with(
        STATE,
        "lr_final = 0.01",
        "lr_final = 1.0",
    );
    let (child, asked) = start_long_run(&case);
    for request in ["save", "sample", "eval", "stop"] {
        case.statetune(&["ctl", "latest", request]).is_done();
    }
    assert_eq!(child.wait_with_output().expect("it ends").status.code(), Some(75));
    let steps = events(&case, &asked, "interrupted")[0]["steps"].as_u64().expect("steps");
    let epochs = steps / 2 + 3;
    let length = format!("train.epoch_count={epochs}");
    case.statetune(&["resume", "latest", "--set", &length]).is_done();
    case.statetune(&[&["run", STATE][..], &FEW_FILES, &["--set", &length]].concat()).is_done();
    let whole = case.runs().into_iter().find(|run| *run != asked).expect("a second run");
    same_numbers(&case, &whole, &asked, &format!("epoch-{:04}", epochs - 1));
}

/// Every answer shows the probe at once: the first evaluation after the start ends the run.
#[test]
fn a_probe_that_reaches_its_goal_ends_the_run() {
    let case = Case::new().with(STATE, "[log]", &probe(".", "goal = 0.5\nstop = true")).with(
        STATE,
        "[log]",
        "[eval]\nevery_steps = 1\nmetric = \"seen\"\n\n[log]",
    );
    let output = case.statetune(&["run", STATE]);
    output.is_done();
    let why = "stopped early after step 1: every probe with `stop = true` reached its goal\n";
    assert!(output.stdout.contains(why), "{}", output.stdout);
    let counted = "\nseen 100 % (base 100 %, goal 50 % reached) after step 1\n";
    assert!(output.stderr.contains(counted), "{}", output.stderr);
    let run = case.only_run();
    assert_eq!(events(&case, &run, "goal")[0]["steps"], 1);
    let evals = events(&case, &run, "eval");
    assert_eq!(
        evals.iter().map(|one| &one["probes"]).collect::<Vec<_>>(),
        [&json!({ "seen": 1.0 }); 2]
    );
    let best = &events(&case, &run, "end")[0]["best"];
    assert_eq!((&best["steps"], &best["probe"]), (&json!(0), &json!(1.0)));
    assert_eq!(case.list(run.join("samples")), ["base.jsonl", "step-0000001.jsonl", "tuned.jsonl"]);
}

/// One that never reaches it does not.
#[test]
fn a_probe_that_is_never_shown_ends_nothing() {
    let case = Case::new().with(STATE, "[log]", &probe("(?-u:^)☃{9}", "goal = 0.5\nstop = true"));
    let output = case.statetune(&["run", STATE]);
    output.is_done();
    assert!(!output.stdout.contains("stopped early after step"), "{}", output.stdout);
    assert!(
        output.stderr.contains("\nseen 0 % (base 0 %, goal 50 %) after 2 mini-epochs\n"),
        "{}",
        output.stderr
    );
    assert_eq!(case.lines(case.only_run().join("metrics.jsonl")).len(), 4);
}

#[test]
fn probes_that_cannot_work_are_refused() {
    let with = |more: &str| Case::new().with(STATE, "[log]", &probe(".", more));
    with("stop = true").refuses(
        2,
        "\
error[ST2160]: the probe `seen` has `stop = true` but no goal
  --> state.toml:35:8
   |
35 | stop = true
   |        ^^^^
   |
   = help: set `goal = 0.9` to stop the run when 90 % of the answers match
",
    );
}

/// A run that ends between the question and its answer: here a process that holds its lock and does nothing.
#[test]
fn a_run_that_ends_before_it_answers() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let lock = fs::File::open(case.path(run.join("LOCK"))).expect("a lock");
    lock.lock().expect("no process holds the lock");
    let asked = spawn(&case, &["ctl", "latest", "save"]);
    wait_until(|| !case.list(run.join("control")).is_empty());
    drop(lock);
    let output = asked.wait_with_output().expect("it ends");
    let stderr = case.scrub(&String::from_utf8_lossy(&output.stderr));
    let message =
        "error[ST6092]: the run `runs/DATE-tiny-ID` ended before it handled the request\n";
    assert_eq!((&*stderr, output.status.code(), &*output.stdout), (message, Some(1), &b""[..]));
    assert_eq!(case.list(run.join("control")), Vec::<String>::new(), "and the question is gone");
}
