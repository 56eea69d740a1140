//! Disks that are full, folders that cannot be written to, files that change or go, clocks that run backwards and
//! memory that ends while a run works: what was saved stays, the exit code says what it was, the message what to do.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::case::{Case, FULL, IN_ENGLISH, Output, STATE, program};
use crate::resume::{chain_len, signal, spawn, wait_until};

/// Ends a run after its first step, with a checkpoint.
const ONE_STEP: [&str; 2] = ["--set", "guard.max_hours=1e-9"];
const NO_LIMIT: [&str; 2] = ["--set", "guard.max_hours=0"];

/// Runs the program in the folder of the case after `limit`, a command of the shell that sets a limit.
fn limited(case: &Case, limit: &str, arguments: &[&str]) -> Output {
    let output = Command::new("sh")
        .args(["-c", &format!("{limit} && exec \"$0\" \"$@\"")])
        .arg(env!("CARGO_BIN_EXE_statetune"))
        .args(arguments)
        .current_dir(case.path(""))
        .env(IN_ENGLISH.0, IN_ENGLISH.1)
        .env("OMP_NUM_THREADS", "1")
        .output()
        .expect("a shell");
    let text = |bytes| case.scrub(&String::from_utf8(bytes).expect("UTF-8"));
    Output { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// The message of an output, without the progress before it.
fn message(output: &Output) -> &str {
    let start = output.stderr.find("error[").unwrap_or_else(|| panic!("no error: {output:?}"));
    output.stderr[start..].trim_end()
}

/// All files below a folder with their contents.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = entries.collect();
    paths.sort();
    let content = |path: PathBuf| match path.is_dir() {
        true => contents(&path),
        false => vec![(path.clone(), fs::read(&path).expect("a file"))],
    };
    paths.into_iter().flat_map(content).collect()
}

fn chain(case: &Case, run: &Path) -> Vec<u8> {
    fs::read(case.path(run.join("chain.bin"))).expect("a chain")
}

/// An unbroken run of `file`, and the path and the checkpoints of one that stopped after its first step.
fn stopped(case: &Case, file: &str) -> (PathBuf, PathBuf, Vec<(PathBuf, Vec<u8>)>) {
    case.statetune(&["run", file]).is_done();
    let whole = case.only_run();
    assert_eq!(case.statetune(&[&["run", file][..], &ONE_STEP].concat()).code, Some(75));
    let stopped = case.runs().into_iter().find(|run| *run != whole).expect("a second run");
    let saved = contents(&case.path(stopped.join("ckpt")));
    assert_eq!(saved.len(), 5, "a checkpoint of four files, and `last`");
    (whole, stopped, saved)
}

/// A fault leaves the saved files intact, and the resumed run computes the same as an uninterrupted one.
fn resumes_intact(case: &Case, whole: &Path, stopped: &Path, saved: &[(PathBuf, Vec<u8>)]) {
    assert!(contents(&case.path(stopped.join("ckpt"))) == saved, "the checkpoint is another one");
    let export = case.list(stopped.join("export"));
    assert_eq!(export, Vec::<String>::new(), "nothing half-written");
    assert!(case.read(stopped.join("status.json")).contains("\"failed\""));
    let name = stopped.to_string_lossy();
    case.statetune(&[&["resume", &name][..], &NO_LIMIT].concat()).is_done();
    assert!(chain(case, whole) == chain(case, stopped), "the resumed run computes something else");
}

/// A limit on the size of files stands for the disk: writing beyond it is refused in the same way.
#[test]
fn a_full_disk() {
    let case = Case::new();
    let (whole, stopped, saved) = stopped(&case, FULL);
    let name = stopped.to_string_lossy();
    let limit = "trap '' XFSZ && ulimit -f 1000"; // blocks of 512 bytes
    let output = limited(&case, limit, &[&["resume", &name][..], &NO_LIMIT].concat());
    assert_eq!(
        message(&output),
        "\
error[ST4014]: cannot write the weights file `runs/DATE-new-ID/export/rwkv-0.pth`
  |
  = note: File too large (os error 27)
  = help: saved files are intact; fix the problem, then run `statetune resume runs/DATE-new-ID`"
    );
    assert_eq!(output.code, Some(29));
    assert!(!output.stderr.contains("Zip"), "{output:?}");
    resumes_intact(&case, &whole, &stopped, &saved);
}

#[test]
fn memory_that_ends() {
    let case = Case::new();
    let (whole, stopped, saved) = stopped(&case, FULL);
    let name = stopped.to_string_lossy();
    let large = ["--set", "train.micro_bsz=60000", "--accept", "train.micro_bsz"];
    let quiet = ["--allow-oom", "--progress", "none"];
    let arguments = [&["resume", &name][..], &NO_LIMIT, &large, &quiet].concat();
    let output = limited(&case, "ulimit -v 2500000", &arguments);
    let stderr = regex::Regex::new(r"\d+ bytes").expect("an expression");
    assert_eq!(
        stderr.replace(output.stderr.trim_end(), "N bytes"),
        "\
error[ST5005]: out of memory: can't allocate memory: you tried to allocate N bytes
  |
  = help: to use less memory, set `train.grad_cp = true`, lower `train.micro_bsz` and raise `train.accumulate_grad_batches`, or lower `train.head_chunk`
  = help: saved files are intact; fix the problem, then run `statetune resume runs/DATE-new-ID`"
    );
    assert_eq!(output.code, Some(23));
    // The settings of the run are as they were accepted, and are set back.
    let back = ["--set", "train.micro_bsz=4", "--accept", "train.micro_bsz"];
    let arguments = [&["resume", &name][..], &NO_LIMIT, &back].concat();
    assert!(contents(&case.path(stopped.join("ckpt"))) == saved, "the checkpoint is another one");
    case.statetune(&arguments).is_done();
    assert!(
        chain(&case, &whole) == chain(&case, &stopped),
        "the resumed run computes something else"
    );
}

/// From too little for libtorch to enough, a limit on address space ends each command in words and with exit code 23.
#[test]
fn memory_that_ends_at_any_stage() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let commands = [
        &["run", STATE, "--allow-oom", "--progress", "none"][..],
        &["generate", "latest", "--max-tokens", "4"],
        &["data", "prepare", STATE],
    ];
    for mebibytes in [100, 300, 450, 620, 650, 700, 800, 1000, 1400, 2000] {
        for arguments in commands {
            let limit = format!("ulimit -v {}", mebibytes * 1024);
            let output = limited(&case, &limit, arguments);
            let words = "panicked terminate backtrace ST9000 Aborted";
            let wrong = words.split(' ').find(|word| output.stderr.contains(word));
            assert_eq!(wrong, None, "{mebibytes} MiB, {arguments:?}: {}", output.stderr);
            match output.code {
                Some(0) => {}
                Some(23) => assert!(message(&output).starts_with("error[ST5005]: out of memory: ")),
                code => panic!("{mebibytes} MiB, {arguments:?}: {code:?} {}", output.stderr),
            }
        }
    }
}

