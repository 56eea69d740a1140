//! Unusual but possible experiments: they run to their end.

use statetune_core::data::BinidxWriter;

use crate::case::{Case, STATE};

/// Runs `state.toml` with overrides and expects it to come to its end.
#[track_caller]
fn runs(case: &Case, overrides: &[&str]) -> String {
    let set = overrides.iter().flat_map(|setting| ["--set", setting]);
    let arguments: Vec<&str> = ["run", STATE].into_iter().chain(set).collect();
    let output = case.statetune(&arguments);
    output.is_done();
    output.stderr
}

#[test]
fn one_token_of_context() {
    let overrides = ["train.ctx_len=1", "data.overlong=truncate", "data.loss_mask=pad"];
    let stderr = runs(&Case::new(), &overrides);
    let cut = "cut     the end of 16 documents longer than ctx_len\n";
    assert!(stderr.contains(cut), "{stderr}");
}

#[test]
fn more_samples_in_a_step_than_documents() {
    let stderr = runs(&Case::new(), &["train.micro_bsz=40", "train.accumulate_grad_batches=2"]);
    assert!(stderr.contains("steps   4 (2 x 2 in a mini-epoch), 320 samples\n"), "{stderr}");
}

#[test]
fn a_mini_epoch_is_a_pass() {
    let stderr = runs(&Case::new(), &["train.epoch_steps=pass", "train.micro_bsz=5"]);
    assert!(stderr.contains("steps   8 (2 x 4 in a mini-epoch), 40 samples\n"), "{stderr}");
}

/// A share above zero holds out one document at least, and a single document is never held out.
#[test]
fn a_small_share_and_a_single_document() {
    let stderr = runs(&Case::new(), &["data.val_split=1e-9"]);
    assert!(stderr.contains("data    19 documents"), "{stderr}");
    let one = "{\"text\": \"User: a\\n\\nAssistant: b\"}";
    let stderr = runs(&Case::new().having("data.jsonl", one), &["sample.held_out=5"]);
    assert!(stderr.contains("data    1 document,"), "{stderr}");
    assert!(!stderr.contains("validation loss"), "{stderr}");
}

#[test]
fn an_answer_without_text() {
    let one = "{\"text\": \"User: a\\n\\nAssistant:\"}";
    let stderr = runs(&Case::new().having("data.jsonl", one), &[]);
    assert!(stderr.contains("tokens, 1 target token"), "{stderr}");
}

#[test]
fn more_questions_than_held_out_documents_and_a_probe() {
    let case =
        Case::new().with(STATE, "[log]", "[[sample.probe]]\nname = \"x\"\nregex = 'x'\n\n[log]");
    runs(&case, &["sample.held_out=1000", "sample.max_tokens=1"]);
    let run = case.only_run();
    assert_eq!(case.lines(run.join("samples/tuned.jsonl")).len(), 4);
}

#[test]
fn a_probe_without_questions() {
    let case =
        Case::new().with(STATE, "[log]", "[[sample.probe]]\nname = \"x\"\nregex = 'x'\n\n[log]");
    let output = case.statetune(&["run", STATE]);
    output.is_done();
    assert!(output.stdout.contains("│ answers with x  ┆ -      ┆ -      │\n"), "{}", output.stdout);
}

#[test]
fn the_last_steps_are_reported_although_an_interval_is_longer() {
    let case = Case::new();
    runs(&case, &["log.every_steps=3"]);
    let metrics = case.lines(case.only_run().join("metrics.jsonl"));
    let steps: Vec<_> = metrics.iter().filter_map(|line| line["step"].as_u64()).collect();
    assert_eq!(steps, [3, 4]);
}

#[test]
fn tokens_in_windows() {
    let case = Case::new().with(
        STATE,
        "data_file = \"data.jsonl\"\nval_split = 0.2\nloss_mask = \"assistant\"\n",
        "data_type = \"binidx\"\ndata_file = \"tokens\"\ndataload = \"get\"\n",
    );
    let mut writer = BinidxWriter::create(&case.path("tokens"), 4096).expect("a pair");
    let ids: Vec<u32> = (1..=64).chain([0]).collect();
    writer.push(&ids).expect("a document");
    writer.finish().expect("a pair");
    let stderr = runs(&case, &[]);
    assert!(stderr.contains("data    1 document, 65 tokens, 65 target tokens\n"), "{stderr}");
}

#[test]
fn half_precision() {
    let stderr = runs(&Case::new(), &["train.precision=bf16"]);
    assert!(stderr.contains("(2 layers x 64), bf16\n"), "{stderr}");
}

/// Weights of another vocabulary, and documents of their token ids: no text goes in or out, so no tokenizer is needed.
#[test]
fn token_ids_need_no_tokenizer() {
    let ids: Vec<u8> = (0..2000_u16).flat_map(|i| (1 + i * 37 % 300).to_le_bytes()).collect();
    let settings = "data_file = \"ids.u16\"\ndata_type = \"uint16\"\ndataload = \"get\"";
    let case = Case::new()
        .with(STATE, "data_file = \"data.jsonl\"", settings)
        .with(STATE, "loss_mask = \"assistant\"", "loss_mask = \"pad\"")
        .with(STATE, "val_split = 0.2", "val_split = 0")
        .with(STATE, "tokenizer = \"vocab.txt\"\n", "")
        .having("ids.u16", ids);
    for command in ["check", "plan"] {
        case.statetune(&[command, STATE]).is_done();
    }
    case.statetune(&["run", STATE]).is_done();
    let mounted = case.statetune(&["mount", "latest", "--for", "rwkv-pip"]);
    assert_eq!(mounted.code, Some(0), "{mounted:?}");
    assert!(mounted.stdout.contains("token ids without a tokenizer"), "{mounted:?}");
    // Text needs the model's own tokenizer.
    let asked = case.statetune(&["generate", "latest", "--prompt", "Hello"]);
    assert_eq!(asked.code, Some(21), "{asked:?}");
    let prompts = case.statetune(&["check", STATE, "--set", "sample.prompts=[\"Hello\"]"]);
    assert!(prompts.stderr.contains("error[ST4005]"), "{prompts:?}");
}
