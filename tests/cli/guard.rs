//! Numbers that are not finite, planted in weights, in a document and in an update; what a run does about them,
//! and what it takes down.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use statetune_core::data::Tokenizer;
use statetune_engine::model::{Shape, Version};
use tch::{Kind, Tensor};

use crate::case::{Case, FULL, Output, SIZES, STATE, tampered};
use crate::resume::{same_numbers, spawn, wait_until};

/// Twelve steps in two mini-epochs on 21 documents, none held out; each comes at least twice.
const TWELVE: [&str; 6] = [
    "--set",
    "data.val_split=0",
    "--set",
    "train.epoch_steps=6",
    "--set",
    "checkpoint.keep_last=0",
];

fn run(case: &Case, sets: &[&str]) -> Output {
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["run", STATE].into_iter().chain(TWELVE).chain(sets).collect();
    case.statetune(&arguments)
}

/// A base model with NaN in the embedding of one token, and documents of which the last one contains that token.
fn poisoned() -> Case {
    let (n_layer, n_embd, vocab_size) = SIZES;
    let case = Case::new();
    let poison = "\u{2042}"; // three bytes that no other document has
    let tokenizer = Tokenizer::load(&case.path("vocab.txt")).expect("a vocabulary");
    let id = i64::from(*tokenizer.encode(poison.as_bytes()).last().expect("a token"));
    let documents = case.read("data.jsonl");
    let line = json!({ "text": format!("User: a\n\nAssistant: {poison} b") });
    case.write("data.jsonl", format!("{}\n{line}\n", documents.trim_end()));
    let shape = Shape::for_scratch(Version::V7, n_layer, n_embd, vocab_size);
    let base = tampered(shape, |name, tensor| {
        if name == "emb.weight" {
            let _ = tensor.get(id).fill_(f64::NAN);
        }
        tensor
    });
    case.having("base.pth", base)
}

/// A base of two heads whose tensors are changed, for `state.toml`.
pub fn two_heads(change: impl Fn(&str, Tensor) -> Tensor) -> Case {
    let (n_layer, n_embd, vocab_size) = SIZES;
    let shape = Shape::for_scratch(Version::V7, n_layer, 2 * n_embd, vocab_size);
    Case::new().having("base.pth", tampered(shape, change))
}

pub fn record(case: &Case, run: &Path) -> Value {
    let incidents = case.list(run.join("incidents"));
    let last = incidents.last().expect("an incident");
    serde_json::from_str(&case.read(run.join("incidents").join(last).join("incident.json")))
        .expect("JSON")
}

fn events(case: &Case, run: &Path, name: &str) -> Vec<Value> {
    case.lines(run.join("events.jsonl")).into_iter().filter(|line| line["event"] == name).collect()
}

fn chain(case: &Case, run: &Path) -> Vec<u8> {
    fs::read(case.path(run.join("chain.bin"))).expect("a chain")
}

fn second(case: &Case, first: &Path) -> PathBuf {
    case.runs().into_iter().find(|run| run != first).expect("a second run")
}

#[test]
fn a_broken_document_is_named_and_can_be_dropped() {
    let case = poisoned();
    let output = run(&case, &[]);
    let found = case.only_run();
    let incident = record(&case, &found);
    let step = incident["step"].as_u64().expect("a step");
    let message = output.stderr.split("error[").nth(1).expect("an error");
    assert_eq!(
        message.trim_end(),
        format!(
            "\
ST7001]: loss became NaN at step {step} (epoch 0, micro-batch 0)
  |
  = note: recorded in runs/DATE-tiny-ID/incidents/{step:06}
  = note: first NaN or infinite value: emb forward
  = note: gradient norms of the last steps: {}
  = note: documents of the batch: data.jsonl:21
  = note: the run has no checkpoint yet
  = help: to replay this step in fp32, run `statetune incident replay runs/DATE-tiny-ID/{step:06}`
  = help: to continue without this document, run `statetune resume runs/DATE-tiny-ID --drop-sample 21`
  = help: to continue with a lower rate, run `statetune resume runs/DATE-tiny-ID --set schedule.lr_init=0.3 --accept schedule.lr_init`",
            norms(message)
        )
    );
    assert_eq!(output.code, Some(24));
    assert_eq!(case.list(found.join("ckpt")), Vec::<String>::new());
    assert_eq!(incident["first"]["documents"], json!(["data.jsonl:21"]));
    let rows = case.lines(found.join(format!("incidents/{step:06}/batch.jsonl")));
    assert_eq!(rows.len(), 4);
    assert!(rows.iter().any(|row| row["documents"] == json!(["data.jsonl:21"])));

    let shown = case.statetune(&["incident", "ls"]);
    assert!(shown.is_done().stdout.contains("emb forward"), "{}", shown.stdout);
    let shown = case.statetune(&["incident", "show", &format!("latest/{step}")]);
    assert!(shown.is_done().stdout.contains("documents   data.jsonl:21\n"), "{}", shown.stdout);

    let refused = case.statetune(&["resume", "latest", "--drop-sample", "99"]);
    assert_eq!(
        refused.stderr.trim_end(),
        "error[ST7013]: no training document is named `99`\n  |\n  = note: name a document by its line (`27`), by file and line (`chat.jsonl:27`), or by its number in a pair of token files"
    );
    assert_eq!(refused.code, Some(20));
    case.statetune(&["resume", "latest", "--drop-sample", "data.jsonl:21"]).is_done();
    assert_eq!(case.lines(found.join("left_out.jsonl")).len(), 1);
    assert_eq!(chain(&case, &found).len(), 12 * 16);
    let verified = case.statetune(&["verify", "latest", "--steps", "12"]);
    let equal = "\nequal             none: all 12 steps are bit-identical\n";
    assert!(verified.stdout.contains(equal), "{verified:?}");
}

