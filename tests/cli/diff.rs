//! Runs that differ in one thing, and what `diff` says about them.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;
use statetune_engine::model::Weights;
use tch::Kind;

use crate::case::{Case, STATE};

/// Every run of this file: four steps, no answers.
const RUN: [&str; 5] = ["run", STATE, "--set", "sample.held_out=0", "--set=data.overlong=truncate"];
/// Vectors of the norms learn: of these alone libtorch adds gradients up thread by thread.
const NORMS: [&str; 4] = [
    "--set=peft.type=full",
    "--set=peft.train_parts=['ln']",
    "--set=schedule.lr_init=1e-3",
    "--set=schedule.lr_final=1e-4",
];

/// Runs in one folder.
struct Runs {
    case: Case,
}

impl Runs {
    fn new() -> Runs {
        Runs { case: Case::new() }
    }

    /// Runs the experiment and returns its directory.
    fn run(&self, more: &[&str], threads: &str) -> PathBuf {
        let before = self.case.runs();
        let arguments = [&RUN, more].concat();
        self.case.statetune_with(&arguments, &[("OMP_NUM_THREADS", threads)]).is_done();
        let new = self.case.runs().into_iter().find(|run| !before.contains(run));
        new.expect("a run directory")
    }

    /// Runs the experiment while a file has another content.
    fn run_with(&self, file: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let before = fs::read(self.case.path(file)).expect("a file");
        self.case.write(file, content);
        let run = self.run(&[], "1");
        self.case.write(file, before);
        run
    }

    fn diff(&self, one: &Path, other: &Path) -> Value {
        let [one, other] = [one, other].map(|run| run.to_str().expect("UTF-8"));
        let output = self.case.statetune(&["diff", one, other, "--format", "json"]);
        serde_json::from_str(&output.is_done().stdout).expect("JSON")
    }

    /// The first step, the part of it and the causes that `diff` names.
    fn verdict(&self, one: &Path, other: &Path) -> (u64, String, Vec<String>) {
        let pair = self.diff(one, other)["pairs"][0].clone();
        let divergence = &pair["divergence"];
        let causes = pair["causes"].as_array().expect("causes").iter();
        (
            divergence["step"].as_u64().unwrap_or(0),
            divergence["part"].as_str().unwrap_or("none").to_string(),
            causes.map(|cause| cause["name"].as_str().expect("a name").to_string()).collect(),
        )
    }

    /// The first step in which a column of the metrics differs, which has a line for every step.
    fn first_other(&self, column: &str, one: &Path, other: &Path) -> u64 {
        let values = |run: &Path| {
            let lines = self.case.lines(run.join("metrics.jsonl"));
            lines.iter().map(|line| line[column].clone()).collect::<Vec<_>>()
        };
        let (one, other) = (values(one), values(other));
        let first = one.iter().zip(&other).position(|(one, other)| one != other);
        first.expect("they differ") as u64 + 1
    }
}

/// The number of a document that the only prepared data trains on, counted from 0.
fn trained_document(case: &Case) -> usize {
    let order = Path::new("runs/.cache").join(&case.prepared()[0]).join("train.order");
    let bytes = fs::read(case.path(order)).expect("an order");
    let numbers = bytes.as_chunks::<4>().0;
    u32::from_le_bytes(numbers[9]) as usize
}

