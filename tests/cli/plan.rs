//! `plan`: what a run would do and need, and a run that is refused because it does not fit.

use regex::Regex;
use serde_json::Value;

use crate::case::{Case, STATE};

#[test]
fn a_plan_says_what_a_run_would_do() {
    let case = Case::new();
    let output = case.statetune(&["plan", STATE]);
    output.is_done();
    assert!(
        output.stdout.contains("  data      not prepared: full rows of ctx_len are assumed; "),
        "{output:?}"
    );
    assert!(case.list("runs").is_empty());

    let output = case.statetune(&["plan", STATE, "--prepare"]);
    output.is_done();
    let headline = Regex::new("^tiny  x070 2 layers x 64, [0-9,]+ parameters  state  fp32\n");
    assert!(headline.expect("an expression").is_match(&output.stdout), "{}", output.stdout);
    for line in [
        "  trains    8,192 parameters, ",
        "  data      16 documents, 4 for validation, 16 samples per pass\n",
        "  coverage  4 steps x 4 = 16 samples: 100 % of 16 copies, each document 1.00 times\n",
        "  rate      cos, 1 step of warmup  ",
        "  memory    ",
        "            activations ",
        "  time      unknown; pass `--measure` to measure the speed\n",
        "  saves     2 checkpoints of 96.0 KiB, keeps 2; ",
    ] {
        assert!(output.stdout.contains(line), "{line:?} in {}", output.stdout);
    }
    assert_eq!(case.list("runs"), [".cache"]);
}

#[test]
fn packed_weights_stand_in_the_first_line_of_a_plan() {
    let case = Case::new().with(STATE, "[log]", "[quant]\ntype = \"int8\"\n\n[log]");
    let planned = case.statetune(&["plan", STATE]).is_done().stdout.clone();
    assert!(
        planned.lines().next().is_some_and(|line| line.ends_with("  state  int8  fp32")),
        "{planned}"
    );
}

#[test]
fn a_run_records_its_plan_and_gives_later_ones_their_time() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let recorded: Value =
        serde_json::from_str(&case.read(case.only_run().join("plan.json"))).expect("JSON");
    let output = case.statetune(&["plan", STATE, "--format", "json"]);
    let planned: Value = serde_json::from_str(&output.stdout).expect("JSON");
    for key in ["schema", "model", "settings", "trains", "data", "rate", "memory", "saves"] {
        assert_eq!(recorded[key], planned[key], "{key}");
    }
    let schema: Value =
        serde_json::from_str(include_str!("../../schemas/plan.schema.json")).expect("JSON");
    let schema = jsonschema::draft7::new(&schema).expect("a schema");
    for one in [&recorded, &planned] {
        assert!(schema.is_valid(one), "{:?}", schema.iter_errors(one).next());
    }
    assert_eq!(recorded["time"], Value::Null);
    assert_eq!(planned["time"]["basis"], "from 1 run of this shape on this device");
    let events = case.lines(case.only_run().join("events.jsonl"));
    assert!(events.last().is_some_and(|end| end["peak_resident_bytes"].as_u64() > Some(1 << 20)));
}

#[test]
fn a_measurement_is_kept() {
    let case = Case::new();
    case.statetune(&["plan", STATE, "--measure"]).is_done();
    let output = case.statetune(&["plan", STATE, "--format", "json"]);
    let planned: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert!(planned["time"]["step_secs"].as_f64() > Some(0.0), "{planned}");
    assert_eq!(planned["time"]["basis"], "measured on this device with models of fewer layers");
}

