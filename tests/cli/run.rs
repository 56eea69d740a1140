//! `statetune run` from the experiment file to the products.

use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::{Value, json};
use statetune_core::tensorfile::TensorFile;

use crate::case::{Case, FULL, STATE};

/// The names of the tensors in a file.
fn tensors(case: &Case, file: impl AsRef<Path>) -> Vec<String> {
    let file = TensorFile::open(case.path(file)).expect("a sound file");
    file.names().map(str::to_string).collect()
}

fn time_states() -> [String; 2] {
    ["blocks.0.att.time_state", "blocks.1.att.time_state"].map(str::to_string)
}

#[test]
fn what_is_printed() {
    Case::new().statetune(&["run", STATE]).succeeds(
        "\
┌─────────────────┬────────┬────────┐
│                 ┆ base   ┆ tuned  │
╞═════════════════╪════════╪════════╡
│ validation loss ┆ #.#### ┆ #.#### │
└─────────────────┴────────┴────────┘
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
data    16 documents, 282 tokens, 113 target tokens
steps   4 (2 x 2 in a mini-epoch), 16 samples
validation loss #.#### before training
epoch 1/2  step 1/4  25 %  loss #.####  val #.####  lr 0.0100  N/s  N MiB  ETA M:SS
epoch 1/2  step 2/4  50 %  loss #.####  val #.####  lr 0.8550  N/s  N MiB  ETA M:SS
validation loss #.#### after 1 mini-epoch
epoch 2/2  step 3/4  75 %  loss #.####  val #.####  lr 0.5050  N/s  N MiB  ETA M:SS
epoch 2/2  step 4/4  100 %  loss #.####  val #.####  lr 0.1550  N/s  N MiB  ETA M:SS
validation loss #.#### after 2 mini-epochs",
    );
}

#[test]
fn the_run_directory() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let name = Regex::new(r"^runs/\d{4}-\d\d-\d\d-tiny-[0-9a-z]{4}$").expect("a valid expression");
    assert!(name.is_match(&run.to_string_lossy()), "{run:?}");
    assert_eq!(
        case.list(&run),
        [
            "LOCK",
            "chain.bin",
            "ckpt",
            "copies.bin",
            "documents.bin",
            "events.jsonl",
            "experiment.toml",
            "export",
            "lock.toml",
            "metrics.jsonl",
            "overrides.toml",
            "plan.json",
            "resolved.toml",
            "samples",
            "status.json",
            "times.jsonl",
            "train_log.txt",
            "val_losses.jsonl",
        ]
    );
    assert_eq!(case.read(run.join("experiment.toml")), case.read(STATE));
    let status = case.json(run.join("status.json"));
    let keys: Vec<&String> = status.as_object().expect("an object").keys().collect();
    assert_eq!(
        keys,
        [
            "schema",
            "status",
            "identity",
            "steps",
            "total_steps",
            "val_before",
            "val_loss",
            "best",
            "started",
            "updated"
        ]
    );
    assert_eq!((&status["schema"], &status["status"]), (&json!("statetune.run/1"), &json!("done")));
    assert_eq!((&status["steps"], &status["total_steps"]), (&json!(4), &json!(4)));

    // The documents, the weights and the vocabulary by their path from the run and their content.
    let lock: toml::Table = case.read(run.join("lock.toml")).parse().expect("TOML");
    let prepared = format!("data-{}", lock["prepared"].as_str().expect("a key"));
    assert!(case.prepared().contains(&prepared));
    let data = &lock["data"][0];
    for (locked, file) in
        [(data, "data.jsonl"), (&lock["weights"], "base.pth"), (&lock["tokenizer"], "vocab.txt")]
    {
        assert_eq!(locked["path"].as_str(), Some(&*format!("../../{file}")));
        assert_eq!(locked["sha256"].as_str().map(str::len), Some(64), "{file}");
    }

    assert!(lock["device"].as_str().is_some_and(|device| device.starts_with("processor (")));
    assert_eq!(lock["op"].as_str(), Some("cpu"));

    let events = case.lines(run.join("events.jsonl"));
    let names: Vec<&str> = events.iter().filter_map(|event| event["event"].as_str()).collect();
    assert_eq!(names, ["start", "eval", "eval", "save", "eval", "save", "end"]);
    let steps: Vec<Value> =
        case.metrics(&run).into_iter().map(|line| line["step"].clone()).collect();
    assert_eq!(steps, [1, 2, 3, 4]);
}

