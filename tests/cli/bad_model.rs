//! Weights that are refused: exit code 21, a message, no run directory.

use statetune_engine::model::{Shape, Version};

use crate::case::{Case, FULL, SIZES, STATE, base_model, checkpoint};

#[test]
fn a_missing_file() {
    Case::new().with(STATE, "base.pth", "nowhere.pth").refuses(
        21,
        "\
error[ST4001]: the weights file `nowhere.pth` does not exist
  --> state.toml:10:14
   |
10 | load_model = \"nowhere.pth\"
   |              ^^^^^^^^^^^^^
   |
   = help: relative paths start at the folder of the experiment file",
    );
}

#[test]
fn a_folder() {
    Case::new().with(STATE, "base.pth", "folder").having("folder/file", "").refuses(
        21,
        "\
error[ST4010]: cannot read the weights file `folder`
  |
  = note: it is a folder",
    );
}

#[test]
fn half_a_file() {
    Case::new().having("base.pth", &base_model()[..base_model().len() / 2]).refuses(
        21,
        "\
error[ST4012]: base.pth: the file is corrupted: the end is missing, as after an interrupted download
  |
  = help: download or copy the file again, and compare its size with the original",
    );
}

#[test]
fn an_empty_file() {
    Case::new().having("base.pth", "").refuses(
        21,
        "\
error[ST4011]: base.pth: found an empty file, expected tensors by name, in a .pth or .safetensors file
  |
  = help: download or copy the file again",
    );
}

#[test]
fn a_text_and_random_bytes() {
    let message = "\
error[ST4011]: base.pth: found a file of another kind, expected tensors by name, in a .pth or .safetensors file";
    Case::new().having("base.pth", "Not a checkpoint.\n").refuses(21, message);
    // A linear congruential generator: the same bytes on every machine.
    let next = |&x: &u32| Some(x.wrapping_mul(1_664_525).wrapping_add(1_013_904_223));
    let bytes = std::iter::successors(Some(7), next).map(|x: u32| (x >> 24) as u8);
    let bytes: Vec<u8> = bytes.take(5000).collect();
    Case::new().having("base.pth", bytes).refuses(21, message);
}

#[test]
fn a_state_in_place_of_a_model() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let state = case.only_run().join("export/rwkv-1.pth");
    let state = std::fs::read(case.path(state)).expect("a product");
    Case::new().having("base.pth", state).refuses(
        21,
        "\
error[ST4002]: base.pth: found a state without a model, expected an RWKV-5.2 (x052), RWKV-6 (x060) or RWKV-7 (x070) model
  |
  = help: name the base model as the weights; a command takes the state as `statetune generate base.pth --model BASE`, an experiment file as `init = \"file\"` and `init_file` in `[peft]`",
    );
}

#[test]
fn sizes_that_contradict_the_weights() {
    Case::new().with(STATE, "[model]", "[model]\nn_layer = 3").refuses(
        21,
        "\
error[ST4004]: the weights have `n_layer = 2`, but the experiment says 3
  --> state.toml:10:11
   |
10 | n_layer = 3
   |           ^ the weights have 2
   |
   = note: found RWKV-7 (x070), n_layer 2, n_embd 64, head_size 64, vocab 4096
   = help: delete the setting; the shape comes from the weights",
    );
    Case::new().with(STATE, "[model]", "[model]\nn_embd = 128").refuses(
        21,
        "\
error[ST4004]: the weights have `n_embd = 64`, but the experiment says 128
  --> state.toml:10:10
   |
10 | n_embd = 128
   |          ^^^ the weights have 64
   |
   = note: found RWKV-7 (x070), n_layer 2, n_embd 64, head_size 64, vocab 4096
   = help: delete the setting; the shape comes from the weights",
    );
}

#[test]
fn a_preset_that_contradicts_the_weights() {
    Case::new().with(STATE, "[model]", "[model]\npreset = \"rwkv7-0.1b\"").refuses(
        21,
        "\
error[ST4004]: the weights have `n_layer = 2`, but the preset says 12
  --> state.toml:10:10
   |
10 | preset = \"rwkv7-0.1b\"
   |          ^^^^^^^^^^^^ the weights have 2
   |
   = note: found RWKV-7 (x070), n_layer 2, n_embd 64, head_size 64, vocab 4096
   = help: delete the setting; the shape comes from the weights",
    );
}

