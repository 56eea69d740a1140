//! Runs and experiment files that are watched, and the screen of a run.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use regex::Regex;
use serde_json::{Value, json};

use crate::case::{Case, FULL, IN_ENGLISH, STATE, program};
use crate::resume::{spawn, wait_for_second_run, wait_until};
use crate::terminal::Terminal;

/// A question and a probe that every answer shows.
const PROBE: &str = "\
[sample]
prompts = [\"User: Hi\\n\\nAssistant:\"]
max_tokens = 2

[[sample.probe]]
name = \"seen\"
min_chars = 0
max_chars = 1000
goal = 0.9

[log]";

fn long_run(case: &Case) -> (Child, PathBuf) {
    let arguments = ["run", STATE, "--set", "train.epoch_count=5000", "--set"];
    let child = spawn(case, &[&arguments[..], &["checkpoint.epoch_save=5000"]].concat());
    let run = wait_for_second_run(case, Path::new(""));
    let metrics = case.path(run.join("metrics.jsonl"));
    wait_until(|| fs::metadata(&metrics).is_ok_and(|file| file.len() > 0));
    (child, run)
}

#[test]
fn a_stored_run() {
    let case = Case::new().with(STATE, "[log]", PROBE);
    case.statetune(&["run", STATE]).is_done();
    let stands = "\
run     runs/DATE-tiny-ID  done
losses  loss: training loss of the step; val: loss of 4 validation documents
epoch 2/2  step 4/4  100 %  loss #.####  val #.####  lr 0.1550
  seen 100 % (base 100 %, goal 90 % reached)
";
    case.statetune(&["watch", "--once"]).succeeds(stands, "");
    case.statetune(&["watch", "tiny"]).succeeds(&format!("{stands}the run is done"), "");
    let output = case.statetune(&["watch", "latest", "--once", "--format", "json"]);
    let told: Value = serde_json::from_str(&output.is_done().stdout).expect("JSON");
    for (key, value) in [
        ("schema", json!("statetune.watch/1")),
        ("status", json!("done")),
        ("step", json!(4)),
        ("steps", json!(4)),
        ("epoch", json!(2)),
        ("eta_secs", Value::Null),
        ("probes", json!({ "seen": { "rate": 1.0, "base": 1.0, "goal": 0.9 } })),
    ] {
        assert_eq!(told[key], value, "{key}");
    }
    let output = case.statetune(&["watch", "other"]);
    let message = "error[ST0201]: no run `other` in `runs`\n  |\n  = help: run `statetune runs ls` to list the runs\n";
    assert_eq!((output.code, &*output.stderr), (Some(2), message));
}

#[test]
fn a_live_run_in_lines_until_it_is_killed() {
    let case = Case::new().with(STATE, "[log]", PROBE);
    let (mut child, _) = long_run(&case);
    let once = case.statetune(&["watch", "--once"]);
    let line = Regex::new(
        r"\nepoch \d+/5000  step [\d,]+/10,000  \d %  loss #.####  val #.####  lr \d\.\d{4}  N/s  N MiB  ETA M:SS(:\d\d)?\n",
    );
    let line = line.expect("a valid expression");
    assert!(line.is_match(&once.stdout), "{}", once.stdout);
    let begin = "run     runs/DATE-tiny-ID  running\nlosses  loss: training loss";
    assert!(once.stdout.starts_with(begin), "{}", once.stdout);

    let watch = program()
        .current_dir(case.path(""))
        .args(["watch", "latest"])
        .stdout(fs::File::create(case.path("told.txt")).expect("a file"))
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    case.statetune(&["ctl", "latest", "save"]).is_done();
    let lines =
        |start: &str| case.read("told.txt").lines().filter(|one| one.starts_with(start)).count();
    wait_until(|| lines("epoch ") > 2);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    let output = watch.wait_with_output().expect("it ends");
    let stderr = case.scrub(&String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        stderr,
        "\
error[ST6094]: the process of the run `runs/DATE-tiny-ID` was killed
  |
  = note: its status is `running`, but no process holds its lock
  = help: run `statetune resume runs/DATE-tiny-ID` to continue from its last checkpoint
"
    );
    assert_eq!(output.status.code(), Some(1));
    let once = case.statetune(&["watch", "--once"]);
    assert!(once.stdout.starts_with("run     runs/DATE-tiny-ID  killed\n"), "{}", once.stdout);
}

#[test]
fn a_live_run_on_the_screen() {
    let case = Case::new().with(STATE, "[log]", PROBE);
    let (mut child, run) = long_run(&case);
    let Some(mut terminal) = Terminal::run(&case, "watch latest") else { return };
    for text in [
        "  running\n",
        "/10,000  ",
        "│",
        "  seen 100 % (base 100 %, goal 90 % reached)\n",
        "answers: step-",
        "\n  User: Hi Assistant: ",
        "q: quit; the run continues",
    ] {
        terminal.shows(text);
    }
    println!("{}", terminal.seen());
    terminal.press("q");
    assert_eq!(terminal.ends(), Some(0));
    assert!(child.try_wait().expect("a child").is_none(), "the run continues");
    // Ctrl-C leaves the run alone too.
    let mut terminal = Terminal::run(&case, "watch latest").expect("`script` was there");
    terminal.shows("q: quit; the run continues");
    terminal.press("\u{3}");
    assert_eq!(terminal.ends(), Some(0));
    assert!(child.try_wait().expect("a child").is_none(), "the run continues");
    assert!(case.read(run.join("status.json")).contains("running"));
    case.statetune(&["ctl", "latest", "stop"]).is_done();
    child.wait().expect("it ends");
}

#[test]
fn a_run_in_its_own_terminal() {
    let case = Case::new().with(STATE, "[log]", PROBE);
    let arguments =
        format!("run {STATE} --set train.epoch_count=5000 --set checkpoint.epoch_save=5000");
    let Some(mut terminal) = Terminal::run(&case, &arguments) else { return };
    terminal.shows("Ctrl-C: save and stop   s: save   g: sample   ?: keys");
    terminal.shows("  seen 100 % (base 100 %, goal 90 % reached)");
    terminal.press("?");
    terminal.shows("answer the questions in [sample] after this step");
    terminal.press("s");
    terminal.press("g");
    let run = case.only_run();
    let events = || case.read(run.join("events.jsonl"));
    wait_until(|| events().matches("\"from\":\"key\"").count() == 2);
    terminal.shows("/10,000");
    println!("{}", terminal.seen());
    terminal.press("\u{3}");
    assert_eq!(terminal.ends(), Some(75));
    let seen = terminal.seen();
    assert!(seen.contains("\nnext     statetune resume "), "{seen}");
    let asked: Vec<Value> = case
        .lines(run.join("events.jsonl"))
        .into_iter()
        .filter(|line| line["event"] == "control")
        .map(|line| json!([line["request"], line["answer"]]))
        .collect();
    assert_eq!(asked, [json!(["save", "done"]), json!(["sample", "done"])]);
}

#[test]
fn a_run_for_programs() {
    let case = Case::new().with(STATE, "[log]", PROBE);
    let output = case.statetune(&["run", STATE, "--format", "jsonl", "--progress", "none"]);
    assert_eq!((output.code, &*output.stderr), (Some(0), ""));
    let lines: Vec<Value> =
        output.stdout.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let names: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(
        names,
        [
            "start", "sample", "eval", "interval", "interval", "sample", "eval", "interval",
            "interval", "sample", "eval", "sample"
        ]
    );
    let end = lines.last().expect("a line");
    assert_eq!((&end["schema"], &end["status"]), (&json!("statetune.result/1"), &json!("done")));
    assert_eq!(end["probes"], json!({ "seen": { "base": 1.0, "tuned": 1.0 } }));
    assert_eq!(end["products"].as_array().map(Vec::len), Some(2));

    let output = case.statetune(&["run", STATE, "--format", "json", "--progress", "json"]);
    let end: Value = serde_json::from_str(&output.stdout).expect("one object");
    assert_eq!(end["status"], "done");
    let events =
        output.stderr.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    assert!(events.into_iter().all(|event| event["schema"] == "statetune.event/1"));
}

/// Saves in place and by a rename, as editors do; only what changed is told.
#[test]
fn an_experiment_file_on_every_save() {
    let case = Case::new();
    let once = case.statetune(&["watch", STATE, "--once"]);
    once.succeeds("state.toml: valid", "");
    let out = case.path("told.txt");
    let mut child = program()
        .current_dir(case.path(""))
        .args(["watch", STATE])
        .stdout(fs::File::create(&out).expect("a file"))
        .spawn()
        .expect("the program starts");
    let told = || {
        Regex::new(r"\d\d:\d\d:\d\d")
            .expect("valid")
            .replace_all(&case.read("told.txt"), "TIME")
            .into_owned()
    };
    let good = case.read(STATE);
    wait_until(|| told() == "state.toml: valid\n");
    case.write(STATE, good.replace("lr_init = 1.0", "lr_init = 0.5"));
    wait_until(|| told().ends_with("TIME\nschedule.lr_init: 1.0 -> 0.5\n"));
    case.write("new.toml", good.replace("micro_bsz", "micro_bzs"));
    fs::rename(case.path("new.toml"), case.path(STATE)).expect("renamed");
    wait_until(|| told().ends_with("\nstate.toml: not valid\n"));
    case.write("new.toml", &good);
    fs::rename(case.path("new.toml"), case.path(STATE)).expect("renamed");
    wait_until(|| told().ends_with("\nstate.toml: valid\n"));
    child.kill().expect("killed");
    child.wait().expect("it ends");
    let told = told();
    let said: Vec<&str> =
        told.lines().filter(|line| !line.contains('|') && !line.is_empty()).collect();
    assert_eq!(
        said,
        [
            "state.toml: valid",
            "TIME",
            "schedule.lr_init: 1.0 -> 0.5",
            "TIME",
            "error[ST1001]: unknown key `micro_bzs` in `[train]`",
            "  --> state.toml:18:1",
            "   = note: if this key were ignored, `train.micro_bsz` would keep its default, 1",
            "   = help: `statetune check state.toml --fix` renames the key",
            "state.toml: not valid",
            "TIME",
            "resolved: ST1001: unknown key `micro_bzs` in `[train]`",
            "state.toml: valid",
        ]
    );
}

#[test]
fn a_run_that_diverged() {
    let case = Case::new();
    assert_eq!(case.statetune(&["run", FULL, "--set", "schedule.lr_init=1e300"]).code, Some(24));
    let why = case.json(case.only_run().join("status.json"))["message"].clone();
    let watched = case.statetune(&["watch", "latest"]);
    let message = format!(
        "error[ST6093]: the run `runs/DATE-new-ID` diverged\n  |\n  = note: {}\n",
        why.as_str().expect("a text")
    );
    assert_eq!((&*watched.stderr, watched.code), (&*message, Some(1)));
}

/// Where no more files may be open, the system tells nothing about changes.
#[test]
fn changes_that_are_not_told() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let output = Command::new("sh")
        .args(["-c", "ulimit -n 5; exec \"$0\" watch latest"])
        .arg(env!("CARGO_BIN_EXE_statetune"))
        .env(IN_ENGLISH.0, IN_ENGLISH.1)
        .current_dir(case.path(""))
        .output()
        .expect("a shell");
    let stderr = case.scrub(&String::from_utf8_lossy(&output.stderr));
    assert_eq!(
        stderr,
        "\
error[ST6095]: cannot watch `runs/DATE-tiny-ID` for changes
  |
  = note: Too many open files (os error 24)
"
    );
    assert_eq!((output.status.code(), &*output.stdout), (Some(29), &b""[..]));
}

