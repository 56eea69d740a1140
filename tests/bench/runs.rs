//! `statetune runs ls` over 1,000 runs with 10,000 lines of metrics each: `runs/ls/1000x10000`.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

use criterion::{Criterion, Throughput};
use serde_json::json;
use statetune_core::config::{Overrides, load};
use statetune_core::runs::{Metrics, RunRecord, StoredRun, resolved_toml};

const RUNS: u64 = 1000;
const LINES: u64 = 10_000;

/// Writes run `i` into `runs`. One in ten was killed, so that only its metrics tell its steps; all have the same
/// metrics.
fn write_run(runs: &Path, i: u64, metrics: &Path, experiment: &Path) {
    let run = runs.join(format!("2026-11-24-emoji-state-{i:04}"));
    fs::create_dir_all(run.join("ckpt")).expect("a folder");
    fs::hard_link(metrics, run.join(Metrics::FILE)).expect("a link");
    fs::write(run.join("LOCK"), "").expect("a file");
    fs::copy(experiment, run.join(StoredRun::EXPERIMENT)).expect("a file");
    let set = vec![format!("schedule.lr_init={}", 0.001 * (i + 1) as f64)];
    let loaded = load(experiment, &Overrides { set, ..Overrides::default() }).expect("valid");
    fs::write(run.join(StoredRun::SETTINGS), resolved_toml(&loaded)).expect("a file");
    let time = format!("2026-11-24T{:02}:{:02}:00.000+00:00", i / 60, i % 60);
    let status = if i.is_multiple_of(10) { "running" } else { "done" };
    let mut record = json!({
        "schema": RunRecord::SCHEMA,
        "status": status,
        "steps": if i.is_multiple_of(10) { 5000 } else { LINES },
        "total_steps": LINES,
        "val_before": 4.0,
        "val_loss": 2.0,
        "best": { "val_loss": 2.0 - 1e-4 * i as f64, "steps": 100, "since": 3 },
        "started": &time,
        "updated": &time,
    });
    if status == "running" {
        record["pid"] = 1.into();
    }
    fs::write(run.join(RunRecord::FILE), format!("{record:#}\n")).expect("a file");
}

fn runs_ls(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runs = folder.path().join("runs");
    fs::create_dir(&runs).expect("a folder");
    let metrics = folder.path().join("metrics.jsonl");
    let mut text = String::new();
    for step in 1..=LINES {
        let line = json!({
            "step": step, "epoch": step / 100, "loss": 3.470607662200928, "lr": 0.8971844509484126,
            "grad_norm": 0.009985326391995838, "skipped_steps": 0, "learned_tokens": 130 * step,
            "positions_per_s": 8343.537011520293, "data_wait": 0.01
        });
        writeln!(text, "{line}").expect("a text");
    }
    fs::write(&metrics, text).expect("a file");
    let experiment = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/emoji-state.toml");
    (0..RUNS).for_each(|i| write_run(&runs, i, &metrics, &experiment));

    let ls = || {
        let program = env!("CARGO_BIN_EXE_statetune");
        let mut command = Command::new(program);
        command.args(["runs", "ls", "--format", "csv", "--runs-dir"]).arg(&runs);
        command.output().expect("the program starts")
    };
    let answer = String::from_utf8(ls().stdout).expect("UTF-8");
    assert_eq!(answer.lines().count() as u64, RUNS + 1);
    let killed = answer.lines().filter(|line| line.contains(",killed,10000,")).count();
    assert_eq!(killed as u64, RUNS / 10, "the steps of a killed run are those of its last line");

    let mut group = criterion.benchmark_group("runs");
    group.sample_size(10).throughput(Throughput::Elements(RUNS));
    group.bench_function("ls/1000x10000", |bencher| bencher.iter(ls));
    group.finish();
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    runs_ls(&mut criterion);
    criterion.final_summary();
}
