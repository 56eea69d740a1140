//! Every command but `run`, and what all of them share.

use std::fs;

use crate::case::{Case, FULL, STATE, program};

const HELP: &str = "\
Fine-tune RWKV models from one TOML file

Usage: statetune [OPTIONS] <COMMAND>

Write
  init         Create an experiment file from five questions
  import       Convert a script of another trainer into an experiment file
  check        Check experiment files without running them
  config       Show, fill, shorten or compare the settings of experiment files
  explain      Explain a message code or a key of the experiment file
  schema       Print the JSON Schema of experiment files
  presets      List and show models, templates and recipes

Data
  data         Inspect, prepare and export the documents of an experiment

Know
  plan         Show what a run would do and need: steps, documents, learning rates, memory, time
  doctor       Check libtorch, devices, kernels, memory and disk of this machine

Train
  run          Run an experiment: prepare data, train, sample and write a run directory
  resume       Resume a stopped, killed or extended run, bit for bit
  sweep        Run an experiment once per combination of setting values
  watch        Follow a run, or check and plan an experiment file on every save
  ctl          Ask a live run to save, sample, evaluate, stop or train longer
  incident     Inspect steps with NaN or infinite values, and recompute one

Compare
  runs         List, show, annotate, remove and pack runs
  diff         Compare runs and find the first step that differs, with the cause
  report       Write an HTML report about one or more runs
  verify       Rerun the first steps of a run and compare them with its records

Use
  eval         Measure loss and probes of the base and the tuned model on held-out documents
  generate     Continue a text with a base model or the tuned model of a run
  chat         Chat with the tuned model of a run, or with two side by side
  score        Print the log-likelihood of given tokens as JSON
  merge        Merge the base and the trained parameters of a run into one checkpoint
  export       Export a state or a model to another format
  mount        Export a state for another program, and verify that the results match
  state        Inspect, compare and combine trained states

Tool
  cache        List or remove prepared data
  completions  Print shell completions
  man          Write manual pages
  version      Print the versions of the program and of libtorch
  help         Print this help or that of a command

Options:
      --color <WHEN>  When to use colour [default: auto] [possible values: auto, always, never]
      --offline       Use no network: weights of a hub must be on this machine already
      --lang <LANG>   Language of messages [default: from STATETUNE_LANG, or from the system]
                      [possible values: en, zh]
  -h, --help          Print help
  -V, --version       Print version";

#[test]
fn help() {
    Case::new().statetune(&["--help"]).succeeds(HELP, "");
    // Without a command the same text is an answer to a mistake.
    Case::new().refuses_to(&[], 2, HELP);
}

#[test]
fn an_unknown_command() {
    Case::new().refuses_to(
        &["frob", STATE],
        2,
        "\
error: unrecognized subcommand 'frob'

Usage: statetune [OPTIONS] <COMMAND>

For more information, try '--help'.",
    );
}

#[test]
fn schema() {
    let case = Case::new();
    let schema = include_str!("../../schemas/experiment.schema.json");
    case.statetune(&["schema"]).succeeds(schema, "");
    case.statetune(&["schema", "--write", "schema.json"]).succeeds("", "");
    assert_eq!(case.read("schema.json"), schema);
    case.refuses_to(
        &["schema", "--write", "nowhere/schema.json"],
        29,
        "\
error[ST0301]: cannot write `nowhere/schema.json`
  |
  = note: No such file or directory (os error 2)",
    );
}

#[test]
fn check() {
    let case = Case::new();
    case.statetune(&["check", STATE]).succeeds("state.toml: valid", "");
    case.statetune(&["check", STATE, FULL]).succeeds("state.toml: valid\nfull.toml: valid", "");
    assert!(case.list("runs").is_empty());
}

