//! Quantized weights through the program: runs that train on them, their records, and refusals.

use std::path::Path;

use serde_json::Value;
use statetune_engine::model::{Shape, Version, Weights};
use tch::{Device, Kind, Tensor};
use toml_edit::DocumentMut;

use crate::case::{Case, FULL, SIZES, STATE};
use crate::resume::same_numbers;

/// The case with `[quant]` in its experiment.
fn with_quant(lines: &str) -> Case {
    Case::new().with(STATE, "[train]", &format!("[quant]\n{lines}\n\n[train]"))
}

#[test]
fn a_run_says_and_writes_how_its_weights_are_packed() {
    let case = with_quant("type = \"nf4\"\ndouble = true");
    let output = case.statetune(&["run", STATE]);
    output.is_done();
    let expected = "quant   nf4 with double quantisation: 2.2 MiB of weights instead of 2.5 MiB\n";
    assert!(output.stderr.contains(expected), "{output:?}");

    let run = case.only_run();
    let resolved = case.read(run.join("resolved.toml"));
    let quant = "[quant]\ntype = \"nf4\"  # file line 17\ndouble = true  # file line 18\n";
    assert!(resolved.contains(quant), "{resolved}");
    let lock: DocumentMut = case.read(run.join("lock.toml")).parse().expect("TOML");
    assert_eq!(lock["quant"]["format"].as_str(), Some("nf4"));
    assert_eq!(lock["quant"]["double"].as_bool(), Some(true));
    assert!(lock["quant"]["bytes"].as_integer().is_some_and(|bytes| bytes > 2_000_000));
    let passport: Value =
        serde_json::from_str(&case.read(run.join("export/rwkv-1.json"))).expect("JSON");
    assert_eq!(passport["quant"]["type"], "nf4");
}

#[test]
fn a_run_without_it_says_nothing_about_it() {
    let case = Case::new();
    let output = case.statetune(&["run", STATE]);
    output.is_done();
    assert!(!output.stderr.contains("quant"), "{output:?}");
    let run = case.only_run();
    assert!(!case.read(run.join("lock.toml")).contains("quant"));
    assert!(case.read(run.join("resolved.toml")).contains("[quant]\ntype = \"none\""));
}

#[test]
fn generate_uses_the_packed_weights_of_the_run() {
    let case = with_quant("type = \"int8\"");
    case.statetune(&["run", STATE]).is_done();
    let generate = |more: &[&str]| {
        let all: Vec<&str> =
            ["generate", "latest", "--prompt", "Hello?"].iter().chain(more).copied().collect();
        case.statetune(&all)
    };
    generate(&[]).is_done();
    generate(&["--base"]).is_done();
    // Only who packs weights finds that they cannot be packed.
    case.write("base.pth", broken_model());
    let refused = generate(&[]);
    assert_eq!(refused.code, Some(21), "{refused:?}");
    assert!(refused.stderr.contains("as int8: it contains NaN or infinite values"), "{refused:?}");
}

/// The small model with an infinity in a matrix.
fn broken_model() -> Vec<u8> {
    let (n_layer, n_embd, vocab_size) = SIZES;
    let shape = Shape::for_scratch(Version::V7, n_layer, n_embd, vocab_size);
    let weights = Weights::from_fn(shape, |name, size| {
        let number = if name == "blocks.1.ffn.key.weight" { f64::INFINITY } else { 0.5 };
        Tensor::full(size, number, (Kind::Float, Device::Cpu))
    });
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("model.pth");
    weights.save_pth(&path).expect("a checkpoint");
    std::fs::read(path).expect("the checkpoint")
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    with_quant("type = \"fp8\"").having("base.pth", broken_model()).refuses_to(
        &["run", STATE], // `check` reads no values
        21,
        "error[ST4003]: base.pth: cannot quantise tensor `blocks.1.ffn.key.weight` as fp8: it contains \
         NaN or infinite values",
    );
}

#[test]
fn training_weights_in_few_bits_is_refused() {
    let case = Case::new().with(FULL, "[train]", "[quant]\ntype = \"nf4\"\n\n[train]");
    let line = 1 + case.read(FULL).lines().position(|line| line == "type = \"nf4\"").expect("it");
    case.refuses_to(
        &["run", FULL],
        2,
        &format!(
            "\
error[ST2130]: `quant.type = \"nf4\"` requires frozen weights, but `peft.type = \"full\"` trains them
  --> full.toml:{line}:8
   |
{line} | type = \"nf4\"
   |        ^^^^^
   |
   = note: a value of a few bits cannot represent the small updates of training
   = help: delete the table `[quant]`, or train only the state: `peft.type = \"state\"`"
        ),
    );
}

