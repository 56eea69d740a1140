//! Suites: by themselves, in a run, and with faults.

use std::path::Path;

use serde_json::{Value, json};

use crate::case::{Case, STATE};

const CHOICE: &str = r#"{"description": "where the small model was taught to look"}
{"question": "Is it raining?", "choices": ["Look out of the window.", "Sleep well."], "answer": 0}
{"question": "Good night.", "choices": ["So do I.", "Sleep well."], "answer": "B"}
{"question": "I like tea.", "choices": ["On the roof again.", "So do I.", "Hello!"], "answer": "So do I."}
"#;
const CLOZE: &str = "{\"text\": \"Look out of the\", \"target\": \"window\"}\n{\"text\": \"Sleep\", \"target\": \" well\"}\n";
const WRITTEN: &str = "{\"max_tokens\": 4}\n{\"question\": \"What is 1 plus 1?\", \"answer\": 2}\n{\"question\": \"Who?\", \"regex\": \"^.*$\"}\n";
const TEXTS: &str =
    "{\"text\": \"The cat is on the roof again.\"}\n{\"text\": \"猫又上了屋顶。\"}\n";

fn case() -> Case {
    Case::new()
        .having("choice.jsonl", CHOICE)
        .having("cloze.jsonl", CLOZE)
        .having("written.jsonl", WRITTEN)
        .having("texts.jsonl", TEXTS)
}

const SUITES: &str =
    "suites = [\"choice.jsonl\", \"cloze.jsonl\", \"written.jsonl\", \"texts.jsonl\"]";

fn in_run() -> Case {
    case().with(STATE, "[log]", &format!("[eval]\n{SUITES}\n\n[log]"))
}

/// `suites.jsonl` of a run.
fn records(case: &Case, run: &Path) -> Vec<Value> {
    case.lines(run.join("suites.jsonl"))
}

/// The text with numbers replaced.
fn normal(text: &str) -> String {
    let number = regex::Regex::new(r"[-+]?\d+\.\d+").expect("a valid expression");
    let value = regex::Regex::new(r"[-+]?[\d.]+ \[[^\]]*\]").expect("a valid expression");
    let text = value.replace_all(text, "# [#, #]");
    let space = regex::Regex::new(r" +").expect("a valid expression");
    let words = regex::Regex::new("better|worse|no clear change").expect("a valid expression");
    let text = number.replace_all(&text, "#");
    let text = words.replace_all(&text, "VERDICT");
    let line = regex::Regex::new("[─═]+").expect("a valid expression");
    space.replace_all(&line.replace_all(&text, "─"), " ").into_owned()
}

#[test]
fn a_bare_model_has_one_column() {
    let case = case();
    let of_model = ["eval", "base.pth", "--tokenizer", "vocab.txt", "--suite"];
    let output = case.statetune(&[&of_model[..], &["texts.jsonl"]].concat());
    assert_eq!(
        normal(&output.is_done().stdout),
        "\
texts: texts, 2 items
┌─┬─┐
│ ┆ value │
╞─╪─╡
│ bits_per_byte ┆ # [#, #] │
│ byte_perplexity ┆ # [#, #] │
│ token_perplexity ┆ # [#, #] │
└─┴─┘
in brackets: 95 % intervals, of shares by Wilson, of other values and of changes by bootstrap over items, 2,000 draws
"
    );
    let arguments = [&of_model[..], &["written.jsonl", "--suite", "cl*.jsonl", "--format", "json"]];
    let output = case.statetune(&arguments.concat());
    let found: Value = serde_json::from_str(&output.is_done().stdout).expect("JSON");
    let names: Vec<&str> =
        found["metrics"].as_object().expect("metrics").keys().map(String::as_str).collect();
    assert_eq!(names, ["written.exact_match", "cloze.acc", "cloze.perplexity"]);
    assert_eq!(found["schema"], "statetune.suites/1");
    assert_eq!(found["suites"][0]["items"], 2);
    assert_eq!(found["suites"][0]["form"], "rwkv-qa");
    // Any answer matches the expression of the second item; a random model does not count.
    assert_eq!(found["metrics"]["written.exact_match"], 0.5);
}

