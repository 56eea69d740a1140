//! Runs of objectives over preferences: what they show and record, resumes, devices, and what they refuse.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use statetune_core::objective::{
    Answer, Dpo, DpoLoss, Judged, Kto, Objective, Orpo, Sample, Simpo,
};

use crate::case::{Case, Output, STATE};
use crate::python::printed;
use crate::resume::{chain_len, same_numbers, spawn, wait_until};

const OBJECTIVES: [&str; 5] = ["dpo", "ipo", "orpo", "simpo", "kto"];

/// The lines of `[objective]`.
fn objective(name: &str) -> String {
    match name {
        "ipo" => "[objective]\ntype = \"dpo\"\nloss = \"ipo\"\n".to_owned(),
        name => format!("[objective]\ntype = \"{name}\"\n"),
    }
}

/// Pairs of a short and a long answer.
pub fn pairs() -> Vec<Value> {
    let pair = |i: usize| {
        let rejected = format!("no {}", "and no ".repeat(1 + i % 4));
        json!({ "prompt": format!("say {i}"), "chosen": "yes", "rejected": rejected })
    };
    (0..20).map(pair).collect()
}

/// The same answers, one in a record, each with a label.
pub fn labelled() -> Vec<Value> {
    let record = |(i, pair): (usize, Value)| {
        let (answer, label) =
            if i % 2 == 0 { (&pair["chosen"], true) } else { (&pair["rejected"], false) };
        let messages = json!([
            { "role": "user", "content": pair["prompt"] },
            { "role": "assistant", "content": answer },
        ]);
        json!({ "messages": messages, "label": label })
    };
    pairs().into_iter().enumerate().map(record).collect()
}

/// An experiment with this objective on these records.
pub fn case_of(name: &str, records: &[Value]) -> Case {
    with_objective(Case::new(), name, records)
}

/// The experiment of a case with this objective on these records.
pub fn with_objective(case: Case, name: &str, records: &[Value]) -> Case {
    let lines: String = records.iter().map(|record| format!("{record}\n")).collect();
    let rates = "lr_init = 0.1\nlr_final = 0.1";
    let case = case.having("data.jsonl", lines);
    let case = case.with(STATE, "[peft]", &format!("{}\n[peft]", objective(name)));
    case.with(STATE, "lr_init = 1.0\nlr_final = 0.01", rates)
}

fn run(case: &Case, more: &[&str]) -> Output {
    case.statetune(&[&["run", STATE][..], more].concat())
}

/// The newest run beside those that there were.
fn new_run(case: &Case, before: &[PathBuf]) -> PathBuf {
    case.runs().into_iter().find(|run| !before.contains(run)).expect("a new run")
}

#[test]
fn what_is_printed() {
    case_of("dpo", &pairs()).statetune(&["run", STATE]).succeeds(
        "\
┌─────────────────────┬────────┬────────┐
│                     ┆ base   ┆ tuned  │
╞═════════════════════╪════════╪════════╡
│ validation loss     ┆ #.#### ┆ #.#### │
│ preference accuracy ┆ -      ┆ 100 %  │
│ reward margin       ┆ -      ┆ #.#### │
└─────────────────────┴────────┴────────┘
trained for N s
run      runs/DATE-tiny-ID
export   runs/DATE-tiny-ID/export/rwkv-1.pth
export   runs/DATE-tiny-ID/export/rwkv-1.st
next     statetune generate runs/DATE-tiny-ID --prompt \"How was your weekend?\"",
        "\
run     runs/DATE-tiny-ID
model   RWKV-7 (x070), 653,888 parameters (2 layers x 64), fp32
device  CPU, 1 thread, op cpu
trains  8,192 parameters
data    16 documents, 396 tokens, 140 target tokens
steps   4 (2 x 2 in a mini-epoch), 16 samples
loss    dpo over pairs of answers, against the start of the run
validation loss #.#### before training
epoch 1/2  step 1/4  25 %  loss #.####  val #.####  lr 0.0010  N/s  N MiB  ETA M:SS
epoch 1/2  step 2/4  50 %  loss #.####  val #.####  lr 0.1000  N/s  N MiB  ETA M:SS
validation loss #.#### after 1 mini-epoch
preference accuracy 100 %, reward margin #.#### (chosen #.####, rejected #.####) after 1 mini-epoch
epoch 2/2  step 3/4  75 %  loss #.####  val #.####  lr 0.1000  N/s  N MiB  ETA M:SS
epoch 2/2  step 4/4  100 %  loss #.####  val #.####  lr 0.1000  N/s  N MiB  ETA M:SS
validation loss #.#### after 2 mini-epochs
preference accuracy 100 %, reward margin #.#### (chosen #.####, rejected #.####) after 2 mini-epochs",
    );
}

