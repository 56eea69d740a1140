//! Every command but `run`, and what all of them share.

use std::fs;

use crate::case::{Case, FULL, STATE, program};

const HELP: &str = "\
Fine-tune RWKV models from one TOML file

Usage: statetune [OPTIONS] <COMMAND>

Commands:
  init         Write a first experiment from five questions
  check        Check an experiment file without running it
  explain      Explain a message code or a key of the experiment file
  config       Show, complete, shorten and compare the settings of experiment files
  watch        See how a run is getting on, or check and plan an experiment file on every save
  ctl          Ask a live run to save, sample, evaluate, stop, or become longer
  diff         Compare runs, down to the first step in which they part and the reason for it
  report       Write one HTML page about a run, or about several laid over each other
  runs         List stored runs, look at them, mark, remove, pack them
  import       Make an experiment file of a script of another trainer
  presets      List models, templates and recipes, and show what they stand for
  schema       Print the JSON Schema of experiment files
  run          Run an experiment: prepare its data, train, sample, write a run directory
  sweep        Run an experiment once for each combination of some values
  resume       Go on with a run that was stopped, killed or made longer, bit for bit
  verify       Run the first steps of a run again, and compare them with its record
  plan         Say what a run would do and need: steps, documents, rates, memory, time
  generate     Let a base model, or a run's tuned model, continue a text
  data         Look at the documents of an experiment, prepare them, write them for other programs
  chat         Talk with a run's tuned model, or with two side by side
  incident     Look at steps whose numbers were not finite, and compute one again
  score        Print how likely a model finds given tokens, as JSON
  eval         Measure loss and behaviour on held-out documents, of the base and of what was tuned
  export       Write a state or a model in another form
  mount        Write a state for another program, and prove that it computes the same with it
  merge        Write the base of a run and what it learned as one checkpoint
  state        Look at trained states, compare them, make new ones of them
  doctor       Look at libtorch, devices, kernels, memory and disk of this machine
  cache        List or remove prepared data
  completions  Print the completions of a shell
  man          Write manual pages
  version      Print the versions of the program and of its libtorch
  help         Print this message or the help of the given subcommand(s)

Options:
      --color <WHEN>  When to use colour [default: auto] [possible values: auto, always, never]
      --offline       Fetch nothing: weights on a hub must be on this machine already
      --lang <LANG>   Language of messages [default: that of STATETUNE_LANG, or of the system]
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

/// Every file is checked; the first fault gives the exit code.
#[test]
fn check_of_several_files_with_faults() {
    let case =
        Case::new().with(STATE, "data.jsonl", "nowhere.jsonl").having("broken.toml", "[train\n");
    let output = case.statetune(&["check", STATE, "broken.toml", FULL]);
    let expected = "\
error[ST3005]: the data file `nowhere.jsonl` does not exist
 --> state.toml:5:13
  |
5 | data_file = \"nowhere.jsonl\"
  |             ^^^^^^^^^^^^^^^
  |
  = help: relative paths start at the folder of the experiment file

error[ST1000]: the file is not valid TOML: unclosed table
 --> broken.toml:1:7
  |
1 | [train
  |       ^ expected `]`

";
    assert_eq!(output.stderr, expected);
    assert_eq!((output.code, &*output.stdout), (Some(20), "full.toml: valid\n"));
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
    case.refuses_to(&["generate", "latest"], 2, "error[ST0201]: no run `latest` in `runs`");
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let (id, run) = (run.to_string_lossy()[run.to_string_lossy().len() - 4..].to_string(), run);

    // The documents are needed no more.
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

/// Whoever reads the answer may stop reading.
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
