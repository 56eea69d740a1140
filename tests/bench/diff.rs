//! Time of a comparison of stored runs: `cargo bench --bench diff`.
//!
//! Two runs of 10,000 documents and 10,000 steps, with a line of metrics and a link of the chain for each step, among
//! 1,000 run directories. They diverge in the last step, so that the comparison reads everything.

use std::path::{Path, PathBuf};

use criterion::Criterion;
use serde_json::json;
use statetune_core::config::{Overrides, parse};
use statetune_core::look::diff::{Align, Diff, Divergence, Part, Recorded};
use statetune_core::records::RunDir;
use statetune_core::resolved_settings::resolved_toml;
use statetune_core::store::StoredRun;

const RUNS: usize = 1000;
const STEPS: u64 = 10_000;
const DOCUMENTS: u64 = 10_000;

const EXPERIMENT: &str = "\
name = \"long\"
data = { data_file = \"a.jsonl\" }
model = { load_model = \"a.pth\" }
peft = { type = \"state\" }
schedule = { lr_init = 1.0, lr_final = 0.01 }
";

/// Makes a run directory; with `seed`, a run with all its steps.
fn make(runs_dir: &Path, seed: Option<u64>) -> PathBuf {
    let mut run = RunDir::create(runs_dir, "long").expect("a run directory");
    run.publish().expect("a run directory");
    let loaded = parse(Path::new("long.toml"), EXPERIMENT.to_string(), &Overrides::default());
    let settings = resolved_toml(&loaded.expect("an experiment"));
    run.write("experiment.toml", EXPERIMENT.as_bytes()).expect("written");
    run.write("resolved.toml", settings.as_bytes()).expect("written");
    let Some(seed) = seed else { return run.path().to_path_buf() };
    let line = |step: u64| {
        json!({
            "step": step,
            "epoch": step / 1000,
            "loss": 4.0 - step as f64 / 3e4,
            "lr": 1.0 / step as f64,
            "grad_norm": 0.123_456_789,
            "skipped_steps": 0,
            "learned_tokens": 1000 * step,
            "positions_per_s": 15_900.0 + step as f64 / 7.0,
            "data_wait": 0.001_234,
        })
        .to_string()
            + "\n"
    };
    let lines: String = (1..=STEPS).map(line).collect();
    run.write("metrics.jsonl", lines.as_bytes()).expect("written");
    let link = |step: u64| {
        let last = if step == STEPS { seed } else { 0 };
        [step.to_le_bytes(), (step + last).to_le_bytes()].concat()
    };
    run.write("chain.bin", &(1..=STEPS).flat_map(link).collect::<Vec<u8>>()).expect("written");
    let documents: Vec<u8> = (0..DOCUMENTS).flat_map(|i| (i + seed).to_le_bytes()).collect();
    run.write("documents.bin", &documents).expect("written");
    run.path().to_path_buf()
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let folder = tempfile::tempdir().expect("a temporary folder");
    for _ in 2..RUNS {
        make(folder.path(), None);
    }
    let names = [1, 2].map(|seed| {
        let run = make(folder.path(), Some(seed));
        run.file_name().expect("a name").to_string_lossy().into_owned()
    });
    let compare = || {
        let runs = names.each_ref().map(|name| {
            let run = StoredRun::find(folder.path(), name).expect("a run");
            Recorded::read(&run).expect("its records")
        });
        Diff::of(&runs, Align::Samples)
    };
    let expected = Divergence::Parted { step: STEPS, part: Part::Update };
    assert_eq!(compare().pairs[0].divergence, expected);
    criterion.bench_function("diff/two_of_1000_runs/10000_lines", |bencher| bencher.iter(compare));
    criterion.final_summary();
}
