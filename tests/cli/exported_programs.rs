//! Exports in the programs that they are for: the log-probability of every next token there, against ours.
//!
//! The programs take minutes to install: `scripts/export_programs.sh` does, into a virtual environment among the build's
//! files; `make test-full` runs it first.

use std::path::{Path, PathBuf};

use serde_json::Value;
use statetune_core::data::Tokenizer;
use statetune_engine::model::Version;

use crate::case::Case;
use crate::exports::{case_of, distance, export, logprobs, numbers, run};
use crate::python::printed;

const LORA: &str = "type = \"lora\"\nrank = 4";
/// The largest difference of a log-probability in float32.
const TOLERANCE: f64 = 1e-4;
/// The number formats of GGUF, each with the largest difference.
const DTYPES: [(&str, f64); 4] =
    [("fp32", TOLERANCE), ("bf16", 0.1), ("fp16", 0.02), ("q8_0", 0.1)];
/// Those of Transformers beside float32.
const HALVES: [(&str, f64); 2] = [("bf16", 0.1), ("fp16", 0.02)];

/// The Python of the programs: that of the variable, or that of the recipe.
fn programs() -> PathBuf {
    let built = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/export-programs/bin/python3");
    let named = std::env::var_os("STATETUNE_EXPORT_PYTHON").map(PathBuf::from);
    let python = named.unwrap_or(built);
    assert!(python.exists(), "run scripts/export_programs.sh, which installs the programs");
    python
}

/// What the program says of the tokens of the case.
fn said(python: &Path, case: &Case, script: &str, files: &[&str]) -> Value {
    let [model, rest @ ..] = files else { unreachable!("a model is named") };
    let tokens = ["tokens.json"];
    let arguments = [model].into_iter().chain(&tokens).chain(rest).map(|file| case.path(file));
    printed(python, script, &arguments.collect::<Vec<PathBuf>>())
}

/// The ids that our tokenizer makes of the text that the program tokenized.
fn has_our_ids(case: &Case, said: &Value) {
    let tokenizer = Tokenizer::load(&case.path("vocab.txt")).expect("a vocabulary");
    let ids = tokenizer.encode(said["text"].as_str().expect("a text").as_bytes());
    assert_eq!(said["ids"], serde_json::json!(ids));
}

#[track_caller]
fn is_close(what: &str, ours: &[f64], said: &Value, tolerance: f64) {
    let far = distance(ours, &numbers(said));
    println!("{what}: {far:.1e}");
    assert!(far <= tolerance, "{what}: {far}");
}

#[test]
#[ignore = "needs the programs of scripts/export_programs.sh"]
fn llama_computes_what_we_do() {
    let python = programs();
    const LLAMA: &str = "programs/score_llama.py";
    for version in [Version::V6, Version::V7] {
        // `model` in every format, against our log-probabilities of `scored`; `files` beside the model.
        let compare = |case: &Case, what: &str, model: &[&str], scored: &[&str], files: &[&str]| {
            let ours = logprobs(case, scored);
            for (dtype, tolerance) in DTYPES {
                let source = [model, &["--to", "gguf", "--dtype", dtype]].concat();
                export(case, &source, &["--out", "m.gguf"]).is_done();
                let said = said(&python, case, LLAMA, &[&["m.gguf"], files].concat());
                is_close(&format!("{version} {what} {dtype}"), &ours, &said, tolerance);
                has_our_ids(case, &said);
            }
            ours
        };
        let base = ["base.pth", "--tokenizer", "vocab.txt"];
        compare(&case_of(version), "dense", &base, &["--model", "base.pth"], &[]);
        compare(&run(version, LORA), "merged LoRA", &["latest"], &["latest"], &[]);

        let with_state = format!("{LORA}\nstate = true");
        for (what, peft) in
            [("prompt cache", "type = \"state\""), ("merged LoRA and state", &with_state)]
        {
            let case = run(version, peft);
            let tuned = compare(&case, what, &["latest"], &["latest"], &["m.session"]);
            let plain = said(&python, &case, LLAMA, &["m.gguf"]);
            assert!(distance(&tuned, &numbers(&plain)) > 1e-3, "the state has no effect");
        }
    }
}

#[test]
#[ignore = "needs the programs of scripts/export_programs.sh"]
fn transformers_compute_what_we_do() {
    let python = programs();
    const HF: &str = "programs/score_hf.py";
    let case = case_of(Version::V7);
    let ours = logprobs(&case, &["--model", "base.pth"]);
    let source = ["base.pth", "--tokenizer", "vocab.txt", "--to", "hf"];
    export(&case, &source, &["--out", "base-hf"]).is_done();
    let dense = said(&python, &case, HF, &["base-hf"]);
    is_close("RWKV-7 dense", &ours, &dense, TOLERANCE);
    has_our_ids(&case, &dense);
    assert_eq!(dense["talk"], "User: Hi\n\nAssistant: Yo\n\nUser: So?\n\nAssistant:");
    for (dtype, tolerance) in HALVES {
        export(&case, &source, &["--out", dtype, "--dtype", dtype]).is_done();
        let said = said(&python, &case, HF, &[dtype]);
        is_close(&format!("RWKV-7 dense {dtype}"), &ours, &said, tolerance);
    }

    for peft in [LORA, "type = \"pissa\"\nrank = 4"] {
        let case = run(Version::V7, peft);
        let tuned = logprobs(&case, &["latest"]);
        export(&case, &["latest", "--to", "hf"], &["--out", "hf"]).is_done();
        is_close(&format!("merged, {peft}"), &tuned, &said(&python, &case, HF, &["hf"]), TOLERANCE);
        for (dtype, tolerance) in HALVES {
            export(&case, &["latest", "--to", "hf"], &["--out", dtype, "--dtype", dtype]).is_done();
            let said = said(&python, &case, HF, &[dtype]);
            is_close(&format!("merged {dtype}, {peft}"), &tuned, &said, tolerance);
        }
        export(&case, &source, &["--out", "base-hf"]).is_done();
        export(&case, &["latest", "--to", "peft"], &["--out", "peft"]).is_done();
        let adapted = said(&python, &case, HF, &["base-hf", "peft"]);
        is_close(&format!("PEFT, {peft}"), &tuned, &adapted, TOLERANCE);
    }
}
