//! Hostile surroundings: streams that are closed or full, no home, other locales and terminals, clocks before 1970, stopped
//! processes, and folders that go. Never a panic, never exit code 70, never half a file that looks whole.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use crate::case::{Case, IN_ENGLISH, Output, STATE};
use crate::resume::{signal, spawn, wait_until};
use crate::terminal::Terminal;

/// Runs the program by a line of a shell, in which `$P` is the program.
fn by_shell(case: &Case, line: &str) -> Output {
    let output = Command::new("bash")
        .args(["-c", line])
        .env("P", env!("CARGO_BIN_EXE_statetune"))
        .env(IN_ENGLISH.0, IN_ENGLISH.1)
        .env("OMP_NUM_THREADS", "1")
        .current_dir(case.path(""))
        .output()
        .expect("a shell");
    let text = |bytes: Vec<u8>| case.scrub(&String::from_utf8_lossy(&bytes));
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Ended with a documented code, in words of ours.
#[track_caller]
fn is_civil(output: &Output, what: &str) {
    let code = output.code.unwrap_or_else(|| panic!("{what}: killed by a signal: {output:?}"));
    assert!(code < 70 || [75, 129, 130, 143].contains(&code), "{what}: {output:?}");
    for foreign in
        ["panicked", "RUST_BACKTRACE", "terminate called", "ST9000", "PyTorch", "Aborted"]
    {
        let said = [&output.stdout, &output.stderr].iter().any(|text| text.contains(foreign));
        assert!(!said, "{what}: {foreign}: {output:?}");
    }
}

/// The newest exports of a run can be read, and the run.
#[track_caller]
fn is_whole(case: &Case, run: &Path) {
    let mut exports = case.list(run.join("export"));
    exports.retain(|name| name.ends_with(".pth"));
    exports.sort_by_key(|name| (name.len(), name.clone())); // by number
    for export in exports.iter().rev().take(3) {
        let path = run.join("export").join(export);
        let path = path.to_str().expect("UTF-8");
        case.statetune(&["state", "info", path]).is_done();
    }
    case.statetune(&["runs", "show", "latest"]).is_done();
}

/// Commands of each kind, after a run.
const COMMANDS: [&str; 12] = [
    "check state.toml",
    "plan state.toml",
    "run state.toml",
    "runs ls",
    "runs show latest",
    "generate latest --max-tokens 2",
    "eval latest",
    "diff latest latest",
    "report latest --out r.html",
    "explain ST1001",
    "watch latest --once",
    "data stats state.toml",
];

/// The other commands, with the file or folder that a command writes, after a run and its export `EXPORT`.
const OTHERS: [(&str, &str); 43] = [
    (
        "init --data data.jsonl --model base.pth --tokenizer vocab.txt --name mine --yes",
        "mine.toml",
    ),
    ("config show state.toml", ""),
    ("config fill state.toml", ""),
    ("config minimal state.toml", ""),
    ("config diff state.toml full.toml", ""),
    ("cache ls", ""),
    ("watch state.toml --once", ""),
    ("ctl latest save", ""),
    ("runs tag latest good", ""),
    ("runs note latest hello", ""),
    ("runs pin latest", ""),
    ("runs pin latest --off", ""),
    ("runs path latest", ""),
    ("runs prune --yes", ""),
    ("runs pack latest --out a.run.tar.zst", "a.run.tar.zst"),
    ("runs unpack whole.run.tar.zst --runs-dir there", ""),
    ("import train.sh --out imported.toml", "imported.toml"),
    ("presets ls", ""),
    ("schema --write s.json", "s.json"),
    ("completions bash", ""),
    ("man pages", ""),
    ("version", ""),
    ("sweep state.toml --axis schedule.lr_init=1.0,0.5 --runs-dir swept", ""),
    ("resume latest --set train.epoch_count=3", ""),
    ("verify latest", ""),
    ("plan state.toml --prepare", ""),
    ("plan state.toml --measure", ""),
    ("data check state.toml", ""),
    ("data show state.toml --line 1", ""),
    ("data prepare state.toml --runs-dir prepared", ""),
    ("data export state.toml --to binidx --out pair", "pair.idx"),
    ("data export state.toml --to parquet --out a.parquet", "a.parquet"),
    ("chat latest --max-tokens 2 < input.txt", ""),
    ("incident ls latest", ""),
    ("score --tokens tokens.json --model base.pth --grad-out g.safetensors", "g.safetensors"),
    ("export EXPORT.pth --to st --out x.st", "x.st"),
    ("mount latest --for rwkv-pip --out mounted", "mounted"),
    ("merge latest --out merged.pth", "merged.pth"),
    ("state info EXPORT.pth", ""),
    ("state diff EXPORT.pth EXPORT.st", ""),
    ("state mean EXPORT.pth EXPORT.pth --out mean", "mean.pth"),
    ("state scale 0.5 EXPORT.pth --out half", "half.pth"),
    ("doctor", ""),
];
/// What a shell says before a command and after it.
const AROUND: [(&str, &str); 14] = [
    ("", ""),
    ("", ">&- 2>&- <&-"),
    ("", ">/dev/full 2>/dev/full"),
    ("env -u HOME -u XDG_STATE_HOME -u XDG_CACHE_HOME", ""),
    ("env HOME=/dev/null TMPDIR=/nowhere", ""),
    ("env LC_ALL=zh_CN.GB18030 TERM=dumb COLUMNS=20", ""),
    ("ulimit -f 0;", ""),
    ("ulimit -f 8;", ""),
    ("ulimit -n 8;", ""),
    ("ulimit -v 45000;", ""),
    ("ulimit -v 150000;", ""),
    ("ulimit -v 630000;", ""),
    ("ulimit -v 700000;", ""),
    ("ulimit -v 900000;", ""),
];

/// Never a panic, never exit code 70, never a file of a command that did not succeed.
#[test]
#[ignore = "takes ten minutes"]
fn every_command_in_every_surrounding() {
    let case =
        Case::new().having("input.txt", "Hello.\n").having("tokens.json", "[1, 2, 3]").having(
            "train.sh",
            "python train.py --load_model base.pth --data_file data.jsonl --peft state",
        );
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run().to_string_lossy().into_owned();
    case.statetune(&["runs", "pack", &run, "--out", "whole.run.tar.zst"]).is_done();
    let commands = COMMANDS.into_iter().map(|command| (command, ""));
    for (command, file) in commands.chain(OTHERS) {
        let command = command.replace("EXPORT", &format!("{run}/export/rwkv-1"));
        let command = command.replace("latest", &run);
        for (before, after) in AROUND {
            for made in [file, "there", "swept", "prepared", "pages", "r.html"] {
                let path = case.path(made);
                let _ = fs::remove_file(&path);
                let _ = if made.is_empty() { Ok(()) } else { fs::remove_dir_all(&path) };
            }
            let line = format!("{before} \"$P\" {command} {after}");
            let output = by_shell(&case, &line);
            if output.stderr.contains("error while loading shared libraries") {
                continue; // the loader's own words, before ours
            }
            is_civil(&output, &line);
            assert_ne!(output.code, Some(101), "{line}: {output:?}");
            let is_there = !file.is_empty() && case.path(file).exists();
            // The answer is lost, the file is not.
            let is_lost = after.contains(">") && output.code == Some(29);
            assert!(!is_there || output.code == Some(0) || is_lost, "{line}: half of {file}");
            let left = case.list("").into_iter().find(|name| name.starts_with(".statetune-"));
            assert_eq!(left, None, "{line}");
        }
    }
    is_whole(&case, Path::new(&run));
}

#[test]
fn streams_that_are_closed_or_full() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    for command in COMMANDS {
        for streams in
            [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", "2>/dev/full", ">/dev/full 2>/dev/full"]
        {
            let line = format!("\"$P\" {command} {streams}");
            let output = by_shell(&case, &line);
            is_civil(&output, &line);
            // A lost message on standard error does not count; a lost answer does.
            let is_lost = streams.contains(">/dev/full 2");
            match output.code {
                Some(0) => assert!(!is_lost || command.starts_with("report"), "{line}: {output:?}"),
                Some(29) => assert!(is_lost || streams.contains(">&-"), "{line}: {output:?}"),
                _ => panic!("{line}: {output:?}"),
            }
        }
    }
    // Files that the program opens never take the place of a closed stream.
    for run in case.runs() {
        is_whole(&case, &run);
        let text = case.read(run.join("resolved.toml"));
        assert!(text.starts_with('#') || text.starts_with("format"), "{text:.80}");
    }
}

/// Without a home, with one that cannot be written, and with one that does not exist.
#[test]
fn homes() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    fs::create_dir(case.path("home")).expect("a folder");
    fs::set_permissions(case.path("home"), fs::Permissions::from_mode(0o555)).expect("changed");
    let chat = "chat latest --max-tokens 2 <<< Hello";
    for home in
        ["-u HOME -u XDG_STATE_HOME", "HOME=$PWD/home", "HOME=/nowhere", "HOME=", "HOME=/dev/null"]
    {
        for command in COMMANDS.iter().chain([&chat]) {
            let line = format!("env {home} \"$P\" {command}");
            let output = by_shell(&case, &line);
            is_civil(&output, &line);
            assert_eq!(output.code, Some(0), "{line}: {output:?}");
        }
    }
    // Weights of a hub need a place.
    let case = Case::new().with(STATE, "base.pth", "hf://someone/small/base.pth");
    for home in ["-u HOME", "HOME=/dev/null", "HF_HOME=/proc"] {
        let line = format!("env {home} HF_ENDPOINT=http://127.0.0.1:9 \"$P\" run state.toml");
        let output = by_shell(&case, &line);
        is_civil(&output, &line);
        assert_eq!(output.code, Some(21), "{line}: {output:?}");
    }
}

