//! Records and checkpoints that are damaged, removed or moved, what people keep in a run directory, and inputs that
//! change while a run works.

use std::fs::{self, File};
use std::io::{Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use crate::case::{Case, Output, STATE, program};
use crate::resume::{chain_len, same_numbers, spawn, wait_until};

/// Ends a run after its first step, with a checkpoint.
const ONE_STEP: [&str; 2] = ["--set", "guard.max_hours=1e-9"];
const NO_LIMIT: [&str; 2] = ["--set", "guard.max_hours=0"];

/// A run that stopped after its first step.
fn stopped(case: &Case) -> PathBuf {
    assert_eq!(case.statetune(&[&["run", STATE][..], &ONE_STEP].concat()).code, Some(75));
    case.only_run()
}

fn resume(case: &Case, run: &Path) -> Output {
    case.statetune(&[&["resume", &run.to_string_lossy()][..], &NO_LIMIT].concat())
}

/// Changes a bit of a byte in the middle of a file.
fn flip(case: &Case, file: impl AsRef<Path>) {
    let path = case.path(file);
    let mut bytes = fs::read(&path).expect("a file");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(path, bytes).expect("written");
}

#[test]
fn half_an_event_does_not_break_the_record() {
    let case = Case::new();
    let run = stopped(&case);
    let events = case.path(run.join("events.jsonl"));
    let add = |text: &[u8]| {
        let mut file = File::options().append(true).open(&events).expect("the events");
        file.write_all(text).expect("written");
    };
    add("{\"event\":\"fail ü".as_bytes().split_last().expect("bytes").1);
    resume(&case, &run).is_done();
    let name = run.to_string_lossy();
    assert!(case.lines(run.join("events.jsonl")).iter().any(|line| line["event"] == "resume"));
    // Earlier versions appended behind it.
    add(b"{\"event\":\"fail{\"event\":\"resume\"}\n");
    for command in [&["report", &name][..], &["diff", &name, &name], &["verify", &name]] {
        case.statetune(command).is_done();
    }
}

#[test]
fn a_damaged_checkpoint_is_named_and_never_counts_as_none() {
    for (file, problem) in [
        ("position.json", "the content does not match `digests.json`"),
        ("trainable.safetensors", "the content does not match `digests.json`"),
        ("optimizer.safetensors", "the content does not match `digests.json`"),
    ] {
        let case = Case::new();
        let run = stopped(&case);
        let folder = run.join("ckpt/step-0000001");
        flip(&case, folder.join(file));
        let before = case.read(run.join("metrics.jsonl"));
        let output = resume(&case, &run);
        let place = "runs/DATE-tiny-ID/ckpt/step-0000001";
        let expected = format!(
            "\
error[ST6005]: {place}/{file}: {problem}
  |
  = help: restore the file from a copy, or move the folder `{place}` elsewhere to resume from an earlier checkpoint"
        );
        let start = output.stderr.find("error[").unwrap_or_else(|| panic!("{output:?}"));
        assert_eq!(output.stderr[start..].trim_end(), expected);
        assert_eq!(output.code, Some(27));
        assert_eq!(case.read(run.join("metrics.jsonl")), before, "the records are as they were");
        // Nothing removes it, even of a run that was killed or failed.
        let status = case.read(run.join("status.json")).replace("interrupted", "done");
        let status =
            status.replace("\"done\"", "\"failed\", \"message\": \"x\", \"code\": \"ST0000\"");
        case.write(run.join("status.json"), status);
        case.statetune(&["runs", "prune", "--yes"]).is_done();
        assert!(case.path(&folder).exists(), "{file}");
        // Without a digest, as earlier versions wrote checkpoints, a file that cannot be read is named, too.
        if file == "position.json" {
            fs::remove_file(case.path(folder.join("digests.json"))).expect("removed");
            case.write(folder.join(file), "{");
            assert_eq!(resume(&case, &run).code, Some(27));
            let shown = case.statetune(&["runs", "show", "latest"]);
            assert!(shown.stdout.contains("checkpoint  step-0000001: damaged\n"), "{shown:?}");
        }
    }
}

/// Without what it says of the inputs, a run would resume on others.
#[test]
fn a_damaged_lock_is_named_and_never_counts_as_none() {
    let case = Case::new();
    let run = stopped(&case);
    let lock = case.read(run.join("lock.toml"));
    case.write(run.join("lock.toml"), &lock[..lock.len() / 2]);
    let name = run.to_string_lossy();
    for command in [&["resume", &name, NO_LIMIT[0], NO_LIMIT[1]][..], &["verify", &name]] {
        let output = case.statetune(command);
        let start = "error[ST6042]: runs/DATE-tiny-ID/lock.toml: ";
        assert!(output.stderr.contains(start), "{output:?}");
        assert_eq!(output.code, Some(27));
    }
    case.write(run.join("lock.toml"), lock);
    resume(&case, &run).is_done();
}

#[test]
fn a_run_whose_checkpoints_are_gone_does_not_start_over() {
    let case = Case::new();
    let run = stopped(&case);
    let chain = chain_len(&case, &run);
    fs::rename(case.path(run.join("ckpt")), case.path("elsewhere")).expect("moved");
    fs::create_dir(case.path(run.join("ckpt"))).expect("a folder");
    let output = resume(&case, &run);
    let start = output.stderr.find("error[").unwrap_or_else(|| panic!("{output:?}"));
    assert_eq!(
        output.stderr[start..].trim_end(),
        "\
error[ST6005]: the run `runs/DATE-tiny-ID` saved checkpoint `step-0000001`, but has no checkpoint now
  |
  = help: to start a new run with its settings, run `statetune run --like runs/DATE-tiny-ID`"
    );
    assert_eq!((output.code, chain_len(&case, &run)), (Some(27), chain));
    // A link to another disk is as good as a folder, and is packed.
    fs::remove_dir(case.path(run.join("ckpt"))).expect("empty");
    symlink(case.path("elsewhere"), case.path(run.join("ckpt"))).expect("a link");
    case.statetune(&["runs", "pack", "latest", "--out", "a.run.tar.zst"]).is_done();
    case.statetune(&["runs", "unpack", "a.run.tar.zst", "--runs-dir", "there"]).is_done();
    let there = Path::new("there").join(run.file_name().expect("a name"));
    resume(&case, &there).is_done();
    resume(&case, &run).is_done();
    same_numbers(&case, &run, &there, "epoch-0001");
    // What a link leads to may be gone, or be around it.
    symlink("nowhere", case.path(run.join("broken"))).expect("a link");
    let refused = |out: &str| case.statetune(&["runs", "pack", "latest", "--out", out]);
    assert_eq!(refused("b.run.tar.zst").code, Some(29));
    fs::remove_file(case.path(run.join("broken"))).expect("removed");
    symlink("..", case.path(run.join("circle"))).expect("a link");
    let circle = refused("c.run.tar.zst");
    assert_eq!(circle.code, Some(29));
    assert!(circle.stderr.contains("a link to a folder around it"), "{circle:?}");
}

#[test]
fn resume_removes_nothing_that_people_keep() {
    let case = Case::new();
    let run = stopped(&case);
    let theirs =
        [".git/config", ".notes", "ckpt/.keep", "export/.ipynb_checkpoints/a", "control/b"];
    let ours =
        [".statetune-a1B2c3.tmp", "ckpt/.step-0000003/position.json", "ckpt/.epoch-0009.removed/a"];
    for file in theirs.iter().chain(&ours) {
        case.write(run.join(file), "x");
    }
    resume(&case, &run).is_done();
    assert!(theirs.iter().all(|file| case.path(run.join(file)).exists()));
    assert!(ours.iter().all(|file| !case.path(run.join(file)).exists()));
}

#[test]
fn a_run_with_values_of_another_keeps_them_when_it_is_killed_early() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let first = case.only_run();
    let from = ["run", STATE, "--from", "latest"];
    case.statetune(&from).is_done();
    let whole = case.runs().into_iter().find(|run| *run != first).expect("a second run");
    let first_name = first.to_string_lossy().into_owned();
    let arguments = [&["run", STATE, "--from", &first_name][..], &["--set", "train.epoch_steps=2"]];
    let mut child = spawn(&case, &arguments.concat());
    let mut killed = None;
    wait_until(|| {
        killed = case.runs().into_iter().find(|run| *run != first && *run != whole);
        killed.is_some()
    });
    child.kill().expect("killed");
    child.wait().expect("it ends");
    let killed = killed.expect("a third run");
    let saved = case.list(killed.join("ckpt"));
    assert!(saved.is_empty(), "killed before its first checkpoint: {saved:?}");
    resume(&case, &killed).is_done();
    same_numbers(&case, &whole, &killed, "epoch-0001");
    // Without them the run is refused.
    case.write(killed.join("events.jsonl"), "");
    fs::remove_dir_all(case.path(killed.join("ckpt"))).expect("removed");
    fs::create_dir(case.path(killed.join("ckpt"))).expect("a folder");
    let status = case.read(killed.join("status.json")).replace("\"done\"", "\"interrupted\"");
    case.write(killed.join("status.json"), status);
    let values = case.path(first.join("ckpt/epoch-0001/trainable.safetensors"));
    fs::rename(&values, case.path("moved")).expect("moved");
    assert_eq!(resume(&case, &killed).code, Some(27));
}

