//! Models with initial states: merged, they come back as a base; their states are within the file or in one beside it.

use serde_json::Value;
use statetune_core::tensorfile::TensorFile;
use statetune_engine::exports::Passport;
use statetune_engine::model::{Shape, TimeState, Version};

use crate::case::{Case, Output, SIZES, STATE, checkpoint};

const TOKENS: &str = "[1, 72, 4095, 5, 0, 33, 900, 2, 17, 1023, 72, 5, 61, 8]";

/// A case after a run with this `[peft]`.
fn run(version: Version, peft: &str) -> Case {
    let (n_layer, n_embd, vocab_size) = SIZES;
    let shape = Shape::for_scratch(version, n_layer, n_embd, vocab_size);
    let case = Case::new().with(STATE, "type = \"state\"", peft);
    let case = case.having("base.pth", checkpoint(shape)).having("tokens.json", TOKENS);
    case.statetune(&["run", STATE]).is_done_with_warnings();
    case
}

fn merge(case: &Case, more: &[&str]) -> Output {
    case.statetune(&[&["merge", "latest", "--out", "merged.pth"], more].concat())
}

/// What `score` prints, and the object alone.
fn scored(case: &Case, subject: &[&str]) -> (Output, Value) {
    let output = case.statetune(&[&["score", "--tokens", "tokens.json"], subject].concat());
    let object = serde_json::from_str(&output.is_done().stdout).expect("one JSON object");
    (output, object)
}

fn names(case: &Case, file: &str) -> Vec<String> {
    let file = TensorFile::open(case.path(file)).expect("a sound file");
    file.names().map(str::to_string).collect()
}

const SAID: &str = "states   starts from the 2 initial states in merged.pth";

/// Merged states are bfloat16, as exported ones: nothing is rounded.
#[test]
fn a_merged_model_comes_back_as_a_base() {
    for version in Version::ALL {
        let case = run(version, "type = \"state\"");
        merge(&case, &["--states", "embed"]).is_done_with_warnings();
        let (said, merged) = scored(&case, &["--model", "merged.pth"]);
        assert_eq!(said.stderr.trim_end(), SAID, "{version}");
        assert_eq!(merged, scored(&case, &["latest"]).1, "{version}");
        assert_ne!(merged, scored(&case, &["--model", "base.pth"]).1, "{version}");

        // Another state takes their place.
        let case = case.having("zeros/x", "");
        let zero = ["state", "scale", "0", "latest", "--out", "zeros/state"];
        case.statetune(&zero).is_done_with_warnings();
        let (said, zeros) = scored(&case, &["--model", "merged.pth", "--state", "zeros/state.pth"]);
        assert_eq!((&*said.stderr, zeros), ("", scored(&case, &["--model", "base.pth"]).1));

        let ask = ["generate", "--model", "merged.pth", "--tokenizer", "vocab.txt", "-p", "Hi"];
        let said = case.statetune(&ask);
        assert!(said.is_done().stderr.contains(SAID), "{version} {said:?}");
    }
}

/// A run on such a model starts from its states, and says so; so does the model that it exports.
#[test]
fn a_run_starts_from_the_states_of_its_base() {
    for peft in ["type = \"state\"", "type = \"lora\"\nrank = 4", "type = \"full\""] {
        let case = run(Version::V7, "type = \"state\"");
        merge(&case, &["--states", "embed"]).is_done_with_warnings();
        let expected = scored(&case, &["--model", "merged.pth"]).1;
        // Nothing is learned: what remains is what the run starts from.
        let text = case.read(STATE).replace("base.pth", "merged.pth");
        let text =
            text.replace("type = \"state\"", peft).replace("name = \"tiny\"", "name = \"again\"");
        let text = text
            .replace("lr_init = 1.0", "lr_init = 1e-12")
            .replace("lr_final = 0.01", "lr_final = 1e-12");
        case.write("again.toml", text);
        let output = case.statetune(&["run", "again.toml"]);
        let line = "starts from the 2 initial states in merged.pth";
        assert!(output.is_done_with_warnings().stderr.contains(line), "{peft} {output:?}");
        let name = case.runs().into_iter().find(|run| run.to_string_lossy().contains("again"));
        let name = name.expect("the second run").to_string_lossy().into_owned();
        let close = |found: &Value| {
            let number = |value: &Value| value["mean_nll"].as_f64().expect("a number");
            (number(found) - number(&expected)).abs() < 1e-5
        };
        assert!(close(&scored(&case, &[&name]).1), "{peft}");
        assert!(close(&scored(&case, &[&name, "--base"]).1), "{peft}");
        if peft == "type = \"lora\"\nrank = 4" {
            let again = ["merge", &name, "--out", "again.pth", "--states", "embed"];
            case.statetune(&again).is_done_with_warnings();
            assert!(close(&scored(&case, &["--model", "again.pth"]).1), "the states stay");
        }
    }
}

