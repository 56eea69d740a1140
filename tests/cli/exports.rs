//! `export --to hf | gguf | peft`: what the files hold, and what the formats have no place for. `exported_programs.rs`
//! runs them in the programs.

use std::fs;

use serde_json::Value;
use statetune_core::data::Tokenizer;
use statetune_core::tensorfile::TensorFile;
use statetune_engine::model::{Shape, Version};

use crate::case::{Case, Output, SIZES, STATE, checkpoint};
use crate::python::{printed, python_with};

const TOKENS: &str = "[1, 72, 4095, 5, 0, 33, 900, 2, 17, 1023, 72, 5, 61, 8]";
const LORA: &str = "type = \"lora\"\nrank = 4\ntargets = [\"att.key\", \"ffn.value\"]";

/// A case whose base is a float32 model of this version, with the file `tokens.json`.
pub fn case_of(version: Version) -> Case {
    let (n_layer, n_embd, vocab_size) = SIZES;
    let case = Case::new().having("tokens.json", TOKENS);
    case.write("small.pth", checkpoint(Shape::for_scratch(version, n_layer, n_embd, vocab_size)));
    let export = ["export", "small.pth", "--to", "pth", "--dtype", "fp32", "--out", "wide.pth"];
    case.statetune(&export).is_done();
    fs::rename(case.path("wide.pth"), case.path("base.pth")).expect("a file");
    case
}

/// The case after a run with this `[peft]`.
pub fn run(version: Version, peft: &str) -> Case {
    let case = case_of(version).with(STATE, "type = \"state\"", peft);
    let case = match peft.contains("lora") || peft.contains("pissa") || peft.contains("disha") {
        true => case.with(STATE, "lr_init = 1.0", "lr_init = 1e-2"),
        false => case,
    };
    case.statetune(&["run", STATE]).is_done_with_warnings();
    case
}