/// Root can write everywhere: then the program runs as another user.
#[test]
fn a_run_that_cannot_be_written_to() {
    let case = Case::new();
    let (whole, stopped, saved) = stopped(&case, STATE);
    let name = stopped.to_string_lossy();
    let permit = |mode: u32| {
        for folder in ["", "runs", &name, &format!("{name}/ckpt"), &format!("{name}/export")] {
            let permissions = fs::Permissions::from_mode(mode);
            fs::set_permissions(case.path(folder), permissions).expect("a folder of ours");
        }
        for file in [format!("{name}/LOCK"), format!("{name}/status.json")] {
            let permissions = fs::Permissions::from_mode(mode & 0o666);
            fs::set_permissions(case.path(file), permissions).expect("a file of ours");
        }
    };
    permit(0o555);
    let program = |arguments: &[&str]| {
        let mut command = program();
        let ours = fs::metadata(case.path("")).expect("a folder");
        if std::os::unix::fs::MetadataExt::uid(&ours) == 0 {
            command.uid(65534);
        }
        command.args(arguments).current_dir(case.path("")).output()
    };
    let usable = program(&["--version"]);
    let output = program(&[&["resume", &name][..], &NO_LIMIT].concat());
    permit(0o755);
    if !usable.is_ok_and(|output| output.status.success()) {
        println!("skipped: only root can start the program here");
        return;
    }
    let output = output.expect("it starts");
    let stderr = case.scrub(&String::from_utf8(output.stderr).expect("UTF-8"));
    assert_eq!(
        stderr.trim_end(),
        "\
error[ST6001]: cannot write to the run directory: `runs/DATE-tiny-ID/LOCK`
  |
  = note: Permission denied (os error 13)
  = help: free disk space or make the folder writable; files saved before are intact"
    );
    assert_eq!(output.status.code(), Some(29));
    assert!(contents(&case.path(stopped.join("ckpt"))) == saved);
    case.statetune(&[&["resume", &name][..], &NO_LIMIT].concat()).is_done();
    assert!(chain(&case, &whole) == chain(&case, &stopped));
}