#[test]
fn the_text_log() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let log = case.read(case.only_run().join("train_log.txt"));
    let lines: Vec<&str> = log.lines().collect();
    let header = Regex::new(r"^NEW RUN \d{4}-\d\d-\d\d-\d\d-\d\d-\d\d$").expect("valid");
    assert!(header.is_match(lines[0]), "{}", lines[0]);
    let settings: Value = serde_json::from_str(lines[1]).expect("the settings as JSON");
    assert_eq!(settings["train"]["ctx_len"], 64);
    let line =
        r"^(\d) \d\.\d{6} \d+\.\d{4} (\d\.\d{8}) \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} (\d)$";
    let line = Regex::new(line).expect("valid");
    let epochs = lines[2..].iter().map(|text| {
        let (_, fields) = line.captures(text).expect("a line of the log").extract();
        fields
    });
    let epochs: Vec<[&str; 3]> = epochs.collect();
    assert_eq!(epochs, [["0", "0.85501786", "0"], ["1", "0.15498214", "1"]]);
}

#[test]
fn only_the_states_are_saved() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    assert_eq!(case.list(run.join("ckpt")), ["best", "epoch-0000", "epoch-0001", "last"]);
    assert_eq!(case.read(run.join("ckpt/last")), "epoch-0001\n");
    let checkpoint = run.join("ckpt/epoch-0001");
    let files = ["digests.json", "optimizer.safetensors", "position.json", "trainable.safetensors"];
    assert_eq!(case.list(&checkpoint), files);
    let place: Value =
        serde_json::from_str(&case.read(checkpoint.join("position.json"))).expect("JSON");
    assert_eq!(
        place["position"],
        json!({ "steps": 4, "samples": 16, "epoch_loss": 0.0, "epoch_left_out": 0 })
    );
    assert_eq!(place["epochs"], 2);
    assert_eq!(tensors(&case, checkpoint.join("trainable.safetensors")), time_states());
    let files =
        ["rwkv-0.json", "rwkv-0.pth", "rwkv-0.st", "rwkv-1.json", "rwkv-1.pth", "rwkv-1.st"];
    assert_eq!(case.list(run.join("export")), files);
    for product in files.into_iter().filter(|file| !file.ends_with(".json")) {
        assert_eq!(tensors(&case, run.join("export").join(product)), time_states(), "{product}");
    }
}

#[test]
fn the_same_again() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let cache = Path::new("runs/.cache");
    let prepared = cache.join(&case.prepared()[0]).join("train.bin");
    let made = |case: &Case| fs::metadata(case.path(&prepared)).and_then(|file| file.modified());
    let first_made = made(&case).expect("prepared data");

    case.statetune(&["run", STATE]).is_done();
    assert_eq!(case.prepared().len(), 1);
    assert_eq!(made(&case).expect("prepared data"), first_made);
    let runs = case.runs();
    let [first, second] = runs.as_slice() else { panic!("{runs:?}") };
    assert_eq!(case.metrics(first), case.metrics(second));
    for file in ["export/rwkv-1.pth", "ckpt/epoch-0001/optimizer.safetensors"] {
        let bytes = |run: &Path| fs::read(case.path(run.join(file))).expect("a file");
        assert!(bytes(first) == bytes(second), "{file}");
    }
    // The metadata of a `.st` names its run.
    let st = |run: &Path| {
        let file = TensorFile::open(case.path(run.join("export/rwkv-1.st"))).expect("a product");
        file.tensors().map(|tensor| tensor.bytes().into_owned()).collect::<Vec<_>>()
    };
    assert!(st(first) == st(second));
}