/// The log-probabilities of `tokens.json`.
pub fn logprobs(case: &Case, subject: &[&str]) -> Vec<f64> {
    let output = case.statetune(&[&["score", "--tokens", "tokens.json"], subject].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    numbers(&serde_json::from_str(&output.stdout).expect("JSON"))
}

pub fn numbers(printed: &Value) -> Vec<f64> {
    let list = printed["logprobs"].as_array().expect("a list");
    list.iter().map(|x| x.as_f64().expect("a number")).collect()
}

pub fn distance(x: &[f64], y: &[f64]) -> f64 {
    assert_eq!(x.len(), y.len());
    x.iter().zip(y).map(|(x, y)| (x - y).abs()).fold(0.0, f64::max)
}

pub fn export(case: &Case, what: &[&str], more: &[&str]) -> Output {
    case.statetune(&[&["export"], what, more].concat())
}

#[test]
fn a_folder_of_hugging_face_is_read_as_the_tuned_model() {
    let case = run(Version::V7, LORA);
    let out = export(&case, &["latest", "--to", "hf"], &["--out", "hf"]);
    out.succeeds("hf", "");
    let tuned = logprobs(&case, &["latest"]);
    let read = logprobs(&case, &["--model", "hf/model.safetensors"]);
    assert!(distance(&tuned, &read) < 1e-4, "{}", distance(&tuned, &read));
    assert!(distance(&tuned, &logprobs(&case, &["latest", "--base"])) > 1e-3);
    let load = |file: &str| Tokenizer::load(&case.path(file)).expect("a vocabulary");
    let [ours, written] = ["vocab.txt", "hf/rwkv_vocab_v20230424.txt"].map(load);
    let text = include_bytes!("exports.rs");
    assert_eq!(ours.encode(text), written.encode(text));

    let config = case.json("hf/config.json");
    for (key, value) in [
        ("model_type", Value::from("rwkv7")),
        ("dtype", "float32".into()),
        ("hidden_size", SIZES.1.into()),
        ("num_hidden_layers", SIZES.0.into()),
        ("vocab_size", SIZES.2.into()),
        ("head_dim", 64.into()),
    ] {
        assert_eq!(config[key], value, "{key}");
    }
    let template = case.read("hf/chat_template.jinja");
    assert!(template.contains(r"{{- 'User: ' + content -}}"), "{template}");
    assert!(case.read("hf/modeling_rwkv7.py").contains("from rwkv7_hf import RWKV7ForCausalLM"));

    // The same export again replaces its own folder; another file in its place stays.
    export(&case, &["latest", "--to", "hf"], &["--out", "hf"]).succeeds("hf", "");
    fs::remove_file(case.path("hf/model.safetensors")).expect("removed");
    let refused = export(&case, &["latest", "--to", "hf"], &["--out", "hf"]);
    assert!(refused.stderr.contains("hf/config.json"), "{refused:?}");
    assert_eq!(refused.code, Some(2));
}

#[test]
fn a_state_has_no_place_at_hugging_face_and_is_said_to_be_lost() {
    let case = run(Version::V7, "type = \"state\"");
    export(&case, &["latest", "--to", "hf"], &["--out", "hf"]).succeeds(
        "hf",
        "\
warning[ST8031]: the export holds no initial states: the package rwkv7-hf starts every text from zeros
  |
  = note: the run trained the states alone, so the export answers as the base model does
  = help: export for a program with states: `--to gguf`, or `statetune mount`",
    );
    let read = logprobs(&case, &["--model", "hf/model.safetensors"]);
    assert!(distance(&read, &logprobs(&case, &["latest", "--base"])) < 1e-4);
    export(&case, &["latest", "--to", "hf"], &["--out", "hf", "--without-states"])
        .succeeds("hf", "");
}

#[test]
fn a_gguf_file_is_what_the_package_gguf_reads() {
    let Some(python) = python_with("gguf") else {
        println!("skipped: there is no python3 with gguf, and pip cannot install it");
        return;
    };
    for (version, name, kinds) in [
        (Version::V6, "rwkv6", ["BF16", "F16", "Q8_0"]),
        (Version::V7, "rwkv7", ["BF16", "F16", "Q8_0"]),
    ] {
        let case = case_of(version);
        let source = ["base.pth", "--tokenizer", "vocab.txt", "--to", "gguf"];
        let files =
            [("fp32", "a.gguf"), ("q8_0", "b.gguf"), ("fp16", "c.gguf"), ("bf16", "d.gguf")];
        for (dtype, file) in files {
            let out = export(&case, &source, &["--dtype", dtype, "--out", file]);
            let recipe = file.replace("gguf", "Modelfile");
            out.succeeds(&format!("{file}\n{recipe}"), "");
        }
        let files = files.map(|(_, file)| case.path(file));
        let found = printed(&python, "programs/check_gguf.py", &files);
        assert_eq!(
            (&found["architecture"], &found["unknown"]),
            (&name.into(), &Value::Array(vec![]))
        );
        assert_eq!(found["differing"], Value::Array(vec![]), "{version}");
        assert_eq!(found["kinds"], serde_json::json!(kinds));
        assert_eq!(found["tokens"], SIZES.2);
        let fields = &found["fields"];
        assert_eq!(fields["tokenizer.ggml.model"], "rwkv");
        assert_eq!(fields["tokenizer.ggml.add_bos_token"], false);
        assert_eq!(fields[format!("{name}.wkv.head_size")], 64);
        assert!(fields["tokenizer.chat_template"].as_str().expect("a text").contains("'User: '"));
        // Every number of the model is there, and in RWKV-7 the value residual that block 0 lacks.
        let size = |shape: &Value| -> i64 {
            shape
                .as_array()
                .expect("sizes")
                .iter()
                .map(|size| size.as_i64().expect("a size"))
                .product()
        };
        let written: i64 = found["shapes"].as_object().expect("tensors").values().map(size).sum();
        let (n_layer, n_embd, vocab_size) = SIZES;
        let shape = Shape::for_scratch(version, n_layer, n_embd, vocab_size);
        let block_0: i64 = shape
            .tensors()
            .iter()
            .filter(|(name, _)| version == Version::V7 && name.starts_with("blocks.0.att.a"))
            .map(|(_, size)| size.iter().product::<i64>())
            .sum();
        assert_eq!(written, shape.parameters() + block_0, "{version}");
    }
}

#[test]
fn a_state_becomes_a_prompt_cache_beside_the_model() {
    let case = run(Version::V7, "type = \"state\"");
    let out = export(&case, &["latest", "--to", "gguf"], &["--out", "m.gguf"]);
    out.succeeds(
        "m.gguf\nm.Modelfile\nm.session",
        "state    m.session has the initial state, for prompts that begin with token 0: llama-completion -m m.gguf \
         --prompt-cache m.session --prompt-cache-ro -p '<s>...'; Ollama does not read it",
    );
    let cache = fs::read(case.path("m.session")).expect("a file");
    let (n_layer, n_embd, _) = SIZES;
    let block = (4 + 8 + 2 * n_embd * 4) + (4 + 8 + n_embd * 64 * 4);
    let header = 4 * 4 + 4 + "rwkv7".len() as i64 + 4 * 4 + 4 + 4;
    assert_eq!(cache.len() as i64, header + n_layer * block);
    assert!(cache.starts_with(b"nsgg"));
    let recipe = case.read("m.Modelfile");
    assert!(recipe.starts_with("FROM ./m.gguf\nTEMPLATE "), "{recipe}");
    assert!(recipe.contains("PARAMETER stop \"\\n\\nUser:\""), "{recipe}");
    // Without states the file of the earlier export does not stay.
    let out = export(&case, &["latest", "--to", "gguf"], &["--out", "m.gguf", "--without-states"]);
    out.succeeds("m.gguf\nm.Modelfile", "");
    assert!(!case.path("m.session").exists());
    // A GGUF file of another program stays.
    case.write("m.gguf", b"GGUF\x03\0\0\0 of another program");
    let refused = export(&case, &["latest", "--to", "gguf"], &["--out", "m.gguf"]);
    assert_eq!((refused.code, refused.stdout.as_str()), (Some(2), ""));
}

#[test]
fn an_adapter_of_peft_has_the_products_of_the_run() {
    for (peft, rank, alpha) in [(LORA, 4, 64.0), ("type = \"pissa\"\nrank = 4", 8, 8.0)] {
        let case = run(Version::V7, peft);
        export(&case, &["latest", "--to", "peft"], &["--out", "peft"]).succeeds("peft", "");
        let config = case.json("peft/adapter_config.json");
        assert_eq!((&config["peft_type"], &config["r"]), (&"LORA".into(), &rank.into()), "{peft}");
        assert_eq!(config["lora_alpha"], alpha, "{peft}");
        let file = TensorFile::open(case.path("peft/adapter_model.safetensors")).expect("sound");
        let name = "base_model.model.model.layers.1.attn.k_proj.lora_A.weight";
        let shape = file.get(name).expect(name).shape().to_vec();
        assert_eq!(shape, [rank as usize, SIZES.1 as usize], "{peft}");
        let modules = config["target_modules"].as_array().expect("a list");
        assert_eq!(file.names().len(), 2 * modules.len());
    }
}

/// The exit code of a refusal: that of the command line, or that of weights.
fn code_of(message: &str) -> i32 {
    if message.contains("[ST0") { 2 } else { 21 }
}

#[test]
fn what_a_program_does_not_have_is_refused() {
    let refuses = |case: &Case, arguments: &[&str], message: &str| {
        let output = case.statetune(&[&["export"], arguments].concat());
        assert_eq!(output.stderr.trim_end(), message, "{arguments:?}");
        let code = Some(code_of(message));
        assert_eq!((output.code, &*output.stdout), (code, ""), "{arguments:?}");
    };
    let case = case_of(Version::V5);
    let model = ["base.pth", "--tokenizer", "vocab.txt"];
    refuses(
        &case,
        &[&model[..], &["--to", "gguf"]].concat(),
        "error[ST8030]: llama.cpp has no RWKV-5.2 (x052): it reads RWKV-6 and RWKV-7",
    );
    refuses(
        &case,
        &[&model[..], &["--to", "hf"]].concat(),
        "error[ST8030]: the package rwkv7-hf has no RWKV-5.2 (x052): it reads RWKV-7",
    );
    refuses(
        &case,
        &["base.pth", "--to", "pth", "--dtype", "q8_0", "--out", "a.pth"],
        "error[ST0216]: `--dtype q8_0` does not apply to `--to pth`\n  |\n  = help: remove `--dtype q8_0`",
    );
    let case = run(Version::V7, "type = \"disha\"\nrank = 16");
    refuses(
        &case,
        &["latest", "--to", "peft"],
        "\
error[ST8032]: PEFT has no adapter of the kind `disha` for these weights
  |
  = help: export the merged model: `--to hf`",
    );
    refuses(
        &case,
        &[&model[..], &["--to", "peft"]].concat(),
        "error[ST8032]: `base.pth` has no adapter\n  |\n  = help: export the merged model: `--to hf`",
    );
}

/// Faults of the command line each have their own words, and nothing is written.
#[test]
fn what_was_meant_by_an_export() {
    let case = Case::new().having("a-file", "mine");
    case.statetune(&["run", STATE, "--set", "train.epoch_count=1"]).is_done();
    let before = case.list(".");
    let refuses = |arguments: &[&str], message: &str| {
        let output = case.statetune(arguments);
        let code = Some(code_of(message));
        assert_eq!((output.code, output.stderr.trim_end()), (code, message), "{arguments:?}");
    };
    refuses(
        &["export", "latest", "--to", "peft"],
        "\
error[ST8032]: `latest` has no adapter
  |
  = help: export for a program with states: `--to gguf`, or `statetune mount`",
    );
    for arguments in [
        &["export", "latest", "--to", "gguf"][..],
        &["export", "latest", "--to", "st"],
        &["report", "latest"],
        &["runs", "pack", "latest"],
        &["config", "fill", STATE],
    ] {
        let output = case.statetune(&[arguments, &["--out", "-"]].concat());
        assert!(matches!(output.code, Some(2 | 21)), "{arguments:?}: {output:?}");
        let said = "\
error[ST0206]: `--out -` would write a file named `-`
  |
  = help: pass `--out FILE`; standard output is `/dev/stdout`";
        assert_eq!(output.stderr.trim_end(), said, "{arguments:?}");
    }
    refuses(
        &["export", "latest", "--to", "hf", "--out", "a-file"],
        "\
error[ST0206]: `a-file` is a file, expected a folder
  |
  = help: pass a folder, new or existing: `--out FOLDER`",
    );
    let experiment = case.statetune(&["export", STATE, "--to", "gguf"]);
    assert_eq!(experiment.code, Some(2), "{experiment:?}");
    let said = "error[ST4011]: state.toml: found a file of another kind, expected tensors by name";
    assert!(experiment.stderr.starts_with(said), "{experiment:?}");
    assert_eq!(case.list("."), before);
    assert_eq!(case.read("a-file"), "mine");
}
