//! Runs that are stopped, killed, extended or changed, and then resumed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use statetune_core::tensorfile::TensorFile;

use crate::case::{Case, STATE, program};

/// Sixteen steps in eight mini-epochs, all checkpoints kept.
const LONGER: [&str; 6] = [
    "--set",
    "train.epoch_count=8",
    "--set",
    "checkpoint.keep_last=0",
    "--set",
    "sample.held_out=0",
];
/// Kills of one run in the kill test.
const KILLS: usize = 50;

fn run(case: &Case, more: &[&str]) -> crate::case::Output {
    case.statetune(&[&["run", STATE][..], &LONGER, more].concat())
}

/// What two runs that compute the same have in common, byte for byte.
#[track_caller]
pub fn same_numbers(case: &Case, one: &Path, other: &Path, checkpoint: &str) {
    for file in ["chain.bin", &format!("ckpt/{checkpoint}/trainable.safetensors")] {
        let [one, other] = [one, other].map(|run| {
            let path = case.path(run.join(file));
            fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
        });
        assert!(one == other, "{file} differs");
    }
    assert!(case.metrics(one) == case.metrics(other), "metrics.jsonl differs");
}

/// The program in the background.
pub fn spawn(case: &Case, arguments: &[&str]) -> Child {
    program()
        .current_dir(case.path(""))
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts")
}

pub fn signal(child: &Child, name: &str) {
    let pid = child.id().to_string();
    Command::new("kill").args([name, &pid]).status().expect("kill is there");
}

#[test]
fn epoch_begin_continues_bit_for_bit() {
    let case = Case::new();
    run(&case, &[]).is_done();
    let whole = case.only_run();
    let output = run(&case, &["--set", "train.epoch_begin=3"]);
    output.is_done();
    assert!(output.stderr.contains("\nresuming after step 6\n"), "{}", output.stderr);
    let branch = case.runs().into_iter().find(|run| *run != whole).expect("a second run");
    same_numbers(&case, &whole, &branch, "epoch-0007");
    assert_eq!(
        case.list(branch.join("ckpt")),
        ["epoch-0003", "epoch-0004", "epoch-0005", "epoch-0006", "epoch-0007", "last"]
    );
}

#[test]
fn an_extended_run_resumes_with_recomputed_rates() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let done = case.statetune(&["resume", "latest"]);
    assert_eq!(
        done.stderr.trim_end(),
        "error[ST6008]: the run `runs/DATE-tiny-ID` is finished\n  |\n  = help: to train for more mini-epochs, pass their total: `statetune resume runs/DATE-tiny-ID --set train.epoch_count=3`\n  = help: to start a new run from its trained parameters, run `statetune run --like runs/DATE-tiny-ID --from runs/DATE-tiny-ID`"
    );
    assert_eq!(done.code, Some(27));
    // "Two more" would be less than what is done; the run stays as it is.
    let record = case.read(run.join("status.json"));
    let shorter = case.statetune(&["resume", "latest", "--set", "train.epoch_count=1"]);
    assert_eq!(
        (&*shorter.stdout, shorter.stderr.trim_end()),
        (
            "",
            "\
error[ST6010]: `train.epoch_count = 1`, but the run `runs/DATE-tiny-ID` has begun 2 mini-epochs already
  |
  = help: `train.epoch_count` is the total; to train on, run `statetune resume runs/DATE-tiny-ID --set train.epoch_count=3`
  = help: to start a new run from its trained parameters, run `statetune run --like runs/DATE-tiny-ID --set train.epoch_count=1 --from runs/DATE-tiny-ID`"
        )
    );
    assert_eq!((shorter.code, case.read(run.join("status.json"))), (Some(27), record));
    case.statetune(&["resume", "latest", "--set", "train.epoch_count=3"]).is_done();
    let steps: Vec<_> =
        case.lines(run.join("metrics.jsonl")).iter().map(|line| line["step"].clone()).collect();
    assert_eq!(steps, [1, 2, 3, 4, 5, 6]);
    assert!(case.read(run.join("resolved.toml")).contains("epoch_count = 3  # --set\n"));
}

#[test]
fn settings_in_json_and_defaults_may_take_the_place_of_the_run_s() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let arguments = [
        "resume",
        "latest",
        "--set",
        "train.epoch_count=4",
        "--set-json",
        "train.epoch_count=3",
        "--set-json",
        "log.sinks=[\"jsonl\"]",
        "--unset",
        "log.every_steps",
    ];
    case.statetune(&arguments).is_done();
    let resolved = case.read(run.join("resolved.toml"));
    for line in [
        "epoch_count = 3  # --set\n",
        "sinks = [\"jsonl\"]  # --set\n",
        "every_steps = 10  # default\n",
    ] {
        assert!(resolved.contains(line), "{line:?} in {resolved}");
    }
    // What the steps depend on is refused as with `--set`.
    let refused = case.statetune(&["resume", "latest", "--unset", "train.micro_bsz"]);
    assert_eq!(refused.code, Some(27), "{refused:?}");
}

#[test]
fn a_run_with_other_settings_is_not_resumed() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let message = "\
error[ST6003]: run `DATE-tiny-ID` cannot continue exactly: 2 settings changed
 --> command line:1:28
  |
