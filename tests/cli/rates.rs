//! A learning rate that is found: `plan --rates`, and `schedule.lr_init = "auto"` in a run.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use statetune_engine::model::{Shape, Version};

use crate::case::{Case, FULL, SIZES, STATE, tampered};
use crate::resume::{same_numbers, signal, spawn, wait_until};

/// A case whose rate is to be found, with a rate at the end that follows.
fn auto() -> Case {
    Case::new().with(STATE, "lr_init = 1.0\nlr_final = 0.01\n", "lr_init = \"auto\"\n")
}

/// The result of the range test that a run recorded.
fn recorded(case: &Case, run: &Path) -> Value {
    case.json(run.join("rates.json"))
}

/// The recorded settings `lr_init` and `lr_final`, each with its origin.
fn rates(case: &Case, run: &Path) -> [String; 2] {
    let settings = case.read(run.join("resolved.toml"));
    ["lr_init = ", "lr_final = "].map(|key| {
        let line = settings.lines().find(|line| line.starts_with(key));
        line.expect("the setting is recorded").to_string()
    })
}

#[test]
fn plan_says_that_the_rate_is_still_to_be_found() {
    let planned = auto().statetune(&["plan", STATE, "--prepare"]).is_done().stdout.clone();
    let line = "  rate      lr_init: auto (found when the run starts; try `plan --rates`)\n";
    assert!(planned.contains(line), "{planned}");
    assert!(!planned.contains("of warmup"), "no curve yet: {planned}");
}

#[test]
fn plan_finds_a_rate_and_begins_no_run() {
    let case = Case::new();
    let planned = case.statetune(&["plan", STATE, "--rates"]).is_done().stdout.clone();
    let lines: Vec<&str> =
        planned.lines().skip_while(|line| !line.starts_with("  rates")).collect();
    assert_eq!(
        lines[0],
        "  rates     loss on 4 held-out samples after short runs, for a run of 4 steps"
    );
    let trials: Vec<&str> =
        lines.iter().copied().filter(|line| line.contains("lr_init ")).collect();
    let is_lowest = |line: &&&str| line.ends_with("lowest");
    assert_eq!(trials.iter().filter(is_lowest).count(), 2, "{planned}");
    let proposal = lines.iter().find(|line| line.contains(" is proposed; "));
    assert!(proposal.is_some_and(|line| line.ends_with(" are probably as good")), "{planned}");
    assert_eq!(case.list("runs"), [".cache"]);

    let again = Instant::now();
    let planned = case.statetune(&["plan", STATE, "--rates", "--format", "json"]);
    assert!(again.elapsed() < Duration::from_secs(30), "{:?}", again.elapsed());
    let planned: Value = serde_json::from_str(&planned.stdout).expect("JSON");
    let found = &planned["range_test"];
    assert_eq!(found["total_steps"], 4);
    let rate = found["lr_init"].as_f64().expect("a rate");
    assert!(proposal.is_some_and(|line| line.contains(&format!("lr_init = {rate} "))), "{planned}");
    let schema: Value =
        serde_json::from_str(include_str!("../../schemas/plan.schema.json")).expect("JSON");
    let schema = jsonschema::draft7::new(&schema).expect("a schema");
    assert!(schema.is_valid(&planned), "{:?}", schema.iter_errors(&planned).next());
}

#[test]
fn a_run_with_a_found_rate_is_the_run_with_this_rate() {
    let case = auto();
    let output = case.statetune(&["run", STATE]);
    output.is_done();
    assert!(output.stderr.contains(", found by a range test ("), "{}", output.stderr);
    let found = case.only_run();
    let rate = recorded(&case, &found)["lr_init"].as_f64().expect("a rate");
    let [lr_init, lr_final] = rates(&case, &found);
    assert!(lr_init.starts_with(&format!("lr_init = {rate}")), "{lr_init}");
    assert!(lr_init.ends_with("  # range test"), "{lr_init}");
    assert!(lr_final.ends_with("  # range test"), "{lr_final}");
    let lr_final: f64 = lr_final.split(' ').nth(2).and_then(|n| n.parse().ok()).expect("a rate");
    assert!((lr_final / rate - 0.01).abs() < 1e-9, "{lr_final}");

    let sets = [format!("schedule.lr_init={rate}"), format!("schedule.lr_final={lr_final}")];
    case.statetune(&["run", STATE, "--set", &sets[0], "--set", &sets[1]]).is_done();
    let written = case.runs().into_iter().find(|run| *run != found).expect("a second run");
    assert!(!case.path(written.join("rates.json")).exists());
    for checkpoint in ["epoch-0000", "epoch-0001"] {
        same_numbers(&case, &found, &written, checkpoint);
        let optimizer = |run: &Path| {
            let folder = case.path(run.join("ckpt").join(checkpoint));
            std::fs::read(folder.join("optimizer.safetensors")).expect("the moments")
        };
        assert!(optimizer(&found) == optimizer(&written), "the moments differ");
    }
    let identity = |run: &Path| case.json(run.join("status.json"))["identity"].clone();
    assert_eq!(identity(&found), identity(&written));
    // Both are done, so that neither is needed.
    let needed = case.statetune(&["run", STATE, "--needed"]);
    assert!(needed.is_done().stdout.starts_with("not needed: "), "{needed:?}");
}