#[test]
fn a_proposal_is_written_into_the_file() {
    let case = Case::new().with(STATE, "micro_bsz = 4\n", "micro_bsz = 4  # samples\n");
    let needed = |case: &Case| {
        let output = case.statetune(&["plan", STATE, "--prepare", "--format", "json"]);
        let planned: Value = serde_json::from_str(&output.stdout).expect("JSON");
        planned["memory"]["total"].as_u64().expect("bytes")
    };
    let before = needed(&case);
    let memory = format!("{}B", before - 1_000_000);
    let output = case.statetune(&["plan", STATE, "--fit", "--memory", &memory]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("  fit       A  "), "{output:?}");
    // The command that it prints writes the proposal that it prints.
    let written = case.read(STATE);
    let line = |name: &str| {
        let line = output.stdout.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{output:?}")).to_owned()
    };
    let apply = format!("statetune plan state.toml --apply A --memory {memory}");
    assert_eq!(line("  apply     "), apply);
    let words: Vec<&str> = apply.split(' ').skip(1).collect();
    let proposal = line("  fit       A  ");
    case.statetune(&words).succeeds(&format!("state.toml: {proposal}"), "");
    case.write(STATE, written);
    let output = case.statetune(&["plan", STATE, "--memory", &memory]);
    assert_eq!(output.code, Some(22), "{output:?}");
    assert!(output.stderr.starts_with("error[ST5001]: the run needs about "), "{output:?}");

    let written = case.read(STATE);
    case.statetune(&["plan", STATE, "--memory", &memory, "--apply", "B"]).is_done();
    let text = case.read(STATE);
    let comments = |text: &str| {
        let lines = text.lines().filter_map(|line| Some(line.split_once('#')?.1.to_owned()));
        lines.collect::<Vec<_>>()
    };
    assert_eq!(comments(&text), comments(&written));
    assert!(text.contains("micro_bsz = ") && text.contains("  # samples\n"), "{text}");
    assert!(needed(&case) < before);
    let output = case.statetune(&["plan", STATE, "--memory", &memory, "--apply", "Z"]);
    assert_eq!(output.code, Some(2));
    assert!(output.stderr.starts_with("error[ST5012]: `--apply` takes A to "), "{output:?}");
}

#[test]
fn what_does_not_fit_is_refused_before_anything_starts() {
    let case = Case::new().with(STATE, "micro_bsz = 4", "micro_bsz = 8000000");
    let output = case.statetune(&["run", STATE]);
    assert_eq!((output.code, &*output.stdout), (Some(22), ""), "{output:?}");
    assert!(output.stderr.contains("error[ST5001]: the run needs about "), "{output:?}");
    assert!(output.stderr.contains("--> state.toml:18:13"), "{output:?}");
    assert!(output.stderr.contains("= help: A  micro_bsz = "), "{output:?}");
    assert!(output.stderr.contains("= help: pass `--allow-oom` to run anyway"), "{output:?}");
    assert!(case.runs().is_empty());
}

#[test]
fn the_resolved_settings_are_written_to_a_new_file() {
    let case = Case::new();
    case.statetune(&["plan", STATE, "--emit", "all.toml"]).is_done();
    case.statetune(&["check", "all.toml"]).succeeds("all.toml: valid", "");
    let output = case.statetune(&["plan", STATE, "--emit", "all.toml"]);
    assert_eq!(output.code, Some(29));
    assert!(output.stderr.starts_with("error[ST5011]: cannot write `all.toml`\n"), "{output:?}");
}

#[test]
fn a_share_that_no_curve_reads_is_refused() {
    let case = Case::new().with(STATE, "lr_init = 1.0", "lr_init = 1.0\ndecay_share = 0.2");
    case.refuses(
        2,
        "\
error[ST2170]: `decay_share` only applies with `lr_schedule = \"wsd\"`
  --> state.toml:25:15
   |
25 | decay_share = 0.2
   |               ^^^
   |
   = note: the other schedules fall over the whole run or not at all
   = help: delete the setting, or set `lr_schedule = \"wsd\"`",
    );
    let wsd = "lr_schedule = \"wsd\"\nlr_init = 1.0\ndecay_share = 0.5";
    Case::new().with(STATE, "lr_init = 1.0", wsd).statetune(&["run", STATE]).is_done();
}
