//! Runs on several devices: processes on this machine that write the bits of one process, stop together, and name what went
//! wrong.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};

use serde_json::Value;

use crate::case::{Case, STATE};
use crate::launchers::{free_port, launched};
use crate::resume::{signal, spawn, wait_until};

/// One pass over the documents in each mini-epoch, whose last step reaches into the next pass.
const STEPS: [&str; 2] = ["--set", "train.epoch_steps=pass"];

fn run(case: &Case, devices: usize, more: &[&str]) -> PathBuf {
    let before = case.runs();
    let count = format!("hardware.devices={devices}");
    let arguments = [&["run", STATE, "--set", &count][..], &STEPS, more].concat();
    let output = case.statetune(&arguments);
    output.is_done_with_warnings();
    case.runs().into_iter().find(|run| !before.contains(run)).expect("a new run")
}

/// The files of a run that do not depend on the number of devices, whether they exist or not.
const FILES: [&str; 5] =
    ["chain.bin", "metrics.jsonl", "val_losses.jsonl", "suites.jsonl", "reference.bin"];

/// The events of a run that tell what was measured, without their times.
pub(crate) fn measurements(case: &Case, run: &Path) -> Vec<Value> {
    let events = case.lines(run.join("events.jsonl")).into_iter();
    let told = ["eval", "forgetting", "epoch", "sample"];
    let mut told: Vec<Value> =
        events.filter(|line| told.iter().any(|one| line["event"] == *one)).collect();
    for line in &mut told {
        let removed = line.as_object_mut().expect("an object").remove("time");
        assert!(removed.is_some(), "{line}");
    }
    told
}

/// What does not depend on the number of devices: chain, metrics, measurements, checkpoints, exports.
fn numbers(case: &Case, run: &Path) -> Vec<(String, Vec<u8>)> {
    let mut names = FILES.map(str::to_owned).to_vec();
    let files = |folder: &str| {
        let names = case.list(run.join(folder)).into_iter().filter(|name| !name.ends_with(".json"));
        names.map(|name| format!("{folder}/{name}")).collect::<Vec<_>>()
    };
    names.extend(files("export"));
    for checkpoint in case.list(run.join("ckpt")).into_iter().filter(|name| name.contains("00")) {
        let folder = format!("ckpt/{checkpoint}");
        names.extend(["trainable", "optimizer"].map(|one| format!("{folder}/{one}.safetensors")));
    }
    let content = |name: String| {
        let bytes = fs::read(case.path(run.join(&name))).unwrap_or_default();
        let bytes = match name.ends_with(".st") || name.ends_with(".safetensors") {
            // The order of the metadata differs from process to process.
            true => {
                let (len, rest) = bytes.split_first_chunk().expect("a header");
                rest[u64::from_le_bytes(*len) as usize..].to_vec()
            }
            false => bytes,
        };
        (name, bytes)
    };
    let told = measurements(case, run).iter().map(|line| format!("{line}\n")).collect::<String>();
    let told = ("events.jsonl".to_owned(), told.into_bytes());
    names.into_iter().map(content).chain([told]).collect()
}

#[track_caller]
pub(crate) fn equal(case: &Case, one: &Path, other: &Path) {
    let (one, other) = (numbers(case, one), numbers(case, other));
    assert!(!one[0].1.is_empty() && one.len() > FILES.len() + 4, "{one:?}");
    let names = |numbers: &[(String, Vec<u8>)]| {
        numbers.iter().map(|(name, _)| name.clone()).collect::<Vec<_>>()
    };
    assert_eq!(names(&one), names(&other));
    for ((name, one), (_, other)) in one.iter().zip(&other) {
        assert!(one == other, "{name} differs");
    }
}

