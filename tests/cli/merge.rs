//! `merge`: one checkpoint that does what base and product do, for every method, version and packing.

use std::path::PathBuf;

use serde_json::Value;
use statetune_core::tensorfile::TensorFile;
use statetune_engine::model::{Shape, TimeState, Version, Weights, copied};
use tch::Kind;

use crate::case::{Case, Output, SIZES, STATE, checkpoint};

/// A case whose base is a float32 model of this version, so that merging rounds nothing, after a run with this
/// `[peft]`, and `[quant]` where there is some.
fn run(version: Version, peft: &str, quant: &str) -> (Case, PathBuf) {
    let case = Case::new().with(STATE, "type = \"state\"", peft);
    let case = case.with(STATE, "lr_init = 1.0", "lr_init = 1e-2");
    let case = case.with(STATE, "[train]", &format!("{quant}\n[train]"));
    let (n_layer, n_embd, vocab_size) = SIZES;
    let shape = Shape::for_scratch(version, n_layer, n_embd, vocab_size);
    case.write("small.pth", checkpoint(shape));
    let export = ["export", "small.pth", "--to", "pth", "--dtype", "fp32", "--out", "wide.pth"];
    case.statetune(&export).is_done();
    std::fs::rename(case.path("wide.pth"), case.path("base.pth")).expect("a file");
    case.write("tokens.json", "[1, 72, 4095, 5, 0, 33, 900, 2, 17, 1023, 72, 5, 61, 8]");
    case.statetune(&["run", STATE]).is_done_with_warnings();
    let run = case.only_run();
    (case, run)
}

fn merge(case: &Case, more: &[&str]) -> Output {
    case.statetune(&[&["merge", "latest", "--out", "merged.pth"], more].concat())
}

/// The log-probabilities of the next tokens, and the last logits.
fn numbers(case: &Case, subject: &[&str]) -> Vec<f64> {
    let output = case.statetune(&[&["score", "--tokens", "tokens.json"], subject].concat());
    let printed: Value = serde_json::from_str(&output.is_done().stdout).expect("one JSON object");
    let all = ["logprobs", "last_logits"].map(|key| printed[key].as_array().expect("a list"));
    all.into_iter().flatten().map(|x| x.as_f64().expect("a number")).collect()
}

fn distance(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

const MERGED: [&str; 2] = ["--model", "merged.pth"];
const LORA: &str = "type = \"lora\"\nrank = 4\ndropout = 0.1";
const PISSA: &str = "type = \"pissa\"\nrank = 4";

#[test]
fn every_method_becomes_one_model() {
    for (version, peft) in [
        (Version::V5, LORA),
        (Version::V6, PISSA),
        (Version::V7, "type = \"disha\"\nrank = 16"),
        (Version::V5, "type = \"miss\"\nmode = \"bat\"\nrank = 16"),
        (Version::V6, "type = \"full\"\ntrain_parts = [\"time\", \"ln\"]"),
        (Version::V7, "type = \"lora\"\nrank = 4\ntargets = [\"ffn.key\"]\ntrain_parts = [\"ln\"]"),
    ] {
        let (case, _) = run(version, peft, "");
        let merged = merge(&case, &[]);
        assert!(merged.is_done().stderr.starts_with("export   "), "{merged:?}");
        assert_eq!(merged.stdout.trim(), "merged.pth");
        let tuned = numbers(&case, &["latest"]);
        let merged = numbers(&case, &MERGED);
        assert!(
            distance(&tuned, &merged) < 1e-4,
            "{version} {peft}: {}",
            distance(&tuned, &merged)
        );
        let base = numbers(&case, &["latest", "--base"]);
        assert!(distance(&tuned, &base) > 1e-3, "{version} {peft}");
        assert_eq!(base, numbers(&case, &["--model", "base.pth"]), "{version} {peft}");
    }
}

#[test]
fn an_unchanged_state_follows_unchanged_weights() {
    for version in Version::ALL {
        let (case, run) = run(version, "type = \"state\"", "");
        // Programs for RWKV-7 do not read states in a model file, those for 5 and 6 do.
        let options: &[&str] = if version == Version::V7 { &["--states", "embed"] } else { &[] };
        assert_eq!(merge(&case, options).is_done_with_warnings().stdout.trim(), "merged.pth");
        let [merged, base] = ["merged.pth", "base.pth"]
            .map(|name| TensorFile::open(case.path(name)).expect("sound"));
        let tensor =
            |file: &TensorFile, name: &str| copied(&file.get(name).expect(name)).expect(name);
        for name in base.names() {
            assert!(tensor(&merged, name).equal(&tensor(&base, name)), "{version} {name}");
        }
        let shape = *Weights::load(&case.path("base.pth")).expect("the model").shape();
        let state = case.path(run.join("export/rwkv-1.pth"));
        let state = TimeState::load(&state, &shape).expect("a state");
        assert_eq!(merged.names().len(), base.names().len() + state.wkv.len());
        for (layer, s) in state.wkv.iter().enumerate() {
            let found = tensor(&merged, &TimeState::name(layer)).to_kind(Kind::Float);
            assert!(found.equal(s) && !s.equal(&s.transpose(1, 2)), "{version} {layer}");
        }
    }
}

#[test]
fn packed_weights_are_merged_as_they_were_trained_on() {
    for (version, quant, double, peft, tensors) in [
        (Version::V7, "int8", "", LORA, 24),
        (Version::V6, "nf4", "", LORA, 32),
        (Version::V7, "nf4", "double = true\n", PISSA, 48),
    ] {
        let (case, _) = run(version, peft, &format!("[quant]\ntype = \"{quant}\"\n{double}"));
        let output = merge(&case, &["--quantised"]);
        let name = if double.is_empty() { "" } else { " with double quantisation" };
        let product = format!("export   {tensors} tensors of runs/DATE-tiny-ID/export/rwkv-1.pth");
        let said = format!(
            "{product}\nthe linear layers are the {quant}{name} ones that were trained on, made dense again: \
             exactly the trained model, with the errors of packing"
        );
        output.succeeds("merged.pth", &said);
        let tuned = numbers(&case, &["latest"]);
        let far = distance(&tuned, &numbers(&case, &MERGED));
        assert!(far < 1e-4, "{version} {quant} {peft}: {far}");
        // The adapter alone, named by its file, is used on the same packed weights.
        let file = case.only_run().join("export/rwkv-1.safetensors");
        let by_file = numbers(&case, &[&file.to_string_lossy(), "--model", "base.pth"]);
        assert_eq!(by_file, tuned, "{version} {quant} {peft}");

        let output = merge(&case, &[]);
        let warning = "\
warning[ST8021]: the run trained on quantised weights, but is merged with dense weights
  |
  = note: the run may have adapted to quantisation errors, so the merged model may behave differently
  = help: pass `--quantised` to merge with the quantised weights that were used in training";
        output.succeeds("merged.pth", &format!("{warning}\n\n{product}"));
        assert!(distance(&tuned, &numbers(&case, &MERGED)) > 1e-3, "{version} {quant} {peft}");
    }
}

#[test]
fn nothing_was_packed_that_could_be_merged() {
    let (case, _) = run(Version::V7, LORA, "");
    let output = merge(&case, &["--quantised"]);
    let expected = "\
error[ST0220]: the run did not quantise its weights, so `--quantised` does not apply
  |
  = help: remove `--quantised`
";
    assert_eq!((output.code, &*output.stderr), (Some(2), expected));
    assert!(!case.path("merged.pth").exists());
}