/// A run in the background with many steps, after its first ones.
fn working(case: &Case) -> (std::process::Child, PathBuf) {
    let child = spawn(case, &["run", STATE, "--set", "train.epoch_count=2000"]);
    let mut found = None;
    wait_until(|| {
        found = case.runs().into_iter().find(|run| chain_len(case, run) > 64);
        found.is_some()
    });
    (child, found.expect("a run"))
}

#[test]
fn weights_that_change_while_a_run_works_end_it() {
    // The dtype of the file is that of the run: its tensors stay in the file.
    let case = Case::new().with(STATE, "precision = \"fp32\"", "precision = \"bf16\"");
    let (child, run) = working(&case);
    let mut file = File::options().write(true).open(case.path("base.pth")).expect("the weights");
    file.seek(SeekFrom::Start(4096)).expect("a place");
    file.write_all(&[0; 4096]).expect("written");
    drop(file);
    let output = child.wait_with_output().expect("it ends");
    let stderr = case.scrub(&String::from_utf8(output.stderr).expect("UTF-8"));
    let start = stderr.find("error[").unwrap_or_else(|| panic!("{stderr}"));
    assert_eq!(
        stderr[start..].trim_end(),
        "\
error[ST4025]: the weights file `base.pth` changed while the run was using it
  |
  = note: nothing was saved since the change; earlier checkpoints are intact
  = help: restore the original file, then resume the run"
    );
    assert_eq!(output.status.code(), Some(21));
    // The help works when followed.
    let steps = case.json(run.join("status.json"))["steps"].as_u64().expect("steps");
    assert_eq!(resume(&case, &run).code, Some(27), "the weights are still others");
    case.write("base.pth", crate::case::base_model());
    let epochs = format!("train.epoch_count={}", steps / 2 + 2);
    case.statetune(&["resume", "latest", "--set", &epochs]).is_done();
}