/// A case with this method, and a document of several samples, the first of which have no target tokens.
fn case(peft: &str) -> Case {
    let case = match peft {
        "state" => Case::new(),
        _ => Case::new().with(STATE, "type = \"state\"", peft).with(
            STATE,
            "lr_init = 1.0",
            "lr_init = 1e-2",
        ),
    };
    let long = "the cat and the dog and the bird ".repeat(12);
    let silent = format!("{{\"text\": \"User: {long}\\n\\nAssistant: yes\\n\\n\"}}\n");
    let data = format!("{}{silent}", case.read("data.jsonl"));
    case.having("data.jsonl", data)
}

fn same_bits(peft: &str, dataload: &str, accumulate: u32, micro_bsz: u32, counts: &[usize]) {
    let settings = [
        format!("data.dataload={dataload}"),
        format!("train.accumulate_grad_batches={accumulate}"),
        format!("train.micro_bsz={micro_bsz}"),
    ];
    same_bits_with(peft, &settings.each_ref().map(String::as_str), counts);
}

pub fn same_bits_with(peft: &str, settings: &[&str], counts: &[usize]) {
    let settings = [settings, &["data.overlong=split"]].concat();
    same_bits_of(&case(peft), &settings, counts);
}

/// Runs a case with these settings on one device and on others; returns the run on one.
pub fn same_bits_of(case: &Case, settings: &[&str], counts: &[usize]) -> PathBuf {
    let settings = [settings, &["eval.every_steps=1"]].concat();
    let more: Vec<&str> = settings.iter().flat_map(|one| ["--set", *one]).collect();
    let one = run(case, 1, &more);
    for &count in counts {
        let several = run(case, count, &more);
        equal(case, &one, &several);
        let lock = case.read(several.join("lock.toml"));
        let strategy = settings.iter().find_map(|one| one.strip_prefix("hardware.strategy="));
        let strategy = strategy.unwrap_or("ddp"); // few parameters train
        let expected = format!("\ndevices = {count}\nstrategy = \"{strategy}\"\n");
        assert!(lock.contains(&expected), "{lock}");
    }
    assert!(!case.read(one.join("lock.toml")).contains("\ndevices"));
    let diff = case.statetune(&["diff", &one.to_string_lossy(), "latest"]);
    assert_eq!(diff.code, Some(0), "{diff:?}");
    one
}

#[test]
fn state_tuning_on_several_devices_has_the_bits_of_one() {
    same_bits("state", "pad", 3, 2, &[2, 3, 4]);
    same_bits("state", "pack", 1, 2, &[2]);
    same_bits("state", "pad", 5, 1, &[2, 3]);
}

#[test]
fn adapters_on_several_devices_have_the_bits_of_one() {
    same_bits("type = \"lora\"\nrank = 4\ndropout = 0.1", "pad", 3, 2, &[2, 4]);
    same_bits("type = \"lora\"\nrank = 4", "pack", 3, 1, &[3]);
}

#[test]
fn full_tuning_on_several_devices_has_the_bits_of_one() {
    same_bits("type = \"full\"", "pad", 3, 2, &[2]);
    same_bits("type = \"full\"", "pack", 1, 2, &[4]);
}

const ADAPTER: &str = "type = \"lora\"\nrank = 4\ndropout = 0.1";

type Sliced<'a> = (&'a str, [&'a str; 2], &'a [usize]);