/// The passport of an exported file: next to the `.pth`, and inside the `.st`.
#[test]
fn exported_files_have_a_passport() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let passport: Value =
        serde_json::from_str(&case.read(run.join("export/rwkv-1.json"))).expect("JSON");
    let st = TensorFile::open(case.path(run.join("export/rwkv-1.st"))).expect("a product");
    let inside: Value = serde_json::from_str(&st.metadata()["statetune.passport"]).expect("JSON");
    assert_eq!(passport, inside);

    let lock: toml::Table = case.read(run.join("lock.toml")).parse().expect("TOML");
    let locked = |table: &str| json!(lock[table]["sha256"].as_str());
    let fingerprint = json!(lock["fingerprint"].as_str());
    assert_eq!(fingerprint.as_str().map(str::len), Some(64));
    assert_eq!(passport["base"], json!({ "file": "base.pth", "fingerprint": fingerprint }));
    assert_eq!(passport["data"], json!(lock["prepared"].as_str()));
    assert_eq!(passport["tokenizer"], locked("tokenizer"));
    let model = json!({
        "version": "x070", "n_layer": 2, "n_embd": 64, "n_head": 1, "head_size": 64,
        "vocab_size": 4096,
    });
    assert_eq!(passport["model"], model);
    assert_eq!(passport["method"], json!({ "type": "state", "init": "zeros" }));
    assert_eq!((&passport["product"], &passport["epochs"]), (&json!("state"), &json!(2)));
    assert_eq!(passport["ctx_len"], 64);
    assert_eq!(passport["run"], json!(run.file_name().and_then(|name| name.to_str())));
    assert_eq!(passport["statetune"], env!("CARGO_PKG_VERSION"));
    assert_eq!(passport["config"].as_str().map(str::len), Some(64));
}

#[test]
fn questions_and_probes() {
    let sample = "\
[sample]
held_out = 2
prompts = [\"User: Hi\\n\\nAssistant:\"]
max_tokens = 4

[[sample.probe]]
name = \"anything\"
regex = '.'

[[sample.probe]]
name = \"emoji\"
regex = '\\p{Emoji_Presentation}{9}'

[log]";
    let case = Case::new().with(STATE, "[log]", sample);
    let output = case.statetune(&["run", STATE]);
    output.is_done();
    for row in [
        "│ answers with anything ┆ 100 %  ┆ 100 %  │\n",
        "│ answers with emoji    ┆ 0 %    ┆ 0 %    │\n",
        "│ question",
        "│ Hi ",
    ] {
        assert!(output.stdout.contains(row), "{}", output.stdout);
    }
    let run = case.only_run();
    let moments = ["base.jsonl", "step-0000002.jsonl", "step-0000004.jsonl", "tuned.jsonl"];
    assert_eq!(case.list(run.join("samples")), moments);
    let [base, tuned] =
        ["base", "tuned"].map(|moment| case.lines(run.join(format!("samples/{moment}.jsonl"))));
    assert_eq!((base.len(), tuned.len()), (3, 3));
    for (base, tuned) in base.iter().zip(&tuned) {
        assert_eq!(base["prompt"], tuned["prompt"]);
        let prompt = base["prompt"].as_str().expect("a text");
        assert!(prompt.starts_with("User: ") && prompt.ends_with("\n\nAssistant:"), "{prompt:?}");
    }
    assert_eq!(base[2]["prompt"], "User: Hi\n\nAssistant:");
}

#[test]
fn every_setting_with_its_origin() {
    let case = Case::new();
    let environment = [
        ("STATETUNE__TRAIN__CTX_LEN", "100"),
        ("STATETUNE__TRAIN__MICRO_BSZ", "3"),
        ("STATETUNE__SAMPLE__TOP_P", "0.5"),
    ];
    let set = ["run", STATE, "--set", "train.micro_bsz=2", "--set", "data.data_file=data.jsonl"];
    case.statetune_with(&set, &environment).is_done();
    let resolved = case.scrub(&case.read(case.only_run().join("resolved.toml")));
    for line in resolved.lines().filter(|line| !line.is_empty() && !line.starts_with('[')) {
        assert!(line.contains("  # "), "{line}");
    }
    for line in [
        "name = \"tiny\"  # file line 2",
        "data_file = \"../../data.jsonl\"  # --set",
        "repeat = 1  # default",
        "load_model = \"../../base.pth\"  # file line 10",
        "tokenizer = \"../../vocab.txt\"  # file line 11",
        "type = \"state\"  # file line 14",
        "ctx_len = 100  # environment STATETUNE__TRAIN__CTX_LEN",
        "micro_bsz = 2  # --set",
        "epoch_steps = 2  # file line 19",
        "top_p = 0.5  # environment STATETUNE__SAMPLE__TOP_P",
        "every_steps = 1  # file line 29",
    ] {
        assert!(resolved.lines().any(|other| other == line), "{line}\nin\n{resolved}");
    }
}

/// `resolved.toml` is an experiment file that means the same.
#[test]
fn the_resolved_settings_can_be_run() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let first = case.only_run();
    let resolved = first.join("resolved.toml");
    let resolved = resolved.to_string_lossy();
    case.statetune(&["run", &resolved, "--runs-dir", "again"]).is_done();
    let second = case.list("again").into_iter().find(|name| name != ".cache");
    let second = Path::new("again").join(second.expect("a run"));
    assert_eq!(case.metrics(&first), case.metrics(&second));
}

