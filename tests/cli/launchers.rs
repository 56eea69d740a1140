//! Devices that a launcher starts: how they meet, what they compare, and what ends them.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use statetune_engine::train::{Group, Place};

use crate::case::{Case, STATE, program};
use crate::devices::{constant, ended, equal, steps, text};
use crate::resume::{signal, wait_until};

/// The program as one of several devices that a launcher started.
pub(crate) fn launched(case: &Case, rank: usize, count: usize, port: u16, more: &[&str]) -> Child {
    device_of_launcher(case, (rank, count), port, more).spawn().expect("the program starts")
}

pub(crate) fn device_of_launcher(
    case: &Case,
    (rank, count): (usize, usize),
    port: u16,
    more: &[&str],
) -> Command {
    let number = |n: usize| n.to_string();
    let mut command = program();
    command
        .current_dir(case.path(""))
        .args(["run", STATE, "--set", "hardware.rdzv_timeout_secs=120"])
        .args(more)
        .envs([
            ("RANK", number(rank)),
            ("LOCAL_RANK", number(rank)),
            ("WORLD_SIZE", number(count)),
            ("LOCAL_WORLD_SIZE", number(count)),
            ("MASTER_ADDR", "127.0.0.1".to_owned()),
            ("MASTER_PORT", port.to_string()),
            ("TORCHELASTIC_RESTART_COUNT", number(0)),
        ])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A port that is free now.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("an address").port()
}

#[test]
fn under_a_launcher_no_process_is_started_and_one_speaks() {
    let case = Case::new();
    let port = free_port();
    let devices: Vec<Child> = (0..2).map(|rank| launched(&case, rank, 2, port, &[])).collect();
    let outputs: Vec<Output> = devices.into_iter().map(ended).collect();
    assert!(outputs.iter().all(|output| output.status.code() == Some(0)), "{outputs:?}");
    assert!(text(&outputs[0].stdout).contains("next     statetune generate"), "{outputs:?}");
    assert_eq!(
        (text(&outputs[1].stdout), text(&outputs[1].stderr)),
        (String::new(), String::new())
    );
    let several = case.only_run();
    case.statetune(&["run", STATE]).is_done();
    let one = case.runs().into_iter().find(|run| *run != several).expect("a second run");
    equal(&case, &one, &several);
}

/// As torchrun does: its agent serves the store, ends all devices when one fails, and starts them again with a higher count.
#[test]
fn a_launcher_that_serves_the_store_starts_all_devices_again() {
    let case = constant();
    let place = Place { port: free_port(), ..Place::first_of(2) };
    let (_agent, port) =
        Group::meet(place, Duration::from_secs(5), Arc::default()).expect("a store");
    let start = |restarts: &str, epochs: &str| -> Vec<Child> {
        let device = |rank| {
            let more =
                ["--resume", "auto", "--set", epochs, "--set", "train.accumulate_grad_batches=2"];
            let mut command = device_of_launcher(&case, (rank, 2), port, &more);
            command.env("TORCHELASTIC_USE_AGENT_STORE", "True");
            command.env("TORCHELASTIC_RESTART_COUNT", restarts);
            command.spawn().expect("the program starts")
        };
        (0..2).map(device).collect()
    };
    let devices = start("0", "train.epoch_count=5000");
    wait_until(|| !case.runs().is_empty());
    let run = case.only_run();
    wait_until(|| fs::metadata(case.path(run.join("chain.bin"))).is_ok_and(|file| file.len() > 99));
    signal(&devices[1], "-KILL");
    let [first, _] = devices.try_into().expect("two devices");
    let first = ended(first);
    assert_eq!(first.status.code(), Some(25), "{first:?}");
    let lost = "error[ST5024]: the connection to another device is lost\n";
    assert!(text(&first.stderr).contains(lost), "{first:?}");
    let epochs = format!("train.epoch_count={}", steps(&case, &run) / 2 + 2);
    let outputs: Vec<Output> = start("1", &epochs).into_iter().map(ended).collect();
    assert!(outputs.iter().all(|output| output.status.code() == Some(0)), "{outputs:?}");
    assert_eq!(case.only_run(), run);
    let verified = case.statetune(&["verify", "latest", "--steps", "6"]);
    assert_eq!(verified.code, Some(0), "{verified:?}");
}