#[test]
fn weights_that_are_touched_or_replaced_change_nothing() {
    let case = Case::new().with(STATE, "precision = \"fp32\"", "precision = \"bf16\"");
    let (child, run) = working(&case);
    let file = File::options().write(true).open(case.path("base.pth")).expect("the weights");
    file.set_modified(std::time::SystemTime::now()).expect("touched");
    let before = chain_len(&case, &run);
    wait_until(|| chain_len(&case, &run) > before + 128);
    case.write("other.pth", "another file");
    fs::rename(case.path("other.pth"), case.path("base.pth")).expect("replaced");
    let before = chain_len(&case, &run);
    wait_until(|| chain_len(&case, &run) > before + 128);
    crate::resume::signal(&child, "-INT");
    assert_eq!(child.wait_with_output().expect("it ends").status.code(), Some(75));
}

#[test]
fn weights_that_become_shorter_end_a_run_in_words() {
    let case = Case::new().with(STATE, "precision = \"fp32\"", "precision = \"bf16\"");
    let (child, _) = working(&case);
    let file = File::options().write(true).open(case.path("base.pth")).expect("the weights");
    file.set_len(0).expect("cut");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(stderr.contains("error[ST4025]: "), "{stderr}");
    assert_eq!(output.status.code(), Some(21), "{stderr}");
}

#[test]
fn a_chain_that_is_removed_during_a_run_is_not_begun_anew() {
    let case = Case::new();
    let (child, run) = working(&case);
    fs::remove_file(case.path(run.join("chain.bin"))).expect("removed");
    let output = child.wait_with_output().expect("it ends");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert!(stderr.contains("another program removed or changed the file"), "{stderr}");
    assert_eq!(output.status.code(), Some(29), "{stderr}");
}

#[test]
fn thirty_tags_at_once_are_thirty_tags() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let tag = |i: usize| {
        let mut command = program();
        command.args(["runs", "tag", "latest", &format!("tag{i}")]).current_dir(case.path(""));
        command.stdout(std::process::Stdio::null()).spawn().expect("it starts")
    };
    let children: Vec<_> = (0..30).map(tag).collect();
    for mut child in children {
        assert!(child.wait().expect("it ends").success());
    }
    let marks = case.read(case.only_run().join("marks.toml"));
    assert!((0..30).all(|i| marks.contains(&format!("\"tag{i}\""))), "{marks}");
}

#[test]
fn paths_that_are_not_utf8_are_refused_in_words() {
    use std::os::unix::ffi::OsStrExt as _;
    let case = Case::new();
    let folder = case.path(std::ffi::OsStr::from_bytes(b"bad\xff"));
    fs::create_dir(&folder).expect("a folder");
    for file in [STATE, "data.jsonl", "vocab.txt", "base.pth"] {
        fs::copy(case.path(file), folder.join(file)).expect("copied");
    }
    let from_within = program().args(["run", STATE]).current_dir(&folder).output();
    let from_above = program().arg("run").arg(folder.join(STATE)).output();
    for output in [from_within, from_above] {
        let output = output.expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(stderr.starts_with("error[ST1101]: the path "), "{stderr}");
        assert!(stderr.contains("is not valid UTF-8"), "{stderr}");
        assert_eq!(output.status.code(), Some(2));
    }
}