#[test]
fn a_tokenizer_with_more_ids_than_the_model() {
    Case::new().with(STATE, "tokenizer = \"vocab.txt\"\n", "").refuses(
        21,
        "\
error[ST4005]: the tokenizer of the weights is not known: the weights have 4096 ids, the World tokenizer has 65530
  --> state.toml:10:14
   |
10 | load_model = \"base.pth\"
   |              ^^^^^^^^^^
   |
   = note: the ids of another tokenizer mean nothing to the weights
   = help: set `model.tokenizer` to the vocabulary file of the weights; a run on characters keeps its own in `RUN/vocab.json`
   = help: or train a new model: replace `model.load_model` with `model.n_layer` and `model.n_embd`, and set `recipe = \"full\"`",
    );
    let world = "tokenizer = \"world\"\n";
    Case::new().with(STATE, "tokenizer = \"vocab.txt\"\n", world).refuses(
        21,
        "\
error[ST4005]: the model has 4,096 token ids, but the World tokenizer has 65,530
  --> state.toml:10:14
   |
10 | load_model = \"base.pth\"
   |              ^^^^^^^^^^
   |
   = help: set `model.tokenizer` to the vocabulary that the model was trained with",
    );
    Case::new()
        .having("base.pth", checkpoint(Shape::for_scratch(Version::V7, 1, 64, 1000)))
        .refuses(
            21,
            "\
error[ST4005]: the model has 1,000 token ids, but the tokenizer has 4,096
  --> state.toml:11:13
   |
11 | tokenizer = \"vocab.txt\"
   |             ^^^^^^^^^^^
   |
   = help: set the vocabulary that the model was trained with",
        );
    Case::new().with(FULL, "n_layer = 2", "vocab_size = 1000\nn_layer = 2").refuses_to(
        &["run", FULL],
        21,
        "\
error[ST4005]: the model has 1,000 token ids, but the tokenizer has 4,096
 --> full.toml:9:14
  |
9 | vocab_size = 1000
  |              ^^^^
  |
  = help: delete the setting; a new model takes its vocabulary size from the tokenizer",
    );
}

#[test]
fn heads_of_another_size() {
    let (n_layer, n_embd, vocab_size) = SIZES;
    let usual = Shape::for_scratch(Version::V7, n_layer, n_embd, vocab_size);
    let shape = Shape { n_head: 16, head_size: 4, ..usual };
    let case = Case::new().having("base.pth", checkpoint(shape));
    case.refuses(
        21,
        "\
error[ST4006]: the model has a head size of 4, but the kernels require a multiple of 8 up to 256
  --> state.toml:10:14
   |
10 | load_model = \"base.pth\"
   |              ^^^^^^^^^^
   |
   = help: set `op = \"chunk\"` in `[train]`, which supports any head size",
    );
    case.statetune(&["run", STATE, "--set", "train.op=chunk"]).is_done();
}

/// `check` says what a run would say of weights, vocabulary and documents; `--no-files` reads the experiment file alone.
#[test]
fn check_looks_into_files() {
    let lfs = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 1\n";
    let unlearned = "{\"text\": \"Q: Hi?\\n\\nA: Hello.\"}\n";
    let long = "{\"text\": \"User: hi\\n\\nAssistant: ".to_owned() + &"long ".repeat(500) + "\"}\n";
    for (file, content, code) in [
        ("base.pth", "<!DOCTYPE html>\n<html></html>\n", 21),
        ("base.pth", lfs, 21),
        ("base.pth", "GGUF\u{3}\0\0\0", 21),
        ("vocab.txt", "1 'a' 2\n", 20),
        ("data.jsonl", "question,answer\nHi?,Hello.\n", 20),
        ("data.jsonl", "[{\"text\": \"Hi.\"}]\n", 20),
        ("data.jsonl", "", 20),
        ("data.jsonl", unlearned, 20),
        ("data.jsonl", &long, 20),
    ] {
        let case = Case::new().having(file, content);
        let check = case.statetune(&["check", STATE]);
        assert!(case.list("runs").is_empty(), "a look leaves nothing");
        let run = case.statetune(&["run", STATE]);
        assert_eq!(
            (check.code, &*check.stdout),
            (Some(code), ""),
            "{file} {content:.40}: {check:?}"
        );
        assert_eq!((run.code, run.stderr.trim_end()), (check.code, check.stderr.trim_end()));
        case.statetune(&["check", STATE, "--no-files"]).succeeds("state.toml: valid", "");
    }
}