/// Locales that are not UTF-8, and a data file whose name is not.
#[test]
fn locales_and_names() {
    let case = Case::new();
    let odd = OsStr::from_bytes(b"d\xff.jsonl");
    fs::copy(case.path("data.jsonl"), case.path(odd)).expect("copied");
    for locale in ["LC_ALL=C", "LC_ALL=zh_CN.GB18030", "LC_ALL=xx_YY.nonsense", "LANG= LC_ALL="] {
        for command in ["check state.toml", "run state.toml", "generate latest --max-tokens 2"] {
            let line = format!("env {locale} \"$P\" {command}");
            let output = by_shell(&case, &line);
            is_civil(&output, &line);
            assert_eq!(output.code, Some(0), "{line}: {output:?}");
        }
    }
    for command in [
        "data stats $'d\\xff.jsonl'",
        "run state.toml --set data.data_file=$'d\\xff.jsonl'",
        "check $'d\\xff.jsonl'",
        "generate $'\\xff'",
        "generate latest --prompt $'\\xff'",
        "runs note latest $'\\xff'",
        "data export $'d\\xff.jsonl' --to binidx",
        "report latest --out $'\\xff.html'",
        "watch $'\\xff' --once",
    ] {
        let line = format!("\"$P\" {command}");
        is_civil(&by_shell(&case, &line), &line);
    }
}