#[test]
fn every_method_finds_a_rate() {
    for method in ["lora", "pissa", "disha"] {
        let case =
            auto().with(STATE, "type = \"state\"", &format!("type = \"{method}\"\nrank = 4"));
        case.statetune(&["run", STATE, "--set", "train.epoch_steps=1"]).is_done();
        let rate = recorded(&case, &case.only_run())["lr_init"].as_f64().expect("a rate");
        assert!(rate > 0.0, "{method}");
    }
    let case = Case::new().with(FULL, "lr_init = 1e-3\nlr_final = 1e-4\n", "lr_init = \"auto\"\n");
    case.statetune(&["run", FULL]).is_done();
    assert!(
        recorded(&case, &case.only_run())["trials"].as_array().is_some_and(|all| all.len() > 4)
    );
}

#[test]
fn a_rate_at_the_end_that_is_set_stays_and_bounds_the_rates() {
    let case = Case::new().with(
        STATE,
        "lr_init = 1.0\nlr_final = 0.01\n",
        "lr_init = \"auto\"\nlr_final = 5.0\n",
    );
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let [lr_init, lr_final] = rates(&case, &run);
    assert!(lr_init.ends_with("  # range test"), "{lr_init}");
    assert_eq!(lr_final, "lr_final = 5.0  # file line 25");
    let found = recorded(&case, &run);
    let trials = found["trials"].as_array().expect("trials").iter();
    let rates = trials.map(|trial| trial["rate"].as_f64().expect("a rate"));
    assert!(rates.chain(found["lr_init"].as_f64()).all(|rate| rate >= 5.0), "{found}");
}

#[test]
fn a_resume_takes_the_recorded_rate() {
    let case = auto();
    case.statetune(&["run", STATE, "--set", "guard.max_hours=0"]);
    let longer = ["--set", "train.epoch_count=4"];
    case.statetune(&[&["run", STATE][..], &longer].concat()).is_done();
    let whole = case.runs().pop().expect("a run");
    let before = rates(&case, &whole);
    std::fs::remove_dir_all(case.path("runs/.cache/measured")).expect("the found rates");
    // From its own settings, and from the experiment file, which leaves the rate open.
    let name = whole.to_str().expect("UTF-8");
    for arguments in [
        &["resume", name, "--set", "train.epoch_count=5"][..],
        &["run", STATE, "--resume", name, "--set", "train.epoch_count=6"],
    ] {
        case.statetune(arguments).is_done();
        assert_eq!(case.list("runs/.cache/measured"), [""; 0], "{arguments:?} measures again");
    }
    assert_eq!(rates(&case, &whole)[0].split("  #").next(), before[0].split("  #").next());
    case.statetune(&["run", STATE, "--set", "train.epoch_begin=4", "--set", "train.epoch_count=7"])
        .is_done();
    assert_eq!(case.list("runs/.cache/measured"), [""; 0], "a branch measures again");
}

#[test]
fn a_range_test_stops_at_a_signal_and_leaves_nothing() {
    let slow = ["--set=train.accumulate_grad_batches=100000", "--set=data.overlong=truncate"];
    for command in [&["run", STATE][..], &["plan", STATE, "--rates"]] {
        let case = auto();
        case.statetune(&["data", "prepare", STATE, slow[1]]).is_done();
        let child = spawn(&case, &[command, &slow].concat());
        let asked = Instant::now();
        wait_until(|| asked.elapsed() > Duration::from_secs(5));
        signal(&child, "-INT");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(output.status.code(), Some(130), "{output:?}");
        assert!(output.stdout.is_empty(), "{output:?}");
        assert!(asked.elapsed() < Duration::from_secs(25), "{:?}", asked.elapsed());
        assert_eq!((case.runs().len(), case.list("runs/.cache/measured").len()), (0, 0));
    }
}

#[test]
fn what_a_range_test_cannot_do_is_refused() {
    let case = auto().with(STATE, "data.jsonl", "gone.jsonl");
    let refused = case.statetune(&["plan", STATE, "--rates"]);
    assert!(refused.stderr.contains("`gone.jsonl` does not exist"), "{refused:?}");
    assert_eq!((refused.code, &*refused.stdout), (Some(20), ""));
    let case = auto().with(STATE, "accelerator = \"cpu\"", "accelerator = \"gpu\"");
    let refused = case.statetune_with(&["plan", STATE, "--rates"], &[("CUDA_VISIBLE_DEVICES", "")]);
    assert!(refused.stderr.contains("error[ST5"), "{refused:?}");
    let refused = auto().statetune(&["plan", STATE, "--rates", "--memory", "1MB"]);
    assert_eq!(refused.code, Some(22), "{refused:?}");
    assert!(!refused.stdout.contains("is proposed"), "{refused:?}");
}

