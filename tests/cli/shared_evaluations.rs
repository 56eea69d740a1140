//! Evaluations on several devices, each of which computes a part: the bits of one device, stops, and devices that are gone.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::case::{Case, STATE};
use crate::devices::{children, ended, kill, measurements, same_bits_of, text};
use crate::ends::{is_clean, long_evaluation, with_suites, within_evaluation};
use crate::preferences::{case_of, labelled, pairs};
use crate::resume::{chain_len, same_numbers, signal, spawn, wait_until};

/// General text of short and long documents.
fn general() -> String {
    let line = |i: usize| json!({ "text": "so it is said. ".repeat(1 + i % 3) + &i.to_string() });
    (0..11).map(|i| format!("{}\n", line(i))).collect()
}

/// A case that measures everything, in numbers of batches that no number of devices divides.
fn measuring(case: Case) -> Case {
    let question =
        |i: usize| json!({ "question": format!("How many is {i}?"), "regex": "[aeiou]" });
    let questions = (0..70).map(|i| format!("{}\n", question(i))).collect::<String>();
    let text = |i: usize| json!({ "text": format!("{i} is a number. ").repeat(1 + i % 60) });
    case.having("general.jsonl", general())
        .having("asked.jsonl", format!("{{\"max_tokens\": 2}}\n{questions}"))
        .having("texts.jsonl", (0..60).map(|i| format!("{}\n", text(i))).collect::<String>())
        .with(
            STATE,
            "[log]",
            "[eval]\nsuites = [\"asked.jsonl\", \"texts.jsonl\"]\nforgetting = true\n\
             general = \"general.jsonl\"\n\n[log]",
        )
        .with(STATE, "val_split = 0.2", "val_split = 0.35")
}

#[track_caller]
fn measures_everything(case: &Case, run: &Path) {
    let told = measurements(case, run);
    let of = |event: &'static str| told.iter().filter(move |line| line["event"] == event);
    // Before training, and after each of the steps.
    let evaluations = of("eval").count();
    assert!(evaluations > 2 && of("forgetting").count() == evaluations, "{told:?}");
    let has_all = |line: &serde_json::Value| {
        line["val_loss"].is_number() && line["suites"].as_object().is_some_and(|all| all.len() == 2)
    };
    assert!(of("eval").all(has_all), "{told:?}");
}

#[test]
fn evaluations_on_several_devices_have_the_bits_of_one() {
    for (dataload, micro_bsz, counts) in [("pad", 2, &[3][..]), ("pack", 1, &[2]), ("get", 1, &[3])]
    {
        let case = measuring(Case::new());
        let (dataload, rows) =
            (format!("data.dataload={dataload}"), format!("train.micro_bsz={micro_bsz}"));
        let run = same_bits_of(&case, &[&dataload, &rows], counts);
        measures_everything(&case, &run);
    }
}

#[test]
fn evaluations_of_preferences_on_several_devices_have_the_bits_of_one() {
    for (name, records, count) in [("dpo", pairs(), 3), ("kto", labelled(), 2)] {
        let case = measuring(case_of(name, &records));
        let run = same_bits_of(&case, &["train.micro_bsz=2"], &[count]);
        measures_everything(&case, &run);
        assert!(case.path(run.join("reference.bin")).exists());
    }
}

/// The penalty on general text, whose gradient every device adds to its slice.
#[test]
#[ignore = "takes a minute; part of `make test-full`"]
fn the_penalty_on_general_text_has_the_bits_of_one_device_in_slices() {
    let adapter = "type = \"lora\"\nrank = 4\ndropout = 0.1";
    for (peft, strategy, more, count) in [
        ("type = \"state\"", "zero1", "train.chunk_ctx=16", 3),
        (adapter, "zero2", "train.grad_cp=true", 2),
        ("type = \"full\"", "zero1", "data.dataload=pack", 2),
        ("type = \"full\"", "zero2", "train.chunk_ctx=16", 3),
    ] {
        let case = Case::new().having("general.jsonl", general());
        let case = case.with(STATE, "type = \"state\"", peft);
        let case = match peft.contains("state") {
            true => case,
            false => case.with(STATE, "lr_init = 1.0", "lr_init = 1e-2"),
        };
        let strategy = format!("hardware.strategy={strategy}");
        let settings = [
            &*strategy,
            more,
            "objective.keep=0.5",
            "eval.general=general.jsonl",
            "train.micro_bsz=2",
            "train.accumulate_grad_batches=2",
        ];
        let run = same_bits_of(&case, &settings, &[count]);
        let chain = |run: &Path| fs::read(case.path(run.join("chain.bin"))).expect("a chain");
        let free = [&settings[..2], &["objective.keep=0"], &settings[4..]].concat();
        let free = same_bits_of(&case, &free, &[]);
        assert!(chain(&run) != chain(&free), "the penalty changes nothing");
    }
}