#[test]
fn a_device_that_never_comes_is_named() {
    let case = Case::new();
    let first =
        ended(launched(&case, 0, 3, free_port(), &["--set", "hardware.rdzv_timeout_secs=1"]));
    let expected = "\
error[ST5022]: devices 1 and 2 of 3 did not come within 1 s
  |
  = help: see the output of these devices; `hardware.rdzv_timeout_secs` is the time that devices wait for each other
";
    assert_eq!(text(&first.stderr), expected);
    assert_eq!(first.status.code(), Some(25));
    let port = free_port();
    let other = ended(launched(&case, 1, 2, port, &["--set", "hardware.rdzv_timeout_secs=1"]));
    let expected = format!(
        "\
error[ST5022]: device 0 cannot be reached at 127.0.0.1:{port} within 1 s
  |
  = help: see the output of device 0, and check MASTER_ADDR, MASTER_PORT and the firewall between the machines
"
    );
    assert_eq!(text(&other.stderr), expected);
    assert_eq!(other.status.code(), Some(25));
    assert_eq!(case.runs(), Vec::<PathBuf>::new());
}

#[test]
fn a_port_in_use_is_named() {
    let case = Case::new();
    let listener = TcpListener::bind("0.0.0.0:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let output = ended(launched(&case, 0, 2, port, &[]));
    let expected = format!(
        "\
error[ST5022]: port {port}, at which the devices meet, is in use
  |
  = help: set MASTER_PORT to a free port on every device
"
    );
    assert_eq!(text(&output.stderr), expected);
    assert_eq!(output.status.code(), Some(25));
}

#[test]
fn devices_with_other_inputs_are_refused() {
    for (change, code, what, values) in [
        ("settings", 2, "other settings", "device 0: schedule.lr_final = 0.01\n"),
        ("documents", 20, "other documents", "device 0: "),
        ("weights", 21, "other weights", "device 0: "),
        ("suites", 20, "other suites", "device 0: "),
        ("general", 21, "other files of the teacher, or another general text", "device 0: "),
        ("forgetting", 2, "other settings", "device 0: eval.forgetting = false\n"),
        ("strategy", 2, "other settings", "device 0: hardware.strategy = ddp\n"),
    ] {
        let measuring = || {
            Case::new()
                .having("asked.jsonl", "{\"question\": \"Who?\", \"answer\": \"I\"}\n")
                .having("general.txt", "so it is said")
                .with(
                    STATE,
                    "[log]",
                    "[objective]\nkeep = 0.1\n\n[eval]\nsuites = [\"asked.jsonl\"]\ngeneral = \"general.txt\"\n\n[log]",
                )
        };
        let (case, other) = (measuring(), measuring());
        match change {
            "settings" => {
                let text = other.read(STATE).replace("lr_final = 0.01", "lr_final = 0.02");
                other.write(STATE, text);
            }
            "documents" => {
                let text = other.read("data.jsonl").replacen("the", "a", 1);
                other.write("data.jsonl", text);
            }
            "suites" => {
                other.write("asked.jsonl", other.read("asked.jsonl").replace("Who", "What"))
            }
            "general" => other.write("general.txt", "so it is written"),
            "strategy" => other.write(STATE, other.read(STATE) + "strategy = \"zero1\"\n"),
            "forgetting" => {
                let text = other.read(STATE).replace("[eval]", "[eval]\nforgetting = true");
                other.write(STATE, text);
            }
            _ => {
                let mut bytes = fs::read(other.path("base.pth")).expect("a model");
                let at = bytes.windows(4).rposition(|four| four == [0x80, 0x3f, 0x80, 0x3f]);
                bytes[at.expect("ones in bfloat16")] ^= 1;
                other.write("base.pth", bytes);
            }
        }
        let port = free_port();
        let devices = [launched(&case, 0, 2, port, &[]), launched(&other, 1, 2, port, &[])];
        let outputs = devices.map(ended);
        let stderr = text(&outputs[0].stderr);
        let expected = format!("error[ST5023]: device 1 has {what} than device 0\n");
        assert!(stderr.contains(&expected) && stderr.contains(values), "{change}: {outputs:?}");
        for output in &outputs {
            assert_eq!(output.status.code(), Some(code), "{change}: {outputs:?}");
        }
        assert_eq!(text(&outputs[1].stderr), "", "{change}");
        assert_eq!((case.runs(), other.runs()), (Vec::new(), Vec::new()), "{change}");
    }
}