#[test]
fn a_run_has_base_and_tuned_and_conditions() {
    let case = case();
    case.statetune(&["run", STATE]).is_done();
    let eval = |more: &[&str]| {
        let all = [&["eval", "latest", "--suite", "choice.jsonl"][..], more].concat();
        case.statetune(&all)
    };
    let found: Value =
        serde_json::from_str(&eval(&["--format", "json"]).is_done().stdout).expect("JSON");
    let suite = &found["suites"][0];
    assert_eq!(
        (&suite["suite"], &suite["items"], &suite["kind"]),
        (&json!("choice"), &json!(3), &json!("choice"))
    );
    let rows = suite["metrics"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().map(|row| row["metric"].as_str().expect("a name")).collect();
    assert_eq!(names, ["acc", "acc_norm", "acc_bytes"]);
    for row in rows {
        let number = |key: &str| row[key]["value"].as_f64().expect("a number");
        assert!((number("tuned") - number("base") - number("change")).abs() < 1e-9, "{row}");
        let interval = &row["tuned"]["interval"];
        let [low, high] = ["low", "high"].map(|end| interval[end].as_f64().expect("a number"));
        assert!(low <= number("tuned") && number("tuned") <= high, "{row}");
    }
    // An item is in the list if and only if it is right with one of the two.
    let acc = &rows[0];
    let right = |key: &str| (acc[key]["value"].as_f64().expect("a share") * 3.0).round() as i64;
    let flips = suite["flips"].as_array().expect("flips");
    let turned_right = flips.iter().filter(|flip| flip["is_right"] == true).count() as i64;
    assert_eq!(right("tuned") - right("base"), 2 * turned_right - flips.len() as i64);
    assert_eq!(eval(&["--require", "choice.acc >= 0"]).code, Some(0));
    let unmet = eval(&["--require", "base_choice.acc > 1"]);
    assert_eq!(unmet.code, Some(1));
    assert!(unmet.stdout.contains("not met: base_choice.acc is "), "{unmet:?}");
    let unknown = eval(&["--require", "val_loss < 1"]);
    assert_eq!(unknown.code, Some(2));
    assert!(
        unknown.stderr.contains("`change_choice.acc_bytes`")
            || unknown.stderr.contains("change_choice.acc_bytes"),
        "{unknown:?}"
    );
    // A state file is the same model as its run.
    let state = case.list(case.only_run().join("export"));
    let state = state.iter().find(|name| name.ends_with(".pth")).expect("a state");
    let state = case.only_run().join("export").join(state);
    let state = state.to_str().expect("UTF-8");
    let of_state = [
        "eval",
        state,
        "--model",
        "base.pth",
        "--tokenizer",
        "vocab.txt",
        "--suite",
        "choice.jsonl",
        "--format",
        "json",
    ];
    let of_state: Value =
        serde_json::from_str(&case.statetune(&of_state).is_done().stdout).expect("JSON");
    assert_eq!(of_state["suites"][0]["kind"], "choice");
    assert!(of_state["suites"][0]["metrics"][0]["base"].is_object());
}

#[test]
fn a_run_measures_its_suites_at_every_evaluation() {
    let case = in_run();
    let output = case.statetune(&["run", STATE]);
    let output = output.is_done();
    let run = case.only_run();
    let records = records(&case, &run);
    let kinds = |kind: &str| records.iter().filter(|line| line["record"] == kind).count();
    assert_eq!(
        (kinds("items"), kinds("scores")),
        (4, 12),
        "before training and after two mini-epochs"
    );
    assert_eq!(records[1]["numbers"]["acc"].as_array().expect("numbers").len(), 3);
    let evals: Vec<Value> = case
        .lines(run.join("events.jsonl"))
        .into_iter()
        .filter(|line| line["event"] == "eval")
        .collect();
    assert_eq!(evals.len(), 3);
    for eval in &evals {
        let mean = |name: &str| -> f64 {
            let line = records.iter().find(|line| {
                line["record"] == "scores"
                    && line["suite"] == "choice"
                    && line["steps"] == eval["steps"]
            });
            let numbers =
                line.expect("a line")["numbers"][name].as_array().expect("numbers").clone();
            numbers.iter().filter_map(Value::as_f64).sum::<f64>() / 3.0
        };
        let suites = &eval["suites"];
        assert_eq!(suites["choice"]["acc"].as_f64(), Some(mean("acc")));
        assert!(suites["texts"]["bits_per_byte"].as_f64().is_some_and(|bits| bits > 0.0));
    }
    let shown = normal(&output.stderr);
    for line in ["choice acc # before training", "texts bits_per_byte # after 2 mini-epochs"] {
        assert!(shown.contains(line), "{shown}");
    }
    let closing = normal(&output.stdout);
    for row in [
        "│ choice acc, n = 3 ┆ # [#, #] ┆ # [#, #] ┆ # [#, #] ┆ VERDICT │",
        "┆ before ┆ after ┆ change ┆ │",
    ] {
        assert!(closing.contains(row), "{closing}");
    }
    // Measured again from the exported state, the numbers are those of the last evaluation.
    let again = [
        "eval",
        "latest",
        "--suite",
        "texts.jsonl",
        "--suite",
        "choice.jsonl",
        "--format",
        "json",
        "--set",
        "export.dtype=fp32",
    ];
    let again: Value =
        serde_json::from_str(&case.statetune(&again).is_done().stdout).expect("JSON");
    let last = evals[2]["suites"]["texts"]["bits_per_byte"].as_f64().expect("bits");
    let now = again["metrics"]["texts.bits_per_byte"].as_f64().expect("bits");
    assert!((last - now).abs() < 0.05, "the state is exported in bf16: {last}, {now}");
    // Where runs are shown, listed and compared.
    let show = case.statetune(&["runs", "show", "latest"]);
    let line = "suite choice acc, n = 3: # [#, #] -> # [#, #] after step 4\n";
    assert!(normal(&show.is_done().stdout).contains(line), "{show:?}");
    let list = case.statetune(&["runs", "ls"]);
    assert!(normal(&list.is_done().stdout).contains("choice acc #"), "{list:?}");
    assert!(list.stdout.contains("SUITE"), "{list:?}");
    let report = case.statetune(&["report", "latest", "--out", "report.html"]);
    report.is_done();
    let page = case.read("report.html");
    for part in ["<section id=\"suites\">", "Suites: bits_per_byte", "byte_perplexity"] {
        assert!(page.contains(part), "{part}");
    }
}

#[test]
fn a_resumed_run_has_the_records_of_an_unbroken_one() {
    let case = in_run();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let expected = case.read(run.join("suites.jsonl"));
    // As if the run had been killed after its last evaluation, before the checkpoint.
    let checkpoints = case.list(run.join("ckpt"));
    let last = checkpoints.iter().rfind(|name| name.starts_with("epoch-")).expect("a checkpoint");
    std::fs::remove_dir_all(case.path(run.join("ckpt").join(last))).expect("removed");
    let status = run.join("status.json");
    let text = case.read(&status);
    case.write(&status, text.replace("\"status\": \"done\"", "\"status\": \"interrupted\""));
    let resumed = case.statetune(&["resume", run.to_str().expect("UTF-8")]);
    assert_eq!(resumed.code, Some(0), "{resumed:?}");
    assert!(resumed.stderr.contains("resuming after step 2"), "{resumed:?}");
    assert_eq!(case.read(run.join("suites.jsonl")), expected);
}

#[test]
fn a_limit_takes_the_first_items() {
    let case = in_run();
    case.statetune(&["run", STATE, "--set", "eval.limit=1"]).is_done();
    let records = records(&case, &case.only_run());
    for line in records.iter().filter(|line| line["record"] == "scores") {
        for (name, numbers) in line["numbers"].as_object().expect("numbers") {
            assert_eq!(numbers.as_array().map(Vec::len), Some(1), "{name}");
        }
    }
    assert_eq!(records[0]["items"].as_array().map(Vec::len), Some(1));
}

#[test]
fn other_items_have_no_verdict() {
    let case = in_run();
    case.statetune(&["run", STATE]).is_done();
    case.write("choice.jsonl", CHOICE.replace("Good night.", "Good evening."));
    case.statetune(&["run", STATE, "--set", "name=other"]).is_done();
    let runs = case.runs();
    let [one, other] = [&runs[0], &runs[1]].map(|run| run.to_str().expect("UTF-8"));
    let diff = case.statetune(&["diff", one, other]);
    assert!(
        diff.stdout.contains("no verdict on choice acc: the items of the suite are not the same"),
        "{diff:?}"
    );
    assert!(diff.stdout.contains("texts bits_per_byte"), "{diff:?}");
    let list = case.statetune(&["runs", "ls"]).stdout;
    assert!(list.contains("SUITE: values with different letters"), "{list}");
}

#[test]
fn the_plan_says_what_suites_cost() {
    let case = in_run();
    let plan = case.statetune(&["plan", STATE, "--prepare"]);
    let lines: Vec<&str> =
        plan.stdout.lines().skip_while(|line| !line.contains("suites")).take(5).collect();
    let normal = lines.iter().map(|line| {
        let digits = regex::Regex::new(r"\d+ tokens to read").expect("a valid expression");
        digits.replace(line, "N tokens to read").into_owned()
    });
    assert_eq!(
        normal.collect::<Vec<_>>(),
        [
            "  suites    choice: 3 items, N tokens to read",
            "            cloze: 2 items, N tokens to read",
            "            written: 2 items, N tokens to read, at most 8 tokens to write",
            "            texts: 2 items, N tokens to read",
            "            all of them at each of 3 evaluations",
        ]
    );
}

#[test]
fn a_broken_suite_is_refused_at_its_line() {
    for (text, message) in [
        (
            "{\"question\": \"a?\", \"choices\": [\"b\", \"c\"], \"answer\": 0}\n{\"question\": \"a?\", \"choices\": [\"b\", \"c\"], \"answer\": 2}\n",
            "\
error[ST3202]: line 2 of `CASE/bad.jsonl` has 2 as `answer`, which is not one of its 2 choices
 --> CASE/bad.jsonl:2:53
  |
2 | {\"question\": \"a?\", \"choices\": [\"b\", \"c\"], \"answer\": 2}
  |                                                     ^
  |
  = help: write the index of the choice from 0 to 1, its letter from A to B, or its text",
        ),
        (
            "{\"question\": \"a?\", \"anwser\": 2}\n",
            "\
error[ST3201]: line 1 of `CASE/bad.jsonl` is not an item of a suite
 --> CASE/bad.jsonl:1:1
  |
1 | {\"question\": \"a?\", \"anwser\": 2}
  | ^ keys found: `question`, `anwser`
  |
  = help: write one of these, a line for each item:
          {\"question\": \"...\", \"choices\": [\"...\", \"...\"], \"answer\": 0}
          {\"text\": \"...\", \"target\": \"...\"}
          {\"question\": \"...\", \"answer\": \"...\"}
          {\"text\": \"...\"}",
        ),
        (
            "{\"shots\": 1, \"stops\": \"x\"}\n{\"question\": \"a?\", \"answer\": 2}\n",
            "\
error[ST3203]: line 1 of `CASE/bad.jsonl` has the unknown setting `stops`
 --> CASE/bad.jsonl:1:23
  |
1 | {\"shots\": 1, \"stops\": \"x\"}
  |                       ^^^
  |
  = help: choices are `kind`, `form`, `shots`, `match`, `max_tokens`, `stop`, `delimiter`, `description`",
        ),
    ] {
        let case = Case::new()
            .with(STATE, "[log]", "[eval]\nsuites = [\"bad.jsonl\"]\n\n[log]")
            .having("bad.jsonl", text);
        let message = message.replace("CASE/", "");
        case.refuses(20, &message);
        let of_model = ["eval", "base.pth", "--tokenizer", "vocab.txt", "--suite", "bad.jsonl"];
        case.refuses_to(&of_model, 20, &message);
    }
}

#[test]
fn a_text_of_one_token_is_refused() {
    let case = Case::new().having("one.jsonl", "{\"text\": \"the cat\"}\n{\"text\": \"a\"}\n");
    case.refuses_to(
        &["eval", "base.pth", "--tokenizer", "vocab.txt", "--suite", "one.jsonl"],
        20,
        "\
error[ST3202]: one.jsonl:2: the text is a single token, so no token is left to measure
  |
  = help: write a longer text, or delete the item",
    );
}

#[test]
fn names_of_suites_are_their_own_and_files_exist() {
    let suites = |list: &str| {
        case().having("more/texts.jsonl", TEXTS).with(
            STATE,
            "[log]",
            &format!("[eval]\nsuites = [{list}]\n\n[log]"),
        )
    };
    suites("\"texts.jsonl\", \"more/texts.jsonl\"").refuses(
        2,
        "\
error[ST2166]: two suites have the name `texts`
  --> state.toml:29:26
   |
29 | suites = [\"texts.jsonl\", \"more/texts.jsonl\"]
   |                          ^^^^^^^^^^^^^^^^^^
   |
   = note: the name of a suite is that of its file, without the ending
   = help: rename one of the files, or list it once",
    );
    let missing = suites("\"text.jsonl\"").statetune(&["run", STATE]);
    assert_eq!(missing.code, Some(20), "{missing:?}");
    let place = "error[ST3005]: the suite `text.jsonl` does not exist\n  --> state.toml:29:11\n";
    assert!(missing.stderr.starts_with(place), "{missing:?}");
    assert!(missing.stderr.contains("`texts.jsonl`"), "{missing:?}");
}
