//! What `generate`, `chat`, `eval` and `score` are put to use on: runs, files, two side by side, and an
//! experiment that tells the rest.

use std::fs;
use std::io::Read as _;
use std::path::PathBuf;

use serde_json::Value;

use crate::case::{Case, STATE};
use crate::resume::spawn;

const GREEDY: [&str; 6] = ["-p", "Hello", "--temperature", "0", "--max-tokens", "8"];

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// A case with two runs of state tuning that learned different things, the older one first.
fn two_runs() -> (Case, [String; 2]) {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let first = case.only_run();
    case.statetune(&["run", STATE, "--set", "schedule.lr_init=0.3"]).is_done();
    let second = case.runs().into_iter().find(|run| *run != first).expect("a second run");
    (case, [first, second].map(|run| run.to_string_lossy().into_owned()))
}

#[test]
fn two_answer_side_by_side() {
    let (case, [first, second]) = two_runs();
    let say = |names: &[&str], more: &[&str]| {
        let output = case.statetune(&[&["generate"], names, &GREEDY, more].concat());
        assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{output:?}");
        output.stdout
    };
    let (one, other) = (say(&[&first], &[]), say(&[&second], &[]));
    assert_ne!(one, other);
    let both = format!("DATE-tiny-ID: {one}DATE-tiny-ID: {other}");
    assert_eq!(say(&[&first, &second], &[]), both);
    let lines = say(&[&first, &second], &["--format", "json"]);
    let answers: Vec<Value> = lines.lines().map(json).collect();
    assert_eq!(answers.len(), 2);
    assert_eq!(answers[0]["answer"], one.trim_end());
    assert_eq!(answers[1]["answer"], other.trim_end());

    let chat = [&["chat", &*first, &second], &GREEDY[2..]].concat();
    let output = case.statetune_reading(&chat, "Hello\n/quit\n");
    output.succeeds(&both, "");
}

#[test]
fn score_takes_what_the_others_take() {
    let (case, [first, _]) = two_runs();
    case.write("tokens.json", "[1, 72, 4095, 5, 0, 33, 900, 2]");
    case.write("text.txt", "User: Hi\n\nAssistant: Hello!");
    let score = |more: &[&str]| {
        let output = case.statetune(&[&["score"], more].concat());
        assert_eq!(output.code, Some(0), "{output:?}");
        json(&output.stdout)
    };
    let tokens = ["--tokens", "tokens.json"];
    let state = format!("{first}/export/rwkv-1.pth");
    let by_files = score(&[&["--model", "base.pth", "--state", &state], &tokens[..]].concat());
    assert_eq!(score(&[&[&*first], &tokens[..]].concat()), by_files);
    assert_eq!(score(&[&[&*state, "--model", "base.pth"], &tokens[..]].concat()), by_files);
    let base = score(&[&["--model", "base.pth"], &tokens[..]].concat());
    assert_eq!(score(&[&[&*first, "--base"], &tokens[..]].concat()), base);
    assert_ne!(base, by_files);
    // The vocabulary is that of the run.
    let text = ["--text", "text.txt"];
    let by_run = score(&[&[&*first], &text[..]].concat());
    let more = ["--model", "base.pth", "--state", &state, "--tokenizer", "vocab.txt"];
    assert_eq!(score(&[&more, &text[..]].concat()), by_run);

    let output = case.statetune(&["score", "--tokens", "tokens.json"]);
    let expected = "\
error[ST0202]: a run or a model is required
  |
  = help: pass the weights: `--model FILE`
";
    assert_eq!((output.code, &*output.stderr), (Some(2), expected));
}