/// A terminal of twenty columns, one without any abilities, and one without a size.
#[test]
fn small_and_simple_terminals() {
    let case = Case::new();
    for (starter, last) in [
        ("stty cols 20; exec", "next "),
        ("stty cols 1 rows 1; exec", ""),
        ("stty cols 0 rows 0; exec", "next "),
        ("exec env TERM=dumb", "next "),
        ("exec env -u TERM", "next "),
        ("exec env TERM=no-such-terminal", "next "),
    ] {
        let Some(mut terminal) = Terminal::run_in(&case, starter, "run state.toml") else { return };
        let code = terminal.ends();
        let seen = terminal.seen();
        assert_eq!(code, Some(0), "{starter}: {seen}");
        assert!(!seen.contains("panicked"), "{starter}: {seen}");
        if !last.is_empty() {
            terminal.shows(last);
        }
        for command in ["runs ls", "diff latest latest", "--help", "data show state.toml --line 1"]
        {
            let Some(mut terminal) = Terminal::run_in(&case, starter, command) else { return };
            assert_eq!(terminal.ends(), Some(0), "{starter} {command}: {}", terminal.seen());
        }

        let Some(mut terminal) = Terminal::run_in(&case, starter, "watch latest --once") else {
            return;
        };
        assert_eq!(terminal.ends(), Some(0), "{starter} watch: {}", terminal.seen());
    }
    // A conversation, whose line editor needs more of a terminal.
    for starter in ["stty cols 20; exec env", "exec env TERM=dumb"] {
        let starter = format!("{starter} XDG_STATE_HOME=$PWD/state");
        let chat = "chat latest --max-tokens 2";
        let Some(mut terminal) = Terminal::run_in(&case, &starter, chat) else { return };
        wait_until(|| terminal.seen().trim_end().ends_with('>'));
        terminal.press("Hello\r");
        wait_until(|| {
            let seen = terminal.seen();
            seen.contains("Hello") && seen.trim_end().ends_with("\n>")
        });
        terminal.press("\u{4}");
        assert_eq!(terminal.ends(), Some(0), "{starter}: {}", terminal.seen());
    }
}

