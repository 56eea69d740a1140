//! Runs whose weights or vocabulary were moved since, alone or with the folder around them.

use std::fs;

use crate::case::{Case, STATE, tampered};
use statetune_engine::model::{Shape, Version};

/// A command that needs the model of the newest run, and what follows it.
const COMMANDS: [&[&str]; 11] = [
    &["generate", "latest", "--max-tokens", "2"],
    &["generate", "latest@epoch-0", "--max-tokens", "2"],
    &["eval", "latest", "data.jsonl"],
    &["score", "latest", "--text", "data.jsonl"],
    &["mount", "latest", "--for", "ai00"],
    &["merge", "latest"],
    &["chat", "latest", "--max-tokens", "2"],
    &["export", "latest@last", "--to", "pth", "--out", "moved.pth"],
    &["state", "info", "latest@last"],
    &["verify", "latest"],
    &["data", "show", "--worst", "1", "--run", "latest"],
];

#[test]
fn a_command_uses_weights_and_vocabulary_from_where_they_are_now() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    fs::create_dir_all(case.path("far/w")).expect("a folder");
    for file in ["base.pth", "vocab.txt"] {
        fs::rename(case.path(file), case.path("far/w").join(file)).expect("moved");
    }
    let refused = case.statetune(&["generate", "latest"]);
    // As many as the path of the folder has letters.
    let carets = regex::Regex::new(r"\^+").expect("an expression");
    assert_eq!(
        (&*refused.stdout, carets.replace_all(refused.stderr.trim_end(), "^").as_ref(), refused.code),
        (
            "",
            "\
error[ST3005]: the vocabulary file `vocab.txt` does not exist
  --> runs/DATE-tiny-ID/resolved.toml:23:13
   |
23 | tokenizer = \"../../vocab.txt\"  # file line 11
   |             ^
   |
   = help: pass the new path of the vocabulary: `--tokenizer FILE`, or `--set model.tokenizer=FILE` where the command has no `--tokenizer`

error[ST4001]: the weights file `base.pth` does not exist
  --> runs/DATE-tiny-ID/resolved.toml:22:14
   |
22 | load_model = \"../../base.pth\"  # file line 10
   |              ^
   |
   = help: pass the new path of the weights: `--model FILE`, or `--set model.load_model=FILE` where the command has no `--model`

2 errors in runs/DATE-tiny-ID/resolved.toml",
            Some(20)
        )
    );
    for command in COMMANDS {
        let moved = ["--model", "far/w/base.pth", "--tokenizer", "far/w/vocab.txt"];
        case.statetune(&[command, &moved].concat()).is_done();
    }
    let longer = ["resume", "latest", "--set", "train.epoch_count=3"];
    let moved = ["--model", "far/w/base.pth", "--tokenizer", "far/w/vocab.txt"];
    case.statetune(&[&longer[..], &moved].concat()).is_done();
    case.statetune(&["generate", "latest", "--max-tokens", "2"]).is_done();
}

#[test]
fn other_weights_of_the_same_shape_are_told_from_moved_ones() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    fs::remove_file(case.path("base.pth")).expect("removed");
    let (n_layer, n_embd, vocab_size) = crate::case::SIZES;
    let shape = Shape::for_scratch(Version::V7, n_layer, n_embd, vocab_size);
    let other = tampered(shape, |name, x| if name == "head.weight" { x * 2.0 } else { x });
    case.write("other.pth", other);
    let merge = case.statetune(&["merge", "latest", "--model", "other.pth"]);
    assert!(merge.stderr.starts_with("error[ST8002]: "), "{merge:?}");
    assert_eq!(merge.code, Some(28));
}

#[test]
fn a_folder_with_runs_and_inputs_has_another_name_since() {
    let case = Case::new();
    // The weights are outside the folder of the experiment, so their recorded path is absolute.
    for folder in ["one/models", "one/exp"] {
        fs::create_dir_all(case.path(folder)).expect("a folder");
    }
    for file in [STATE, "data.jsonl", "vocab.txt"] {
        fs::rename(case.path(file), case.path("one/exp").join(file)).expect("moved");
    }
    fs::rename(case.path("base.pth"), case.path("one/models/base.pth")).expect("moved");
    let in_folder = |folder: &str, arguments: &[&str]| {
        case.statetune_in(&format!("{folder}/exp"), arguments, &[])
    };
    in_folder("one", &["run", STATE, "--set", "model.load_model=../models/base.pth"]).is_done();
    fs::rename(case.path("one"), case.path("two")).expect("renamed");
    for command in COMMANDS {
        in_folder("two", command).is_done();
    }
    in_folder("two", &["eval", "latest"]).is_done();
    in_folder("two", &["resume", "latest", "--set", "train.epoch_count=3"]).is_done();
    in_folder("two", &["export", "latest@last", "--to", "pth", "--out", "a.pth"]).is_done();

    // A file with other content at the place is not taken for the moved one.
    fs::rename(case.path("two"), case.path("three")).expect("renamed");
    case.write("three/models/base.pth", "other");
    let refused = in_folder("three", &["generate", "latest"]);
    assert!(refused.stderr.starts_with("error[ST4001]: "), "{refused:?}");
}

#[test]
fn files_that_went_into_a_folder_near_by_are_found_by_their_content() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    fs::create_dir(case.path("w")).expect("a folder");
    for file in ["base.pth", "vocab.txt", "data.jsonl"] {
        fs::rename(case.path(file), case.path("w").join(file)).expect("moved");
    }
    for command in COMMANDS.iter().filter(|command| !command.contains(&"data.jsonl")) {
        case.statetune(command).is_done();
    }
    case.statetune(&["eval", "latest"]).is_done();
    case.write("w/base.pth", "other");
    let refused = case.statetune(&["generate", "latest"]);
    assert!(refused.stderr.starts_with("error[ST4001]: "), "{refused:?}");
}

#[test]
fn a_run_of_another_folder_is_named_by_its_folder() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    fs::create_dir(case.path("elsewhere")).expect("a folder");
    let help = |name: &str, help: &str| {
        let output = case.statetune_in("elsewhere", &["generate", name], &[]);
        let message = format!(
            "error[ST0201]: no run `{name}` in `runs`\n  |\n  = note: there are runs in `../runs`\n  = help: {help}"
        );
        assert_eq!((output.stderr.trim_end(), output.code), (&*message, Some(2)));
    };
    for name in ["latest", "tiny"] {
        help(name, "pass the path of a run near by: `../runs/DATE-tiny-ID`");
    }
    help("tinny", "did you mean `tiny`?");
    help(
        "other",
        "runs are in `runs` beside the experiment file: pass that folder as `--runs-dir DIR`, or the path of a run",
    );
}

#[test]
fn commands_in_the_folder_of_experiment_files_find_their_runs() {
    let case = Case::new();
    for file in [STATE, "data.jsonl", "vocab.txt", "base.pth"] {
        case.write(format!("configs/{file}"), fs::read(case.path(file)).expect("there"));
    }
    let in_configs = |arguments: &[&str]| case.statetune_in("configs", arguments, &[]);
    in_configs(&["run", STATE]).is_done();
    assert_eq!(case.runs().len(), 1, "beside the folder `configs`");
    let listed = in_configs(&["runs", "ls"]);
    assert_eq!(listed.stderr.trim_end(), "runs in ../runs");
    assert!(listed.is_done().stdout.contains("tiny"), "{listed:?}");
    in_configs(&["generate", "latest", "--max-tokens", "2"]).is_done();
}