#[test]
fn every_objective_learns_and_records_rewards() {
    for name in OBJECTIVES {
        let case = case_of(name, &pairs());
        let output = run(&case, &["--format", "jsonl", "--set", "train.epoch_count=4"]);
        output.is_done();
        let run = case.only_run();
        let metrics = case.metrics(&run);
        let [first, last] = [&metrics[0], &metrics[metrics.len() - 1]];
        for key in ["chosen", "rejected", "margin", "accuracy"] {
            assert!(first["rewards"][key].is_number(), "{name}: {first}");
        }
        let number = |line: &Value, key: &str| line["rewards"][key].as_f64().expect("a number");
        assert!(number(last, "margin") > number(first, "margin"), "{name}: {first} {last}");
        let events = case.lines(run.join("events.jsonl"));
        let evals: Vec<&Value> = events.iter().filter(|line| line["event"] == "eval").collect();
        let losses: Vec<f64> =
            evals.iter().map(|line| line["val_loss"].as_f64().expect("a loss")).collect();
        assert!(losses[losses.len() - 1] < losses[0], "{name}: {losses:?}");
        // Against the start of the run nothing is judged before training.
        let has_reference = !["orpo", "simpo"].contains(&name);
        assert_eq!(evals[0]["rewards"].is_null(), has_reference, "{name}");
        assert!(evals[1]["rewards"]["accuracy"].is_number(), "{name}");
        assert_eq!(case.path(run.join("reference.bin")).exists(), has_reference, "{name}");
        let result: Value =
            serde_json::from_str(output.stdout.lines().last().expect("a line")).expect("JSON");
        assert!(result["rewards"]["tuned"]["accuracy"].is_number(), "{name}: {result}");
    }
}

#[test]
fn kto_takes_records_with_a_label() {
    let case = case_of("kto", &labelled());
    run(&case, &["--set", "train.epoch_count=4"]).is_done();
    let metrics = case.metrics(&case.only_run());
    assert!(metrics.iter().any(|line| line["rewards"]["margin"].is_number()), "{metrics:?}");
    let checked = case.statetune(&["data", "check", STATE]);
    assert_eq!(checked.code, Some(0), "{checked:?}");
}

/// A step of two micro-batches on one and on two devices, and in chunks: the same bits, or the same up to rounding.
#[test]
fn two_devices_write_the_bits_of_one() {
    for name in ["dpo", "kto"] {
        let case = case_of(name, &pairs());
        let small = ["--set", "train.micro_bsz=2", "--set", "train.accumulate_grad_batches=2"];
        run(&case, &small).is_done();
        let one = case.only_run();
        let several = [&small[..], &["--set", "hardware.devices=2"]].concat();
        run(&case, &several).is_done_with_warnings();
        let other = new_run(&case, std::slice::from_ref(&one));
        same_numbers(&case, &one, &other, "epoch-0001");
        for file in ["reference.bin", "val_losses.jsonl"] {
            let [one, other] = [&one, &other].map(|run| fs::read(case.path(run.join(file))));
            assert!(one.ok() == other.ok(), "{name}: {file} differs");
        }
    }
}

/// Every objective, killed after some steps and resumed, with and without its file of the reference.
#[test]
fn a_killed_run_computes_the_same() {
    for (i, name) in OBJECTIVES.into_iter().enumerate() {
        let case = case_of(name, &pairs());
        let long = ["--set", "train.epoch_count=8", "--set", "train.epoch_steps=1"];
        let long = [&long[..], &["--set", "checkpoint.keep_last=0"]].concat();
        run(&case, &long).is_done();
        let whole = case.only_run();
        let arguments = [&["run", STATE, "--resume", "auto"][..], &long].concat();
        let second = || case.runs().into_iter().find(|run| *run != whole);
        for at in [1 + i as u64 % 3, 5] {
            let mut child = spawn(&case, &arguments);
            let links = || second().map_or(0, |run| chain_len(&case, &run));
            let link = chain_len(&case, &whole) / 8;
            wait_until(|| links() >= at * link || child.try_wait().expect("a child").is_some());
            child.kill().expect("killed, or ended before");
            child.wait().expect("it ends");
            let reference = case.path(second().expect("a run").join("reference.bin"));
            if i % 2 == 0 && reference.exists() {
                fs::remove_file(reference).expect("removed");
            }
        }
        let last = case.statetune(&arguments);
        assert_eq!(last.code, Some(0), "{name}: {last:?}");
        let killed = second().expect("a second run");
        same_numbers(&case, &whole, &killed, "epoch-0007");
        let bytes = |run: &Path| fs::read(case.path(run.join("reference.bin"))).ok();
        assert!(bytes(&whole) == bytes(&killed), "{name}: reference.bin differs");
    }
}