#[test]
fn states_stand_where_programs_look_for_them() {
    for version in Version::ALL {
        let case = run(version, "type = \"state\"");
        let base = names(&case, "base.pth");
        let state: Vec<String> = (0..2).map(TimeState::name).collect();
        let whole = [&base[..], &state].concat();
        let product = "export   2 tensors of runs/DATE-tiny-ID/export/rwkv-1.pth";
        let (files, tensors) = match version {
            Version::V7 => ("merged.pth\nmerged-state.pth", &base),
            Version::V5 | Version::V6 => ("merged.pth", &whole),
        };
        let beside = format!(
            "{product}\nstate    merged-state.pth has the initial state, merged.pth has the unchanged weights of the base \
             model; for a program: statetune mount merged-state.pth --model merged.pth --tokenizer vocab.txt \
             --for rwkv-pip"
        );
        let said = if version == Version::V7 { &beside } else { product };
        merge(&case, &[]).succeeds(files, said);
        assert_eq!(names(&case, "merged.pth"), *tensors, "{version}");
        merge(&case, &["--states", "beside"]).succeeds("merged.pth\nmerged-state.pth", &beside);
        assert_eq!(names(&case, "merged.pth"), base, "{version}");
        assert_eq!(names(&case, "merged-state.pth"), state, "{version}");

        // The state knows the merged model.
        let beside = ["merged-state.pth", "--model", "merged.pth"];
        let (said, found) = scored(&case, &beside);
        assert_eq!((&*said.stderr, found), ("", scored(&case, &["latest"]).1), "{version}");
        let mount =
            [&["mount"], &beside[..], &["--for", "ai00", "--tokenizer", "vocab.txt"]].concat();
        case.statetune(&mount).is_done();
    }
    // No input is overwritten by the file beside.
    let case = run(Version::V7, "type = \"state\"");
    let base = std::fs::read(case.path("base.pth")).expect("a file");
    case.write("x-state.pth", base);
    let output = case.statetune(&["merge", "latest", "--model", "x-state.pth", "--out", "x.pth"]);
    let expected = "\
error[ST0206]: `x-state.pth` is an input of this command and would be overwritten
  |
  = help: pass another file: `--out FILE`";
    assert_eq!((output.code, output.stderr.trim_end()), (Some(2), expected));
    assert!(!case.path("x.pth").exists());
}

#[test]
fn a_merged_model_is_split() {
    let case = run(Version::V7, "type = \"lora\"\nrank = 4\nstate = true");
    merge(&case, &["--states", "embed"]).is_done_with_warnings();
    let expected = scored(&case, &["--model", "merged.pth"]).1;
    case.statetune(&["export", "merged.pth", "--to", "state"]).succeeds("merged-state.pth", "");
    let alone = ["export", "merged.pth", "--to", "pth", "--without-states", "--out", "weights.pth"];
    case.statetune(&alone).succeeds("weights.pth", "");
    assert_eq!(names(&case, "weights.pth"), names(&case, "base.pth"));
    assert_eq!(names(&case, "merged-state.pth").len(), 2);
    // The state fits both: it takes the place of the states in the model.
    for model in ["weights.pth", "merged.pth"] {
        let (said, found) = scored(&case, &["merged-state.pth", "--model", model]);
        assert_eq!((&*said.stderr, found), ("", expected.clone()), "{model}");
        let mount = ["mount", "merged-state.pth", "--model", model, "--for", "rwkv-pip"];
        case.statetune(&[&mount[..], &["--tokenizer", "vocab.txt"]].concat()).is_done();
    }
    let passport =
        Passport::of(&case.path("merged-state.pth")).expect("sound").expect("a passport");
    assert_eq!(passport.base.map(|base| base.file).as_deref(), Some("merged.pth"));

    let refuses = |arguments: &[&str], code, message: &str| {
        let output = case.statetune(&[&["export"], arguments].concat());
        assert_eq!((output.code, output.stderr.trim_end()), (Some(code), message));
    };
    refuses(
        &["weights.pth", "--to", "state"],
        21,
        "error[ST8011]: `weights.pth` holds no initial states beside its weights",
    );
    let message = "\
error[ST0215]: `merged-state.pth` is a state file: it holds initial states and no model
  |
  = help: pass `--to pth` or `--to st`, without `--without-states`";
    refuses(&["merged-state.pth", "--to", "state", "--out", "x.pth"], 2, message);
    refuses(&["merged-state.pth", "--to", "st", "--without-states"], 2, message);
}
