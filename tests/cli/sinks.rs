//! The forms in which a run writes its numbers, after a resume too.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use serde_json::{Value, json};

use crate::case::{Case, STATE};

/// All sinks, in a run of eight steps in four mini-epochs.
const ALL: [&str; 6] = [
    "--set",
    r#"sample.prompts=["User: hi\n\nAssistant:"]"#,
    "--set",
    "train.epoch_count=4",
    "--set",
    r#"log.sinks=["jsonl", "train_log", "loss_data", "tensorboard"]"#,
];

fn run(case: &Case, arguments: &[&str]) -> crate::case::Output {
    case.statetune(&[&["run", STATE][..], &ALL, arguments].concat())
}

/// An unbroken run, and one that is branches off after two mini-epochs and is taken back to its third.
fn unbroken_and_continued(case: &Case) -> [PathBuf; 2] {
    run(case, &[]).is_done();
    let whole = case.only_run();
    run(case, &["--set", "train.epoch_begin=2"]).is_done();
    let continued = case.runs().into_iter().find(|run| *run != whole).expect("a second run");
    fs::remove_dir_all(case.path(continued.join("ckpt/epoch-0003"))).expect("removed");
    // As if it had been killed before it could save that.
    case.write(continued.join("ckpt/last"), "epoch-0002\n");
    let status = case.read(continued.join("status.json"));
    let status = status.replace("\"status\": \"done\"", "\"status\": \"running\", \"pid\": 1");
    case.write(continued.join("status.json"), status);
    let name = continued.file_name().and_then(|name| name.to_str()).expect("a name");
    case.statetune(&["resume", name]).is_done();
    [whole, continued]
}

/// A python3 with the real TensorBoard, in a virtual environment among the build's files.
fn python_with_tensorboard() -> Option<&'static Path> {
    static PYTHON: OnceLock<Option<PathBuf>> = OnceLock::new();
    PYTHON
        .get_or_init(|| {
            let venv = Path::new(env!("CARGO_TARGET_TMPDIR")).join("tensorboard-venv");
            let python = venv.join("bin/python3");
            let run = |program: &Path, arguments: &[&str]| {
                let output = Command::new(program).args(arguments).output();
                output.is_ok_and(|output| output.status.success())
            };
            let is_there = || run(&python, &["-c", "import tensorboard"]);
            if !is_there() {
                run(Path::new("python3"), &["-m", "venv", &venv.to_string_lossy()]);
                run(&python, &["-m", "pip", "install", "--quiet", "tensorboard==2.21.0"]);
            }
            is_there().then_some(python)
        })
        .as_deref()
}

/// What TensorBoard finds in the event files of a run: scalars and texts by tag.
fn tensorboard(python: &Path, folder: &Path) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/read_tensorboard.py");
    let output = Command::new(python).arg(script).arg(folder).output().expect("python3 starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn the_real_tensorboard_reads_the_unbroken_curves() {
    let Some(python) = python_with_tensorboard() else {
        println!("skipped: there is no python3 with tensorboard, and pip cannot install it");
        return;
    };
    let case = Case::new();
    let [whole, continued] = unbroken_and_continued(&case).map(|run| {
        let mut found = tensorboard(python, &case.path(run.join("tensorboard")));
        let scalars = found["scalars"].as_object_mut().expect("scalars");
        // What depends on the speed of the machine.
        assert!(scalars.remove("train/positions_per_s").is_some());
        assert!(scalars.remove("train/data_wait").is_some());
        (run, found)
    });
    assert_eq!(whole.1, continued.1);

    // The numbers are those of `metrics.jsonl` and `events.jsonl`, in float32.
    let (run, found) = whole;
    let mut expected: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for line in case.lines(run.join("metrics.jsonl")) {
        for (tag, key) in
            [("train/loss", "loss"), ("train/lr", "lr"), ("train/grad_norm", "grad_norm")]
        {
            let value = line[key].as_f64().expect("a number") as f32;
            expected.entry(tag).or_default().push(json!([line["step"], f64::from(value)]));
        }
    }
    for line in case.lines(run.join("events.jsonl")).iter().filter(|line| line["event"] == "eval") {
        let value = line["val_loss"].as_f64().expect("a number") as f32;
        let point = json!([line["steps"], f64::from(value)]);
        expected.entry("val/loss").or_default().push(point);
    }
    assert_eq!(expected["train/loss"].len(), 8);
    assert_eq!(expected["val/loss"].len(), 5);
    assert_eq!(found["scalars"], json!(expected));

    let texts = &found["texts"];
    let experiment = texts["experiment"][0][1].as_str().expect("a text");
    assert!(experiment.contains("\n    name = \"tiny\"\n"), "{experiment}");
    let step = |tag: &str| texts[tag][0][0].as_u64();
    assert_eq!((step("samples/base"), step("samples/tuned")), (Some(0), Some(8)));
}