/// A run from the values of another one is compared with these values, also when it resumes without its reference.
#[test]
fn the_reference_of_a_warm_start_is_that_of_its_values() {
    let case = case_of("dpo", &pairs());
    run(&case, &[]).is_done();
    let first = case.only_run();
    let from = first.to_string_lossy().into_owned();
    run(&case, &["--from", &from]).is_done();
    let warm = new_run(&case, std::slice::from_ref(&first));
    let reference = |run: &Path| fs::read(case.path(run.join("reference.bin"))).expect("a file");
    assert_ne!(reference(&first), reference(&warm));
    let whole = reference(&warm);
    let events = case.lines(warm.join("events.jsonl"));
    let eval = events.iter().find(|line| line["event"] == "eval").expect("an evaluation");
    let loss = eval["val_loss"].as_f64().expect("a loss");
    assert!((loss - 2.0_f64.ln()).abs() < 1e-6, "the values are the reference: {loss}");
    let resume = |epochs: &str| {
        let name = warm.to_string_lossy().into_owned();
        case.statetune(&["resume", &name, "--set", epochs]).is_done();
        reference(&warm)
    };
    fs::remove_file(case.path(warm.join("reference.bin"))).expect("removed");
    assert_eq!(resume("train.epoch_count=3"), whole);
    case.write(warm.join("reference.bin"), &whole[1..]);
    assert_eq!(resume("train.epoch_count=4"), whole);
}

#[test]
fn all_methods_train_on_preferences() {
    for peft in ["type = \"lora\"\nrank = 4\ndropout = 0.1", "type = \"full\"\nstate = true"] {
        let case = case_of("dpo", &pairs()).with(STATE, "type = \"state\"", peft);
        let case =
            case.with(STATE, "lr_init = 0.1\nlr_final = 0.1", "lr_init = 1e-3\nlr_final = 1e-3");
        run(&case, &["--set", "train.chunk_ctx=16", "--set", "train.grad_cp=true"]).is_done();
        let metrics = case.metrics(&case.only_run());
        let loss = metrics[0]["loss"].as_f64().expect("a loss");
        assert!((loss - 2.0_f64.ln()).abs() < 0.1, "{peft}: {loss}");
    }
}

#[test]
fn the_objective_is_a_setting_of_the_numbers() {
    let case = case_of("dpo", &pairs());
    run(&case, &[]).is_done();
    let run_directory = case.only_run();
    let resume = |setting: &str| {
        let run = run_directory.to_string_lossy().into_owned();
        case.statetune(&["resume", &run, "--set", "train.epoch_count=3", "--set", setting])
    };
    for setting in ["objective.beta=0.2", "objective.label_smoothing=0.1"] {
        let output = resume(setting);
        assert_eq!(output.code, Some(27), "{output:?}");
        assert!(output.stderr.contains("objective."), "{output:?}");
    }
    run(&case, &["--set", "objective.beta=0.2"]).is_done();
    let runs = case.runs();
    let names: Vec<&str> = runs.iter().map(|run| run.to_str().expect("UTF-8")).collect();
    let diff = case.statetune(&["diff", names[0], names[1]]);
    assert!(diff.stdout.contains("objective.beta"), "{diff:?}");
    assert!(diff.stdout.contains("changes what training minimises"), "{diff:?}");
}

/// An empty table, and `sft`, are what a file without the table is.
#[test]
fn sft_is_the_run_without_a_table() {
    let case = Case::new();
    run(&case, &[]).is_done();
    let plain = case.only_run();
    for table in ["[objective]\n\n[peft]", "[objective]\ntype = \"sft\"\n\n[peft]"] {
        let text = case.read(STATE).replacen("[peft]", table, 1);
        case.write("sft.toml", text);
        let output = case.statetune(&["run", "sft.toml", "--needed"]);
        assert!(output.stdout.contains("has the same settings and inputs"), "{output:?}");
        case.statetune(&["run", "sft.toml"]).is_done();
        let other = new_run(&case, std::slice::from_ref(&plain));
        same_numbers(&case, &plain, &other, "epoch-0001");
        fs::remove_dir_all(case.path(other)).expect("removed");
    }
}

