//! Runs that are repeated: bit for bit the same, or with the reason why not.

use std::fs;

use serde_json::Value;
use statetune_core::records::Lock;

use crate::case::{Case, STATE};

/// Norms learn: libtorch would add their gradients up thread by thread.
const NORMS: [&str; 4] = [
    "--set=peft.type=full",
    "--set=peft.train_parts=['ln']",
    "--set=schedule.lr_init=1e-3",
    "--set=schedule.lr_final=1e-4",
];

fn run(case: &Case, more: &[&str], threads: &str) {
    let arguments = [&["run", STATE, "--set=sample.held_out=0"][..], more].concat();
    case.statetune_with(&arguments, &[("OMP_NUM_THREADS", threads)]).is_done();
}

fn verdict(case: &Case, more: &[&str]) -> Value {
    let output = case.statetune(&[&["verify", "latest", "--format", "json"][..], more].concat());
    assert_eq!(output.stderr.matches("error").count(), 0, "{}", output.stderr);
    let verdict: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let code = if verdict["verdict"] == "differs" { 1 } else { 0 };
    assert_eq!(output.code, Some(code), "{verdict}");
    verdict
}

#[test]
fn a_fresh_run_is_equal_and_other_data_is_named() {
    let case = Case::new();
    run(&case, &[], "1");
    let output = case.statetune(&["verify", "latest", "--steps", "3"]);
    let id =
        case.only_run().to_str().expect("UTF-8").rsplit('-').next().expect("an id").to_string();
    assert_eq!(
        output.stdout.replace(&id, "ID").trim_end(),
        "verify ID tiny, its first 3 steps\nequal             none: all 3 steps are bit-identical"
    );
    assert_eq!(output.code, Some(0));
    assert_eq!(case.runs().len(), 1, "what was run again is gone");

    let other = verdict(&case, &["--set", "train.op=chunk"]);
    assert_eq!((&other["verdict"], &other["steps"]), (&"within tolerance".into(), &4.into()));
    assert_eq!(other["causes"][0]["name"], "train.op", "{other}");
    let strict = verdict(&case, &["--set", "train.op=chunk", "--tolerance", "0"]);
    assert_eq!(strict["verdict"], "differs");
    let batches = verdict(&case, &["--set", "train.micro_bsz=2"]);
    assert_eq!(batches["verdict"], "differs");
    assert_eq!(batches["causes"][0]["name"], "train.micro_bsz", "{batches}");

    let data = case.read("data.jsonl");
    case.write("data.jsonl", data.replacen("there", "you", 1));
    let refused = case.statetune(&["verify", "latest"]);
    assert_eq!((refused.code, &*refused.stdout), (Some(20), ""));
    let digest = regex::Regex::new(r"\([0-9a-f]{8}\)").expect("an expression");
    let digits = regex::Regex::new(r"toml:\d+:13|(?m)^\d+ +\|").expect("an expression");
    let message = digest.replace_all(&refused.stderr, "(#)");
    assert!(
        message.starts_with("error[ST6060]: run `DATE-tiny-ID` cannot be verified: data changed\n"),
        "{message}"
    );
    assert!(digits.is_match(&message), "{message}");
    assert!(
        message.contains("data: was CASE/data.jsonl (#), is now CASE/data.jsonl (#)\n"),
        "{message}"
    );

    fs::remove_file(case.path("data.jsonl")).expect("removed");
    let gone = case.statetune(&["verify", "latest"]);
    assert_eq!(gone.code, Some(20));
    assert!(gone.stderr.contains("error[ST3005]: "), "{}", gone.stderr);
    case.write("data.jsonl", data);

    let mut weights = fs::read(case.path("base.pth")).expect("the base");
    fs::remove_file(case.path("base.pth")).expect("removed");
    assert_eq!(case.statetune(&["verify", "latest"]).code, Some(21));
    weights.truncate(weights.len() / 2);
    case.write("base.pth", weights);
    assert_eq!(case.statetune(&["verify", "latest"]).code, Some(21));
}