/// PiSSA takes its start out of the dense weights and packs the residual.
#[test]
fn pissa_trains_on_packed_residual_weights() {
    let peft = "type = \"pissa\"\nrank = 4";
    let rate = ("lr_init = 1.0", "lr_init = 1e-3");
    let run = |case: &Case, more: &[&str]| {
        let output = case.statetune(&[&["run", STATE], more].concat());
        output.is_done();
        assert!(output.stderr.contains("quant   nf4: "), "{output:?}");
    };
    let case = with_quant("type = \"nf4\"").with(STATE, "type = \"state\"", peft);
    let case = case.with(STATE, rate.0, rate.1);
    run(&case, &[]);
    let whole = case.only_run();
    // The same again from the middle, bit for bit, although the search for the start is repeated.
    run(&case, &["--set", "train.epoch_begin=1"]);
    let branch = case.runs().into_iter().find(|run| *run != whole).expect("a second run");
    same_numbers(&case, &whole, &branch, "epoch-0001");
    let say = |more: &[&str]| {
        let run = whole.to_string_lossy();
        let output = case.statetune(&[&["generate", &run, "-p", "Hello?"], more].concat());
        output.is_done().stdout.clone()
    };
    say(&[]);
    say(&["--base"]);

    let broken = with_quant("type = \"nf4\"")
        .with(STATE, "type = \"state\"", peft)
        .with(STATE, rate.0, rate.1)
        .having("base.pth", broken_model());
    broken.refuses_to(
        &["run", STATE],
        21,
        "error[ST4003]: base.pth: tensor `blocks.1.ffn.key.weight` contains NaN or infinite values, so \
         its largest singular values cannot be computed",
    );
}

#[test]
fn adapters_train_on_packed_weights() {
    for peft in ["type = \"lora\"\nrank = 4", "type = \"disha\"\nrank = 4\nmode = \"bat\""] {
        let case = with_quant("type = \"nf4\"").with(STATE, "type = \"state\"", peft);
        let output = case.statetune(&["run", STATE, "--set", "schedule.lr_init=0.01"]);
        output.is_done();
        assert!(output.stderr.contains("quant   nf4: "), "{output:?}");
    }
}

#[test]
fn a_state_trains_on_packed_weights() {
    let project = |file: &str| {
        Path::new(env!("CARGO_MANIFEST_DIR")).join(file).to_string_lossy().into_owned()
    };
    let case = Case::new();
    let experiment = project("configs/emoji-state.toml");
    let settings =
        ["train.epoch_count=1", "train.epoch_steps=20", "sample.held_out=0", "quant.type=nf4"];
    let mut arguments = vec!["run", &experiment, "--runs-dir", "runs"];
    arguments.extend(settings.iter().flat_map(|setting| ["--set", setting]));
    case.statetune(&arguments).is_done();
    let events = case.lines(case.only_run().join("events.jsonl"));
    let losses: Vec<f64> = events.iter().filter_map(|event| event["val_loss"].as_f64()).collect();
    let (before, after) = (losses[0], losses[losses.len() - 1]);
    println!("validation loss on nf4 weights: {before} before, {after} after 20 steps");
    assert!(after < before - 0.3, "validation loss went from {before} to {after}");
}

#[test]
fn score_packs_too() {
    let case = Case::new().having("tokens.json", "[1, 72, 4095, 5, 0, 33, 900, 2, 17, 1023]");
    let mean = |more: &[&str]| {
        let all = ["score", "--model", "base.pth", "--tokens", "tokens.json"];
        let all: Vec<&str> = all.iter().chain(more).copied().collect();
        let output = case.statetune(&all);
        output.is_done();
        let printed: Value = serde_json::from_str(&output.stdout).expect("one JSON object");
        printed["mean_nll"].as_f64().expect("a number")
    };
    let dense = mean(&[]);
    assert_eq!(mean(&["--quant", "none"]), dense);
    let quants = ["int8", "nf4", "nf4-double", "fp4", "fp4-double", "fp8"];
    let means = quants.map(|quant| mean(&["--quant", quant]));
    for (i, x) in means.iter().enumerate() {
        assert!((x - dense).abs() < 0.5, "{} gives {x}, dense weights {dense}", quants[i]);
        assert!(*x != dense && !means[..i].contains(x), "{} packs as another", quants[i]);
    }
    let recurrent = mean(&["--quant", "nf4", "--recurrent"]);
    assert!((recurrent - means[1]).abs() < 1e-4, "{recurrent} {}", means[1]);
}