#[test]
fn documents_are_refused_by_objectives_that_compare() {
    let documents = [json!({ "prompt": "say", "completion": "yes" })];
    case_of("dpo", &documents).refuses(
        20,
        "\
error[ST3118]: line 1 of `data.jsonl` is not a preference pair
 --> data.jsonl:1:1
  |
1 | {\"prompt\":\"say\",\"completion\":\"yes\"}
  | ^
  |
  = note: the objective of this experiment compares a chosen with a rejected answer
  = help: write the record with `prompt`, `chosen` and `rejected`
  = help: to imitate the documents, set `type = \"sft\"` in `[objective]`",
    );
    let unlabelled = case_of("kto", &documents);
    let refused = run(&unlabelled, &[]);
    assert!(refused.stderr.contains("has neither a label nor two answers"), "{refused:?}");
    let wrong = [json!({ "prompt": "say", "completion": "yes", "label": 3 })];
    let refused = run(&case_of("kto", &wrong), &[]);
    let message = "must have true or false as `label`, found a number";
    assert!(refused.stderr.contains(message), "{refused:?}");
    for (name, records) in [("orpo", &documents[..]), ("kto", &documents), ("kto", &wrong)] {
        let checked = case_of(name, records).statetune(&["data", "check", STATE]);
        assert_eq!(checked.code, Some(20), "{checked:?}");
    }
}

/// General text consists of documents, whatever the records of the data are; the penalty keeps the model nearer to its base, on any number
/// of devices.
#[test]
fn what_is_forgotten_is_measured_beside_preferences() {
    let general: String = (0..12)
        .map(|i| json!({ "text": format!("say yes {i} and no") }).to_string() + "\n")
        .collect();
    let keep = ["--set", "eval.forgetting=true", "--set", "eval.general=general.jsonl"];
    for name in ["dpo", "kto"] {
        let case = case_of(name, &pairs()).having("general.jsonl", &*general);
        let settings =
            |strength| [&keep[..], &["--set", strength, "--set", "train.epoch_count=2"]].concat();
        run(&case, &settings("objective.keep=0")).is_done_with_warnings();
        let free = case.only_run();
        run(&case, &settings("objective.keep=5")).is_done_with_warnings();
        let kept = new_run(&case, std::slice::from_ref(&free));
        let forgotten = |run: &Path| {
            let events = case.lines(run.join("events.jsonl"));
            let found: Vec<f64> = events.iter().filter_map(|event| event["kl"].as_f64()).collect();
            assert!(found.len() == 3 && found[0] == 0.0, "{events:?}");
            found[2]
        };
        assert!(forgotten(&kept) < forgotten(&free), "{name}");
        let before = [free, kept.clone()];
        let several =
            [&settings("objective.keep=5")[..], &["--set", "hardware.devices=2"]].concat();
        run(&case, &several).is_done_with_warnings();
        let chain = |run: &Path| fs::read(case.path(run.join("chain.bin"))).expect("a chain");
        assert!(chain(&kept) == chain(&new_run(&case, &before)), "{name}: two devices differ");
    }
}

#[test]
fn commands_that_take_documents_say_so() {
    let case = case_of("dpo", &pairs());
    run(&case, &[]).is_done();
    let run_directory = case.only_run().to_string_lossy().into_owned();
    let chosen = ["--set", "objective.type=sft", "--set-json", "data.ignore_keys=[\"rejected\"]"];
    for arguments in [&["eval", &run_directory][..], &["data", "export", STATE, "--to", "jsonl"]] {
        let refused = case.statetune(arguments);
        assert_eq!(refused.code, Some(21), "{refused:?}");
        assert!(refused.stderr.contains("takes documents that are imitated"), "{refused:?}");
    }
    // The help works.
    let export = ["data", "export", STATE, "--to", "jsonl", "--out", "chosen"];
    case.statetune(&[&export[..], &chosen].concat()).is_done_with_warnings();
    let refused = case.statetune(&["plan", STATE, "--rates"]);
    assert!(refused.stderr.contains("measure the loss of imitation"), "{refused:?}");
    let planned = case.statetune(&["plan", STATE, "--prepare"]);
    planned.is_done();
}

/// The Python that has TRL: that of the variable, or that of the recipe.
fn trl() -> PathBuf {
    let built =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("target/preference-programs/bin/python3");
    let python = std::env::var_os("STATETUNE_TRL_PYTHON").map_or(built, PathBuf::from);
    assert!(python.exists(), "run scripts/preference_programs.sh, which installs TRL");
    python
}

/// Losses, gradients and rewards of TRL's own loss functions.
#[test]
#[ignore = "needs TRL, see scripts/preference_programs.sh"]
fn losses_are_those_of_trl() {
    let number = |seed: u32, i: usize| f64::from((seed * 7919 + i as u32 * 104_729) % 1000) / 10.0;
    let answer = |side: u32, i: usize| {
        let tokens = 1 + (number(side + 5, i) / 4.0) as u64;
        let log_prob = -0.05 - number(side, i) * tokens as f64 / 30.0;
        (log_prob, log_prob + number(side + 9, i) / 20.0 - 2.5, tokens)
    };
    let sides = ["chosen", "rejected", "mismatched"];
    let records: Vec<Value> = (0..24)
        .map(|i| {
            let sides =
                (1..).zip(sides).map(|(side, name)| (name.to_owned(), json!(answer(side, i))));
            Value::Object(sides.collect())
        })
        .collect();
    let case = Case::new().having("records.json", json!(records).to_string());
    let said = printed(&trl(), "programs/trl_losses.py", &[case.path("records.json")]);
    let side = |side: u32, i: usize| {
        let (log_prob, reference, tokens) = answer(side, i);
        Some(Answer { log_prob, reference, tokens })
    };
    let samples: Vec<Sample> = (0..24)
        .map(|i| Sample { chosen: side(1, i), rejected: side(2, i), mismatched: side(3, i) })
        .collect();
    let dpo =
        |label_smoothing, loss| Objective::Dpo(Dpo { beta: 0.3, label_smoothing, loss, keep: 0.0 });
    let objectives = [
        ("dpo", dpo(0.0, DpoLoss::Sigmoid)),
        ("smoothed", dpo(0.2, DpoLoss::Sigmoid)),
        ("ipo", dpo(0.0, DpoLoss::Ipo)),
        ("orpo", Objective::Orpo(Orpo { beta: 0.3, keep: 0.0 })),
        ("simpo", Objective::Simpo(Simpo::default())),
        (
            "kto",
            Objective::Kto(Kto {
                beta: 0.3,
                desirable_weight: 1.2,
                undesirable_weight: 0.8,
                keep: 0.0,
            }),
        ),
    ];
    for (name, objective) in objectives {
        let judged = objective.preference().expect("compares answers").judge(&samples);
        let mut far: f64 = 0.0;
        for (i, Judged { loss, slopes, rewards, .. }) in judged.into_iter().enumerate() {
            let [chosen, rejected] = rewards.map(|reward| reward.expect("a pair"));
            let ours = [loss, slopes[0], slopes[1], chosen, rejected];
            for (at, ours) in ours.into_iter().enumerate() {
                let theirs = said[name][i][at].as_f64().expect("a number");
                far = far.max((ours - theirs).abs());
            }
        }
        println!("{name}: {far:.1e}");
        assert!(far < 1e-5, "{name}: {far:e}");
    }
}

/// A file of the project.
fn project(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file).to_string_lossy().into_owned()
}