1 | --set schedule.lr_init=0.5
";
    let output = case.statetune(&[
        "resume",
        "latest",
        "--set",
        "schedule.lr_init=0.5",
        "--set",
        "train.micro_bsz=2",
        "--set",
        "train.epoch_count=3",
    ]);
    assert!(
        output.stderr.contains("cannot continue exactly: 2 settings changed"),
        "{} {message}",
        output.stderr
    );
    for note in [
        "`schedule.lr_init` was 1.0 and is now 0.5; every later step would differ",
        "`train.micro_bsz` was 4 and is now 2; every later step would differ",
        "changing `train.epoch_count` from 2 to 3 is allowed",
        "--set schedule.lr_init=0.5 --set train.micro_bsz=2 --set train.epoch_count=3 \
         --accept schedule.lr_init,train.micro_bsz`",
    ] {
        assert!(output.stderr.contains(note), "{}", output.stderr);
    }
    assert_eq!(output.code, Some(27));
    let accepted = case.statetune(&[
        "resume",
        "latest",
        "--set",
        "schedule.lr_init=0.5",
        "--set",
        "train.epoch_count=3",
        "--accept",
        "schedule.lr_init",
    ]);
    accepted.is_done();
    let events = case.read(case.only_run().join("events.jsonl"));
    assert!(events.contains("\"accepted\":[\"schedule.lr_init\"]"), "{events}");
}

#[test]
fn a_run_with_other_data_is_not_resumed() {
    let case = Case::new();
    run(&case, &[]).is_done();
    let data = case.read("data.jsonl").replacen("the", "a", 1);
    case.write("data.jsonl", data);
    let output = run(&case, &["--set", "train.epoch_begin=3"]);
    assert!(
        output
            .stderr
            .contains("error[ST6004]: run `DATE-tiny-ID` cannot continue exactly: data changed\n"),
        "{}",
        output.stderr
    );
    assert_eq!((output.code, case.runs().len()), (Some(27), 1));
}

#[test]
fn no_such_checkpoint() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let output = case.statetune(&["run", STATE, "--set", "train.epoch_begin=7"]);
    assert!(
        output.stderr.contains("error[ST6006]: no run has a checkpoint after mini-epoch 7\n"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.contains("checkpoints of `DATE-tiny-ID`: epoch-0000, epoch-0001"));
    assert_eq!(output.code, Some(27));
}

#[test]
fn a_new_run_begins_with_the_trained_state_of_another() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let first = case.only_run();
    case.statetune(&["run", STATE, "--from", "latest", "--set", "schedule.lr_init=0.1"]).is_done();
    let second = case.runs().into_iter().find(|run| *run != first).expect("a second run");
    let losses = |run: &Path, event: usize| {
        let evals: Vec<_> = case
            .lines(run.join("events.jsonl"))
            .into_iter()
            .filter(|line| line["event"] == "eval")
            .collect();
        evals[event]["val_loss"].as_f64().expect("a loss")
    };
    assert_eq!(losses(&first, 2), losses(&second, 0));
}

#[test]
fn a_run_saves_on_sigint_and_resumes_bit_for_bit() {
    let case = Case::new();
    run(&case, &[]).is_done();
    let whole = case.only_run();
    let many = [&["run", STATE][..], &LONGER].concat();
    let child = spawn(&case, &many);
    let stopped = wait_for_second_run(&case, &whole);
    wait_until(|| {
        fs::read(case.path(stopped.join("chain.bin"))).is_ok_and(|chain| !chain.is_empty())
    });
    signal(&child, "-INT");
    let output = child.wait_with_output().expect("it ends");
    let stdout = String::from_utf8(output.stdout).expect("UTF-8");
    let stderr = String::from_utf8(output.stderr).expect("UTF-8");
    assert_eq!(output.status.code(), Some(75), "{stdout}{stderr}");
    assert!(stderr.contains("stopping and saving everything; interrupt again to stop at once"));
    assert!(stdout.contains("next     statetune resume "), "{stdout}");
    assert!(case.read(stopped.join("status.json")).contains("interrupted"));
    case.statetune(&["resume", "latest"]).is_done();
    same_numbers(&case, &whole, &stopped, "epoch-0007");
}

/// Of two evaluations in a row the second one shows no lower loss, in the middle of a mini-epoch.
#[test]
fn an_early_end_within_a_mini_epoch_is_exported() {
    let case = Case::new();
    let sets = [
        "eval.every_steps=1",
        "eval.patience=1",
        "train.epoch_steps=8",
        "schedule.lr_init=300",
        "export.dtype=fp32",
    ];
    let sets = sets.iter().flat_map(|set| ["--set", set]);
    let arguments: Vec<&str> = ["run", STATE].into_iter().chain(sets).collect();
    let output = case.statetune(&arguments);
    output.is_done();
    let run = case.only_run();
    let last = case.list(run.join("ckpt")).into_iter().rfind(|name| name.starts_with("step-"));
    let steps: u64 = last.expect("a checkpoint")["step-".len()..].parse().expect("a number");
    let ended = format!(
        "stopped early after step {steps}: no evaluation improved within `eval.patience`\n"
    );
    assert!(steps < 8 && output.stdout.contains(&ended), "{output:?}");
    let file = |name: String| TensorFile::open(case.path(run.join(name))).expect("a file");
    let product = file("export/rwkv-0.pth".to_string());
    let saved = file(format!("ckpt/step-{steps:07}/trainable.safetensors"));
    let name = "blocks.1.att.time_state";
    let values = |file: &TensorFile| file.get(name).expect("the state").bytes().into_owned();
    assert!(values(&product) == values(&saved), "the product is that of the last step");
}