#[test]
fn weights_on_the_hub_only_are_refused() {
    let case = Case::new().with(
        STATE,
        "load_model = \"base.pth\"",
        "load_model = \"hf://someone/small/base.pth\"\nversion = \"x070\"\nn_layer = 2\nn_embd = 64\nvocab_size = 4096",
    );
    let refused = case.statetune_with(&["plan", STATE, "--rates"], &[("HF_HOME", "nowhere")]);
    assert!(refused.stderr.contains("error[ST4020]: the range test needs `hf://"), "{refused:?}");
    assert!(refused.code != Some(0) && refused.stdout.is_empty(), "{refused:?}");
}

#[test]
fn a_script_for_another_trainer_says_that_the_rate_is_missing() {
    let shown = auto().statetune(&["config", "show", STATE, "--as", "rwkv-peft"]);
    let script = &shown.is_done().stdout;
    assert!(!script.contains("--lr_init"), "{script}");
    assert!(script.contains("schedule.lr_init = \"auto\": RWKV-PEFT needs a number"), "{script}");
}

#[test]
fn a_warmup_longer_than_the_run_is_a_warning() {
    let case = Case::new().with(STATE, "warmup_steps = 1", "warmup_steps = 9");
    let checked = case.statetune(&["check", STATE]);
    let expected = "\
warning[ST2303]: the run has 4 steps, fewer than the 9 steps of warmup
  --> state.toml:26:16
   |
26 | warmup_steps = 9
   |                ^
   |
   = note: the learning rate only rises and never reaches `lr_init`
   = help: set `warmup_steps = 0` in `[schedule]`, or train for more steps";
    assert_eq!(checked.stderr.trim_end(), expected);
    // The number of steps of a pass is known with the documents.
    let case = case.with(STATE, "epoch_steps = 2\n", "");
    assert_eq!(case.statetune(&["check", STATE]).stderr.trim_end(), "");
    let planned = case.statetune(&["plan", STATE, "--prepare"]).is_done().stdout.clone();
    let line = "ST2303 the run has 8 steps, fewer than the 9 steps of warmup\n";
    assert!(planned.contains(line), "{planned}");
    let ran = case.statetune(&["run", STATE]);
    assert!(ran.stderr.contains("warning[ST2303]: the run has 8 steps"), "{}", ran.stderr);
    let enough = case.with(STATE, "warmup_steps = 9", "warmup_steps = 8");
    let planned = enough.statetune(&["plan", STATE]).is_done().stdout.clone();
    assert!(!planned.contains("ST2303"), "{planned}");
}

#[test]
fn a_base_model_no_better_than_chance_is_a_warning() {
    let (n_layer, n_embd, vocab_size) = SIZES;
    let shape = Shape::for_scratch(Version::V7, n_layer, n_embd, vocab_size);
    // It is as sure as a trained model, and always wrong.
    let base = tampered(shape, |name, tensor| match name {
        "head.weight" => tensor * 20.0,
        _ => tensor,
    });
    let case = Case::new().having("base.pth", base);
    let ran = case.statetune(&["run", STATE]);
    ran.is_done_with_warnings();
    let warning =
        "warning[ST4008]: the base model predicts the validation documents no better than chance: ";
    assert_eq!(ran.stderr.matches(warning).count(), 1, "{}", ran.stderr);
    assert!(ran.stderr.contains("chance is 8.32\n"), "{}", ran.stderr);
    assert!(
        ran.stderr.contains("the logarithm of the 4,096 token ids of the model"),
        "{}",
        ran.stderr
    );
    // Its help works as it stands.
    let help = ran.stderr.split('`').find(|part| part.starts_with("statetune generate"));
    let help = help.expect("a command").replace("CASE", &case.path("").to_string_lossy());
    let help = help.replace("\n          ", " ");
    let arguments: Vec<&str> = help.split(' ').skip(1).map(|word| word.trim_matches('"')).collect();
    case.statetune(&[&arguments[..], &["--max-tokens", "2"]].concat()).is_done_with_warnings();
    let allowed = case.with(STATE, "\"vocab.txt\"", "\"vocab.txt\"  # statetune: allow(ST4008)");
    let ran = allowed.statetune(&["run", STATE]);
    assert!(!ran.is_done().stderr.contains("ST4008"), "{}", ran.stderr);
    // A new model knows nothing, as it should.
    let ran = Case::new().statetune(&["run", FULL]);
    assert!(!ran.is_done().stderr.contains("ST4008"), "{}", ran.stderr);
}
