//! Every method through the program: run, products, generate, merge, and what is refused.

use std::path::{Path, PathBuf};

use statetune_core::tensorfile::TensorFile;
use statetune_engine::model::{TimeState, Version, Weights};

use crate::case::{Case, SIZES, STATE};
use crate::resume::same_numbers;

/// The case whose `[peft]` is this.
fn with_peft(peft: &str) -> Case {
    Case::new().with(STATE, "type = \"state\"", peft).with(STATE, "lr_init = 1.0", "lr_init = 1e-2")
}

/// A case after its run, and the run.
fn run(peft: &str) -> (Case, PathBuf) {
    let case = with_peft(peft);
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    (case, run)
}

/// The names of the tensors in a file, sorted.
fn names(case: &Case, file: PathBuf) -> Vec<String> {
    let file = TensorFile::open(case.path(file)).expect("a sound file");
    let mut names: Vec<String> = file.names().map(str::to_string).collect();
    names.sort();
    names
}

/// What the program says of a text by these weights, as log-probabilities.
fn mean_nll(case: &Case, model: &str) -> f64 {
    case.write("text.txt", "User: Hi\n\nAssistant: Hello!\n\n");
    let output = case.statetune(&[
        "score",
        "--model",
        model,
        "--text",
        "text.txt",
        "--tokenizer",
        "vocab.txt",
    ]);
    let found: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    found["mean_nll"].as_f64().expect("a number")
}

#[test]
fn adapters_have_the_names_of_the_field_and_merge() {
    for (peft, parts) in [
        ("type = \"lora\"\nrank = 4", &["lora_A", "lora_B"][..]),
        ("type = \"pissa\"\nrank = 4", &["init_lora_A", "init_lora_B", "lora_A", "lora_B"]),
        ("type = \"disha\"\nrank = 16", &["disha"]),
        ("type = \"bone\"\nmode = \"bat\"\nrank = 16", &["disha"]),
    ] {
        let (case, run) = run(peft);
        let products = case.list(run.join("export"));
        let expected = ["json", "pth", "safetensors"];
        for epoch in 0..2 {
            for extension in expected {
                assert!(products.contains(&format!("rwkv-{epoch}.{extension}")), "{products:?}");
            }
        }
        let found = names(&case, run.join("export/rwkv-1.pth"));
        assert_eq!(found.len(), 2 * 6 * parts.len(), "{peft}");
        for part in parts {
            assert!(found.contains(&format!("blocks.1.att.key.{part}")), "{peft}: {found:?}");
        }
        assert_eq!(names(&case, run.join("export/rwkv-1.safetensors")), found);

        let name = run.to_string_lossy();
        let tuned = case.statetune(&["generate", &name, "-p", "Hi"]);
        tuned.is_done();
        let merged = case.statetune(&["merge", &name, "--out", "merged.pth"]);
        let product = "runs/DATE-tiny-ID/export/rwkv-1.pth";
        merged.succeeds("merged.pth", &format!("export   {} tensors of {product}", found.len()));
        let of = |file: &str| {
            let file = TensorFile::open(case.path(file)).expect("a sound file");
            let tensors =
                file.tensors().map(|t| (t.name().to_string(), t.dtype(), t.shape().to_vec()));
            tensors.collect::<Vec<_>>()
        };
        assert_eq!(of("merged.pth"), of("base.pth"), "{peft}");
        assert_ne!(mean_nll(&case, "merged.pth"), mean_nll(&case, "base.pth"), "{peft}");
        assert!(case.path("merged.json").is_file());
    }
}

#[test]
fn a_state_and_weights_train_together() {
    let (case, run) = run("type = \"lora\"\nrank = 4\nstate = true\ntrain_parts = [\"ln\"]");
    let products = case.list(run.join("export"));
    for product in ["rwkv-1-state.pth", "rwkv-1-state.st", "rwkv-1.pth", "rwkv-1.safetensors"] {
        assert!(products.contains(&product.to_string()), "{products:?}");
    }
    let shape = *Weights::load(&case.path("base.pth")).expect("the model").shape();
    let state = case.path(run.join("export/rwkv-1-state.pth"));
    let state = TimeState::load(&state, &shape).expect("a state");
    assert!(state.wkv.iter().all(|s| s.abs().max().double_value(&[]) > 0.0));
    let found = names(&case, run.join("export/rwkv-1.pth"));
    assert!(found.contains(&"blocks.1.att.ln_x.bias".to_string()), "{found:?}");
    case.statetune(&["generate", &run.to_string_lossy(), "-p", "Hi"]).is_done();
}