/// What a person reads; speeds differ from run to run.
#[test]
fn the_screen() {
    let runs = Runs::new();
    let base = runs.run(&["--set=sample.prompts=['User: Hello.\\n\\nAssistant:']"], "1");
    let more = ["--set=sample.prompts=['User: Hello.\\n\\nAssistant:']", "--set=train.micro_bsz=2"];
    let other = runs.run(&more, "1");
    let [one, two] = [&base, &other].map(|run| run.to_str().expect("UTF-8"));
    let output = runs.case.statetune(&["diff", one, two, "--precision", "0", "--exit-code"]);
    assert_eq!((output.code, &*output.stderr), (Some(1), ""));
    let ids =
        [&base, &other].map(|run| run.to_str().expect("UTF-8").rsplit('-').next().expect("an id"));
    let text = output.stdout.replace(ids[0], "AAAA").replace(ids[1], "BBBB");
    let mut text = text;
    // Speeds and the widths of their columns, and the number of settings that there are.
    for (changing, fixed) in
        [("positions/s .*", "positions/s  #"), (r"(\S) {2,}", "$1  "), (r"\d+ equal", "N equal")]
    {
        let changing = regex::Regex::new(changing).expect("an expression");
        text = changing.replace_all(&text, fixed).into_owned();
    }
    assert_eq!(
        text.trim_end(),
        "\
diff AAAA tiny  ->  BBBB tiny
SETTINGS  1 changed, N equal
  train.micro_bsz  4  2  file line 18 -> --set
DATA  same 16 documents
ENVIRONMENT  same program, libtorch, kernels, device, weights and tokenizer
METRICS  best within the first 8 samples of both runs
  after step  2  4
  val_loss  8  8  0
  val_loss at end  8  8  0
  loss  8  8  0
  positions/s  #
FIRST DIVERGENCE  step 1, in the batch: micro_bsz changes which samples share a batch
                   explained by: train.micro_bsz
SAMPLES  answers to 1 of 1 prompts differ  (--samples shows them)"
    );
    let shown = runs.case.statetune(&["diff", one, two, "--samples"]);
    assert!(shown.is_done().stdout.contains("User: Hello."), "{}", shown.stdout);
    let same = runs.case.statetune(&["diff", one, one, "--exit-code"]);
    assert!(same.is_done().stdout.contains("none: all 4 steps are bit-identical"));
    let three = runs.case.statetune(&["diff", one, two, one, "--format", "md"]);
    assert!(three.is_done().stdout.contains("| train.micro_bsz | 4 "), "{}", three.stdout);
    let missing = runs.case.statetune(&["diff", one, "nowhere"]);
    assert_eq!(missing.code, Some(2), "{missing:?}");
    assert!(missing.stderr.starts_with("error[ST0201]: "), "{}", missing.stderr);
}

/// One thing each, changed by a setting.
#[test]
fn a_setting_is_named_with_the_step_in_which_it_shows() {
    let runs = Runs::new();
    let base = runs.run(&[], "1");
    for (setting, part) in [
        ("train.random_seed=7", "batch"),
        ("train.ctx_len=12", "batch"),
        ("train.micro_bsz=2", "batch"),
        ("train.accumulate_grad_batches=2", "batch"),
        ("data.loss_mask=none", "batch"),
        ("train.precision=bf16", "loss"),
        ("train.op=chunk", "loss"),
        ("quant.type=int8", "loss"),
        ("schedule.lr_init=0.5", "update"),
        ("schedule.lr_final=0.5", "update"),
        ("train.epoch_count=3", "update"),
    ] {
        let other = runs.run(&["--set", setting], "1");
        let step = if part == "update" { runs.first_other("lr", &base, &other) } else { 1 };
        let key = setting.split('=').next().expect("a key").to_string();
        assert_eq!(runs.verdict(&base, &other), (step, part.to_string(), vec![key]), "{setting}");
    }
    // The person's words are learned, not the answers.
    let swapped = "data.template={ roles = { user = 'Assistant:', assistant = 'User:' } }";
    let other = runs.run(&["--set", swapped], "1");
    let expected = (1, "batch".to_string(), vec!["data.template".to_string()]);
    assert_eq!(runs.verdict(&base, &other), expected);
}

