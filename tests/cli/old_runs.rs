//! Runs of an earlier version: listed, shown, reported, compared and resumed. See `tests/data/runs/README.md`.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::case::Case;

const DONE: &str = "2026-11-29-old-done";
const STOPPED: &str = "2026-11-29-old-stop";
const DIVERGED: &str = "2026-11-29-old-nans";

/// Bytes of a step in `chain.bin`, and of the digest of its batches.
const LINK_BYTES: usize = 16;
const BATCH_BYTES: usize = 4;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/runs").join(name)
}

/// A case with the old runs and the files that they were trained on.
fn old_runs() -> Case {
    let base = Path::new(env!("CARGO_MANIFEST_DIR")).join("models/tiny-chat.pth");
    let case = Case::new().having("base.pth", fs::read(base).expect("the base model"));
    for run in [DONE, STOPPED, DIVERGED] {
        copy(&case, &data(run), &Path::new("runs").join(run));
    }
    case
}

/// Copies a folder; records that name files in `/experiment` name them in the case afterwards.
fn copy(case: &Case, from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(case, &path, &to);
            continue;
        }
        let bytes = fs::read(&path).expect("a file");
        let folder = case.path("").to_string_lossy().into_owned();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => {
                let text = String::from_utf8(bytes).expect("UTF-8");
                case.write(to, text.replace("/experiment/", &folder));
            }
            _ => case.write(to, bytes),
        }
    }
}

/// The CPU that computed a run, from its `lock.toml`, without the word for it.
fn cpu(lock: &str) -> String {
    let lock: toml::Table = lock.parse().expect("TOML");
    let device = lock["device"].as_str().expect("a device");
    device.split_once('(').expect("a CPU").1.to_string()
}

#[test]
fn old_runs_are_listed_shown_reported_and_compared() {
    let case = old_runs();
    let listed = case.statetune(&["runs", "ls", "--format", "json"]);
    let listed: serde_json::Value =
        serde_json::from_str(&listed.is_done().stdout).expect("a list in JSON");
    let rows = listed["runs"].as_array().expect("runs");
    let mut states: Vec<_> = rows.iter().map(|row| (&row["id"], &row["standing"])).collect();
    states.sort_by_key(|(id, _)| id.to_string());
    let expected = [("done", "done"), ("nans", "diverged"), ("stop", "interrupted")];
    let expected = expected.map(|(id, state)| (json!(id), json!(state)));
    assert!(states.into_iter().eq(expected.iter().map(|(id, state)| (id, state))), "{listed}");

    for run in ["done", "stop", "nans"] {
        let shown = case.statetune(&["runs", "show", run]);
        assert!(shown.is_done().stdout.contains("fixture"), "{}", shown.stdout);
    }
    let shown = case.statetune(&["incident", "show", "nans/2"]);
    assert!(shown.is_done().stdout.contains("blocks.0.att"), "{}", shown.stdout);

    case.statetune(&["report", "done", "stop", "--out", "report.html"]).is_done();
    let html = case.read("report.html");
    for part in ["4.2153", "Hey!", "4.1460"] {
        assert!(html.contains(part), "{part} is missing");
    }

    let diff = case.statetune(&["diff", "done", "stop", "--format", "json"]);
    let diff: serde_json::Value = serde_json::from_str(&diff.is_done().stdout).expect("JSON");
    // The seed chose the validation documents too.
    let keys = [&diff["settings"][0]["key"], &diff["settings"][1]["key"]];
    assert_eq!(keys, ["data.val_seed", "train.random_seed"]);
    assert_eq!(
        diff["pairs"][0]["divergence"],
        json!({ "kind": "parted", "step": 1, "part": "batch" })
    );
    let causes = &diff["pairs"][0]["causes"];
    assert_eq!([&causes[0]["name"], &causes[1]["name"]], ["data.val_seed", "train.random_seed"]);
}

#[test]
fn an_old_run_is_resumed_as_the_old_version_did() {
    let case = old_runs();
    let run = Path::new("runs").join(STOPPED);
    let old_cpu = cpu(&case.read(run.join("lock.toml")));
    case.statetune(&["resume", "stop"]).is_done_with_warnings();
    assert_eq!(case.json(run.join("status.json"))["status"], "done");

    let expected = fs::read(data("continued/chain.bin")).expect("a chain");
    let chain = fs::read(case.path(run.join("chain.bin"))).expect("a chain");
    let batches = |chain: &[u8]| -> Vec<Vec<u8>> {
        chain.chunks(LINK_BYTES).map(|link| link[..BATCH_BYTES].to_vec()).collect()
    };
    assert_eq!(batches(&chain), batches(&expected), "the batches");
    if cpu(&case.read(run.join("lock.toml"))) != old_cpu {
        println!("numbers are not compared: the run was computed by {old_cpu}");
        return;
    }
    assert_eq!(chain, expected, "losses, gradient norms and parameters");
    let metrics = fs::read_to_string(data("continued/metrics.jsonl")).expect("metrics");
    assert_eq!(case.read(run.join("metrics.jsonl")), metrics);
    case.statetune(&["verify", "done"]).is_done_with_warnings();
}
