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

/// A command that writes one file, without the name of the file, and how the file starts.
fn writing(case: &Case) -> Vec<(Vec<String>, &'static [u8])> {
    let export = case.only_run().join("export/rwkv-1.pth");
    let export = export.to_str().expect("UTF-8");
    let model = "--model base.pth --tokens tokens.json";
    let rows: [(String, &[u8]); 15] = [
        ("report latest --force --out".to_owned(), b"<!DOCTYPE"),
        (format!("export {export} --to pth --force --out"), b"PK"),
        (format!("export {export} --to st --force --out"), b""),
        ("export base.pth --to safetensors --force --out".to_owned(), b""),
        (format!("state mean {export} {export} --force --out"), b"PK"),
        (format!("state scale 0.5 {export} --force --out"), b"PK"),
        ("merge latest --states embed --force --out".to_owned(), b"PK"),
        (format!("score {export} {model} --force --grad-out"), b""),
        ("schema --force --write".to_owned(), b"{"),
        (
            "data export state.toml --set data.val_split=0 --to jsonl --force --out".to_owned(),
            b"{\"text\"",
        ),
        (
            "data export data.jsonl --tokenizer vocab.txt --to parquet --force --out".to_owned(),
            b"PAR1",
        ),
        // These replace nothing.
        ("runs pack latest --out".to_owned(), b"\x28\xb5\x2f\xfd"),
        ("import train.sh --out".to_owned(), b""),
        ("config fill state.toml --out".to_owned(), b""),
        ("config minimal state.toml --out".to_owned(), b""),
    ];
    let words = |line: &str| line.split(' ').map(str::to_owned).collect();
    rows.into_iter().map(|(line, start)| (words(&line), start)).collect()
}

/// A run, and what the commands of [`writing`] read.
fn written_case() -> Case {
    let case = Case::new().having("tokens.json", "[1, 2, 3]").having(
        "train.sh",
        "python train.py --load_model base.pth --data_file data.jsonl --peft state",
    );
    case.statetune(&["run", STATE]).is_done();
    case
}

/// Runs the program with `out` as its last argument.
#[track_caller]
fn write_to(case: &Case, arguments: &[String], out: &str) -> crate::case::Output {
    let arguments: Vec<&str> = arguments.iter().map(|one| &**one).chain([out]).collect();
    let output = case.statetune(&arguments);
    assert_eq!(output.code, Some(0), "{arguments:?}: {output:?}");
    output
}

/// Devices and pipes get the content and stay, links lead to the file that is replaced, and standard output has the
/// content alone.
#[test]
fn out_writes_into_pipes_and_devices_and_through_links() {
    let case = written_case();
    for (arguments, start) in writing(&case) {
        let replaces = arguments.contains(&"--force".to_owned());
        let (link, pipe) = (case.path("link.pth"), case.path("pipe.pth"));
        let _ = fs::remove_file(&link);
        let _ = fs::remove_file(&pipe);
        // The names that the program ends itself are those of a file.
        let adds_ending = ["state", "data"].contains(&&*arguments[0]);
        if !adds_ending && replaces {
            case.write("far/old.pth", "old");
            symlink("far/old.pth", &link).expect("a link");
            write_to(&case, &arguments, "link.pth");
            assert!(link.symlink_metadata().expect("there").is_symlink(), "a link stays a link");
            let written = fs::read(case.path("far/old.pth")).expect("the target");
            assert!(written.starts_with(start) && written != b"old", "{arguments:?}");
        }

        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).expect("the content")
        });
        let before = case.list("");
        write_to(&case, &arguments, "pipe.pth");
        let read = reader.join().expect("read");
        assert!(!read.is_empty() && read.starts_with(start), "{arguments:?}");
        assert!(!fs::metadata(&pipe).expect("there").is_file(), "{arguments:?}");
        assert_eq!(case.list(""), before, "{arguments:?}: a file beside the pipe");

        write_to(&case, &arguments, "/dev/null");
        assert!(!fs::metadata("/dev/null").expect("there").is_file());
        assert!(
            fs::read_dir("/dev")
                .expect("a folder")
                .flatten()
                .all(|entry| { !entry.file_name().to_string_lossy().starts_with("null.") })
        );

        let mut command = program();
        command.args(&arguments).arg("/dev/stdout").current_dir(case.path(""));
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        assert_eq!(output.stdout.len(), read.len(), "{arguments:?}: {output:?}");
    }
}

/// Several files do not go into one pipe or device.
#[test]
fn several_files_are_not_written_into_a_device() {
    let case = written_case();
    let outs = ["/dev/null", "/dev/stdout", "pipe"];
    assert!(Command::new("mkfifo").arg(case.path("pipe")).status().expect("mkfifo").success());
    let before = case.list("");
    for out in outs {
        for arguments in [
            &["data", "export", "data.jsonl", "--to", "binidx", "--out", out][..],
            &["data", "export", STATE, "--to", "jsonl", "--set=data.val_split=0.5", "--out", out],
            &["merge", "latest", "--states", "beside", "--out", out],
            &["export", "base.pth", "--tokenizer", "vocab.txt", "--to", "gguf", "--out", out],
        ] {
            let output = case.statetune(arguments);
            let message = format!(
                "error[ST0206]: `{out}` is a device or pipe, and several files are to be written\n  |\n  \
                 = help: pass the name of a file: `--out FILE`\n"
            );
            assert_eq!((&*output.stderr, output.code), (&*message, Some(2)), "{arguments:?}");
        }
        assert_eq!(case.list(""), before);
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
