//! Start-up time of the program: `cargo bench --bench start`.
//!
//! `help` is the help of a command that needs libtorch, `check` the check of a file of 500 lines, and `tensors` the
//! time that libtorch adds.

use std::fs;
use std::path::Path;
use std::process::Command;

use criterion::Criterion;

const PROGRAM: &str = env!("CARGO_BIN_EXE_statetune");
const WITH_TENSORS: &str = env!("CARGO_BIN_EXE_statetune-tensors");

/// Runs a program, which must succeed.
fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("the program starts");
    assert!(output.status.success(), "{output:?}");
}

/// The first experiment, extended by prompts to 500 lines.
fn long_file() -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let text = fs::read_to_string(root.join("configs/emoji-state.toml")).expect("it is there");
    let text = text.replace("\"../", &format!("\"{}/", root.display()));
    let missing = 500 - text.lines().count() - 2;
    let prompts: Vec<String> =
        (0..missing).map(|i| format!("  \"User: How is number {i}?\\n\\nAssistant:\",")).collect();
    text.replace("[sample]\n", &format!("[sample]\nprompts = [\n{}\n]\n", prompts.join("\n")))
}

fn main() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("long.toml");
    fs::write(&file, long_file()).expect("the file is written");
    let file = file.to_str().expect("a plain path");

    let mut criterion = Criterion::default().configure_from_args();
    criterion.bench_function("start/help", |b| b.iter(|| run(PROGRAM, &["run", "--help"])));
    criterion.bench_function("start/check", |b| b.iter(|| run(PROGRAM, &["check", file])));
    criterion.bench_function("start/tensors", |b| b.iter(|| run(WITH_TENSORS, &["run", "--help"])));
    criterion.final_summary();
}