fn slices_have_the_bits(cases: &[Sliced<'_>]) {
    for (peft, settings, counts) in cases {
        let settings = [&settings[..], &["train.accumulate_grad_batches=5"]].concat();
        same_bits_with(peft, &settings, counts);
    }
}

/// Moments and gradients in slices: rounds with and without passes left over, chunks, blocks that are computed again.
#[test]
fn slices_have_the_bits_of_one_device() {
    slices_have_the_bits(&[
        ("state", ["hardware.strategy=zero1", "train.micro_bsz=1"], &[3]),
        (ADAPTER, ["hardware.strategy=zero2", "train.grad_cp=true"], &[2]),
        ("type = \"full\"", ["hardware.strategy=zero2", "data.dataload=pad"], &[2]),
    ]);
}

#[test]
#[ignore = "takes a minute; part of `make test-full`"]
fn slices_of_every_strategy_and_method_have_the_bits_of_one_device() {
    slices_have_the_bits(&[
        ("state", ["hardware.strategy=zero1", "data.dataload=pack"], &[2, 4]),
        ("state", ["hardware.strategy=zero2", "train.chunk_ctx=16"], &[2, 3]),
        (ADAPTER, ["hardware.strategy=zero1", "train.chunk_ctx=16"], &[2, 3]),
        ("type = \"full\"", ["hardware.strategy=zero1", "train.grad_cp=true"], &[2, 3]),
        ("type = \"full\"", ["hardware.strategy=zero2", "train.chunk_ctx=16"], &[2, 3]),
    ]);
}

/// A checkpoint is that of one device: a run changes the number of devices and the strategy between its mini-epochs.
#[test]
fn a_run_resumes_on_any_number_of_devices_with_any_strategy() {
    let case = constant().with(STATE, "type = \"state\"", "type = \"full\"");
    let common = ["--set", "train.accumulate_grad_batches=3", "--set", "train.micro_bsz=1"];
    let one = run(&case, 1, &[&common[..], &["--set", "train.epoch_count=4"]].concat());
    let strategy = ["--set", "hardware.strategy=zero1", "--set", "train.epoch_count=1"];
    let other = run(&case, 2, &[&common[..], &strategy].concat());
    let name = other.to_string_lossy().into_owned();
    for (epochs, devices, strategy) in [(2, 3, "zero2"), (3, 1, "zero2"), (4, 2, "zero1")] {
        let settings = [
            format!("train.epoch_count={epochs}"),
            format!("hardware.devices={devices}"),
            format!("hardware.strategy={strategy}"),
        ];
        let settings = settings.iter().flat_map(|one| ["--set", one]);
        let resume = ["resume", &*name];
        let resumed = case.statetune(&resume.into_iter().chain(settings).collect::<Vec<_>>());
        resumed.is_done_with_warnings();
    }
    equal(&case, &one, &other);
}

/// A slice of the moments is lost with its device: the run resumes from the last checkpoint.
#[test]
fn a_killed_device_with_a_slice_costs_the_steps_since_the_checkpoint() {
    let case = constant();
    let (child, run) = long_run_with(&case, 2, &["--set", "hardware.strategy=zero1"]);
    wait_until(|| !case.list(run.join("ckpt")).is_empty());
    kill(children(child.id())[0], "-KILL");
    let output = ended(child);
    let stderr = text(&output.stderr);
    assert!(stderr.contains("the process of device 1 was killed by signal 9\n"), "{stderr}");
    assert_eq!((output.status.code(), stderr.matches("error[").count()), (Some(25), 1));
    let last = case.read(run.join("ckpt/last"));
    assert!(last.starts_with("epoch-"), "{last}");
    continues_to_the_bit(&case, &run, 3);
}

/// A learning rate that a range test finds, and a step with an infinite loss that the run goes back from.
#[test]
fn found_rates_and_skipped_steps_are_those_of_one_device() {
    let case = Case::new().with(STATE, "lr_init = 1.0", "lr_init = \"auto\"");
    let one = run(&case, 1, &[]);
    fs::remove_dir_all(case.path("runs/.cache")).expect("the cache, with the rate that was found");
    let several = run(&case, 2, &["--set", "train.accumulate_grad_batches=1"]);
    equal(&case, &one, &several);

    // An update is too large for float32: the run goes back, and later cannot export what it trained.
    let case = Case::new().with(STATE, "lr_init = 1.0", "lr_init = 1e38");
    let outputs = [1, 3].map(|count| {
        let count = format!("hardware.devices={count}");
        let more =
            ["--set", "guard.nonfinite=rollback", "--set", "train.accumulate_grad_batches=3"];
        case.statetune(&[&["run", STATE, "--set", &count][..], &more].concat())
    });
    assert!(outputs[0].stderr.contains("\nresuming after step 0\n"), "{outputs:?}");
    assert_eq!(outputs[0].stderr, outputs[1].stderr);
    assert_eq!((outputs[0].code, outputs[1].code), (Some(21), Some(21)));
    let runs = case.runs();
    let chains = [0, 1].map(|i| fs::read(case.path(runs[i].join("chain.bin"))).unwrap_or_default());
    assert_eq!(chains[0], chains[1]);
}

#[test]
fn long_samples_in_chunks_on_several_devices_have_the_bits_of_one() {
    let chunks = |dataload| {
        [dataload, "train.chunk_ctx=16", "train.accumulate_grad_batches=3", "train.micro_bsz=2"]
    };
    same_bits_with("state", &chunks("data.dataload=pad"), &[2]);
    same_bits_with("type = \"lora\"\nrank = 4\ndropout = 0.1", &chunks("data.dataload=pack"), &[3]);
}

/// A run of many steps on some devices, that has begun its steps.
pub(crate) fn long_run(case: &Case, devices: usize) -> (Child, PathBuf) {
    long_run_with(case, devices, &[])
}

pub(crate) fn long_run_with(case: &Case, devices: usize, more: &[&str]) -> (Child, PathBuf) {
    let count = format!("hardware.devices={devices}");
    let settings = [
        "run",
        STATE,
        "--set",
        &count,
        "--set",
        "train.epoch_count=5000",
        "--set",
        "train.accumulate_grad_batches=3",
        "--set",
        "checkpoint.epoch_save=2",
    ];
    let child = spawn(case, &[&settings[..], more].concat());
    wait_until(|| !case.runs().is_empty());
    let run = case.only_run();
    wait_until(|| {
        fs::metadata(case.path(run.join("chain.bin"))).is_ok_and(|file| file.len() > 200)
    });
    (child, run)
}

/// The processes that a process has started.
pub(crate) fn children(of: u32) -> Vec<u32> {
    let tasks = fs::read_to_string(format!("/proc/{of}/task/{of}/children")).unwrap_or_default();
    tasks.split_ascii_whitespace().map(|pid| pid.parse().expect("a number")).collect()
}

pub(crate) fn ended(child: Child) -> Output {
    child.wait_with_output().expect("it ends")
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// The timers of the TCP connections of a process, as `/proc/net/tcp` shows them; `00`: none.
fn timers_of_connections(pid: u32) -> Vec<String> {
    let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").flatten();
    let links = files.filter_map(|file| fs::read_link(file.path()).ok());
    let sockets: Vec<String> = links
        .filter_map(|link| Some(link.to_str()?.strip_prefix("socket:[")?.replace(']', "")))
        .collect();
    let tables =
        ["tcp", "tcp6"].map(|table| fs::read_to_string(format!("/proc/{pid}/net/{table}")));
    let lines = tables.iter().flatten().flat_map(|table| table.lines().skip(1));
    let rows = lines.map(|line| line.split_ascii_whitespace().collect::<Vec<_>>());
    // State 01 is a connection; the timer stands before a colon, the socket is the tenth column.
    let ours = rows.filter(|row| row[3] == "01" && sockets.iter().any(|one| one == row[9]));
    ours.map(|row| row[5].split(':').next().unwrap_or_default().to_owned()).collect()
}

/// Steps that a run has recorded.
pub(crate) fn steps(case: &Case, run: &Path) -> u64 {
    case.json(run.join("status.json"))["steps"].as_u64().expect("a number")
}

/// Resumes a run on another number of devices for some mini-epochs, and repeats the whole on one device.
pub(crate) fn continues_to_the_bit(case: &Case, run: &Path, devices: usize) {
    let epochs = steps(case, run) / 2 + 3;
    let count = format!("hardware.devices={devices}");
    let epochs = format!("train.epoch_count={epochs}");
    // A constant rate, so that the length of the run changes no step.
    let resumed = case.statetune(&["resume", "latest", "--set", &count, "--set", &epochs]);
    resumed.is_done_with_warnings();
    let verified = case.statetune(&["verify", &run.to_string_lossy(), "--steps", "6"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

/// A case whose learning rate does not depend on the length of the run.
pub(crate) fn constant() -> Case {
    Case::new().with(STATE, "lr_final = 0.01\n", "").with(
        STATE,
        "lr_init = 1.0",
        "lr_init = 1e-2\nlr_schedule = \"constant\"",
    )
}

#[test]
fn a_signal_stops_all_devices_with_everything_saved() {
    let case = constant();
    let (child, run) = long_run(&case, 3);
    let others = children(child.id());
    assert_eq!(others.len(), 2);
    // The system asks whether the other machines still answer, for each connection.
    let timers = timers_of_connections(child.id());
    assert!(timers.len() >= 4 && !timers.iter().any(|timer| timer == "00"), "{timers:?}");
    signal(&child, "-INT");
    let output = ended(child);
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    let stderr = text(&output.stderr);
    assert_eq!(stderr.matches("stopping and saving everything").count(), 1, "{stderr}");
    assert!(!others.iter().any(|&pid| is_alive(pid)), "a device outlives the run");
    assert_eq!(case.json(run.join("status.json"))["status"], "interrupted");
    continues_to_the_bit(&case, &run, 2);
}

#[test]
fn a_signal_to_another_device_stops_the_run_as_well() {
    let case = constant();
    let (child, run) = long_run(&case, 2);
    let others = children(child.id());
    kill(others[0], "-TERM");
    let output = ended(child);
    assert_eq!(output.status.code(), Some(75), "{}", text(&output.stderr));
    continues_to_the_bit(&case, &run, 1);
}

pub(crate) fn kill(pid: u32, name: &str) {
    let killed = Command::new("kill").args([name, &pid.to_string()]).status();
    assert!(killed.expect("kill is there").success());
}

#[test]
fn a_device_that_is_killed_ends_the_run_and_costs_nothing() {
    let case = constant();
    let (child, run) = long_run(&case, 3);
    let others = children(child.id());
    kill(others[1], "-KILL");
    let output = ended(child);
    let stderr = case.scrub(&text(&output.stderr));
    assert!(
        stderr.contains("error[ST5024]: the process of device 2 was killed by signal 9\n"),
        "{stderr}"
    );
    assert_eq!(stderr.matches("error[").count(), 1, "{stderr}");
    assert_eq!(output.status.code(), Some(25));
    assert!(!others.iter().any(|&pid| is_alive(pid)), "a device outlives the run");
    // The last whole step is saved.
    let last = case.read(run.join("ckpt/last"));
    let position = case.json(run.join("ckpt").join(last.trim()).join("position.json"));
    let chain = fs::metadata(case.path(run.join("chain.bin"))).expect("a chain").len();
    assert_eq!(
        position["position"]["steps"].as_u64().map(|steps| steps * 16),
        Some(chain),
        "{position}"
    );
    continues_to_the_bit(&case, &run, 4);
}

#[test]
fn the_death_of_the_first_device_ends_all() {
    let case = constant();
    let (child, run) = long_run(&case, 3);
    let others = children(child.id());
    signal(&child, "-KILL");
    ended(child);
    wait_until(|| !others.iter().any(|&pid| is_alive(pid)));
    continues_to_the_bit(&case, &run, 2);
}

#[test]
fn doctor_measures_the_exchange_between_devices() {
    let output = Case::new().statetune(&["doctor", "--devices", "3", "--format", "json"]);
    output.is_done();
    let report: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let exchanges = report["exchanges"].as_array().expect("a list");
    let bytes: Vec<_> = exchanges.iter().map(|one| one["bytes"].as_u64()).collect();
    // Layers, heads, and 64 x 64 float32 numbers a head: 0.1B, 1.5B, 7B.
    let states = [12 * 12, 24 * 32, 32 * 64].map(|heads| Some(heads * 64 * 64 * 4));
    assert_eq!(bytes, states);
    for found in exchanges {
        let number = |key: &str| found[key].as_f64().expect("a number");
        assert!(number("secs") > 0.0 && number("devices") == 3.0, "{found}");
        // A pass of 19 exchanges takes 95 % of its time with them.
        assert!((number("pass_secs_of_95_percent") / number("secs") - 19.0).abs() < 1e-9);
    }
    let text = Case::new().statetune(&["doctor", "--devices"]);
    text.is_done();
    let columns = ["rwkv7-7b", "32.0 MiB", "or longer"];
    let is_row = |line: &str| columns.iter().all(|column| line.contains(column));
    assert!(text.stdout.lines().any(is_row), "{text:?}");
    let last = "With such passes 2 devices are at least 1.90 times as fast as one.\n";
    assert!(text.stdout.ends_with(last), "{text:?}");
}

#[test]
fn numbers_of_devices_that_do_not_fit_are_refused() {
    let case = Case::new();
    let nodes = case.statetune(&["run", STATE, "--set", "hardware.num_nodes=2"]);
    assert!(
        nodes.stderr.starts_with("error[ST5021]: `hardware.num_nodes = 2` requires a launcher\n"),
        "{nodes:?}"
    );
    assert_eq!(nodes.code, Some(2));
    let output = ended(launched(&case, 0, 2, free_port(), &["--set", "hardware.devices=3"]));
    let stderr = text(&output.stderr);
    assert!(
        stderr.starts_with(
            "error[ST5021]: the launcher started 2 processes, but the experiment asks for 3 devices\n"
        ),
        "{stderr}"
    );
    assert_eq!(output.status.code(), Some(2));
    let incomplete = case.statetune_with(&["run", STATE], &[("RANK", "0"), ("WORLD_SIZE", "2")]);
    assert!(
        incomplete.stderr.starts_with(
            "error[ST5020]: this process is one of several devices, but `MASTER_ADDR` is not set\n"
        ),
        "{incomplete:?}"
    );
    assert_eq!((incomplete.code, case.runs()), (Some(2), Vec::new()));
}

/// Each device on a machine is a process: what does not fit is refused before any of them starts.
#[test]
fn processes_that_do_not_fit_into_memory_are_refused() {
    let case = Case::new();
    let count =
        ["run", STATE, "--set", "hardware.devices=1024", "--set", "hardware.accelerator=cpu"];
    // Few machines have the memory for 1,024 processes.
    let output = case.statetune_with(&count, &[]);
    assert_eq!(output.code, Some(22), "{output:?}");
    assert!(
        output.stderr.starts_with("error[ST5001]: the run needs about 152.59 GiB"),
        "{output:?}"
    );
    let said = "\
  = note: each of the 1,024 devices on this machine is a process that needs 153 MiB
  = help: lower `hardware.devices`";
    assert!(output.stderr.contains(said), "{output:?}");
    let planned = |devices: &str| {
        let devices = format!("hardware.devices={devices}");
        let plan = ["plan", STATE, "--memory", "250MiB", "--set", &devices];
        case.statetune(&[&plan[..], &["--set", "hardware.accelerator=cpu"]].concat())
    };
    assert_eq!(planned("1").code, Some(0), "{:?}", planned("1"));
    let refused = planned("2");
    assert_eq!(refused.code, Some(22), "{refused:?}");
    assert!(refused.stderr.contains("each of the 2 devices on this machine"), "{refused:?}");
    assert!(
        refused.stdout.contains("2 take the passes of a step in turn (1 pass in a step, 1 wait)")
    );
    let strategies = ["strategy  ddp ", " each", "MiB (chosen), zero1 ", "MiB, zero2 "];
    let is_line = |line: &str| strategies.iter().all(|part| line.contains(part));
    assert!(refused.stdout.lines().any(is_line), "{}", refused.stdout);
    assert!(case.runs().is_empty());
}
