//! A project with runs of every kind, moved to another folder: the records name no place outside the project, and every
//! command that takes a run works there.

use std::fs;
use std::path::Path;

use crate::case::{Case, FULL, Output, SIZES, STATE, tampered};
use statetune_engine::model::{Shape, Version};

/// The project before and after the move.
const OLD: &str = "one/project";
const NEW: &str = "two/deep/renamed";

/// The kind of the run that stopped at a loss of NaN.
const INCIDENT: &str = "incident";
/// Commands for every run.
const OF_EVERY_RUN: [&str; 11] = [
    "config show RUN",
    "watch RUN --once",
    "report RUN --out OUT.html",
    "runs show RUN",
    "runs tag RUN moved",
    "runs note RUN moved",
    "runs pin RUN",
    "runs pin RUN --off",
    "runs path RUN",
    "runs pack RUN",
    "incident ls RUN",
];
/// Commands for a run with a checkpoint.
const OF_TRAINED: [&str; 7] = [
    "generate RUN --max-tokens 1",
    "chat RUN --max-tokens 1",
    "eval RUN",
    "score RUN --text data.jsonl",
    "data show --worst 1 --run RUN",
    "verify RUN",
    "resume RUN --set train.epoch_count=3",
];

/// A case whose project has experiments of several methods, with weights and vocabulary in folders of their own.
fn project() -> Case {
    let case = Case::new();
    for (file, to) in
        [("data.jsonl", "data.jsonl"), ("vocab.txt", "models/v.txt"), ("base.pth", "models/b.pth")]
    {
        case.write(format!("{OLD}/{to}"), fs::read(case.path(file)).expect("there"));
        fs::remove_file(case.path(file)).expect("removed");
    }
    let state = case
        .read(STATE)
        .replace("\"base.pth\"", "\"models/b.pth\"")
        .replace("\"vocab.txt\"", "\"./models/../models/v.txt\"")
        .replace("epoch_steps = 2", "epoch_steps = 1");
    let lora = state
        .replace("type = \"state\"", "type = \"lora\"\nrank = 4")
        .replace("lr_init = 1.0", "lr_init = 1e-2");
    let full = case
        .read(FULL)
        .replace("\"vocab.txt\"", "\"models/v.txt\"")
        .replace("epoch_steps = 2", "epoch_steps = 1");
    let quant = state.replace("[train]", "[quant]\ntype = \"nf4\"\n\n[train]");
    let (n_layer, n_embd, vocab_size) = SIZES;
    let shape = Shape::for_scratch(Version::V7, n_layer, n_embd, vocab_size);
    let broken = ["blocks.1.att.key.weight", "blocks.1.att.value.weight"];
    let nan = tampered(shape, |name, x| if broken.contains(&name) { x * 1e30 } else { x });
    case.write(format!("{OLD}/models/nan.pth"), nan);
    for (file, text) in [(STATE, state), ("lora.toml", lora), (FULL, full), ("quant.toml", quant)] {
        case.write(format!("{OLD}/{file}"), text);
    }
    case
}

/// Runs a command in the folder of the project, which ends with `code`.
#[track_caller]
fn ends(case: &Case, folder: &str, arguments: &[&str], code: i32) -> Output {
    let output = case.statetune_in(folder, arguments, &[]);
    assert_eq!(output.code, Some(code), "{arguments:?}: {output:?}");
    output
}

/// Makes the runs; their names, each with the kind.
fn make_runs(case: &Case) -> Vec<(&'static str, String)> {
    let mut kinds: Vec<(&str, String)> = Vec::new();
    let broken = ["--set=model.load_model=models/nan.pth", "--set=data.val_split=0"];
    for (kind, arguments, code) in [
        ("state", vec!["run", STATE], 0),
        ("fork", vec!["run", STATE, "--set=train.epoch_begin=1"], 0),
        ("warm start", vec!["run", STATE, "--from", "latest"], 0),
        ("lora", vec!["run", "lora.toml"], 0),
        ("full", vec!["run", FULL], 0),
        ("quant", vec!["run", "quant.toml"], 0),
        ("devices", vec!["run", STATE, "--set=hardware.devices=2"], 0),
        ("sweep", vec!["sweep", STATE, "--axis", "train.random_seed=7"], 0),
        ("resumed", vec!["run", STATE, "--set=train.epoch_count=1"], 0),
        (INCIDENT, [&["run", STATE][..], &broken].concat(), 24),
    ] {
        ends(case, OLD, &arguments, code);
        let is_new =
            |name: &String| !name.starts_with('.') && !kinds.iter().any(|(_, known)| known == name);
        let new: Vec<String> =
            case.list(format!("{OLD}/runs")).into_iter().filter(is_new).collect();
        assert!(!new.is_empty(), "{kind}");
        if kind == "resumed" {
            // The steps before and after the change have settings of their own.
            let more = ["--set=train.epoch_count=2", "--set=schedule.lr_final=0.02"];
            let accept = ["--accept", "schedule.lr_final"];
            ends(case, OLD, &[&["resume", &new[0]][..], &more, &accept].concat(), 0);
        }
        kinds.extend(new.into_iter().map(|name| (kind, name)));
    }
    kinds
}

/// Text files of the records that name the folder of the project.
fn naming(folder: &Path, place: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            naming(&path, place, found);
        } else if fs::read(&path).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(place))
        {
            found.push(path.display().to_string());
        }
    }
}

#[test]
fn every_command_works_on_every_run_of_a_moved_project() {
    let case = project();
    let runs = make_runs(&case);
    let mut naming_it = Vec::new();
    let place = case.path(OLD).canonicalize().expect("a folder");
    naming(&place.join("runs"), &place.to_string_lossy(), &mut naming_it);
    assert_eq!(naming_it, Vec::<String>::new(), "records name the place of the project");

    fs::create_dir_all(case.path(NEW).parent().expect("a folder")).expect("a folder");
    fs::rename(case.path(OLD), case.path(NEW)).expect("moved");
    let new = |arguments: &[&str], code| ends(&case, NEW, arguments, code);
    for (kind, run) in &runs {
        let run = run.as_str();
        let out = format!("{run}-out");
        let of_kind: &[&str] = match *kind {
            INCIDENT => &["incident show RUN/1"],
            "full" => &["export RUN --to gguf --out OUT.gguf"],
            "lora" => &[
                "merge RUN",
                "export RUN --to hf --out OUT",
                "export RUN --to peft --out OUT.peft",
            ],
            _ => &[
                "merge RUN",
                "state info RUN",
                "mount RUN --for ai00 --out OUT",
                "export RUN --to gguf --out OUT.gguf",
            ],
        };
        let trained: &[&str] = if *kind == INCIDENT { &[] } else { &OF_TRAINED };
        for command in OF_EVERY_RUN.iter().chain(of_kind).chain(trained) {
            let command = command.replace("RUN", run).replace("OUT", &out);
            new(&command.split(' ').collect::<Vec<&str>>(), 0);
        }
        let compared = case.statetune_in(NEW, &["diff", &runs[0].1, run], &[]);
        assert!(compared.code <= Some(1), "{kind}: {compared:?}"); // 1: the runs differ
        if *kind == INCIDENT {
            new(&["incident", "replay", &format!("{run}/1")], 1); // as bad as before
        }
    }
    for (_, run) in &runs {
        new(&["runs", "rm", run, "--yes"], 0);
    }
}