#[test]
fn nothing_to_verify_and_nowhere_to_do_it() {
    let case = Case::new();
    run(&case, &[], "1");
    let nowhere = case.statetune_with(&["verify", "latest"], &[("TMPDIR", "nowhere")]);
    let name = regex::Regex::new("\"[^\"]*\"").expect("an expression");
    assert_eq!(
        name.replace(&nowhere.stderr, "NAME"),
        "\
error[ST6062]: cannot create a temporary folder
  |
  = note: No such file or directory (os error 2) at path NAME
"
    );
    assert_eq!((nowhere.code, &*nowhere.stdout), (Some(29), ""));
    fs::remove_file(case.path(case.only_run().join("chain.bin"))).expect("removed");
    let nothing = case.statetune(&["verify", "latest"]);
    let message = "error[ST6061]: the run `DATE-tiny-ID` has no steps to compare with\n";
    assert_eq!((&*nothing.stderr, nothing.code), (message, Some(2)));
}

/// Every method whose gradients are sums over many positions, with another number of threads.
#[test]
fn the_number_of_threads_changes_no_bit() {
    let lora =
        ["--set=peft.type=lora", "--set=schedule.lr_init=1e-3", "--set=train.precision=bf16"];
    let packed = [&lora[..], &["--set=quant.type=int8", "--set=train.grad_cp=true"]].concat();
    let half = ["--set=train.precision=fp16"];
    for settings in [&[][..], &half, &packed, &NORMS] {
        let case = Case::new();
        let with = |threads: &'static str| [settings, &[threads]].concat();
        run(&case, &with("--set=hardware.threads=1"), "1");
        for threads in ["--set=hardware.threads=2", "--set=hardware.threads=3"] {
            let verified = case.statetune(&["verify", "latest", threads]);
            assert!(verified.stdout.contains("are bit-identical"), "{}", verified.stdout);
        }
        run(&case, &with("--set=hardware.threads=3"), "1");
        let mut locked: Vec<_> = case
            .runs()
            .iter()
            .map(|run| {
                let lock = Lock::load(&case.path(run)).expect("a lock");
                let status = fs::read_to_string(case.path(run.join("status.json")));
                let status: Value = serde_json::from_str(&status.expect("a status")).expect("JSON");
                (lock.threads, status["identity"].to_string())
            })
            .collect();
        locked.sort();
        let [one, other] = &locked[..] else { panic!("two runs: {locked:?}") };
        assert_eq!([one.0, other.0], [1, 3]);
        assert_eq!(one.1, other.1, "the identity does not depend on it either");
    }
}

#[test]
fn a_run_that_began_with_values_is_verified_from_them() {
    let case = Case::new();
    run(&case, &[], "1");
    let first = case.only_run();
    run(&case, &["--from", first.to_str().expect("UTF-8")], "1");
    assert_eq!(verdict(&case, &[])["verdict"], "equal");
}

