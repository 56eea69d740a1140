//! Which existing files the commands that write replace.

use std::fs;

use crate::case::{Case, FULL, STATE, program};

/// The refusal of a file that the command did not make.
fn is_there(file: &str) -> String {
    format!(
        "\
error[ST0122]: `{file}` already exists
  |
  = help: pass another name, or `--force` to replace the file"
    )
}

/// The refusal of a file that the command reads.
fn is_input(file: &str) -> String {
    format!(
        "\
error[ST0206]: `{file}` is an input of this command and would be overwritten
  |
  = help: pass another file: `--out FILE`"
    )
}

/// The whole output of a command that is refused.
#[track_caller]
fn refuses(case: &Case, arguments: &[&str], message: &str) {
    let output = case.statetune(arguments);
    assert_eq!((output.stderr.trim_end(), &*output.stdout), (&*case.scrub(message), ""));
    assert_eq!(output.code, Some(2), "{arguments:?}");
}

#[test]
fn a_command_replaces_no_file_that_it_did_not_make() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run().to_string_lossy().into_owned();
    case.statetune(&["state", "scale", "0.5", "latest", "--out", "half"]).is_done();
    case.write("train.json", "[]");
    let own = format!("{run}/export/rwkv-0");
    let score =
        ["score", "--model", "base.pth", "--text", "data.jsonl", "--tokenizer", "vocab.txt"];
    let before = |file: &str| fs::read(case.path(file)).expect("a file");
    for (arguments, file) in [
        (&["export", "latest", "--to", "pth", "--out", STATE][..], STATE),
        (&["export", "latest", "--to", "st", "--out", "data.jsonl"], "data.jsonl"),
        (&["export", "latest", "--to", "pth", "--out", "train.pth"], "train.json"),
        (&["state", "scale", "0.5", "latest", "--out", "base"], "base.pth"),
        (&["state", "mean", "half.pth", "--out", &own], &format!("{own}.pth")),
        (&["report", "latest", "--out", "data.jsonl"], "data.jsonl"),
        (&["schema", "--write", "data.jsonl"], "data.jsonl"),
        (&[&score[..], &["--grad-out", "vocab.txt"]].concat(), "vocab.txt"),
    ] {
        let content = before(file);
        refuses(&case, arguments, &is_there(file));
        assert_eq!(before(file), content, "{arguments:?}");
    }
    for (arguments, file) in [
        (
            &["export", "half.pth", "--to", "pth", "--like", "base.pth", "--out", "base.pth"][..],
            "base.pth",
        ),
        (&["state", "scale", "0.5", "half.pth", "--out", "half"], "half.pth"),
        (&["state", "scale", "0.5", "half.pth", "--out", "half", "--force"], "half.pth"),
        (&["merge", "latest", "--out", "base.pth", "--force"], "base.pth"),
        (&["export", "latest", "--to", "pth", "--out", "base.pth"], "base.pth"),
        (&["export", "latest", "--to", "pth", "--out", "base.pth", "--force"], "base.pth"),
    ] {
        let content = before(file);
        refuses(&case, arguments, &is_input(file));
        assert_eq!(before(file), content, "{arguments:?}");
    }
    let message = "error[ST0122]: `data.jsonl` already exists\n  |\n  = help: choose another name; existing \
                   files are never replaced";
    refuses(&case, &["run", STATE, "--run-file", "data.jsonl"], message);
    refuses(&case, &["resume", "latest", "--run-file", "data.jsonl"], message);
}

#[test]
fn a_command_replaces_what_it_made_earlier_and_anything_with_force() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let score =
        ["score", "--model", "base.pth", "--text", "data.jsonl", "--tokenizer", "vocab.txt"];
    for arguments in [
        &["export", "latest", "--to", "pth", "--out", "a.pth"][..],
        &["export", "latest", "--to", "st"],
        &["state", "scale", "0.5", "latest", "--out", "half"],
        &["report", "latest", "--out", "report.html"],
        &["schema", "--write", "schema.json"],
        &["merge", "latest", "--out", "merged.pth"],
        &["merge", "latest"],
        &["mount", "latest", "--for", "ai00"],
        &["mount", "latest", "--for", "rwkv-pip", "--out", "mounted"],
        &[&score[..], &["--grad-out", "g.st"]].concat(),
    ] {
        case.statetune(arguments).is_done();
        case.statetune(arguments).is_done();
    }
    for arguments in [
        &["export", "latest", "--to", "pth", "--out", "data.jsonl", "--force"][..],
        &["report", "latest", "--out", "data.jsonl", "--force"],
        &["schema", "--write", "data.jsonl", "--force"],
        &["export", "latest", "--to", "pth", "--out", "/dev/stdout"],
        &["export", "latest", "--to", "pth", "--out", "/dev/null"],
        &["schema", "--write", "/dev/null"],
    ] {
        let output = program().current_dir(case.path("")).args(arguments).output();
        let output = output.expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {output:?}");
    }
}

#[test]
fn the_base_model_of_a_run_is_its_input_though_it_was_exported_itself() {
    let case = Case::new();
    case.statetune(&["run", FULL]).is_done();
    case.statetune(&["export", "latest", "--to", "pth", "--out", "tuned.pth"]).is_done();
    let further = ["run", FULL, "--set", "model.load_model=tuned.pth", "--unset", "model.n_layer"];
    case.statetune(&[&further[..], &["--unset", "model.n_embd"]].concat()).is_done();
    let export = ["export", "latest", "--to", "pth", "--out", "tuned.pth", "--force"];
    refuses(&case, &export, &is_input("tuned.pth"));
}
