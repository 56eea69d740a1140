//! Commands in helps, followed to the letter: they mean the experiment that was given, with its options.

use std::path::Path;
use std::process::Command;

use regex::Regex;

use crate::case::{Case, IN_ENGLISH, Output, STATE};

/// The commands in the helps of a message.
fn commands(stderr: &str) -> Vec<String> {
    let command = Regex::new("`(statetune [^`]*)`").expect("a valid expression");
    let helps = stderr.lines().filter(|line| line.trim_start().starts_with("= help:"));
    helps.flat_map(|line| command.captures_iter(line)).map(|found| found[1].to_owned()).collect()
}

/// A command as a shell runs it.
fn follow(case: &Case, command: &str) -> Output {
    let folder = Path::new(env!("CARGO_BIN_EXE_statetune")).parent().expect("a folder");
    let paths = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", command])
        .current_dir(case.path(""))
        .env(IN_ENGLISH.0, IN_ENGLISH.1)
        .env("OMP_NUM_THREADS", "1")
        .env("PATH", format!("{}:{paths}", folder.display()))
        .output()
        .expect("a shell");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output {
        code: output.status.code(),
        stdout: text(&output.stdout),
        stderr: text(&output.stderr),
    }
}

/// The only command in the helps of `output` that contains `part`.
#[track_caller]
fn the_command(output: &Output, part: &str) -> String {
    let found: Vec<String> =
        commands(&output.stderr).into_iter().filter(|one| one.contains(part)).collect();
    let [one] = &found[..] else { panic!("{part}: {found:?} in {}", output.stderr) };
    one.clone()
}

#[test]
fn helps_about_documents_keep_the_options() {
    let case = Case::new().having(
        "my data.jsonl",
        "{\"text\": \"User: a?\\n\\nAssistant: b\"}\n{\"text\": \"nothing\"}\n",
    );
    let set = "data.data_file=my data.jsonl";
    for command in ["run", "check"] {
        let output = case.statetune(&[command, STATE, "--set", set, "--set", "data.val_split=0"]);
        let show = the_command(&output, "data show");
        assert_eq!(
            show,
            "statetune data show state.toml --set 'data.data_file=my data.jsonl' --set data.val_split=0 --line 2"
        );
        let shown = follow(&case, &show);
        assert_eq!(shown.code, Some(0), "{shown:?}");
        assert!(shown.stdout.contains("nothing"), "{shown:?}");
    }
}

#[test]
fn a_fix_keeps_the_options_that_it_is_about() {
    let case = Case::new();
    case.write("my state.toml", case.read(STATE).replace("micro_bsz", "micro_bs"));
    let output = case.statetune(&["check", "my state.toml", "--set", "train.ctx_len=32"]);
    let fix = the_command(&output, "--fix");
    assert_eq!(fix, "statetune check 'my state.toml' --set train.ctx_len=32 --fix");
    assert_eq!(follow(&case, &fix).code, Some(0));
}

#[test]
fn a_proposal_that_the_file_cannot_hold_is_given_as_options() {
    let case = Case::new();
    let add = Regex::new("= help: add `(.*)` to the command").expect("valid");
    for large in ["--set=train.micro_bsz=8000000", "--set-json=train.micro_bsz=8000000"] {
        let output = case.statetune(&["run", STATE, large]);
        assert_eq!(output.code, Some(22), "{output:?}");
        assert!(commands(&output.stderr).is_empty(), "{}", output.stderr);
        let options = &add.captures(&output.stderr).expect("a help")[1];
        assert!(options.contains("--set train.micro_bsz="), "{options}");
    }
    // In the file it can be held, with the options that are about other keys.
    let case = Case::new().with(STATE, "micro_bsz = 4", "micro_bsz = 8000000");
    let output = case.statetune(&["run", STATE, "--set", "train.epoch_steps=7"]);
    let apply = the_command(&output, "--apply");
    assert_eq!(apply, "statetune plan state.toml --set train.epoch_steps=7 --apply A");
    let applied = follow(&case, &apply);
    assert_eq!(applied.code, Some(0), "{applied:?}");
    assert!(!case.read(STATE).contains("micro_bsz = 8000000"));
}