#[test]
fn documents_that_cannot_be_dropped() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    // Every document is named; the first one that is held out is refused before anything is done.
    let mut all = vec!["resume", "latest", "--set", "train.epoch_count=3"];
    let lines: Vec<String> = (1..=20).map(|line| line.to_string()).collect();
    all.extend(lines.iter().flat_map(|line| ["--drop-sample", line]));
    let refused = case.statetune(&all);
    let number = regex::Regex::new(r"`\d+` is a validation document").expect("an expression");
    assert_eq!(
        number.replace(refused.stderr.trim_end(), "`N` is a validation document"),
        "\
error[ST7013]: `N` is a validation document; no step trains on it
  |
  = note: name a document by its line (`27`), by file and line (`chat.jsonl:27`), or by its number in a pair of token files"
    );
    assert_eq!(
        (refused.code, case.path(case.only_run().join("left_out.jsonl")).exists()),
        (Some(20), false)
    );

    let case = Case::new().with(STATE, "loss_mask = \"assistant\"", "dataload = \"get\"");
    case.statetune(&["run", STATE]).is_done();
    let refused =
        case.statetune(&["resume", "latest", "--set=train.epoch_count=3", "--drop-sample=1"]);
    assert_eq!(
        refused.stderr.trim_end(),
        "\
error[ST7014]: `--drop-sample` does not work with `dataload = \"get\"`, because windows cross document borders
  |
  = help: remove the document from the data, then start a new run from this one: `statetune run --like runs/DATE-tiny-ID --set train.epoch_count=3 --from runs/DATE-tiny-ID`"
    );
    assert_eq!(refused.code, Some(20));
}

/// The norms of the message, which are those of a random model.
fn norms(message: &str) -> &str {
    let line = message.split("norms of the last steps: ").nth(1).expect("norms");
    line.lines().next().expect("a line")
}

/// The same step in fp32 is as bad, and the reference says the same.
#[test]
fn a_step_is_computed_again_alone() {
    let case = poisoned();
    run(&case, &[]);
    let step = record(&case, &case.only_run())["step"].as_u64().expect("a step");
    let name = format!("latest/{step}");
    for more in [&[][..], &["--op", "reference"], &["--precision", "bf16", "--op", "chunk"]] {
        let output =
            case.statetune(&[&["incident", "replay", &name, "--format", "json"], more].concat());
        assert_eq!(output.code, Some(1), "{output:?}");
        let replayed: Value = serde_json::from_str(&output.stdout).expect("JSON");
        assert_eq!(replayed["finite"], false);
        let readings = replayed["readings"].as_array().expect("readings");
        // The initial states are fine, the embedding of one row is not.
        assert_eq!(
            (&readings[0]["direction"], &readings[0]["not_finite"]),
            (&json!("before"), &json!(0))
        );
        let bad = readings.iter().find(|one| one["not_finite"] != 0).expect("a bad one");
        assert_eq!(bad["place"], "emb");
        assert_eq!(bad["rows"].as_array().map(Vec::len), Some(1));
    }
    let human = case.statetune(&["incident", "replay", &name]);
    let last = human.stdout.trim_end().lines().last().expect("a line");
    assert_eq!(last, "first non-finite value in fp32, op cpu: emb forward");
    let refused = case.statetune(&["incident", "replay", "latest/77"]);
    assert_eq!(
        refused.stderr.trim_end(),
        "error[ST6070]: the run `runs/DATE-tiny-ID` has no incident at step 77\n  |\n  = help: run `statetune incident ls runs/DATE-tiny-ID` to list the incidents"
    );
    assert_eq!(refused.code, Some(2));
}

