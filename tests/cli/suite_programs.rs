//! Suites against lm-evaluation-harness: its requests and its metrics, with our log-likelihoods, on the shipped base.
//!
//! `scripts/suite_programs.sh` installs it into a virtual environment among the build's files; `make test-full` runs it first.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::case::Case;
use crate::python::printed;

/// The Python that has lm-evaluation-harness: that of the variable, or that of the recipe.
fn lm_eval() -> PathBuf {
    let built = project("target/suite-programs/bin/python3");
    let python = std::env::var_os("STATETUNE_LM_EVAL_PYTHON").map_or(built, PathBuf::from);
    assert!(python.exists(), "run scripts/suite_programs.sh, which installs lm-evaluation-harness");
    python
}

fn project(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file)
}

/// A suite of the project with other settings, and more items.
fn suite(file: &str, settings: &Value, more: &[Value]) -> String {
    let text = std::fs::read_to_string(project(file)).expect("a suite");
    let items = text.lines().skip(1).map(str::to_owned);
    let more = more.iter().map(Value::to_string);
    std::iter::once(settings.to_string()).chain(items).chain(more).collect::<Vec<_>>().join("\n")
}

#[test]
#[ignore = "needs lm-evaluation-harness, see scripts/suite_programs.sh"]
fn metrics_are_those_of_lm_evaluation_harness() {
    let item = |question: &str, choices: &[&str], answer: usize| json!({ "question": question, "choices": choices, "answer": answer });
    // Choices of very different length, in characters and in bytes.
    let more = [
        item("What do you say?", &["Hi!", "你好，朋友", "Good morning to all of you."], 1),
        item("How are you?", &["好", "I am fine, thank you very much.", "🙂🙂🙂"], 2),
        item("And now?", &["A rather long answer that says little.", "没有", "So"], 0),
        item("What is that?", &["😀", "é", "a cat"], 1),
    ];
    let facts = "data/suites/facts.jsonl";
    let case = Case::new()
        .having("plain.jsonl", suite(facts, &json!({ "form": "plain", "shots": 0 }), &more))
        .having("shots.jsonl", suite(facts, &json!({ "form": "plain", "shots": 3 }), &more))
        .having("cloze.jsonl", suite("data/suites/cloze.jsonl", &json!({ "shots": 0 }), &[]));
    let names = ["plain", "shots", "cloze"];
    let files = names.map(|name| case.path(format!("{name}.jsonl")));
    let [model, vocabulary] = ["models/tiny-chat.pth", "models/tiny-vocab.txt"].map(project);

    let of_model = [model.clone(), vocabulary.clone()];
    let [model_name, vocabulary_name] =
        of_model.each_ref().map(|file| file.to_str().expect("UTF-8"));
    let mut arguments =
        vec!["eval", model_name, "--tokenizer", vocabulary_name, "--format", "json"];
    arguments.extend(files.iter().flat_map(|file| ["--suite", file.to_str().expect("UTF-8")]));
    let output = case.statetune(&arguments);
    let ours: Value = serde_json::from_str(&output.is_done().stdout).expect("JSON");

    let program = PathBuf::from(env!("CARGO_BIN_EXE_statetune"));
    let arguments = [&[program, model, vocabulary][..], &files].concat();
    let theirs = printed(&lm_eval(), "programs/suites_lm_eval.py", &arguments);
    for name in names {
        for (metric, value) in theirs[name].as_object().expect("metrics") {
            let theirs = value.as_f64().expect("a number");
            let ours = ours["metrics"][format!("{name}.{metric}")].as_f64().expect("a number");
            println!("{name}.{metric}: {ours} {theirs}");
            assert!(
                (ours / theirs - 1.0).abs() < 1e-6 || ours == theirs,
                "{name}.{metric}: {ours} {theirs}"
            );
        }
    }
    let count = |name: &str| theirs[name].as_object().map_or(0, serde_json::Map::len);
    assert_eq!(names.map(count), [3, 3, 2]);
}