/// A stop within an evaluation that all devices compute, asked of any device in any way.
#[test]
fn an_evaluation_of_several_devices_stops_however_it_is_asked() {
    let case = long_evaluation();
    let one = ["--set=eval.limit=8", "--set=train.epoch_count=1", "--set=train.micro_bsz=1"];
    case.statetune(&[&["run", STATE][..], &one].concat()).is_done();
    let whole = case.only_run();
    for way in ["first", "other", "ctl"] {
        let more = ["--set=train.epoch_count=1", "--set=hardware.devices=2"];
        let (child, run) = within_evaluation(&case, &more);
        let name = run.to_str().expect("UTF-8").to_owned();
        match way {
            "first" => signal(&child, "-INT"),
            "other" => kill(children(child.id())[0], "-TERM"),
            _ => drop(case.statetune(&["ctl", &name, "stop"]).is_done()),
        }
        let output = ended(child);
        is_clean(&output);
        assert_eq!(output.status.code(), Some(75), "{way}: {output:?}");
        let stdout = text(&output.stdout);
        assert!(stdout.contains("stopped after step 0 of 2, everything is saved\n"), "{stdout}");
        assert_eq!(case.list(run.join("ckpt")), ["last", "step-0000000"], "{way}");
        assert_eq!(measurements(&case, &run), Vec::<serde_json::Value>::new(), "{way}");
        let resumed = case.statetune(&["resume", &name, "--set=eval.limit=8"]);
        resumed.is_done_with_warnings();
        same_numbers(&case, &whole, &run, "epoch-0000");
        assert_eq!(measurements(&case, &whole), measurements(&case, &run), "{way}");
        fs::remove_dir_all(case.path(&run)).expect("removed");
    }
}

/// A device that is lost within an evaluation breaks it off: the step before is saved, and the resumed run evaluates.
#[test]
fn a_device_that_is_killed_within_an_evaluation_costs_nothing() {
    let case = with_suites(400);
    let settings = ["--set=sample.held_out=0"];
    case.statetune(&[&["run", STATE][..], &settings].concat()).is_done();
    let whole = case.only_run();
    let epoch = chain_len(&case, &whole) / 2;
    let child =
        spawn(&case, &[&["run", STATE][..], &settings, &["--set=hardware.devices=3"]].concat());
    let other = || case.runs().into_iter().find(|run| *run != whole);
    let is_measuring = |run: &PathBuf| {
        let now = fs::read_to_string(case.path(run.join("now.json"))).unwrap_or_default();
        now.contains("\"suites\"") && chain_len(&case, run) >= epoch
    };
    wait_until(|| other().is_some_and(|run| is_measuring(&run)));
    kill(children(child.id())[1], "-KILL");
    let output = ended(child);
    let stderr = text(&output.stderr);
    let lost = "error[ST5024]: the process of device 2 was killed by signal 9\n";
    assert!(stderr.contains(lost) && stderr.matches("error[").count() == 1, "{stderr}");
    assert_eq!(output.status.code(), Some(25), "{stderr}");
    let run = other().expect("a second run");
    let last = case.read(run.join("ckpt/last"));
    let position = case.json(run.join("ckpt").join(last.trim()).join("position.json"));
    assert_eq!(
        (&position["position"]["steps"], &position["evaluation_due"]),
        (&json!(2), &json!(true)),
        "{position}"
    );
    // Device 0 alone would have measured everything before it missed the device.
    let of_steps = |run: &Path| -> Vec<serde_json::Value> {
        let told = measurements(&case, run).into_iter();
        told.filter(|line| line["event"] == "eval").map(|line| line["steps"].clone()).collect()
    };
    assert_eq!(of_steps(&run), [json!(0)]);
    let name = run.to_string_lossy().into_owned();
    case.statetune(&["resume", &name, "--set=hardware.devices=2"]).is_done_with_warnings();
    same_numbers(&case, &whole, &run, "epoch-0001");
    assert_eq!(measurements(&case, &whole), measurements(&case, &run));
    let suites = |run: &Path| case.read(run.join("suites.jsonl"));
    assert!(suites(&whole) == suites(&run), "suites.jsonl differs");
}