/// Every file is checked; the first fault gives the exit code. What the machine lacks is a warning.
#[test]
fn check_of_several_files_with_faults() {
    let case =
        Case::new().with(STATE, "data.jsonl", "nowhere.jsonl").having("broken.toml", "[train\n");
    let output = case.statetune(&["check", STATE, "broken.toml", FULL]);
    let expected = "\
warning[ST3005]: the data file `nowhere.jsonl` does not exist
 --> state.toml:5:13
  |
5 | data_file = \"nowhere.jsonl\"
  |             ^^^^^^^^^^^^^^^
  |
  = note: not an error of the experiment file: a run needs this on its machine
  = help: relative paths start at the folder of the experiment file

error[ST1000]: the file is not valid TOML: unclosed table
 --> broken.toml:1:7
  |
1 | [train
  |       ^ expected `]`

";
    assert_eq!(output.stderr, expected);
    assert_eq!(
        (output.code, &*output.stdout),
        (Some(2), "state.toml: valid, but 1 file is missing; a run needs it\nfull.toml: valid\n")
    );
}

/// A file is valid without its files and a GPU; only a run needs them.
#[test]
fn check_without_the_files_of_a_run() {
    let case = Case::new()
        .with(STATE, "data.jsonl", "nowhere.jsonl")
        .with(STATE, "base.pth", "nowhere.pth")
        .with(STATE, "vocab.txt", "nowhere.txt");
    let output = case.statetune(&["check", STATE]);
    let valid = "state.toml: valid, but 3 files are missing; a run needs them\n";
    assert_eq!((output.code, &*output.stdout), (Some(0), valid));
    let codes: Vec<_> = output.stderr.lines().filter(|line| line.starts_with("warning")).collect();
    let expected = [
        "warning[ST3005]: the data file `nowhere.jsonl` does not exist",
        "warning[ST3005]: the vocabulary file `nowhere.txt` does not exist",
        "warning[ST4001]: the weights file `nowhere.pth` does not exist",
    ];
    assert_eq!(codes, expected);
    assert_eq!(case.statetune(&["check", STATE, "--deny", "warnings"]).code, Some(1));
    assert_eq!(case.statetune(&["run", STATE]).code, Some(20));
    assert_eq!(case.statetune(&["plan", STATE]).code, Some(20));
}

#[test]
fn colour_only_where_it_is_wanted() {
    let case = Case::new();
    let escapes = |arguments: &[&str]| case.statetune(arguments).stderr.contains('\u{1b}');
    assert!(!escapes(&["check", "nowhere.toml"]));
    assert!(escapes(&["check", "nowhere.toml", "--color", "always"]));
    assert!(!escapes(&["check", "nowhere.toml", "--color", "never"]));
}

#[test]
fn generate() {
    let case = Case::new();
    let help = "runs are in `runs` beside the experiment file: pass that folder as `--runs-dir DIR`, or the path of a run";
    let message = format!("error[ST0201]: no run `latest` in `runs`\n  |\n  = help: {help}");
    case.refuses_to(&["generate", "latest"], 2, &message);
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let (id, run) = (run.to_string_lossy()[run.to_string_lossy().len() - 4..].to_string(), run);

    // `generate` does not read the documents.
    fs::remove_file(case.path("data.jsonl")).expect("it was there");
    let say = |arguments: &[&str]| {
        let output = case.statetune(&[&["generate"], arguments].concat());
        output.is_done();
        assert_eq!(output.stderr, "");
        output.stdout
    };
    let tuned = say(&["latest", "--prompt", "Hello"]);
    for name in [&id, "tiny", &*run.to_string_lossy()] {
        assert_eq!(say(&[name, "--prompt", "Hello"]), tuned, "{name}");
    }
    let raw = "User: Hello\n\nAssistant:";
    assert_eq!(say(&["latest", "--raw", "--prompt", raw]), tuned);
    assert_ne!(say(&["latest", "--base", "--prompt", "Hello"]), tuned);
    assert_ne!(say(&["latest", "--prompt", "Hello", "--set", "sample.random_seed=8"]), tuned);
    assert_eq!(case.statetune(&["generate", "nowhere"]).code, Some(2));

    let output = case.statetune(&["generate", "latest", "--raw", "--prompt", ""]);
    let expected = "\
error: a value is required for '--prompt <TEXT>' but none was supplied

For more information, try '--help'.
";
    assert_eq!((output.code, &*output.stderr), (Some(2), expected));
}

#[test]
fn generate_from_a_run_that_saved_nothing() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    for name in case.list(run.join("export")) {
        fs::remove_file(case.path(run.join("export").join(name))).expect("a product");
    }
    let output = case.statetune(&["generate", "latest"]);
    let expected = "error[ST6002]: the run `runs/DATE-tiny-ID` has no saved files yet\n";
    assert_eq!((output.code, &*output.stderr), (Some(2), expected));
}

/// The reader of standard output may close it early.
#[test]
fn a_reader_that_goes_away() {
    let mut command = program();
    command.arg("schema").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    drop(child.stdout.take());
    let output = child.wait_with_output().expect("the program ends");
    assert_eq!(
        (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
        (Some(0), "")
    );
}