/// `runs` is next to the folder `configs`, whatever the working directory.
#[test]
fn the_default_runs_directory() {
    let case = Case::new();
    let text = case.read(STATE).replace("= \"data.jsonl", "= \"../data.jsonl");
    let text = text.replace("\"base.pth", "\"../base.pth").replace("\"vocab.txt", "\"../vocab.txt");
    case.write("configs/state.toml", text);
    case.statetune(&["run", "configs/state.toml"]).is_done();
    assert_eq!(case.runs().len(), 1);
    let output = case.statetune_in("configs", &["run", "state.toml"], &[]);
    output.is_done();
    assert!(output.stdout.contains("\nrun      ../runs/DATE-tiny-ID\n"), "{}", output.stdout);
    assert_eq!(case.runs().len(), 2);
    case.statetune(&["run", "configs/state.toml", "--runs-dir", "elsewhere"]).is_done();
    assert_eq!((case.runs().len(), case.list("elsewhere").len()), (2, 2));
}

#[test]
fn progress_can_be_silenced() {
    let output = Case::new().statetune(&["run", STATE, "--progress", "none"]);
    assert_eq!(output.is_done().stderr, "");
}

/// A new model is trained, and then its state is tuned.
#[test]
fn from_nothing_to_a_state() {
    let case = Case::new();
    let output = case.statetune(&["run", FULL]);
    output.succeeds(
        "\
┌─────────────────┬────────┬────────┐
│                 ┆ base   ┆ tuned  │
╞═════════════════╪════════╪════════╡
│ validation loss ┆ #.#### ┆ #.#### │
└─────────────────┴────────┴────────┘
trained for N s
run      runs/DATE-new-ID
export   runs/DATE-new-ID/export/rwkv-1.pth
next     statetune generate runs/DATE-new-ID --prompt \"How was your weekend?\"",
        "\
run     runs/DATE-new-ID
model   RWKV-7 (x070), 653,888 parameters (2 layers x 64), fp32
device  CPU, 1 thread, op cpu
trains  653,888 parameters
data    16 documents, 282 tokens, 266 target tokens
steps   4 (2 x 2 in a mini-epoch), 16 samples
validation loss #.#### before training
validation loss #.#### after 1 mini-epoch
epoch 2/2  step 3/4  75 %  loss #.####  val #.####  lr 5.50e-4  N/s  N MiB  ETA M:SS
epoch 2/2  step 4/4  100 %  loss #.####  val #.####  lr 2.32e-4  N/s  N MiB  ETA M:SS
validation loss #.#### after 2 mini-epochs",
    );
    let run = case.only_run();
    let lock: toml::Table = case.read(run.join("lock.toml")).parse().expect("TOML");
    assert!(!lock.contains_key("weights"));
    case.statetune(&["generate", "new"]).is_done();

    let product = run.join("export/rwkv-1.pth");
    let load = format!("model.load_model={}", product.display());
    case.statetune(&["run", STATE, "--set", &load]).is_done();
    let state = case.runs().into_iter().find(|other| *other != run).expect("another run");
    assert_eq!(tensors(&case, state.join("export/rwkv-1.pth")), time_states());
    case.statetune(&["generate", "tiny"]).is_done();
}

