//! `generate`, `chat` and `eval` with whatever can be put to use.

use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use statetune_engine::model::{Shape, Version, Weights};

use crate::case::{Case, FULL, STATE, checkpoint};

/// A case with a finished run of state tuning.
fn tuned() -> (Case, PathBuf) {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    (case, run)
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn draws_are_reproducible_and_options_matter() {
    let (case, _) = tuned();
    let say = |more: &[&str]| {
        let output = case.statetune(&[&["generate", "latest", "-p", "Hello"], more].concat());
        output.is_done();
        output.stdout
    };
    let drawn = say(&["--temperature", "1", "--top-p", "1", "--seed", "3"]);
    assert_eq!(say(&["--temperature", "1", "--top-p", "1", "--seed", "3"]), drawn);
    assert_ne!(say(&["--temperature", "1", "--top-p", "1", "--seed", "4"]), drawn);
    let greedy = say(&["--temperature", "0"]);
    assert_eq!(say(&["--temperature", "0", "--seed", "9"]), greedy);
    assert_ne!(say(&["--temperature", "0", "--presence-penalty", "50"]), greedy);
    assert_ne!(say(&["--temperature", "0", "--frequency-penalty", "50"]), greedy);

    let object = json(&say(&["--temperature", "0", "--max-tokens", "3", "--format", "json"]));
    assert_eq!(object["schema"], "statetune.generate/1");
    assert_eq!(object["prompt"], "User: Hello\n\nAssistant:");
    let answer = object["answer"].as_str().expect("a text");
    assert!(greedy.starts_with(answer), "{greedy:?} {answer:?}");
    assert_eq!((&object["tokens"], &object["ending"]), (&3.into(), &"max_tokens".into()));

    let stop: String = greedy.trim_end().chars().skip(2).take(2).collect();
    let stopped = json(&say(&["--temperature", "0", "--stop", &stop, "--format", "json"]));
    assert_eq!(stopped["ending"], "stop");
    assert!(!stopped["answer"].as_str().expect("a text").contains(&stop));
}

/// Base, run and files come to the same, whichever way they are named.
#[test]
fn models_and_states_by_file() {
    let (case, run) = tuned();
    let greedy = ["-p", "Hello", "--temperature", "0", "--max-tokens", "8"];
    let say = |arguments: &[&str]| {
        let output = case.statetune(&[&["generate"], arguments, &greedy].concat());
        assert_eq!(output.code, Some(0), "{output:?}");
        (output.stdout, output.stderr)
    };
    let (expected, _) = say(&["latest"]);
    let (base, _) = say(&["latest", "--base"]);
    assert_ne!(expected, base);
    let files = ["--model", "base.pth", "--tokenizer", "vocab.txt"];
    assert_eq!(say(&files), (base, String::new()));
    for extension in ["pth", "st"] {
        let state = run.join(format!("export/rwkv-1.{extension}"));
        let state = state.to_str().expect("UTF-8");
        let by_state = [&files[..], &["--state", state]].concat();
        assert_eq!(say(&by_state), (expected.clone(), String::new()), "{extension}");
        assert_eq!(say(&[&[state], &files[..]].concat()).0, expected);
    }

    // Without its side-car it works, and says what is unknown.
    fs::remove_file(case.path(run.join("export/rwkv-1.json"))).expect("it was there");
    let state = run.join("export/rwkv-1.pth");
    let (answer, stderr) = say(&[&[state.to_str().expect("UTF-8")], &files[..]].concat());
    assert_eq!(answer, expected);
    let expected = "\
warning[ST8003]: the base model of `runs/DATE-tiny-ID/export/rwkv-1.pth` is unknown
  |
  = note: the passport `runs/DATE-tiny-ID/export/rwkv-1.json` is missing
  = note: on weights other than the ones it was trained on, answers become worse";
    assert_eq!(stderr.trim_end(), expected);
}

#[test]
fn what_does_not_go_together() {
    let (case, run) = tuned();
    let run = run.to_str().expect("UTF-8");
    let refuses = |arguments: &[&str], code: i32, message: &str| {
        let output = case.statetune(arguments);
        assert_eq!(output.stderr.trim_end(), message);
        assert_eq!((output.code, &*output.stdout), (Some(code), ""));
    };
    refuses(
        &["generate"],
        2,
        "\
error[ST0202]: a run or a model is required
  |
  = help: pass the weights: `--model FILE`",
    );
    refuses(
        &["generate", "--model", "base.pth"],
        21,
        "\
error[ST4005]: the model has 4,096 token ids, but the tokenizer has 65,530
  |
  = help: pass the vocabulary that the model was trained with: `--tokenizer FILE`",
    );
    refuses(
        &["generate", "--model", "base.pth", "--set", "sample.top_p=1"],
        2,
        "error[ST0203]: `--set sample.top_p=1` overrides a setting of a run, but no run was given",
    );

    // Another shape, another version of the same sizes, weights of the same shape.
    let shape = |version, n_layer| Shape::for_scratch(version, n_layer, 64, 4096);
    case.write("deep.pth", checkpoint(shape(Version::V7, 3)));
    refuses(
        &["generate", run, "--model", "deep.pth"],
        21,
        "error[ST4003]: runs/DATE-tiny-ID/export/rwkv-1.pth: found 2 tensors, expected one for each of 3 layers",
    );
    case.write("v5.pth", checkpoint(shape(Version::V5, 2)));
    refuses(
        &["chat", run, "--model", "v5.pth"],
        28,
        "\
error[ST8004]: `runs/DATE-tiny-ID/export/rwkv-1.pth` is for another version of RWKV
  |
  = note: trained on  RWKV-7 (x070) 2 x 64
  = note: found       RWKV-5.2 (x052) 2 x 64 in v5.pth",
    );
    let other = Weights::scratch(shape(Version::V7, 2), 9);
    other.save_pth(&case.path("other.pth")).expect("written");
    let output = case.statetune(&["generate", run, "--model", "other.pth"]);
    let warning =
        "warning[ST8002]: `runs/DATE-tiny-ID/export/rwkv-1.pth` was trained on other weights";
    assert!(output.stderr.starts_with(warning), "{output:?}");
    assert_eq!(output.code, Some(0));
}

#[test]
fn chat() {
    let (case, _) = tuned();
    let talk = |arguments: &[&str], input: &str| {
        let output = case.statetune_reading(&[&["chat"], arguments].concat(), input);
        assert_eq!(output.code, Some(0), "{output:?}");
        (output.stdout, output.stderr)
    };
    let greedy = ["latest", "--temperature", "0", "--max-tokens", "6"];
    let (both, stderr) = talk(&greedy, "Hello\n\nHow are you?\n");
    assert_eq!(stderr, "");
    let answers: Vec<&str> = both.lines().collect();
    assert_eq!(answers.len(), 2, "{both}");
    let single = case.statetune(&[&["generate", "-p", "Hello"], &greedy[..]].concat());
    assert_eq!(single.is_done().stdout.trim_end(), answers[0]);

    // What was said before matters, until it is forgotten.
    let input = "Hello\nHow are you?\n/undo\nHow are you?\n/reset\nHello\n/quit\nHello\n";
    let (said, stderr) = talk(&greedy, input);
    assert_eq!(said.lines().collect::<Vec<_>>(), [answers[0], answers[1], answers[1], answers[0]]);
    let expected =
        "the last question and its answer are forgotten\nthe conversation is forgotten\n";
    assert_eq!(stderr, expected);
    for end in ["/quit", "/exit", "quit", "exit"] {
        let (said, stderr) = talk(&greedy, &format!("/set seed 7\n{end}\nHello\n"));
        assert_eq!((&*said, &*stderr), ("", "seed is 7 from the next answer on\n"), "{end}");
    }

    let (_, stderr) = talk(&greedy, "/undo\n/frob\n/set top_p 2\n/set x 1\n");
    let expected = "\
nothing to undo
unknown command `/frob`
HELP
cannot set `top_p` to `2`: must be above 0 and at most 1
unknown setting `x`
HELP
";
    let help = "\
/reset          forget the conversation
/undo           forget the last question and its answer
/set KEY VALUE  change temperature, top_p, presence_penalty, frequency_penalty, penalty_decay, seed or max_tokens
/quit           end; so do `quit`, `exit` and the end of input";
    assert_eq!(stderr, expected.replace("HELP", help));

    let json_lines = [&greedy[..], &["--base", "--format", "json"]].concat();
    let (lines, _) = talk(&json_lines, "Hello\n/set max_tokens 2\nHello\n");
    let lines: Vec<Value> = lines.lines().map(json).collect();
    assert_eq!(lines.len(), 2);
    assert_eq!(lines[0]["answers"][0]["answer"], answers[0]);
    assert_eq!(lines[0]["answers"].as_array().map(Vec::len), Some(2));
    assert_eq!(lines[0]["answers"][1]["name"], "base.pth");
    assert_ne!(lines[0]["answers"][1]["answer"], answers[0]);
    assert_eq!(lines[1]["answers"][1]["tokens"], 2);
}

#[test]
fn eval() {
    let (case, run) = tuned();
    let eval = |arguments: &[&str]| {
        let output = case.statetune(&[&["eval"], arguments].concat());
        assert!(matches!(output.code, Some(0 | 1)), "{output:?}");
        output
    };
    // The numbers of the run itself.
    let losses: Vec<f64> = case
        .lines(run.join("events.jsonl"))
        .iter()
        .filter_map(|event| event["val_loss"].as_f64())
        .collect();
    let object = json(&eval(&["latest", "--format", "json"]).stdout);
    assert_eq!(object["schema"], "statetune.eval/1");
    let metric = |object: &Value, name: &str| object["metrics"][name].as_f64().expect("a number");
    assert!((metric(&object, "base_val_loss") - losses[0]).abs() < 1e-6);
    // The product is bfloat16, the run is not.
    assert!((metric(&object, "val_loss") - losses[losses.len() - 1]).abs() < 1e-3);
    assert_eq!(metric(&object, "perplexity"), metric(&object, "val_loss").exp());

    let state = run.join("export/rwkv-1.st");
    let files = ["--model", "base.pth", "--tokenizer", "vocab.txt", "--format", "json"];
    let by_file = [&[state.to_str().expect("UTF-8"), "data.jsonl"], &files[..]].concat();
    let whole = json(&eval(&by_file).stdout);
    let by_run = json(&eval(&["latest", "data.jsonl", "--format", "json"]).stdout);
    assert_eq!(whole["documents"], by_run["documents"]);
    assert!((metric(&whole, "val_loss") - metric(&by_run, "val_loss")).abs() < 1e-4);

    let met = eval(&["latest", "--require", "val_loss < 100"]);
    assert_eq!(met.code, Some(0));
    let unmet = eval(&["latest", "--require", "perplexity<=1"]);
    assert_eq!(unmet.code, Some(1));
    assert!(unmet.stdout.contains("not met: perplexity is "), "{unmet:?}");
    let output = case.statetune(&["eval", "latest", "--require", "bleu > 1"]);
    let expected = "\
error[ST0210]: unknown metric `bleu`
  |
  = help: metrics: val_loss, perplexity, base_val_loss, base_perplexity
";
    assert_eq!((output.code, &*output.stderr), (Some(2), expected));

    case.write(
        "data.jsonl",
        case.read("data.jsonl").lines().skip(1).collect::<Vec<_>>().join("\n"),
    );
    let output = case.statetune(&["eval", "latest"]);
    let expected = "\
error[ST3050]: the documents have changed since the run
  |
  = note: the validation split has changed too and now contains documents that the run was trained on
  = help: pass documents that the run was not trained on: `statetune eval RUN FILE`
";
    assert_eq!((output.code, &*output.stderr), (Some(20), expected));
}

/// A model that was trained from scratch has no base to compare with.
#[test]
fn a_new_model() {
    let case = Case::new();
    case.statetune(&["run", FULL]).is_done();
    case.statetune(&["eval", "latest"]).is_done();
    case.statetune(&["chat", "latest"]).is_done();
    let output = case.statetune(&["generate", "latest", "--base"]);
    let expected =
        "error[ST6009]: the run `runs/DATE-new-ID` trained a new model and has no base model\n";
    assert_eq!((output.code, &*output.stderr), (Some(2), expected));
}