/// A state file measured on the documents, questions and probes of an experiment.
#[test]
fn eval_by_an_experiment() {
    let probes = "\
[sample]
held_out = 2
max_tokens = 8

[[sample.probe]]
name = \"any\"
max_chars = 100000

[[sample.probe]]
name = \"long\"
min_chars = 100000

[log]";
    let case = Case::new().with(STATE, "[log]", probes);
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let state = run.join("export/rwkv-1.pth").to_string_lossy().into_owned();
    let eval = |more: &[&str]| {
        let output = case.statetune(&[&["eval"], more].concat());
        assert_eq!(&*output.stderr, "", "{output:?}");
        (output.code, output.stdout)
    };
    let (_, of_run) = eval(&["latest", "--format", "json"]);
    let (_, of_state) = eval(&[&state, STATE, "--format", "json"]);
    let (of_run, of_state) = (json(&of_run), json(&of_state));
    assert_eq!(of_state["metrics"], of_run["metrics"]);
    assert_eq!(of_state["documents"], of_run["documents"]);
    let probe = |name: &str| of_state["metrics"][name].as_f64().expect("a share");
    assert_eq!((probe("probe.any"), probe("base_probe.any"), probe("probe.long")), (1.0, 1.0, 0.0));

    assert_eq!(eval(&[&state, STATE, "--require", "probe.any >= 1"]).0, Some(0));
    let (code, stdout) = eval(&[&state, STATE, "--require", "probe.long > 0.5"]);
    assert_eq!(code, Some(1));
    assert!(stdout.contains("not met: probe.long is 0.0000"), "{stdout}");

    // The run measured on another experiment, and one without documents to measure on.
    case.write("other.toml", case.read(STATE).replace("name = \"any\"", "name = \"other\""));
    let (_, of_other) = eval(&["latest", "other.toml", "--format", "json"]);
    assert_eq!(json(&of_other)["metrics"]["probe.other"], 1.0);
    case.write(
        "none.toml",
        case.read(STATE)
            .replace("val_split = 0.2", "val_split = 0.0")
            .replace("held_out = 2", "prompts = [\"Hi\"]"),
    );
    let output = case.statetune(&["eval", &state, "none.toml"]);
    let expected = "\
error[ST0209]: the run `none.toml` has no validation documents
  |
  = help: pass a file of documents: `statetune eval RUN FILE`
";
    assert_eq!((output.code, &*output.stderr), (Some(2), expected));
}

/// Bytes of resident memory of a process.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("Linux");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("the field");
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// An answer that never ends is printed as it comes, and takes no more memory as it grows.
#[test]
fn an_endless_answer_streams_in_constant_memory() {
    let case = Case::new();
    let arguments = ["generate", "--model", "base.pth", "--tokenizer", "vocab.txt"];
    let endless = ["--temperature", "0", "--max-tokens", "100000000", "-p", "Hello"];
    let mut child = spawn(&case, &[&arguments[..], &endless].concat());
    let mut stdout = child.stdout.take().expect("a pipe");
    let mut read = |bytes: usize| {
        let mut piece = vec![0; bytes];
        stdout.read_exact(&mut piece).expect("more of the answer");
        resident(child.id())
    };
    let early = read(500);
    let late = read(8000);
    assert!(child.try_wait().expect("a child").is_none(), "it ended");
    child.kill().expect("it runs");
    child.wait().expect("it ran");
    // The states of every token would be a hundred times this.
    assert!(late < early + (4 << 20), "{early} bytes, then {late}");
}

/// A factor of 0 is the untouched model, and the mean of a state with itself is that state.
#[test]
fn states_made_of_states_answer_like_them() {
    let (case, [first, _]) = two_runs();
    case.statetune(&["state", "scale", "0", &first, "--out", "zero"]).is_done();
    case.statetune(&["state", "mean", &first, &first, "--out", "same"]).is_done();
    case.write("tokens.json", "[1, 72, 4095, 5, 0, 33, 900, 2]");
    let score = |more: &[&str]| {
        let output = case.statetune(&[&["score", "--tokens", "tokens.json"], more].concat());
        assert_eq!((output.code, &*output.stderr), (Some(0), ""), "{output:?}");
        output.stdout
    };
    let base = score(&["--model", "base.pth"]);
    let tuned = score(&[&first]);
    assert_ne!(base, tuned);
    for extension in ["pth", "st"] {
        let zero = PathBuf::from("zero").with_extension(extension);
        assert_eq!(score(&[&zero.to_string_lossy(), "--model", "base.pth"]), base, "{extension}");
    }
    assert_eq!(score(&["same.pth", "--model", "base.pth"]), tuned);
}

/// The passport beside an exported file names its base model.
#[test]
fn a_file_of_a_run_names_its_base_model_and_the_run() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run().to_string_lossy().into_owned();
    let base = statetune_engine::model::fingerprint(&case.path("base.pth")).expect("weights");
    let mount = |file: &str| {
        let output = case.statetune(&["mount", file, "--for", "ai00"]);
        assert_eq!((output.code, &*output.stdout), (Some(2), ""));
        output.stderr
    };
    let message = |file: &str| {
        format!(
            "\
error[ST0202]: the base model of `{file}` is `base.pth` (fingerprint {base}); its path is not recorded
  |
  = help: pass the weights and their vocabulary: `--model FILE --tokenizer FILE`
"
        )
    };
    let newest = format!("{run}/export/rwkv-1.pth");
    let expected =
        message(&newest) + &format!("  = help: or pass the run `{run}` instead of the file\n");
    assert_eq!(mount(&newest), case.scrub(&expected));
    let older = format!("{run}/export/rwkv-0.pth");
    assert_eq!(mount(&older), case.scrub(&message(&older)));
    let given = ["--model", "base.pth", "--tokenizer", "vocab.txt"];
    case.statetune(&[&["mount", &older, "--for", "ai00"], &given[..]].concat()).is_done();
}