#[test]
fn a_merged_state_follows_the_weights() {
    let (case, run) = run("type = \"state\"");
    let embed = ["merge", &run.to_string_lossy(), "--out", "merged.pth", "--states", "embed"];
    let merged = case.statetune(&embed);
    assert_eq!((merged.code, merged.stdout.trim()), (Some(0), "merged.pth"));
    assert_eq!(
        merged.stderr.trim_end(),
        "\
warning[ST8020]: most programs for RWKV-7 ignore initial states in a model file
  |
  = note: the `rwkv` package and RWKV Runner ignore them silently
  = note: rwkv.cpp aborts, and converters for Hugging Face and GGUF refuse the file
  = help: keep the states in a file of their own: pass `--states beside`, the default for RWKV-7

export   2 tensors of runs/DATE-tiny-ID/export/rwkv-1.pth"
    );
    let all = |file: &str| {
        let file = TensorFile::open(case.path(file)).expect("a sound file");
        file.names().map(str::to_string).collect::<Vec<_>>()
    };
    let states = (0..SIZES.0).map(|layer| format!("blocks.{layer}.att.time_state"));
    assert_eq!(all("merged.pth"), all("base.pth").into_iter().chain(states).collect::<Vec<_>>());
}

#[test]
fn states_start_from_files_and_texts() {
    let (case, first) = run("type = \"state\"");
    for extension in ["pth", "st"] {
        let file = first.join(format!("export/rwkv-1.{extension}"));
        let peft = format!("type = \"state\"\ninit = \"file\"\ninit_file = \"{}\"", file.display());
        let text = case.read(STATE).replace("type = \"state\"", &peft);
        case.write("again.toml", text);
        case.statetune(&["run", "again.toml"]).is_done();
    }
    let prompt = "type = \"state\"\ninit = \"prompt\"\ninit_prompt = \"User: Hi\\n\\nAssistant:\"";
    let (case, run) = run(prompt);
    assert!(case.path(run.join("export/rwkv-1.pth")).is_file());
}

#[test]
fn another_base_is_refused_and_nothing_is_left() {
    let (case, run) = run("type = \"lora\"\nrank = 4");
    let shape = statetune_engine::model::Shape::for_scratch(Version::V7, SIZES.0, SIZES.1, SIZES.2);
    Weights::scratch(shape, 77).save_pth(&case.path("other.pth")).expect("written");
    let name = run.to_string_lossy();
    let output = case.statetune(&["merge", &name, "--model", "other.pth", "--out", "merged.pth"]);
    assert_eq!((output.code, output.stdout.as_str()), (Some(28), ""));
    assert!(output.stderr.starts_with("error[ST8002]: "), "{}", output.stderr);
    let old = statetune_engine::model::Shape::for_scratch(Version::V6, SIZES.0, SIZES.1, SIZES.2);
    case.write("old.pth", crate::case::checkpoint(old));
    let output = case.statetune(&["merge", &name, "--model", "old.pth", "--out", "merged.pth"]);
    assert_eq!(output.code, Some(28));
    assert!(output.stderr.starts_with("error[ST8004]: "), "{}", output.stderr);

    // Half a product, and one with a tensor too few.
    let product = run.join("export/rwkv-1.pth");
    let whole = std::fs::read(case.path(&product)).expect("a product");
    case.write(&product, &whole[..whole.len() / 2]);
    let output = case.statetune(&["merge", &name, "--out", "merged.pth"]);
    assert_eq!(output.code, Some(21));
    assert!(output.stderr.contains("the file is corrupted"), "{}", output.stderr);
    std::fs::copy(case.path("base.pth"), case.path(&product)).expect("another file");
    let output = case.statetune(&["merge", &name, "--out", "merged.pth"]);
    assert_eq!(output.code, Some(21));
    assert!(output.stderr.contains("24 tensors are missing: "), "{}", output.stderr);
    assert!(!case.path("merged.pth").exists() && !case.path("merged.json").exists());
}