/// Under both policies training continues after each incident, and a run resumed in the middle computes the same.
#[test]
fn a_run_continues_without_broken_steps() {
    for policy in ["guard.nonfinite=skip", "guard.nonfinite=rollback"] {
        let case = poisoned();
        let output = run(&case, &[policy]);
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(output.stderr.contains("warning[ST7016]: loss became NaN at step "), "{output:?}");
        let whole = case.only_run();
        let incidents = events(&case, &whole, "incident");
        assert!(incidents.len() >= 2, "{incidents:?}");
        assert_eq!(chain(&case, &whole).len(), 12 * 16);
        let skipped: u64 = case
            .lines(whole.join("metrics.jsonl"))
            .iter()
            .map(|line| line["skipped_steps"].as_u64().expect("a count"))
            .sum();
        assert_eq!(skipped as usize, incidents.len());
        let back = events(&case, &whole, "rollback").len();
        assert_eq!(back, if policy.ends_with("skip") { 0 } else { incidents.len() });

        run(&case, &[policy, "train.epoch_begin=1"]).is_done_with_warnings();
        let branch = second(&case, &whole);
        assert!(chain(&case, &whole) == chain(&case, &branch), "{policy}: the chains differ");
        let saved = |run: &Path| {
            fs::read(case.path(run.join("ckpt/epoch-0001/trainable.safetensors"))).expect("saved")
        };
        assert!(saved(&whole) == saved(&branch), "{policy}: the trained parameters differ");
    }
}

/// A run that was rolled back and extended computes the same with and without a stop.
#[test]
fn a_run_that_went_back_and_grew_is_continued_bit_for_bit() {
    let case = poisoned();
    let many = ["guard.nonfinite=rollback", "guard.max_incidents=1000", "sample.held_out=0"];
    let sets = many.iter().chain(&["train.epoch_count=60"]).flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["run", STATE].into_iter().chain(TWELVE).chain(sets).collect();
    let mut child = spawn(&case, &arguments);
    wait_until(|| !case.runs().is_empty());
    let stopped = case.only_run();
    let went_back = || {
        let log = case.path(stopped.join("events.jsonl"));
        fs::read_to_string(log).is_ok_and(|log| log.contains("\"event\":\"rollback\""))
    };
    wait_until(went_back);
    case.statetune(&["ctl", "latest", "extend", "12"]).is_done();
    case.statetune(&["ctl", "latest", "stop"]).is_done();
    assert_eq!(child.wait().expect("it ends").code(), Some(75));
    let longer = case.read(stopped.join("resolved.toml"));
    assert!(longer.contains("\nepoch_count = 62  # ctl after step "), "{longer}");
    let overrides = case.read(stopped.join("overrides.toml"));
    assert!(overrides.contains("\nepoch_count = 62  # ctl after step "), "{overrides}");

    // One copy continues without a stop, the other one is stopped after each of its next steps.
    let copy = Path::new("runs/2026-01-01-tiny-zzzz");
    let folders = [stopped.as_path(), copy].map(|run| case.path(run));
    let copied = Command::new("cp").arg("-r").args(folders).status();
    assert!(copied.expect("cp is there").success());
    let other = copy.to_str().expect("UTF-8");
    for _ in 0..8 {
        let step = case.statetune(&["resume", other, "--set", "guard.max_hours=1e-9"]);
        assert_eq!(step.code, Some(75), "{step:?}");
    }
    let to_its_end = ["--set", "guard.max_hours=0"];
    for run in [other, stopped.to_str().expect("UTF-8")] {
        let output = case.statetune(&[&["resume", run][..], &to_its_end].concat());
        output.is_done_with_warnings();
    }
    assert_eq!(chain(&case, &stopped).len(), 62 * 6 * 16);
    same_numbers(&case, &stopped, copy, "epoch-0061");
    // With more checkpoints it went back less far each time, and left out the same steps.
    let left_out = |run: &Path| -> Vec<Value> {
        let lines = case.lines(run.join("left_out.jsonl"));
        lines.iter().map(|line| line["step"].clone()).collect()
    };
    assert_eq!(left_out(&stopped), left_out(copy));
    // Its first steps had the length that it began with.
    for run in [other, stopped.to_str().expect("UTF-8")] {
        let output = case.statetune(&["verify", run, "--steps", "12"]);
        assert!(output.stdout.contains("\nequal             none: all "), "{output:?}");
    }
}

