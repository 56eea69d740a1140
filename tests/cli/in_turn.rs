//! `hardware.strategy = "context"`: several devices take the chunks of a sample in turn, with the bits of one.

use crate::case::{Case, STATE};
use crate::devices::{
    children, constant, continues_to_the_bit, ended, is_alive, kill, long_run_with, same_bits_with,
    text,
};

const CHUNKS: [&str; 4] = [
    "hardware.strategy=context",
    "train.chunk_ctx=16",
    "train.grad_cp=true",
    "data.overlong=split",
];

#[test]
fn chunks_in_turn_have_the_bits_of_one_device() {
    let with = |more: &[&'static str]| [&CHUNKS[..], more].concat();
    let pad = with(&["data.dataload=pad", "train.accumulate_grad_batches=3", "train.micro_bsz=2"]);
    same_bits_with("state", &pad, &[2]);
    let pack = with(&["data.dataload=pack", "train.micro_bsz=2"]);
    same_bits_with("type = \"lora\"\nrank = 4\ndropout = 0.1", &pack, &[3]);
}

/// A device is killed; the run continues with other numbers of devices.
#[test]
fn a_killed_device_ends_a_run_of_chunks_and_costs_nothing() {
    let case = constant();
    let more: Vec<&str> = CHUNKS.iter().flat_map(|one| ["--set", *one]).collect();
    let (child, run) = long_run_with(&case, 3, &more);
    let others = children(child.id());
    kill(others[0], "-KILL");
    let output = ended(child);
    let stderr = case.scrub(&text(&output.stderr));
    assert!(
        stderr.contains("error[ST5024]: the process of device 1 was killed by signal 9\n"),
        "{stderr}"
    );
    assert_eq!(stderr.matches("error[").count(), 1, "{stderr}");
    assert_eq!(output.status.code(), Some(25));
    assert!(!others.iter().any(|&pid| is_alive(pid)), "a device outlives the run");
    continues_to_the_bit(&case, &run, 2);
}

#[test]
fn plan_names_what_devices_take_in_turn() {
    let case = Case::new();
    let settings = CHUNKS.iter().flat_map(|one| ["--set", *one]);
    let plan: Vec<&str> = ["plan", STATE, "--prepare", "--set", "hardware.devices=3"]
        .into_iter()
        .chain(settings)
        .collect();
    let output = case.statetune(&plan);
    assert!(output.stdout.contains("3 take the chunks of a sample in turn"), "{output:?}");
    let refused = case.statetune(&["plan", STATE, "--set", "hardware.strategy=context"]);
    assert_eq!(refused.code, Some(2), "{refused:?}");
    assert!(refused.stderr.contains("requires `train.chunk_ctx`"), "{refused:?}");
}