/// The accuracy of a run of the example on held-out records.
fn accuracy(case: &Case, settings: &[&str]) -> f64 {
    let before = case.runs();
    let config = project("configs/short-answers.toml");
    let arguments = [&["run", &config, "--runs-dir", "runs"][..], settings].concat();
    case.statetune(&arguments).is_done();
    let events = case.lines(new_run(case, &before).join("events.jsonl"));
    let last = events.iter().rfind(|line| line["event"] == "eval").expect("an evaluation");
    last["rewards"]["accuracy"].as_f64().expect("an accuracy")
}

#[test]
#[ignore = "trains the shipped base for minutes"]
fn the_shipped_base_learns_to_prefer_short_answers() {
    let case = Case::new();
    let pairs = accuracy(&case, &[]);
    assert!(pairs >= 0.9, "{pairs}");
    // One answer of each pair, with a label.
    let text = fs::read_to_string(project("data/short-answers.jsonl")).expect("a file");
    let record = |(i, line): (usize, &str)| {
        let pair: Value = serde_json::from_str(line).expect("JSON");
        let label = i % 2 == 0;
        let answer = &pair[if label { "chosen" } else { "rejected" }];
        json!({ "prompt": pair["prompt"], "completion": answer, "label": label }).to_string()
    };
    let lines: Vec<String> = text.lines().enumerate().map(record).collect();
    case.write("labelled.jsonl", lines.join("\n"));
    let file = format!("data.data_file={}", case.path("labelled.jsonl").display());
    let labelled = accuracy(&case, &["--set", &file, "--set", "objective.type=kto"]);
    assert!(labelled >= 0.9, "{labelled}");
}