/// What chooses the documents, one thing at a time: the documents learned from and the right cause, in both directions.
#[test]
fn what_chooses_the_documents_is_named() {
    let runs = Runs::new();
    let base = runs.run(&[], "1");
    // Setting, documents only in the other run and only in the base, whether validation documents are the same.
    for (setting, kind, counts, same_validation) in [
        ("data.limit=10", "changed", Some((2, 10)), false),
        ("data.val_split=0.4", "changed", Some((0, 4)), false),
        ("data.repeat=2", "copies", None, true),
    ] {
        let other = runs.run(&["--set", setting], "1");
        let pair = runs.diff(&base, &other)["pairs"][0].clone();
        let key = setting.split('=').next().expect("a key");
        assert_eq!(pair["data"]["kind"], kind, "{setting}: {pair}");
        assert_eq!(pair["data_causes"], serde_json::json!([key]), "{pair}");
        let is_same = pair["validation"]["kind"] == "same";
        assert_eq!(is_same, same_validation, "{setting}: {pair}");
        let expected = (1, "batch".to_string(), vec![key.to_string()]);
        assert_eq!(runs.verdict(&base, &other), expected, "{setting}");
        let back = runs.diff(&other, &base)["pairs"][0]["data"].clone();
        if let Some((added, removed)) = counts {
            let data = &pair["data"];
            // Of the first ten, a validation document of one run may be learned from in the other.
            assert!(data["added"].as_u64() <= Some(added), "{data}");
            assert!(data["removed"].as_u64() >= Some(removed - added), "{data}");
            assert_eq!((&back["added"], &back["removed"]), (&data["removed"], &data["added"]));
        }
    }
    let [one, two] = [&base, &runs.run(&["--set=data.limit=10"], "1")]
        .map(|run| run.to_str().expect("UTF-8").to_string());
    let text = runs.case.statetune(&["diff", &one, &two]).is_done().stdout.clone();
    for part in [": limit\n", "other validation documents: 4 -> 2\n", "no verdict on val_loss"] {
        assert!(text.contains(part), "{part:?} in {text}");
    }
    let val_loss = text.lines().find(|line| line.contains("val_loss  ")).expect("a line");
    assert!(!val_loss.contains("worse") && text.contains(" only in "), "{text}");

    // Another seed trains in another order, on the same documents.
    let pair = runs.diff(&base, &runs.run(&["--set=train.random_seed=7"], "1"))["pairs"][0].clone();
    let kinds = (&pair["data"]["kind"], &pair["validation"]["kind"]);
    assert_eq!(kinds, (&"same".into(), &"same".into()), "{pair}");
    let pair = runs.diff(&base, &runs.run(&["--set=data.val_seed=7"], "1"))["pairs"][0].clone();
    assert_eq!(pair["validation"]["kind"], "other", "{pair}");
    assert_eq!(pair["data_causes"], serde_json::json!(["data.val_seed"]), "{pair}");

    // Without an invalid line, skipping changes nothing.
    let skipping = runs.run(&["--set=data.on_bad_line=skip"], "1");
    let pair = runs.diff(&base, &skipping)["pairs"][0].clone();
    assert_eq!(
        (&pair["data"]["kind"], &pair["data_causes"]),
        (&"same".into(), &Value::from([(); 0]))
    );
    assert_eq!(pair["divergence"]["kind"], "same", "{pair}");
    let data = runs.case.read("data.jsonl");
    runs.case.write("data.jsonl", format!("{data}no document\n"));
    let with_bad_line = runs.run(&["--set=data.on_bad_line=skip"], "1");
    let pair = runs.diff(&skipping, &with_bad_line)["pairs"][0].clone();
    assert_eq!(pair["data"]["kind"], "same", "{pair}");
    assert_eq!(pair["divergence"]["kind"], "same", "{pair}");
}

#[test]
fn the_weight_of_a_source_is_named() {
    let runs = Runs::new();
    let sources = "val_split = 0.2\n\n[[data.source]]\ndata_file = \"data.jsonl\"\nweight = 1.0\n\n[data.mask_id]\n";
    let text = runs.case.read(STATE);
    let text = text.replace(
        "data_file = \"data.jsonl\"\nval_split = 0.2\nloss_mask = \"assistant\"\n",
        &format!("loss_mask = \"assistant\"\n{sources}"),
    );
    runs.case.write(STATE, &text);
    let base = runs.run(&[], "1");
    runs.case.write(STATE, text.replace("weight = 1.0", "weight = 0.5"));
    let other = runs.run(&[], "1");
    let pair = runs.diff(&base, &other)["pairs"][0].clone();
    assert_eq!(pair["data"]["kind"], "changed", "{pair}");
    assert_eq!((&pair["data"]["added"], &pair["data"]["removed"]), (&0.into(), &8.into()));
    assert_eq!(pair["data_causes"], serde_json::json!(["data.source[0].weight"]), "{pair}");
    assert_eq!(pair["validation"]["kind"], "same", "{pair}");
    let expected = (1, "batch".to_string(), vec!["data.source[0].weight".to_string()]);
    assert_eq!(runs.verdict(&base, &other), expected);
}