/// A run has read its settings and prepared its documents when it begins: what happens to the files afterwards
/// does not reach it. A continued run says that they are another or gone.
#[test]
fn files_that_change_and_go_while_a_run_works() {
    let case = Case::new();
    let long = ["--set", "train.epoch_steps=600", "--set", "train.epoch_count=1"];
    let arguments = [&["run", STATE][..], &long].concat();
    case.statetune(&arguments).is_done();
    let whole = case.only_run();
    let child = spawn(&case, &arguments);
    let mut second = None;
    wait_until(|| {
        second = case.runs().into_iter().find(|run| *run != whole);
        second.as_ref().is_some_and(|run| chain_len(&case, run) > 0)
    });
    let stopped = second.expect("a second run");
    let experiment = case.read(STATE);
    case.write(STATE, experiment.replace("lr_init = 1.0", "lr_init = 0.5"));
    let documents = case.read("data.jsonl");
    fs::remove_file(case.path("data.jsonl")).expect("removed");
    let before = chain_len(&case, &stopped);
    wait_until(|| chain_len(&case, &stopped) > before + 16 * 4);
    signal(&child, "-INT");
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(75), "{output:?}");

    let name = stopped.to_string_lossy();
    let gone = case.statetune(&["resume", &name]);
    assert!(
        gone.stderr.starts_with("error[ST3005]: ") && gone.stderr.contains("data.jsonl"),
        "{}",
        gone.stderr
    );
    assert_eq!(gone.code, Some(20));
    case.write("data.jsonl", documents);
    let edited = [&arguments[..], &["--resume", &name]].concat();
    let edited = case.statetune(&edited);
    assert!(
        edited.stderr.starts_with(
            "error[ST6003]: run `DATE-tiny-ID` cannot continue exactly: 1 setting changed\n  --> state.toml:24:11\n"
        ),
        "{}",
        edited.stderr
    );
    assert_eq!(edited.code, Some(27));
    // `resume` takes the settings that the run recorded.
    case.statetune(&["resume", &name]).is_done();
    assert!(
        chain(&case, &whole) == chain(&case, &stopped),
        "the resumed run computes something else"
    );
}

/// A library that sets the wall clock back by an hour whenever the program reads it.
const BACKWARDS: &str = r#"
#define _GNU_SOURCE
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
static long looks;
int clock_gettime(clockid_t clock, struct timespec *time) {
    int failed = syscall(SYS_clock_gettime, clock, time);
    if (!failed && clock == CLOCK_REALTIME)
        time->tv_sec -= 3600 * __sync_add_and_fetch(&looks, 1);
    return failed;
}
"#;

#[test]
fn a_clock_that_runs_backwards() {
    let case = Case::new().having("backwards.c", BACKWARDS);
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-o", "backwards.so", "backwards.c"])
        .current_dir(case.path(""))
        .stdout(Stdio::null())
        .status();
    assert!(built.expect("a C compiler, which the build needs, too").success());
    let library = case.path("backwards.so");
    let preload = [("LD_PRELOAD", library.to_str().expect("UTF-8"))];
    let arguments = [&["run", STATE][..], &ONE_STEP].concat();
    assert_eq!(case.statetune_with(&arguments, &preload).code, Some(75));
    let arguments = [&["resume", "latest"][..], &NO_LIMIT].concat();
    case.statetune_with(&arguments, &preload).is_done();
    let run = case.only_run();
    let times: Vec<_> = case
        .lines(run.join("events.jsonl"))
        .iter()
        .map(|line| line["time"].as_str().expect("a time").to_string())
        .collect();
    assert!(
        times.windows(2).any(|pair| pair[1] < pair[0]),
        "the clock did run backwards: {times:?}"
    );
    let times = case.lines(run.join("times.jsonl"));
    assert_eq!(times.len(), 4);
    for line in times {
        let number = |key: &str| line[key].as_f64().expect("a number");
        assert!(number("positions_per_s") > 0.0 && number("positions_per_s") < 1e9, "{line}");
        assert!((0.0..=1.0).contains(&number("data_wait")), "{line}");
    }
}

#[test]
fn manual_pages_on_a_full_disk_leave_no_part_of_a_page() {
    let case = Case::new();
    let output = limited(&case, "trap '' XFSZ && ulimit -f 0", &["man", "pages"]);
    assert!(message(&output).starts_with("error[ST0301]: cannot write manual pages"), "{output:?}");
    assert_eq!((output.code, case.list("pages").len()), (Some(29), 0));
    case.statetune(&["man", "pages"]).is_done();
    assert!(case.list("pages").iter().all(|name| name.ends_with(".1")));
}

#[test]
fn init_on_a_full_disk_leaves_no_part_of_a_file() {
    let case = Case::new();
    let init = ["init", "sub", "--yes"];
    let output = limited(&case, "trap '' XFSZ && ulimit -f 0", &init);
    let expected = "error[ST0301]: cannot write `sub/example.jsonl`\n  |\n  = note: File too large (os error 27)";
    assert_eq!((message(&output), output.code), (expected, Some(29)));
    assert_eq!(case.list("sub"), [".statetune"]);
    case.statetune(&init).is_done();
    assert!(case.read("sub/example.jsonl").lines().count() > 1);
}