#[test]
fn a_run_with_no_step_left_knows_its_last_loss() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    // As if it had been killed after its last checkpoint.
    let status = case.read(run.join("status.json")).replace("\"done\"", "\"interrupted\"");
    case.write(run.join("status.json"), status);
    fs::remove_dir_all(case.path(run.join("export"))).expect("removed");
    fs::create_dir(case.path(run.join("export"))).expect("a folder");
    case.statetune(&["resume", "latest"]).is_done();
    let ends: Vec<_> = case
        .lines(run.join("events.jsonl"))
        .into_iter()
        .filter(|line| line["event"] == "end")
        .map(|line| line["val_loss"].as_f64().expect("a loss"))
        .collect();
    assert!(ends.len() == 2 && ends[0] == ends[1], "{ends:?}");
    assert!(case.path(run.join("export/rwkv-1.pth")).exists());
}

#[test]
fn two_processes_do_not_work_on_one_run() {
    let case = Case::new();
    let arguments = [&["run", STATE][..], &["--set", "train.epoch_count=2000"]].concat();
    let mut child = spawn(&case, &arguments);
    let run = wait_for_second_run(&case, Path::new(""));
    wait_until(|| case.path(run.join("lock.toml")).exists());
    let output = case.statetune(&["resume", "latest"]);
    assert_eq!(
        output.stderr.trim_end(),
        format!(
            "error[ST6007]: another process is using the run `runs/DATE-tiny-ID`\n  |\n  = note: process {} holds its lock: `{}`\n  = help: wait for it to finish, or stop it with `statetune ctl runs/DATE-tiny-ID stop`",
            child.id(),
            command_of(&child)
        )
    );
    assert_eq!(output.code, Some(26));
    child.kill().expect("killed");
    child.wait().expect("it ends");
}

/// Kills the run at random moments, many of them while it writes a checkpoint, and resumes it each time.
#[test]
fn killed_fifty_times_it_computes_the_same() {
    let case = Case::new();
    let long = ["--set", "train.epoch_count=400", "--set", "train.epoch_steps=1"];
    run(&case, &long).is_done();
    let whole = case.only_run();
    let mut rng = rand_chacha::ChaCha8Rng::seed_from_u64(7);
    let arguments = [&["run", STATE, "--resume", "auto"][..], &LONGER, &long].concat();
    let second = || case.runs().into_iter().find(|run| *run != whole);
    let hidden = |run: PathBuf| {
        let names = case.list(run.join("ckpt")).into_iter();
        names.filter(|name| name.starts_with('.')).collect::<Vec<_>>()
    };
    let mut within_checkpoints = 0;
    for _ in 0..KILLS {
        let steps = || second().map_or(0, |run| chain_len(&case, &run));
        let before = steps();
        let mut child = spawn(&case, &arguments);
        // Each life gets at least a step further.
        wait_until(|| steps() > before || child.try_wait().expect("a child").is_some());
        sleep(Duration::from_micros(rng.random_range(0..30_000)));
        child.kill().expect("killed, or ended before");
        child.wait().expect("it ends");
        within_checkpoints += usize::from(second().is_some_and(|run| !hidden(run).is_empty()));
    }
    assert!(within_checkpoints > 0, "no kill came while a checkpoint was written");
    println!("{within_checkpoints} of {KILLS} kills came while a checkpoint was written");
    let last = case.statetune(&arguments);
    assert_eq!(last.code, Some(0), "{last:?}");
    let killed = second().expect("a second run");
    same_numbers(&case, &whole, &killed, "epoch-0399");
    assert_eq!(hidden(killed), Vec::<String>::new());
}

pub fn chain_len(case: &Case, run: &Path) -> u64 {
    fs::metadata(case.path(run.join("chain.bin"))).map_or(0, |file| file.len())
}

/// The command line of a process as a message shows it.
pub fn command_of(child: &Child) -> String {
    let bytes = fs::read(format!("/proc/{}/cmdline", child.id())).expect("a process");
    let line = String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ");
    line.chars().take(120).collect()
}

pub fn wait_until(mut ready: impl FnMut() -> bool) {
    let started = Instant::now();
    while !ready() {
        assert!(started.elapsed() < Duration::from_secs(60), "it never came to it");
        sleep(Duration::from_millis(2));
    }
}

pub fn wait_for_second_run(case: &Case, first: &Path) -> PathBuf {
    let mut found = None;
    wait_until(|| {
        found = case.runs().into_iter().find(|run| run != first);
        found.is_some()
    });
    found.expect("a run")
}