/// Only the first documents of a large file are read, and the message says so.
#[test]
fn check_reads_the_first_documents() {
    let good = "{\"text\": \"User: hi\\n\\nAssistant: hello\"}\n";
    let case = Case::new().having("data.jsonl", good.repeat(1000) + "no JSON\n");
    case.statetune(&["check", STATE]).succeeds("state.toml: valid", "");
    let bad = "{\"text\": \"no turns\"}\n";
    let case = Case::new().having("data.jsonl", bad.repeat(1001));
    let output = case.statetune(&["check", STATE]);
    assert_eq!(output.code, Some(20), "{output:?}");
    let note = "= note: only the first 1000 documents of each source were read; `data check` and `run` read all";
    assert!(output.stderr.contains(note), "{output:?}");
    // With JSON for editors.
    let output = case.statetune(&["check", STATE, "--format", "json"]);
    let found: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((&found[0]["code"], output.code), (&"ST3102".into(), Some(20)));
}

/// A vocabulary that uses little of the embedding is probably another one than that of the weights.
#[test]
fn a_vocabulary_of_few_ids_is_a_warning() {
    let (n_layer, n_embd) = (SIZES.0, SIZES.1);
    let world = checkpoint(Shape::for_scratch(Version::V7, n_layer, n_embd, 65536));
    let case = Case::new().having("base.pth", world);
    let expected = "\
warning[ST4005]: the tokenizer has 4,096 ids, but the embedding of the weights has 65,536
  --> state.toml:11:13
   |
11 | tokenizer = \"vocab.txt\"
   |             ^^^^^^^^^^^
   |
   = note: weights that were trained with another vocabulary read every document as noise
   = help: World and G1 models have 65,536 rows: set `tokenizer = \"world\"` for these";
    case.statetune(&["check", STATE]).succeeds("state.toml: valid", expected);
    for command in ["plan", "run"] {
        let output = case.statetune(&[command, STATE]);
        let said = output.stderr + &output.stdout;
        assert_eq!(said.matches("the tokenizer has 4,096 ids").count(), 1, "{command}: {said}");
    }
    let allowed = case.with(STATE, "\"vocab.txt\"", "\"vocab.txt\"  # statetune: allow(ST4005)");
    allowed.statetune(&["check", STATE]).succeeds("state.toml: valid", "");
    // Where the name says World, it is an error.
    let world = checkpoint(Shape::for_scratch(Version::V7, n_layer, n_embd, 65536));
    let case = Case::new().having("RWKV-x070-World-0.1B.pth", world);
    case.with(STATE, "base.pth", "RWKV-x070-World-0.1B.pth").refuses(
        21,
        "\
error[ST4005]: the tokenizer has 4,096 ids, but the embedding of the weights has 65,536
  --> state.toml:11:13
   |
11 | tokenizer = \"vocab.txt\"
   |             ^^^^^^^^^^^
   |
   = note: by its name, `RWKV-x070-World-0.1B.pth` was trained with the World tokenizer
   = help: set `tokenizer = \"world\"`; if the weights were trained again with this vocabulary, give their file another name",
    );
    // Half of the ids; nearly all ids; a new model.
    for (file, lines, warns) in [(STATE, 2000, true), (STATE, 3900, false), (FULL, 2000, false)] {
        let case = Case::new();
        let all = case.read("vocab.txt");
        let few: String = all.lines().take(lines).map(|line| format!("{line}\n")).collect();
        let case = case.having("vocab.txt", few);
        let checked = case.statetune(&["check", file]);
        assert_eq!(
            checked.stderr.contains("warning[ST4005]"),
            warns,
            "{file} {lines}: {checked:?}"
        );
    }
}