/// A terminal outside the session of the process cannot deliver keys.
#[test]
fn a_terminal_that_cannot_be_drawn_on() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let arguments = "watch latest < /dev/null";
    let Some(mut terminal) = Terminal::run_in(&case, "setsid --wait", arguments) else { return };
    let run = case.only_run();
    terminal.shows(&format!(
        "\
error[ST6096]: cannot draw on this terminal
  |
  = note: No such device or address (os error 6)
  = help: `statetune watch {} | cat` tells the same in lines",
        run.display()
    ));
    assert_eq!(terminal.ends(), Some(29));
}

/// Of a plan only what is another one now is told, after a save in place and after one by a rename.
#[test]
fn the_plan_of_an_experiment_file_on_every_save() {
    let case = Case::new();
    case.statetune(&["plan", STATE, "--prepare"]).is_done();
    let mut child = program()
        .current_dir(case.path(""))
        .args(["watch", STATE])
        .stdout(fs::File::create(case.path("told.txt")).expect("a file"))
        .spawn()
        .expect("the program starts");
    let told = || {
        let told = case.read("told.txt");
        let told =
            Regex::new(r"\d\d:\d\d:\d\d").expect("valid").replace_all(&told, "TIME").into_owned();
        Regex::new(r"[\d.]+ (MiB|GiB)").expect("valid").replace_all(&told, "SIZE").into_owned()
    };
    let good = case.read(STATE);
    wait_until(|| told() == "state.toml: valid\n");
    case.write(STATE, good.replace("micro_bsz = 4", "micro_bsz = 400"));
    wait_until(|| told().contains("train.micro_bsz: 4 -> 400\n"));
    // An invalid file in between does not count as a change of the plan.
    case.write(STATE, good.replace("micro_bsz", "micro_bzs"));
    wait_until(|| told().ends_with("\nstate.toml: not valid\n"));
    case.write(
        "new.toml",
        good.replace("micro_bsz = 4", "micro_bsz = 400")
            .replace("epoch_count = 2", "epoch_count = 4"),
    );
    fs::rename(case.path("new.toml"), case.path(STATE)).expect("renamed");
    wait_until(|| told().ends_with("\nstate.toml: valid\n"));
    child.kill().expect("killed");
    child.wait().expect("it ends");
    let told = told();
    let plan = [
        "coverage: ",
        "memory: ",
        "rate: ",
        "saves: ",
        "fits: ",
        "data: ",
        "time: ",
        "learning: ",
        "device: ",
        "trains: ",
    ];
    let of_plan: Vec<&str> =
        told.lines().filter(|line| plan.iter().any(|start| line.starts_with(start))).collect();
    let coverage = |steps, micro_bsz, samples, times| {
        format!(
            "{steps} steps x {micro_bsz} = {samples} samples: 100 % of 16 copies, each document {times} times"
        )
    };
    let [first, second, third] = [
        coverage(4, 4, "16", "1.00"),
        coverage(4, 400, "1,600", "100.00"),
        coverage(8, 400, "3,200", "200.00"),
    ];
    let sizes = "checkpoints of 96.0 KiB, keeps";
    assert_eq!(
        of_plan,
        [
            format!("coverage: {first} -> {second}").as_str(),
            "memory: SIZE -> SIZE",
            format!("coverage: {second} -> {third}").as_str(),
            "rate: cos, 1 step of warmup  .@+: -> cos, 1 step of warmup  .@#*+-:.",
            format!("saves: 2 {sizes} 2; exports of 32.0 KiB; 256 KiB on disk -> 4 {sizes} 3; exports of 32.0 KiB; 416 KiB on disk").as_str(),
        ],
        "{told}"
    );
}