/// The clock of a machine without a battery, and one that jumps back and forth by years.
const CLOCK: &str = r#"
#define _GNU_SOURCE
#include <time.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static int looks;

int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME && !failed) {
        if (getenv("BEFORE_1970")) time->tv_sec = -86400 * 365 + time->tv_sec % 1000;
        else if (__sync_add_and_fetch(&looks, 1) % 2) time->tv_sec += 86400L * 3650;
    }
    return failed;
}
"#;

#[test]
fn clocks_before_1970_and_clocks_that_jump() {
    let case = Case::new().having("clock.c", CLOCK);
    let build = ["-shared", "-fPIC", "-o", "clock.so", "clock.c"];
    let built = Command::new("cc").args(build).current_dir(case.path("")).status();
    assert!(built.expect("a C compiler, which the build needs, too").success());
    for clock in ["BEFORE_1970=1", "JUMPS=1"] {
        for command in COMMANDS {
            let line = format!("env {clock} LD_PRELOAD=$PWD/clock.so \"$P\" {command}");
            // The run first: the others are about it.
            if command.starts_with("check") {
                let first = format!("env {clock} LD_PRELOAD=$PWD/clock.so \"$P\" run state.toml");
                assert_eq!(by_shell(&case, &first).code, Some(0));
            }
            let output = by_shell(&case, &line);
            is_civil(&output, &line);
            assert_eq!(output.code, Some(0), "{line}: {output:?}");
        }
    }
    for run in case.runs() {
        is_whole(&case, &run);
    }
}

/// A run of many steps, which is under way.
fn under_way(case: &Case) -> (std::process::Child, PathBuf) {
    let many = ["--set=train.epoch_count=4000", "--set=checkpoint.keep_last=1", "--progress=none"];
    let child = spawn(case, &[&["run", STATE][..], &many].concat());
    let mut run = None;
    wait_until(|| {
        run = case.runs().into_iter().next();
        run.as_ref().is_some_and(|run| !case.list(run.join("ckpt")).is_empty())
    });
    (child, run.expect("a run"))
}

/// A stopped process keeps its run: another process is refused, and the run continues.
#[test]
fn a_run_that_is_stopped_and_continued() {
    let case = Case::new();
    let (child, run) = under_way(&case);
    signal(&child, "-STOP");
    sleep(Duration::from_millis(300));
    let name = run.to_str().expect("UTF-8");
    let resume = case.statetune(&["resume", name]);
    assert!(resume.stderr.starts_with("error[ST6007]: "), "{resume:?}");
    is_civil(&case.statetune(&["watch", name, "--once"]), "watch");
    is_civil(
        &by_shell(
            &case,
            &format!("timeout 3 \"$P\" ctl {name} save; [ $? -eq 124 -o $? -eq 143 -o $? -eq 1 ]"),
        ),
        "ctl",
    );
    signal(&child, "-CONT");
    sleep(Duration::from_millis(300));
    signal(&child, "-INT");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(75), "{output:?}");
    is_whole(&case, &run);
}