/// A run is resumed with other settings; `verify` repeats its first steps with the settings they had.
#[test]
fn the_steps_before_a_change_are_verified_with_their_own_settings() {
    let case = Case::new();
    run(&case, &[], "1");
    let path = case.only_run();
    let file = |name: &str| case.read(path.join(name));
    let began = file("resolved.toml");
    assert_eq!(
        file("overrides.toml"),
        "# set over the experiment file\n\n[sample]\nheld_out = 0  # --set\n"
    );
    let longer = ["--set=train.epoch_count=4", "--set=schedule.lr_init=0.5"];
    let resume = [&["resume", "latest"][..], &longer, &["--accept=schedule.lr_init"]].concat();
    case.statetune(&resume).is_done();
    assert_eq!(
        file("overrides.toml"),
        "\
# set over the experiment file

[train]
epoch_count = 4  # --set

[schedule]
lr_init = 0.5  # --set

[sample]
held_out = 0  # --set
"
    );
    let now = began.replace("epoch_count = 2  # file line 20", "epoch_count = 4  # --set");
    assert_eq!(
        file("resolved.toml"),
        now.replace("lr_init = 1.0  # file line 24", "lr_init = 0.5  # --set")
    );
    assert_eq!(case.list(path.join("earlier")), ["step-0000004"]);
    assert_eq!(file("earlier/step-0000004/resolved.toml"), began);

    let shown = case.statetune(&["runs", "show", "latest"]);
    let earlier = "\nearlier     settings up to step 4: runs/DATE-tiny-ID/earlier/step-0000004/resolved.toml\n";
    assert!(shown.is_done().stdout.contains(earlier), "{shown:?}");

    let output = case.statetune(&["verify", "latest"]);
    let (verified, rest) = output.stdout.split_once('\n').expect("lines");
    assert!(verified.ends_with(" tiny, its first 4 steps"), "{output:?}");
    assert_eq!(
        rest.trim_end(),
        "\
equal             none: all 4 steps are bit-identical
compared          to step 4, after which settings, inputs or the machine changed"
    );
    assert_eq!(output.code, Some(0));
    let found = verdict(&case, &["--steps", "3"]);
    assert_eq!((&found["verdict"], &found["changed_after"]), (&"equal".into(), &Value::Null));
    // What is compared are these settings and no others.
    let other = began.replace("lr_init = 1.0 ", "lr_init = 0.5 ");
    case.write(path.join("earlier/step-0000004/resolved.toml"), other);
    assert_eq!(verdict(&case, &[])["verdict"], "differs");
    case.write(path.join("earlier/step-0000004/resolved.toml"), &began);

    // A new run that takes over some of these steps tells the same of them.
    let branch = ["--set=train.epoch_begin=3", "--set=train.epoch_count=5"];
    run(&case, &[&branch[..], &["--set=schedule.lr_init=0.5"]].concat(), "1");
    let new = case.runs().into_iter().find(|run| *run != path).expect("a second run");
    let output = case.statetune(&["verify", new.to_str().expect("UTF-8")]);
    assert!(output.stdout.contains("\nequal             none: all 4 steps"), "{output:?}");
    assert_eq!(case.list(new.join("earlier")), ["step-0000004", "step-0000006"]);
    assert_eq!(case.read(new.join("earlier/step-0000004/resolved.toml")), began);
    assert_eq!(case.read(new.join("earlier/step-0000006/resolved.toml")), file("resolved.toml"));
}

/// What two equal runs do not have in common holds times, or the name of the run.
#[test]
fn two_equal_runs_differ_in_little() {
    let case = Case::new();
    for _ in 0..2 {
        case.statetune(&["run", STATE]).is_done();
    }
    let runs = case.runs();
    let output = std::process::Command::new("diff")
        .arg("-rq")
        .args(runs.iter().map(|run| case.path(run)))
        .output()
        .expect("diff is there");
    let told = String::from_utf8(output.stdout).expect("UTF-8");
    let first = format!("Files {}/", case.path(&runs[0]).display());
    let name = |line: &str| {
        let (path, _) =
            line.strip_prefix(&first).expect("a file").split_once(" and ").expect("two");
        path.to_string()
    };
    assert_eq!(
        told.lines().map(name).collect::<Vec<_>>(),
        [
            "ckpt/epoch-0000/digests.json",
            "ckpt/epoch-0000/position.json",
            "ckpt/epoch-0001/digests.json",
            "ckpt/epoch-0001/position.json",
            "events.jsonl",
            "export/rwkv-0.json",
            "export/rwkv-0.st",
            "export/rwkv-1.json",
            "export/rwkv-1.st",
            "plan.json",
            "status.json",
            "times.jsonl",
            "train_log.txt",
        ],
        "{told}"
    );
}

/// The same file, inputs and device give the same bits.
#[test]
fn a_run_repeats_itself_bit_for_bit() {
    let lora =
        ["--set=peft.type=lora", "--set=schedule.lr_init=1e-3", "--set=train.precision=bf16"];
    let packed = [&lora[..], &["--set=quant.type=nf4", "--set=train.grad_cp=true"]].concat();
    for settings in [&[][..], &packed, &NORMS] {
        let case = Case::new();
        for _ in 0..2 {
            run(&case, settings, "2");
        }
        let runs = case.runs();
        for file in [
            "chain.bin",
            "metrics.jsonl",
            "ckpt/epoch-0001/trainable.safetensors",
            "ckpt/epoch-0001/optimizer.safetensors",
        ] {
            let [one, other] = [0, 1].map(|i| fs::read(case.path(runs[i].join(file))).expect(file));
            assert!(one == other, "{file} differs: {settings:?}");
        }
    }
}