#[test]
fn without_a_passport_the_base_is_unknown() {
    let (case, run) = run("type = \"lora\"\nrank = 4");
    std::fs::remove_file(case.path(run.join("export/rwkv-1.json"))).expect("a side-car");
    let output = case.statetune(&["merge", &run.to_string_lossy(), "--out", "merged.pth"]);
    assert_eq!((output.code, output.stdout.trim()), (Some(0), "merged.pth"));
    assert!(output.stderr.starts_with("warning[ST8003]: "), "{}", output.stderr);
}

#[test]
fn what_does_not_fit_is_refused_at_its_place() {
    with_peft("type = \"lora\"\nrank = 65").refuses(
        21,
        "\
error[ST4007]: `peft.rank` does not fit `blocks.0.att.receptance.weight`
  --> state.toml:15:8
   |
15 | rank = 65
   |        ^^
   |
   = note: a matrix of 64 x 64 has at most rank 64",
    );
    with_peft("type = \"disha\"\nmode = \"bat\"\nrank = 24").refuses(
        21,
        "\
error[ST4007]: `peft.rank` does not fit `blocks.0.att.receptance.weight`
  --> state.toml:16:8
   |
16 | rank = 24
   |        ^^
   |
   = note: a matrix of 64 x 64 cannot be divided into blocks of 24 x 24",
    );
    with_peft("type = \"lora\"\ntargets = [\"att.gate\"]").refuses(
        21,
        "\
error[ST4007]: the model has no layer `att.gate`
  --> state.toml:15:11
   |
15 | targets = [\"att.gate\"]
   |           ^^^^^^^^^^^^
   |
   = note: the layers of an RWKV-7 (x070) model are `att.receptance`, `att.key`, `att.value`, `att.output`, `ffn.key`, `ffn.value`",
    );
    with_peft("type = \"lora\"\ntrain_parts = [\"ffn\"]").refuses(
        2,
        "\
error[ST2122]: the linear layers in `ffn` cannot be trained together with an adapter
  --> state.toml:15:15
   |
15 | train_parts = [\"ffn\"]
   |               ^^^^^^^
   |
   = note: an adapter keeps the matrices it changes frozen
   = help: set `type = \"full\"` to train them; set `targets` to choose the layers of the adapter",
    );
    with_peft("type = \"lora\"\nstate_lr_scale = 5.0").refuses(
        2,
        "\
error[ST2123]: `state_lr_scale` only applies with `state = true`
  --> state.toml:15:18
   |
15 | state_lr_scale = 5.0
   |                  ^^^
   |
   = note: with `state = false` the initial states stay zero
   = help: set `state = true`, or delete the setting",
    );
    with_peft("type = \"state\"\ninit = \"file\"").refuses(
        2,
        "\
error[ST2120]: `init = \"file\"` requires `init_file`
  --> state.toml:15:8
   |
15 | init = \"file\"
   |        ^^^^^^",
    );
    with_peft("type = \"state\"\ninit_prompt = \"Hi\"").refuses(
        2,
        "\
error[ST2121]: `init_prompt` does not apply with `init = \"zeros\"`
  --> state.toml:15:15
   |
15 | init_prompt = \"Hi\"
   |               ^^^^
   |
   = help: set `init = \"prompt\"`, or delete the setting",
    );
    with_peft("type = \"state\"\ninit = \"prompt\"\ninit_prompt = \"\"").refuses(
        2,
        "\
error[ST2124]: the text is empty
  --> state.toml:16:15
   |
16 | init_prompt = \"\"
   |               ^^",
    );
    with_peft("type = \"state\"\ninit = \"file\"\ninit_file = \"none.pth\"").refuses(
        21,
        "\
error[ST4001]: the state file `none.pth` does not exist
  --> state.toml:16:13
   |
16 | init_file = \"none.pth\"
   |             ^^^^^^^^^^
   |
   = help: relative paths start at the folder of the experiment file",
    );
}

#[test]
fn dropout_is_the_same_where_blocks_are_computed_twice() {
    let losses = |grad_cp: &str| {
        let case = with_peft("type = \"lora\"\nrank = 4\ndropout = 0.2");
        let case =
            case.with(STATE, "precision = \"fp32\"", &format!("precision = \"fp32\"\n{grad_cp}"));
        case.statetune(&["run", STATE]).is_done();
        let lines = case.lines(case.only_run().join("metrics.jsonl"));
        lines.iter().map(|line| line["loss"].as_f64().expect("a loss")).collect::<Vec<f64>>()
    };
    let (plain, twice) = (losses("grad_cp = false"), losses("grad_cp = true"));
    for (plain, twice) in plain.iter().zip(&twice) {
        assert!((plain - twice).abs() < 1e-5, "{plain} {twice}");
    }
}

#[test]
fn dropout_resumes_bit_for_bit() {
    let case = with_peft("type = \"lora\"\nrank = 4\ndropout = 0.2");
    case.statetune(&["run", STATE]).is_done();
    let whole = case.only_run();
    case.statetune(&["run", STATE, "--set", "train.epoch_begin=1"]).is_done();
    let branch = case.runs().into_iter().find(|run| *run != whole).expect("a second run");
    same_numbers(&case, &whole, &branch, "epoch-0001");
    // What is held out is measured with everything: the same before training, other numbers after it.
    case.statetune(&["run", STATE, "--set", "peft.dropout=0.0"]).is_done();
    let plain = case.runs().into_iter().find(|run| *run != whole && *run != branch);
    let losses = |run: &Path| {
        let lines = case.lines(run.join("events.jsonl")).into_iter();
        lines.filter_map(|event| event["val_loss"].as_f64()).collect::<Vec<f64>>()
    };
    let (with, without) = (losses(&whole), losses(&plain.expect("a third run")));
    assert_eq!(with[0], without[0]);
    assert_ne!(with.last(), without.last());
}

/// A file of the project.
fn project(file: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(file).to_string_lossy().into_owned()
}

/// Validation losses before and after 20 steps on the base model of the repository.
fn losses(settings: &[&str]) -> (f64, f64) {
    let case = Case::new();
    let file = project("configs/emoji-state.toml");
    let mut arguments = vec!["run", &file, "--runs-dir", "runs"];
    let short = ["train.epoch_count=1", "train.epoch_steps=20", "sample.held_out=0"];
    for setting in short.iter().chain(settings) {
        arguments.extend(["--set", setting]);
    }
    case.statetune(&arguments).is_done();
    let events = case.lines(case.only_run().join("events.jsonl"));
    let losses: Vec<f64> = events.iter().filter_map(|event| event["val_loss"].as_f64()).collect();
    (losses[0], losses[losses.len() - 1])
}

#[test]
fn every_method_tunes_the_shipped_base() {
    let rate = "schedule.lr_init=1e-3";
    let small = "schedule.lr_final=1e-4";
    for method in [
        &["peft.type=lora", "peft.dropout=0.01"][..],
        &["peft.type=pissa"],
        &["peft.type=disha"],
        &["peft.type=miss", "peft.mode=bat"],
        &["peft.type=full", "peft.train_parts=[\"time\", \"ln\"]"],
        &["peft.type=lora", "peft.state=true", "peft.state_lr_scale=300"],
    ] {
        let (before, after) = losses(&[method, &[rate, small]].concat());
        assert!(after < before - 0.1, "{method:?}: validation loss went from {before} to {after}");
    }
}

#[test]
fn a_text_that_shows_what_is_wanted_is_a_better_start_than_nothing() {
    let (zeros, _) = losses(&["peft.type=state"]);
    let shown = "peft.init_prompt=User: I have a cold.\n\nAssistant: Oh no! 🤧 Get well soon! 🍵\n\n\
                 User: I won at darts.\n\nAssistant: Congratulations! 🎯🎉\n\n";
    let (prompt, _) = losses(&["peft.type=state", "peft.init=prompt", shown]);
    assert!(
        prompt < zeros - 0.05,
        "validation loss starts at {zeros} from zero, {prompt} from a text"
    );
}