#[test]
fn the_logs_of_the_field_go_on_as_if_nothing_had_been() {
    let case = Case::new();
    let [whole, continued] = unbroken_and_continued(&case).map(|run| {
        let log = case.read(run.join("train_log.txt"));
        let epochs: Vec<Vec<String>> = log
            .lines()
            .skip(2)
            .map(|line| line.split(' ').take(4).map(str::to_string).collect())
            .collect();
        let lines = case.lines(run.join("loss_data.jsonl"));
        for line in &lines {
            let keys: Vec<&String> = line.as_object().expect("an object").keys().collect();
            assert_eq!(keys, ["loss", "t_cost", "kt_s", "step"]);
            let (t_cost, kt_s) = (line["t_cost"].as_f64(), line["kt_s"].as_f64());
            assert!(t_cost > Some(0.0) && kt_s > Some(0.0), "{line}");
        }
        let losses = lines.iter().map(|line| (line["step"].clone(), line["loss"].clone()));
        let losses: Vec<(Value, Value)> = losses.collect();
        let metrics = case.lines(run.join("metrics.jsonl"));
        let metrics = metrics.iter().map(|line| (line["step"].clone(), line["loss"].clone()));
        assert_eq!(losses, metrics.collect::<Vec<_>>(), "every step is an interval here");
        (epochs, losses)
    });
    assert_eq!((whole.0.len(), whole.1.len()), (4, 8));
    assert_eq!(whole, continued);
}

#[test]
fn only_what_is_asked_for_is_written() {
    let case = Case::new();
    case.statetune(&["run", STATE, "--set", r#"log.sinks=["jsonl"]"#]).is_done();
    let files = case.list(case.only_run());
    assert!(files.contains(&"metrics.jsonl".to_string()), "{files:?}");
    for absent in ["train_log.txt", "loss_data.jsonl", "tensorboard"] {
        assert!(!files.contains(&absent.to_string()), "{absent}");
    }
}

#[test]
fn the_lines_that_all_commands_read_are_always_written() {
    let case = Case::new();
    let arguments = ["run", STATE, "--set", r#"log.sinks=["tensorboard"]"#];
    case.refuses_to(
        &arguments,
        2,
        r#"error[ST6080]: `log.sinks` must include `jsonl`
 --> command line
  |
  | --set log.sinks=["tensorboard"]
  |                 ^^^^^^^^^^^^^^^
  |
  = note: reports, `diff` and `watch` read `metrics.jsonl`
  = help: add it to the list: `sinks = ["jsonl", "tensorboard"]`"#,
    );
}

#[test]
fn a_sink_that_cannot_write_stops_the_run_and_says_so() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    // The second one is met before the run goes on.
    let help = "  = help: saved files are intact; fix the problem, then run `statetune resume runs/DATE-tiny-ID`\n";
    for (sink, obstacle, file, cause, help) in [
        ("tensorboard", "tensorboard", "tensorboard", "File exists (os error 17)", help),
        (
            "loss_data",
            "loss_data.jsonl/here",
            "loss_data.jsonl",
            "Is a directory (os error 21)",
            "",
        ),
    ] {
        case.write(case.only_run().join(obstacle), "in the way");
        let sinks = format!("log.sinks=[\"jsonl\", \"{sink}\"]");
        let longer = ["resume", "latest", "--set", "train.epoch_count=3", "--set", &sinks];
        let output = case.statetune(&longer);
        let message = format!(
            "error[ST6001]: cannot write to the run directory: `runs/DATE-tiny-ID/{file}`\n  |\n  = note: {cause}\n{help}"
        );
        assert!(output.stderr.ends_with(&message), "{}", output.stderr);
        assert_eq!(output.code, Some(29));
        let path = case.path(case.only_run().join(file));
        if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) }
            .expect("removed");
    }
    case.statetune(&["resume", "latest", "--set", "train.epoch_count=3"]).is_done();
}