/// The folder of a run, of all runs, and of the data are removed while the run works.
#[test]
fn folders_that_go_while_a_run_works() {
    for gone in ["runs/RUN", "runs", "runs/RUN/ckpt", "runs/RUN/export", "runs/.cache"] {
        let case = Case::new();
        let (child, run) = under_way(&case);
        let name = run.file_name().expect("a name").to_string_lossy().into_owned();
        let path = case.path(gone.replace("RUN", &name));
        wait_until(|| fs::remove_dir_all(&path).is_ok() || !path.exists());
        sleep(Duration::from_millis(500));
        signal(&child, "-INT");
        let output = child.wait_with_output().expect("it ends");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let output = Output {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        };
        is_civil(&output, gone);
        // A run that lost its files says so, unless it only lost prepared data that it holds open.
        let is_fine = matches!(output.code, Some(75)) && !["runs/RUN", "runs"].contains(&gone);
        assert!(is_fine || matches!(output.code, Some(20 | 29)), "{gone}: {output:?}");
        if output.code != Some(75) {
            assert!(output.stderr.contains("error["), "{gone}: {output:?}");
        }
    }
}

/// From just enough for the program itself to enough for everything, a limit on address space ends each command in words. With less
/// the system ends the program before its first line.
#[test]
fn memory_that_ends_in_every_command() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    // A later run that memory ended may have saved nothing.
    let whole = case.only_run().to_string_lossy().into_owned();
    let program = fs::metadata(env!("CARGO_BIN_EXE_statetune")).expect("the program").len() >> 20;
    for mebibytes in [program + 6, program + 12, program + 25, 150, 610, 680, 760, 900] {
        for command in COMMANDS.iter().filter(|command| !command.starts_with("data")) {
            let kibibytes = mebibytes * 1024;
            let command = command.replace("latest", &whole);
            let line = format!("ulimit -v {kibibytes}; exec \"$P\" {command}");
            let output = by_shell(&case, &line);
            if mebibytes < 100 && output.stderr.contains("error while loading shared libraries") {
                continue; // the loader's own words, before ours
            }
            is_civil(&output, &line);
            assert!(matches!(output.code, Some(0 | 22 | 23)), "{line}: {output:?}");
        }
    }
    for run in case.runs() {
        let whole = case.path(run.join("resolved.toml")).exists();
        assert!(whole, "{} is half a run", run.display());
    }
}

/// A stack that is too small is refused in words, whatever the command.
#[test]
fn a_limit_on_the_stack() {
    let case = Case::new();
    for kibibytes in [64, 128, 256, 512] {
        for command in ["--version", "check state.toml", "run state.toml"] {
            let line = format!("ulimit -s {kibibytes}; exec \"$P\" {command}");
            let output = by_shell(&case, &line);
            assert_eq!(output.code, Some(23), "{line}: {output:?}");
            let said = "error[ST5005]: out of memory: `ulimit -s` allows a stack of ";
            assert!(output.stderr.starts_with(said), "{line}: {output:?}");
        }
    }
    assert!(case.runs().is_empty());
}

/// Before the limit of CPU time a run saves everything and stops, as at a batch system's SIGTERM.
#[test]
fn a_limit_on_cpu_time() {
    for limit in ["-S -t 2", "-t 4"] {
        let case = Case::new();
        let line = format!(
            "ulimit {limit}; exec \"$P\" run state.toml --set train.epoch_count=100000 --set log.every_steps=100"
        );
        let output = by_shell(&case, &line);
        is_civil(&output, &line);
        assert_eq!(output.code, Some(75), "{line}: {output:?}");
        let said = "the limit of CPU time is near (`ulimit -t`)\n\
                    stopping and saving everything; interrupt again to stop at once\n";
        assert!(output.stderr.contains(said), "{line}: {output:?}");
        is_whole(&case, &case.only_run());
    }
}

/// A limit on the size of files is a full disk: the system's signal does not end the process.
#[test]
fn a_limit_on_the_size_of_files() {
    let case = Case::new();
    for kibibytes in [0, 8, 20] {
        let line = format!(
            "ulimit -f {kibibytes}; exec \"$P\" run state.toml --runs-dir runs/{kibibytes}"
        );
        let output = by_shell(&case, &line);
        is_civil(&output, &line);
        assert_eq!(output.code, Some(29), "{line}: {output:?}");
        assert!(output.stderr.contains("File too large"), "{line}: {output:?}");
    }
}