/// A proposal is measured against the profile with which it was made, and a link to the file stays one.
#[test]
fn a_proposal_is_applied_with_the_profile_that_it_was_made_for() {
    let case = Case::new();
    let text = case.read(STATE) + "\n[profile.large.train]\nmicro_bsz = 8000000\n";
    case.write("kept/state.toml", &text);
    std::os::unix::fs::symlink("../data.jsonl", case.path("kept/data.jsonl")).expect("a link");
    std::fs::remove_file(case.path(STATE)).expect("removed");
    std::os::unix::fs::symlink("kept/state.toml", case.path(STATE)).expect("a link");
    let output =
        case.statetune(&["plan", STATE, "-p", "large", "--apply", "A", "--memory", "2GiB"]);
    assert_eq!(output.code, Some(2), "{output:?}");
    assert!(output.stderr.contains("error[ST5013]"), "{}", output.stderr);
    assert_eq!(case.read(STATE), text);
    let output = case.statetune(&["plan", STATE, "--apply", "A", "--memory", "1MB"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(case.path(STATE).is_symlink());
    assert_ne!(case.read("kept/state.toml"), text);
}

/// The helps for a run that is finished work as they are.
#[test]
fn a_finished_run_is_extended_and_started_from() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let done = follow(&case, "statetune resume latest"); // with the name of the run as it is
    assert_eq!(done.code, Some(27));
    let start = the_command(&done, "--from");
    assert_eq!(follow(&case, &start).code, Some(0), "{start}");
    assert_eq!(case.runs().len(), 2);
    let extend = the_command(&done, "train.epoch_count=3");
    assert_eq!(follow(&case, &extend).code, Some(0), "{extend}");
    assert_eq!(case.runs().len(), 2);
}

#[test]
fn a_resume_that_is_accepted_has_the_settings_that_were_asked_for() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let named = |command: String| command.replace("runs/DATE-tiny-ID", &run.to_string_lossy());
    let settings = || case.read(run.join("resolved.toml"));
    let asked = ["--set=schedule.lr_init=0.5", "--set=train.epoch_count=3"];
    let output = case.statetune(&[&["resume", "latest"], &asked[..]].concat());
    let accept = named(the_command(&output, "--accept"));
    let done = follow(&case, &accept);
    assert_eq!(done.code, Some(0), "{accept}: {done:?}");
    assert!(settings().contains("lr_init = 0.5"), "{}", settings());
    // The settings of a changed file.
    let case = case.with(STATE, "micro_bsz = 4", "micro_bsz = 2");
    let longer = "--set=train.epoch_count=4";
    let output = case.statetune(&["run", STATE, "--resume", "latest", longer]);
    let accept = named(the_command(&output, "--accept"));
    let done = follow(&case, &accept);
    assert_eq!(done.code, Some(0), "{accept}: {done:?}");
    let settings = case.read(run.join("resolved.toml"));
    assert!(settings.contains("micro_bsz = 2") && settings.contains("epoch_count = 4"));
}

#[test]
fn a_prompt_in_the_place_of_a_run_keeps_the_options() {
    let case = Case::new();
    case.statetune(&["run", STATE, "--runs-dir", "my runs"]).is_done();
    let arguments = [
        "generate",
        "it's a text",
        "--runs-dir",
        "my runs",
        "--max-tokens",
        "2",
        "--temperature=0",
    ];
    let output = case.statetune(&arguments);
    let generate = the_command(&output, "generate");
    let done = follow(&case, &generate);
    assert_eq!(done.code, Some(0), "{generate}: {done:?}");
}

/// Where no comment can stand above the value, none is proposed.
#[test]
fn a_value_of_the_command_line_cannot_be_silenced_by_a_comment() {
    let case = Case::new();
    let with = |set: &str| case.statetune(&["check", STATE, "--set", set]).stderr;
    let of_file = Case::new().with(
        STATE,
        "lr_init = 1.0\nlr_final = 0.01",
        "lr_init = 1e-5\nlr_final = 1e-6",
    );
    let of_file = of_file.statetune(&["check", STATE]).stderr;
    assert!(of_file.contains("silence with `# statetune: allow("), "{of_file}");
    let of_option = with("schedule.lr_init=1e-5");
    assert!(of_option.contains("warning["), "{of_option}");
    assert!(!of_option.contains("silence with"), "{of_option}");
}

/// A message about a value of the command line points at that value, and speaks of no line of the file.
#[test]
fn messages_about_options_are_about_options() {
    let case = Case::new();
    for (set, message) in [
        ("model.tokenizer=world", "--set model.tokenizer=world"),
        ("train.ctx_lenn=64", "did you mean `ctx_len`?"),
        ("model.n_layer=12", "but the experiment says 12"),
        ("schedule.decay_share=0.2", "= help: delete the setting, or set `lr_schedule = \"wsd\"`"),
    ] {
        let output = case.statetune(&["check", STATE, "--set", set]);
        assert_ne!(output.code, Some(0), "{output:?}");
        let stderr = output.stderr;
        assert!(stderr.contains(message) && stderr.contains("--> command line"), "{stderr}");
        for of_file in ["in line ", "the line", "the file says", "state.toml:"] {
            assert!(!stderr.contains(of_file), "{set}: {stderr}");
        }
    }
}
