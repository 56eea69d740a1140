//! Where output goes: full disks, pipes, links, and terminals that obey control characters.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};

use crate::case::{Case, STATE, program};
use crate::terminal::Terminal;

/// A lost answer is never a success.
#[test]
fn standard_output_that_cannot_be_written_is_exit_29() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    for arguments in [
        &["runs", "ls", "--format", "json"][..],
        &["config", "fill", STATE],
        &["schema"],
        &["plan", STATE, "--format", "json"],
        &["diff", "latest", "latest", "--format", "json"],
        &["generate", "latest", "--max-tokens", "2"],
        &["data", "stats", STATE],
        &["explain", "ST1001"],
        &["--help"],
        &["run", "--help"],
        &["--version"],
    ] {
        let full = File::options().write(true).open("/dev/full").expect("Linux has it");
        let mut command = program();
        let output = command.args(arguments).current_dir(case.path("")).stdout(full).output();
        let output = output.expect("it starts");
        let stderr = String::from_utf8(output.stderr).expect("UTF-8");
        let expected = "\
error[ST0301]: cannot write to standard output
  |
  = note: No space left on device (os error 28)";
        assert!(stderr.trim_end().ends_with(expected), "{arguments:?}: {stderr}");
        assert_eq!(output.status.code(), Some(29), "{arguments:?}");
        // A reader that stops early is not an error.
        let line = format!(
            "\"$0\" {} | head -c 1 >/dev/null; exit ${{PIPESTATUS[0]}}",
            arguments.join(" ")
        );
        let mut shell = Command::new("bash");
        shell.args(["-c", &line]).arg(env!("CARGO_BIN_EXE_statetune")).current_dir(case.path(""));
        let ended = shell.env("OMP_NUM_THREADS", "1").stderr(Stdio::null()).status();
        assert_eq!(ended.expect("a shell").code(), Some(0), "{arguments:?}");
    }
}

#[test]
fn out_writes_into_pipes_and_through_links() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let export = case.only_run().join("export/rwkv-1.pth");
    let export = export.to_string_lossy().into_owned();
    for (arguments, start) in [
        (&["report", "latest", "--force", "--out"][..], &b"<!DOCTYPE"[..]),
        (&["export", &export, "--to", "pth", "--force", "--out"][..], &b"PK"[..]),
    ] {
        case.write("far/old.pth", "old");
        let (link, pipe) = (case.path("link.pth"), case.path("pipe.pth"));
        let _ = fs::remove_file(&link);
        let _ = fs::remove_file(&pipe);
        symlink("far/old.pth", &link).expect("a link");
        case.statetune(&[arguments, &["link.pth"]].concat()).is_done();
        assert!(link.symlink_metadata().expect("there").is_symlink(), "a link stays a link");
        let written = fs::read(case.path("far/old.pth")).expect("the target");
        assert!(written.starts_with(start), "{arguments:?}");

        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).expect("the content")
        });
        case.statetune(&[arguments, &["pipe.pth"]].concat()).is_done();
        assert_eq!(reader.join().expect("read").len(), written.len(), "{arguments:?}");
        assert!(!fs::metadata(&pipe).expect("there").is_file());
    }
}

/// Sets the clipboard, the title, and clears the screen.
const STEERING: &str = "\u{1b}]52;c;cm0gLXJm\u{7}\u{1b}]0;title\u{7}\u{1b}[2J";
/// How it is shown.
const SHOWN: &str = "␛]52;c;cm0gLXJm␇␛]0;title␇␛[2J";

#[test]
fn documents_and_notes_do_not_steer_the_terminal() {
    let case = Case::new();
    let lines = case.read("data.jsonl");
    let steering = "\\u001b]52;c;cm0gLXJm\\u0007\\u001b]0;title\\u0007\\u001b[2J";
    let text = lines.replace("\"text\": \"User: ", &format!("\"text\": \"User: {steering}"));
    assert_ne!(text, lines);
    case.write("data.jsonl", text);
    let run = case.statetune(&["run", STATE]);
    let shown = case.statetune(&["data", "show", STATE]);
    let note = case.statetune(&["runs", "note", "latest", STEERING]);
    let details = case.statetune(&["runs", "show", "latest"]);
    for output in [&run, &shown, &note, &details] {
        assert!(!output.is_done().stdout.contains('\u{1b}'), "{output:?}");
    }
    for output in [&shown, &note, &details] {
        assert!(output.stdout.contains(SHOWN), "{output:?}");
    }
}

#[test]
fn generated_text_does_not_steer_a_terminal() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    // A model that has learned an escape is hard to come by: the name of the model is printed on the same way.
    let export = case.only_run().join("export/rwkv-1.pth");
    let name = "a\u{1b}[2Jb.pth";
    fs::copy(case.path(&export), case.path(name)).expect("copied");
    fs::copy(case.path(export.with_extension("json")), case.path("a\u{1b}[2Jb.json"))
        .expect("copied");
    let arguments = "generate \"$(printf 'a\\033[2Jb.pth')\" \"$(printf 'a\\033[2Jb.pth')\" --model base.pth \
                     --tokenizer vocab.txt --max-tokens 2";
    let Some(terminal) = Terminal::run(&case, arguments) else { return };
    terminal.shows("a␛[2Jb.pth: ");
}