#[test]
fn a_run_stops_after_too_many_incidents() {
    let case = poisoned();
    let output = run(&case, &["guard.nonfinite=skip", "guard.max_incidents=1"]);
    assert_eq!(output.code, Some(24));
    let note =
        "= note: the run already had 1 incidents, the most that `guard.max_incidents` allows";
    assert!(output.stderr.contains(note), "{}", output.stderr);
    assert_eq!(case.list(case.only_run().join("incidents")).len(), 2);
}

/// Keys and values of one head that are too large for their product.
#[test]
fn a_recurrence_that_overflows_is_named_with_its_head() {
    let case = two_heads(|name, tensor| {
        if ["blocks.1.att.key.weight", "blocks.1.att.value.weight"].contains(&name) {
            let mut rows = tensor.narrow(0, 64, 64);
            let _ = rows.g_mul_scalar_(1e30);
        }
        tensor
    });
    let output = case.statetune(&["run", STATE, "--set", "data.val_split=0"]);
    let note = "= note: first NaN or infinite value: blocks.1.att WKV forward, head 1\n";
    assert!(output.stderr.contains(note), "{}", output.stderr);
    assert_eq!(output.code, Some(24));
    let first = &record(&case, &case.only_run())["first"];
    assert_eq!((&first["heads"], &first["micro_batch"]), (&json!([1]), &json!(0)));
    assert_eq!(first["rows"], json!([0, 1, 2, 3]));
}

/// A channel mix whose output is small and whose slope is not, below a head of large weights.
#[test]
fn a_gradient_that_overflows_is_named_with_its_layer() {
    let case = two_heads(|name, tensor| {
        let randn = |scale: f64| Tensor::randn_like(&tensor.to_kind(Kind::Float)) * scale;
        match name {
            "blocks.1.ffn.key.weight" => randn(1e-12),
            "blocks.1.ffn.value.weight" => randn(1e24),
            "head.weight" => randn(1e20),
            _ => tensor,
        }
    });
    let output = case.statetune(&["run", STATE, "--set", "data.val_split=0"]);
    let expected = "error[ST7001]: gradient norm became NaN at step 1 (epoch 0, micro-batch 0)\n";
    assert!(output.stderr.contains(expected), "{}", output.stderr);
    let note = "= note: first NaN or infinite value: blocks.1.ffn backward; forward was finite\n";
    assert!(output.stderr.contains(note), "{}", output.stderr);
    assert_eq!(output.code, Some(24));
}

#[test]
fn a_non_finite_update_stops_the_run() {
    let case = Case::new();
    let sets = ["schedule.lr_init=1e300", "guard.nonfinite=skip"];
    let output = run(&case, &sets);
    let message = output.stderr.split("error[").nth(1).expect("an error");
    assert!(
        message.starts_with("ST7001]: parameters became NaN at step 1 (epoch 0)\n"),
        "{message}"
    );
    for line in [
        "= note: first NaN or infinite value: blocks.0.att.time_state after the update\n",
        "= note: the parameters are already updated, so the step cannot be skipped\n",
        "--set schedule.lr_init=1.0 --accept schedule.lr_init`\n",
    ] {
        assert!(message.contains(line), "{message}");
    }
    assert_eq!(output.code, Some(24));
    let replayed = case.statetune(&["incident", "replay", "latest/1"]);
    assert_eq!(
        replayed.stderr.trim_end(),
        "error[ST6071]: the update of step 1 made the parameters NaN or infinite, not its loss or gradients\n  |\n  = note: the parameters before the update were not recorded, so the step cannot be replayed"
    );
    // Every step is as bad: the run goes back as often as it may, and stops.
    let sets = ["schedule.lr_init=1e300", "guard.nonfinite=rollback", "guard.max_incidents=3"];
    let output = run(&case, &sets);
    assert_eq!(output.code, Some(24), "{output:?}");
    let run = case.runs().into_iter().find(|run| !events(&case, run, "rollback").is_empty());
    let run = run.expect("a run that went back");
    assert_eq!(events(&case, &run, "rollback").len(), 3);
    assert_eq!(case.list(run.join("incidents")), ["000001", "000002", "000003", "000004"]);
    assert_eq!(case.list(run.join("ckpt")), ["last", "step-0000000"]);
}

