//! `train.chunk_ctx`: long samples in chunks, from the plan to a resumed run.

use crate::case::{Case, STATE};
use crate::resume::same_numbers;

/// Packed documents in rows of 96 tokens, computed 16 at a time.
fn case() -> Case {
    let long = "ctx_len = 96\nchunk_ctx = 16";
    let case = Case::new().with(STATE, "ctx_len = 64", long);
    case.with(STATE, "val_split = 0.2", "val_split = 0.2\ndataload = \"pack\"")
}

#[test]
fn a_plan_says_how_many_chunks_there_are() {
    let case = case();
    let planned = case.statetune(&["plan", STATE, "--prepare"]).is_done().stdout.clone();
    let line = "  chunks    6 chunks of 16 tokens in the longest row; ";
    assert!(planned.contains(line), "{planned}");
    assert!(planned.contains("            states between chunks "), "{planned}");
    let whole = ["plan", STATE, "--set", "train.chunk_ctx=0"];
    let planned = case.statetune(&whole).is_done().stdout.clone();
    assert!(!planned.contains("chunks"), "{planned}");
}

/// LoRA with dropout, states and packed weights, over documents that begin anywhere in a chunk.
#[test]
fn a_run_in_chunks_resumes_bit_for_bit() {
    let adapter = "type = \"lora\"\nrank = 8\nalpha = 16.0\ndropout = 0.1\nstate = true\n\n[quant]\ntype = \"int8\"";
    let case = case().with(STATE, "type = \"state\"", adapter).with(
        STATE,
        "lr_init = 1.0",
        "lr_init = 1e-3",
    );
    let arguments = ["run", STATE, "--set", "checkpoint.keep_last=0"];
    case.statetune(&arguments).is_done();
    let whole = case.only_run();
    case.statetune(&[&arguments[..], &["--set", "train.epoch_begin=1"]].concat()).is_done();
    let branch = case.runs().into_iter().find(|run| *run != whole).expect("a second run");
    same_numbers(&case, &whole, &branch, "epoch-0001");
}

/// Losses of both runs are those of the same samples, and `diff` names the setting.
#[test]
fn a_run_in_chunks_computes_what_a_run_of_whole_samples_does() {
    let case = case();
    case.statetune(&["run", STATE]).is_done();
    let chunks = case.only_run();
    case.statetune(&["run", STATE, "--set", "train.chunk_ctx=0"]).is_done();
    let whole = case.runs().into_iter().find(|run| *run != chunks).expect("a second run");
    for key in ["loss", "grad_norm"] {
        for (one, other) in case.metrics(&chunks).iter().zip(&case.metrics(&whole)) {
            let [one, other] = [one, other].map(|line| line[key].as_f64().expect("a number"));
            assert!((one / other - 1.0).abs() < 1e-4, "{key}: {one} {other}");
        }
    }
    let names = [&whole, &chunks].map(|run| run.to_str().expect("UTF-8"));
    let output = case.statetune(&["diff", names[0], names[1]]);
    assert!(output.stdout.contains("train.chunk_ctx"), "{output:?}");
}