/// One thing each, changed in a file.
#[test]
fn a_file_is_named_with_the_step_in_which_it_shows() {
    let runs = Runs::new();
    let base = runs.run(&[], "1");
    let expected =
        |step, part: &str, cause: &str| (step, part.to_string(), vec![cause.to_string()]);

    // The answer of one document gets longer; the order stays, as it goes by number.
    let number = trained_document(&runs.case) + 1;
    let data = runs.case.read("data.jsonl");
    let mut lines: Vec<String> = data.lines().map(str::to_string).collect();
    lines[number - 1] = lines[number - 1].replacen("Assistant:", "Assistant: Well,", 1);
    let edited = runs.run_with("data.jsonl", lines.join("\n") + "\n");
    let step = runs.first_other("learned_tokens", &base, &edited);
    assert_eq!(runs.verdict(&base, &edited), expected(step, "batch", "data files"));
    let change = runs.diff(&base, &edited)["pairs"][0]["data"].clone();
    assert_eq!(change["first_added"], serde_json::json!([number]), "{change}");
    assert_eq!(change["first_removed"], serde_json::json!([number]), "{change}");

    let more = "{\"text\": \"User: One more?\\n\\nAssistant: One more.\"}\n";
    let added = runs.run_with("data.jsonl", data.clone() + more);
    assert_eq!(runs.verdict(&base, &added), expected(1, "batch", "data files"));
    let change = runs.diff(&base, &added)["pairs"][0]["data"].clone();
    assert_eq!((&change["added"], &change["removed"]), (&1.into(), &0.into()), "{change}");

    // Full stop and question mark change their numbers.
    let vocabulary = runs.case.read("vocab.txt");
    let swapped =
        vocabulary.replace("\n64 '?' 1", "\n47 '?' 1").replace("\n47 '.' 1", "\n64 '.' 1");
    let mut lines: Vec<&str> = swapped.lines().collect();
    lines.sort_by_key(|line| line.split(' ').next().and_then(|id| id.parse::<u32>().ok()));
    let other = runs.run_with("vocab.txt", lines.join("\n") + "\n");
    assert_eq!(runs.verdict(&base, &other), expected(1, "batch", "tokenizer"));

    let path = runs.case.path("base.pth");
    let weights = Weights::load(&path).expect("the base");
    let nudged = Weights::from_fn(*weights.shape(), |name, _| {
        let tensor = weights.get(name, Kind::Float).copy();
        if name == "blocks.0.ffn.value.weight" {
            let _ = tensor.get(0).get(0).fill_(0.5);
        }
        tensor
    });
    let copy = runs.case.path("nudged.pth");
    nudged.save_pth(&copy).expect("weights");
    let other = runs.run_with("base.pth", fs::read(copy).expect("weights"));
    assert_eq!(runs.verdict(&base, &other), expected(1, "loss", "weights"));

    let id = base.to_str().expect("UTF-8");
    let other = runs.run(&["--from", id], "1");
    assert_eq!(runs.verdict(&base, &other), expected(1, "loss", "start"));
}

#[test]
fn trainable_parameters_are_named() {
    let runs = Runs::new();
    let base = runs.run(&NORMS, "1");
    let expected = |cause: &str| (1, "loss".to_string(), vec![cause.to_string()]);
    let emb = [&NORMS[..], &["--set=peft.train_parts=['ln', 'emb']"]].concat();
    assert_eq!(runs.verdict(&base, &runs.run(&emb, "1")), expected("peft.train_parts"));
    let state = runs.run(&NORMS[2..], "1");
    assert_eq!(runs.verdict(&base, &state), expected("peft.type"));
}