#[test]
fn a_loss_far_above_the_usual_one_is_told() {
    let case = Case::new();
    // A rate that grows with every step, beyond what the model can bear.
    let sets = [
        "guard.loss_spike=2",
        "schedule.lr_init=30",
        "schedule.warmup_steps=100",
        "schedule.lr_schedule=constant",
        "data.val_split=0",
        "train.epoch_steps=5",
    ];
    let sets: Vec<&str> = sets.iter().flat_map(|set| ["--set", set]).collect();
    let output = case.statetune(&[&["run", FULL][..], &sets].concat());
    output.is_done_with_warnings();
    let spikes = events(&case, &case.only_run(), "spike");
    assert!(!spikes.is_empty(), "{output:?}");
    for spike in &spikes {
        let number = |key: &str| spike[key].as_f64().expect("a number");
        assert!(number("loss") > 2.0 * number("median"), "{spike}");
        assert_eq!(spike["documents"].as_array().map(Vec::len), Some(4));
    }
    assert!(output.stderr.contains("warning[ST7011]: the loss of step "), "{output:?}");
    assert!(output.stderr.contains("= note: documents of the batch: data.jsonl:"), "{output:?}");
    let first = case.only_run();
    let none = [&["run", FULL][..], &sets, &["--set", "guard.loss_spike=0"]].concat();
    case.statetune(&none).is_done();
    assert_eq!(events(&case, &second(&case, &first), "spike"), Vec::<Value>::new());
}

#[test]
fn a_multiple_below_one_is_refused() {
    let case = Case::new().with(STATE, "[log]", "[guard]\nloss_spike = 0.5\n\n[log]");
    case.refuses(
        2,
        "\
error[ST7010]: `guard.loss_spike = 0.5` would report ordinary losses
  --> state.toml:29:14
   |
29 | loss_spike = 0.5
   |              ^^^
   |
   = note: a loss above this multiple of the recent median is reported
   = help: set `guard.loss_spike = 4.0`, the default, or 0 to report nothing",
    );
}

/// Each process may do one step, and the run comes to the same as one that was not stopped.
#[test]
fn when_its_time_is_over_a_run_saves_and_can_be_continued() {
    let case = Case::new();
    run(&case, &[]).is_done();
    let whole = case.only_run();
    let output = run(&case, &["guard.max_hours=1e-9"]);
    assert_eq!(output.code, Some(75), "{output:?}");
    let warning =
        "warning[ST7015]: stopped after `guard.max_hours = 0.000000001`; everything is saved\n";
    assert!(output.stderr.contains(warning), "{}", output.stderr);
    assert!(output.stdout.starts_with("stopped after step 1 of 12, everything is saved\n"));
    let stopped = second(&case, &whole);
    let stopped = stopped.to_string_lossy();
    assert_eq!(case.statetune(&["resume", &stopped]).code, Some(75));
    case.statetune(&["resume", &stopped, "--set", "guard.max_hours=0"]).is_done();
    assert!(chain(&case, &whole) == chain(&case, Path::new(&*stopped)));
}

/// A third of a rate that is far too high is too high as well: the help names the usual rate, and works.
#[test]
fn a_rate_far_above_the_usual_one_goes_back_to_the_usual_one() {
    let case = Case::new();
    let run = case.statetune(&["run", FULL, "--set", "schedule.lr_init=1e30"]);
    assert_eq!(run.code, Some(24), "{run:?}");
    let name = case.only_run().to_string_lossy().into_owned();
    let resume =
        format!("statetune resume {name} --set schedule.lr_init=0.0001 --accept schedule.lr_init");
    let helps: Vec<&str> =
        run.stderr.lines().filter(|line| line.starts_with("  = help: ")).skip(1).collect();
    let usual = format!(
        "  = help: the rate is far above the usual one of the method; to continue with the usual one, run `{resume}`"
    );
    assert_eq!(helps, [case.scrub(&usual)], "{run:?}");
    let words: Vec<&str> = resume.split(' ').skip(1).collect();
    case.statetune(&words).is_done();
}