/// In a terminal of 40 columns a setting has a line of its own, and so have its value and its origin.
#[test]
fn settings_in_a_narrow_terminal() {
    let case = Case::new();
    for (columns, shown) in [(40, "\n  from  default"), (130, " default ")] {
        let starter = format!("stty cols {columns}; exec");
        let Some(mut terminal) = Terminal::run_in(&case, &starter, "config show state.toml") else {
            return;
        };
        assert_eq!(terminal.ends(), Some(0), "{}", terminal.seen());
        terminal.shows(shown);
        assert_eq!(terminal.seen().contains('│'), columns == 130, "{}", terminal.seen());
    }
}

/// A vocabulary without an end takes no more memory than the largest one.
#[test]
fn a_vocabulary_without_an_end() {
    let case = Case::new();
    for command in ["run", "plan"] {
        let line = format!(
            "ulimit -v 2000000; exec \"$P\" {command} state.toml --set model.tokenizer=/dev/zero"
        );
        let output = by_shell(&case, &line);
        assert_eq!(output.code, Some(20), "{line}: {output:?}");
        assert!(output.stderr.contains("the file is larger than 64 MiB"), "{line}: {output:?}");
    }
}

/// Devices without an end and pipes without a writer, wherever a file is read, end each command with the code of what is
/// wrong with such a file.
#[test]
#[ignore = "takes minutes"]
fn files_without_an_end() {
    let case = Case::new().having("tokens.json", "[1, 2, 3]");
    assert!(Command::new("mkfifo").arg(case.path("pipe")).status().expect("mkfifo").success());
    let distill = "--set objective.type=distill --set objective";
    let init = "--set peft.init=file --set peft.init_file";
    for file in ["pipe", "/dev/zero"] {
        let mut commands = vec![
            (2, format!("run {file}")),
            (2, format!("check {file}")),
            (2, format!("plan {file}")),
            (2, format!("config show {file}")),
            (2, format!("import {file}")),
            (2, format!("runs unpack {file}")),
            (20, format!("data export {file} --to jsonl --out there")),
            (20, format!("data prepare state.toml --set data.data_file={file}")),
            (20, format!("score --tokens {file} --model base.pth")),
            (20, format!("score --text {file} --model base.pth --tokenizer vocab.txt")),
            (21, format!("score --tokens tokens.json --model {file}")),
            (21, format!("generate --model {file} --tokenizer vocab.txt -p Hi")),
            (20, format!("generate --model base.pth --tokenizer {file} -p Hi")),
            (20, format!("init --data {file} --model base.pth --tokenizer vocab.txt --yes")),
            (21, format!("init --data data.jsonl --model {file} --tokenizer vocab.txt --yes")),
        ];
        for command in ["check", "plan", "run"] {
            let settings = [
                (20, format!("data.data_file={file}")),
                (20, format!("model.tokenizer={file}")),
                (21, format!("model.load_model={file}")),
                (20, format!("eval.suites=[\"{file}\"]")),
            ];
            let of_file = |(code, set)| (code, format!("{command} state.toml --set '{set}'"));
            commands.extend(settings.map(of_file));
        }
        for command in ["check", "run"] {
            commands.push((20, format!("{command} state.toml {distill}.prompt_file={file}")));
            commands.push((21, format!("{command} state.toml {distill}.teacher_model={file}")));
            commands.push((21, format!("{command} state.toml {init}={file}")));
        }
        for (code, command) in commands {
            // A command that waits or reads on is ended with another code.
            let line = format!("timeout 600 \"$P\" {command} </dev/null");
            let output = by_shell(&case, &line);
            assert_eq!(output.code, Some(code), "{line}: {output:?}");
            assert!(output.stderr.starts_with("error["), "{line}: {output:?}");
        }
        assert!(case.runs().is_empty() && !case.list("").contains(&"there.jsonl".to_owned()));
    }
}