#[test]
fn a_run_that_diverges() {
    let case =
        Case::new().with(FULL, "lr_init = 1e-3", "lr_init = 1e30 # statetune: allow(ST2301)");
    let output = case.statetune(&["run", FULL, "--progress", "none"]);
    let message = "loss became NaN at step 2 (epoch 0, micro-batch 0)";
    assert!(output.stderr.starts_with(&format!("error[ST7001]: {message}\n")), "{output:?}");
    assert_eq!((output.code, &*output.stdout), (Some(24), ""));
    failed(&case, message, "ST7001");
}

/// The loss of a mini-epoch's last step says nothing about what that step leaves behind.
#[test]
fn a_run_that_diverges_with_the_last_step_of_a_mini_epoch() {
    for (lr_init, code, message) in [
        (
            "lr_init = 1e300 # statetune: allow(ST2301)",
            "ST7001",
            "parameters became NaN at step 1 (epoch 0)",
        ),
        (
            "lr_init = 1e30 # statetune: allow(ST2301)",
            "ST7012",
            "validation loss became NaN after step 1",
        ),
    ] {
        let case = Case::new().with(FULL, "lr_init = 1e-3", lr_init).with(
            FULL,
            "epoch_steps = 2",
            "epoch_steps = 1",
        );
        let output = case.statetune(&["run", FULL, "--progress", "none"]);
        assert_eq!((output.code, &*output.stdout), (Some(24), ""));
        assert!(output.stderr.starts_with(&format!("error[{code}]: {message}\n")), "{output:?}");
        failed(&case, message, code);
    }
}

/// The only run says why it failed, and has saved nothing.
fn failed(case: &Case, message: &str, code: &str) {
    let run = case.only_run();
    let status = case.json(run.join("status.json"));
    assert_eq!(
        ["status", "message", "code"].map(|key| &status[key]),
        [&json!("diverged"), &json!(message), &json!(code)]
    );
    let events = case.lines(run.join("events.jsonl"));
    let last = events.last().expect("events");
    assert_eq!((&last["event"], &last["message"]), (&json!("failed"), &json!(message)));
    for folder in ["ckpt", "export"] {
        assert_eq!(case.list(run.join(folder)), Vec::<String>::new());
    }
}

#[test]
fn steps_that_do_not_see_all_documents() {
    let case = Case::new().with(STATE, "epoch_steps = 2\nepoch_count = 2", "epoch_steps = 3");
    let output = case.statetune(&["run", STATE]);
    output.is_done();
    let warning = "\
warning[ST2401]: 25 % of the data is never seen in this number of steps
  --> state.toml:19:15
   |
19 | epoch_steps = 3
   |               ^
   |
   = note: 3 steps x 4 samples = 12 of 16 training samples (16 documents)
   = note: a mini-epoch is the interval between saves, not a pass over the data
   = help: set `epoch_steps = 4` for one full pass, or `epoch_steps = \"pass\"` to have it computed
";
    assert!(output.stderr.starts_with(warning), "{}", output.stderr);
}

#[test]
fn packed_documents_are_fewer_samples() {
    let case = Case::new().with(STATE, "[data]", "[data]\ndataload = \"pack\"").with(
        STATE,
        "epoch_steps = 2",
        "epoch_steps = \"pass\"",
    );
    let output = case.statetune(&["run", STATE]);
    output.is_done();
    assert!(output.stderr.contains("\npack    5 rows of ctx_len per pass, "), "{}", output.stderr);
    assert!(
        output.stderr.contains("\nsteps   4 (2 x 2 in a mini-epoch), 16 samples"),
        "{}",
        output.stderr
    );
}
