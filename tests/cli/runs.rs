//! Stored runs: which are needed, how they are listed, marked, removed and packed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use serde_json::Value;

use statetune_engine::model::{Shape, Version, Weights};

use crate::case::{Case, FULL, Output, SIZES, STATE, program};
use crate::resume::{command_of, wait_until};

/// The letters of a run.
fn id(run: &Path) -> String {
    let name = run.to_string_lossy();
    name[name.len() - 4..].to_string()
}

/// The identity that a run says it has.
fn identity(case: &Case, run: &Path) -> Value {
    case.json(run.join("status.json"))["identity"].clone()
}

/// The runs that are there now and were not among `before`.
fn new_run(case: &Case, before: &[PathBuf]) -> PathBuf {
    let mut new = case.runs();
    new.retain(|run| !before.contains(run));
    assert_eq!(new.len(), 1, "{new:?}");
    new.remove(0)
}

/// The answer of `runs ls --format json`.
fn ls(case: &Case, more: &[&str]) -> Vec<Value> {
    let output = case.statetune(&[&["runs", "ls", "--format", "json"][..], more].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    let answer: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(answer["schema"], "statetune.runs/1");
    answer["runs"].as_array().expect("runs").clone()
}

#[track_caller]
fn refused(output: &Output, code: i32, message: &str) {
    assert_eq!(output.stderr.trim_end(), message.trim_end());
    assert_eq!((output.code, &*output.stdout), (Some(code), ""));
}

#[test]
fn a_run_is_needed_unless_another_has_computed_the_same() {
    let case = Case::new();
    case.statetune(&["run", STATE, "--needed", "--run-file", "first.txt"]).is_done();
    let first = case.only_run();
    assert_eq!(case.read("first.txt").trim_end(), first.to_string_lossy());
    // The identity does not depend on names, paths, records, samples, or the place of the data.
    fs::copy(case.path("data.jsonl"), case.path("same.jsonl")).expect("copied");
    for set in
        ["name=other", "log.every_steps=2", "sample.max_tokens=3", "data.data_file=same.jsonl"]
    {
        let output =
            case.statetune(&["run", STATE, "--needed", "--set", set, "--run-file", "same.txt"]);
        output.is_done();
        assert_eq!(
            output.stdout.trim_end(),
            "not needed: runs/DATE-tiny-ID is done and has the same settings and inputs",
            "{set}"
        );
        assert_eq!(case.read("same.txt"), case.read("first.txt"));
    }
    assert_eq!(case.runs().len(), 1);

    // A setting, a line of the data, other weights: another run.
    let mut known = case.runs();
    for change in ["train.random_seed=1", "data", "weights"] {
        let mut arguments = vec!["run", STATE, "--needed"];
        match change {
            "data" => case.write("data.jsonl", case.read("data.jsonl").replacen("the", "a", 1)),
            "weights" => {
                let (n_layer, n_embd, vocab_size) = SIZES;
                let shape = Shape::for_scratch(Version::V7, n_layer, n_embd, vocab_size);
                Weights::scratch(shape, 2).save_pth(&case.path("base.pth")).expect("written");
            }
            set => arguments.extend(["--set", set]),
        }
        case.statetune(&arguments).is_done();
        let run = new_run(&case, &known);
        for other in &known {
            assert_ne!(identity(&case, other), identity(&case, &run), "{change}");
        }
        known.push(run);
    }
    let output = case.statetune(&["run", STATE, "--needed", "--resume", &id(&first)]);
    let message = "error[ST6044]: `--needed` only works with `--resume auto`\n  |\n  = help: a run \
                   given by name is always resumed, whether other runs are finished or not";
    refused(&output, 27, message);
}

#[test]
fn steps_under_other_settings_leave_no_identity() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    let whole = identity(&case, &run);
    assert_eq!(whole.as_str().map(str::len), Some(64));
    // The same steps from a checkpoint on are the same run, more of them are not.
    case.statetune(&["run", STATE, "--set", "train.epoch_begin=1"]).is_done();
    let branch = new_run(&case, std::slice::from_ref(&run));
    assert_eq!(identity(&case, &branch), whole);
    let longer = ["resume", &id(&branch), "--set", "train.epoch_count=3"];
    case.statetune(&longer).is_done();
    assert_eq!(identity(&case, &branch), Value::Null);
    // What a run begins with counts.
    let known = case.runs();
    case.statetune(&["run", STATE, "--from", &id(&run)]).is_done();
    let from = new_run(&case, &known);
    assert_eq!(identity(&case, &from).as_str().map(str::len), Some(64));
    assert_ne!(identity(&case, &from), whole);
    assert!(case.read(from.join("lock.toml")).contains("[values]\n"));
}

#[test]
fn a_run_like_another() {
    let case = Case::new();
    case.statetune(&["run", STATE, "--set", "train.ctx_len=48"]).is_done();
    let first = case.only_run();
    fs::remove_file(case.path(STATE)).expect("removed");
    case.statetune(&["run", "--like", "latest"]).is_done();
    let second = new_run(&case, std::slice::from_ref(&first));
    assert_eq!(identity(&case, &second), identity(&case, &first));
    assert!(case.read(second.join("resolved.toml")).contains("ctx_len = 48"));
    let both = case.statetune(&["run", STATE, "--like", "latest"]);
    assert_eq!(both.code, Some(2), "{both:?}");
}

#[test]
fn a_moment_of_a_run_is_put_to_use() {
    let case = Case::new();
    // Checkpoints after steps 1 to 4, of which 1 and 3 are within a mini-epoch.
    let sets = ["eval.every_steps=1", "checkpoint.keep_last=0", "export.dtype=fp32"];
    let sets = sets.map(|set| ["--set", set]).concat();
    case.statetune(&[&["run", STATE][..], &sets].concat()).is_done();
    let run = case.only_run();
    let checkpoints = case.list(run.join("ckpt"));
    assert!(checkpoints.contains(&"step-0000001".to_string()), "{checkpoints:?}");
    let answers = |moment: &str| {
        let name = format!("latest{moment}");
        let output = case.statetune(&["generate", &name, "--prompt", "Hello", "--seed", "1"]);
        assert_eq!(output.code, Some(0), "{output:?}");
        output.stdout
    };
    // The newest product is that of the last step, however it is called.
    for moment in ["@last", "@epoch-1", "@step-4"] {
        assert_eq!(answers(moment), answers(""), "{moment}");
    }
    assert!(!case.path(run.join("export/rwkv-step-1.pth")).exists());
    answers("@step-1");
    assert!(case.path(run.join("export/rwkv-step-1.pth")).exists());
    // Files made of a checkpoint hold its trained parameters.
    let made = case.statetune(&["state", "diff", "latest@step-1", "latest@epoch-0"]);
    assert_eq!(made.code, Some(0), "{made:?}");
    case.statetune(&["export", "latest@step-1", "--to", "st", "--out", "one.st"]).is_done();
    case.statetune(&["merge", "latest@best", "--out", "merged.pth"]).is_done();
    let lists = format!("its checkpoints: {}", checkpoints_of(&checkpoints));
    let missing = case.statetune(&["generate", "latest@step-9", "--prompt", "a"]);
    let message = format!(
        "error[ST6006]: the run `runs/DATE-tiny-ID` has no checkpoint `step-9`\n  |\n  = note: {lists}\n  \
         = note: `checkpoint.keep_last` sets how many checkpoints are kept"
    );
    refused(&missing, 2, &message);
    let no_moment = case.statetune(&["eval", "latest@noon", "data.jsonl"]);
    let message = "error[ST6041]: `noon` in `latest@noon` is not a valid checkpoint name\n  |\n  = help: write \
                   RUN@best, RUN@last, RUN@epoch-3 or RUN@step-1500";
    refused(&no_moment, 2, message);
}

/// The names of checkpoints in the order of their steps.
fn checkpoints_of(names: &[String]) -> String {
    let named = |name: &str| names.iter().any(|one| one == name).then(|| name.to_string());
    let in_order = ["step-0000001", "epoch-0000", "step-0000003", "epoch-0001"];
    in_order.into_iter().filter_map(named).collect::<Vec<_>>().join(", ")
}

#[test]
fn a_list_of_runs() {
    let case = Case::new();
    let none = case.statetune(&["runs", "ls"]);
    none.succeeds("no runs in runs", "");
    case.statetune(&["run", STATE]).is_done();
    let first = case.only_run();
    let sets = ["schedule.lr_init=0.5", "train.micro_bsz=2", "tags=['two', 'x']", "name=other"];
    let sets = sets.map(|set| ["--set", set]).concat();
    case.statetune(&[&["run", STATE][..], &sets].concat()).is_done();
    let second = new_run(&case, std::slice::from_ref(&first));
    let failed = case.statetune(&["run", FULL, "--set", "schedule.lr_init=1e300"]);
    assert_eq!(failed.code, Some(24), "{failed:?}");
    let third = new_run(&case, &[first.clone(), second.clone()]);

    let rows = ls(&case, &[]);
    let column = |key: &str| rows.iter().map(|row| row[key].clone()).collect::<Vec<_>>();
    assert_eq!(column("id"), [id(&first), id(&second), id(&third)]);
    assert_eq!(column("standing"), ["done", "done", "diverged"]);
    assert_eq!(column("steps")[..2], [4, 4]);
    assert_eq!(rows[0]["changed"], serde_json::json!({}));
    let changed = serde_json::json!({ "schedule.lr_init": "0.5", "train.micro_bsz": "2" });
    assert_eq!(rows[1]["changed"], changed);
    assert_eq!(rows[1]["tags"], serde_json::json!(["two", "x"]));
    let best = &case.json(first.join("status.json"))["best"];
    assert_eq!(rows[0]["record"]["best"], *best);

    let ids = |more: &[&str]| -> Vec<String> {
        ls(&case, more).iter().map(|row| row["id"].as_str().expect("an id").to_string()).collect()
    };
    assert_eq!(ids(&["--where", "status=done"]), [id(&first), id(&second)]);
    assert_eq!(ids(&["--where", "status!=done"]), [id(&third)]);
    assert_eq!(ids(&["--where", "status=Done"]), ids(&["--where", "status=done"]));
    case.statetune(&["runs", "ls", "--where", "status=killed"])
        .succeeds("no run meets the conditions: runs has 3 runs", "");
    let older = case.statetune(&["diff", "latest", "latest~9"]);
    assert_eq!(
        older.stderr.trim_end(),
        "\
error[ST0201]: no run `latest~9` in `runs`
  |
  = help: the number of runs is 3, and the oldest is `latest~2`; `statetune runs ls` lists them"
    );
    assert_eq!(ids(&["--where", "schedule.lr_init<=0.5", "--where", "status=done"]), [id(&second)]);
    assert_eq!(ids(&["--where", "tag=two"]), [id(&second)]);
    assert_eq!(ids(&["--where", "age>1d"]), Vec::<String>::new());
    assert_eq!(
        ids(&["--sort", "schedule.lr_init", "--where", "status=done"]),
        [id(&second), id(&first)]
    );
    let unknown = case.statetune(&["runs", "ls", "--where", "val_los<1"]);
    let message = "\
error[ST6046]: `val_los` in `val_los<1` is neither a column nor a setting of these runs
  |
  = note: columns: id, name, directory, status, steps, val_loss, validation, best_step, probe, suite, age, tag, pinned, note
  = help: write a setting with its table, such as `schedule.lr_init`";
    refused(&unknown, 2, message);

    let human = case.statetune(&["runs", "ls"]);
    let lines: Vec<&str> = human.stdout.lines().collect();
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words.join(" "), "ID NAME STATUS VAL BEST@ PROBE CHANGED VS ABOVE AGE TAGS");
    assert!(lines[2].contains("lr_init 0.5, micro_bsz 2"), "{}", human.stdout);
    let md = case.statetune(&["runs", "ls", "--format", "md"]).stdout;
    assert!(
        md.starts_with("| ID ") && md.lines().nth(1).is_some_and(|line| line.starts_with("|--"))
    );
    let csv = case.statetune(&["runs", "ls", "--format", "csv"]).stdout;
    assert!(csv.starts_with("id,name,directory,status,steps,val_loss,"), "{csv}");
    assert_eq!(csv.lines().count(), 4);

    // A run of another version is told and left out.
    let status = case.read(first.join("status.json")).replace("statetune.run/1", "statetune.run/9");
    case.write(first.join("status.json"), status);
    let output = case.statetune(&["runs", "ls", "--where", "status=done", "--format", "csv"]);
    assert_eq!(output.stdout.lines().count(), 2);
    assert_eq!(
        output.stderr.trim_end(),
        "warning[ST6042]: `runs/DATE-tiny-ID/status.json` has schema `statetune.run/9`, expected \
         `statetune.run/1`\n  |\n  = note: another version of statetune wrote this run"
    );
    let shown = case.statetune(&["runs", "show", &id(&second)]);
    shown.is_done();
    for line in [
        "status      done, 4 of 4 steps, started ",
        "tags        two x\n",
        "  schedule.lr_init = 0.5  # --set\n",
        "  data.val_split = 0.2  # file line 6\n",
        "checkpoint  epoch-0001: step 4, ",
    ] {
        assert!(shown.stdout.contains(line), "{line:?} in {}", shown.stdout);
    }
    assert!(!shown.stdout.contains("# default"));
    case.statetune(&["runs", "path", &id(&second)]).succeeds("runs/DATE-other-ID", "");
}

#[test]
fn marks_keep_a_run() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    case.statetune(&["runs", "tag", "latest", "good", "emoji"]).is_done();
    case.statetune(&["runs", "tag", "latest", "emoji", "--remove"]).is_done();
    case.statetune(&["runs", "note", "latest", "the first, \"so far\""]).is_done();
    case.statetune(&["runs", "pin", "latest"])
        .succeeds("runs/DATE-tiny-ID\n  pinned, tags: good\n  note: the first, \"so far\"", "");
    assert_eq!(
        case.read(run.join("marks.toml")),
        "pinned = true\ntags = [\"good\"]\nnote = 'the first, \"so far\"'\n"
    );
    assert_eq!(ls(&case, &["--where", "tag=good", "--where", "pinned=true"]).len(), 1);
    let word = case.statetune(&["runs", "tag", "latest", "two words"]);
    let message = "error[ST6047]: `two words` is not a valid tag\n  |\n  = note: a tag consists of \
                   letters, digits, `-`, `_` and `.`";
    refused(&word, 2, message);
    let kept = case.statetune(&["runs", "rm", "latest", "--yes"]);
    let message = "error[ST6048]: the run `runs/DATE-tiny-ID` is pinned\n  |\n  = help: run `statetune \
                   runs pin runs/DATE-tiny-ID --off` to unpin it";
    refused(&kept, 2, message);
    case.statetune(&["runs", "pin", "latest", "--off"]).is_done();
    let asked = case.statetune_reading(&["runs", "rm", "latest"], "y\n");
    assert_eq!(asked.code, Some(2));
    assert!(asked.stderr.starts_with("error[ST6045]: remove DATE-tiny-ID ("), "{asked:?}");
    assert!(
        asked.stderr.contains(")? Standard input is not a terminal, so this cannot be asked\n"),
        "{asked:?}"
    );
    case.statetune(&["runs", "rm", "latest", "--yes"]).succeeds("removed runs/DATE-tiny-ID", "");
    assert_eq!(case.list("runs").len(), 1, "only prepared data");
}

#[test]
fn unneeded_checkpoints_and_runs_are_removed() {
    let case = Case::new();
    let many = ["train.epoch_count=4", "checkpoint.keep_last=0", "checkpoint.keep_best=false"];
    let many = many.map(|set| ["--set", set]).concat();
    case.statetune(&[&["run", STATE][..], &many].concat()).is_done();
    let done = case.only_run();
    case.write(done.join("ckpt/best"), "epoch-0001\n"); // not the newest
    assert_eq!(case.statetune(&["run", FULL, "--set", "schedule.lr_init=1e300"]).code, Some(24));
    let failed = new_run(&case, std::slice::from_ref(&done));
    let before = case.list(done.join("ckpt"));
    let told = case.statetune(&["runs", "prune"]);
    told.is_done();
    assert!(told.stdout.contains("DATE-tiny-ID  2 checkpoints, "), "{told:?}");
    assert!(told.stdout.contains("DATE-new-ID  whole run (diverged, nothing saved), "), "{told:?}");
    assert!(told.stdout.contains("; pass `--yes` to remove\n"), "{told:?}");
    assert_eq!((case.list(done.join("ckpt")), case.runs().len()), (before, 2));
    case.statetune(&["runs", "pin", &id(&failed)]).is_done();
    case.statetune(&["runs", "prune", "--yes"]).is_done();
    assert_eq!(case.list(done.join("ckpt")), ["best", "epoch-0001", "epoch-0003", "last"]);
    assert!(case.path(&failed).exists());
    case.statetune(&["runs", "pin", &id(&failed), "--off"]).is_done();
    case.statetune(&["runs", "prune", "--yes", "--where", "status=done"])
        .succeeds("nothing to remove", "");
    case.statetune(&["runs", "prune", "--yes"]).is_done();
    assert_eq!(case.runs(), [done]);
}

#[test]
fn a_packed_run_comes_back_whole() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    let run = case.only_run();
    case.statetune(&["runs", "pack", "latest", "--out", "whole.run.tar.zst"]).is_done();
    case.statetune(&["runs", "pack", "latest", "--out", "light.run.tar.zst", "--no-checkpoints"])
        .is_done();
    let again = case.statetune(&["runs", "pack", "latest", "--out", "whole.run.tar.zst"]);
    let message = "error[ST6049]: `whole.run.tar.zst` already exists\n  |\n  = note: existing files are \
                   never replaced";
    refused(&again, 2, message);
    let there = case.statetune(&["runs", "unpack", "whole.run.tar.zst"]);
    assert!(there.stderr.starts_with("error[ST6049]: `runs/DATE-tiny-ID` already exists\n"));

    case.statetune(&["runs", "unpack", "whole.run.tar.zst", "--runs-dir", "there"]).is_done();
    let name = run.strip_prefix("runs").expect("a path in `runs`");
    let back = Path::new("there").join(name);
    let differences =
        Command::new("diff").arg("-r").arg(case.path(&run)).arg(case.path(&back)).output();
    let differences = String::from_utf8(differences.expect("diff is there").stdout).expect("UTF-8");
    assert_eq!(differences, format!("Only in {}: LOCK\n", case.path(&run).display()));
    case.statetune(&["resume", "latest", "--runs-dir", "there", "--set", "train.epoch_count=3"])
        .is_done();

    case.statetune(&["runs", "unpack", "light.run.tar.zst", "--runs-dir", "light"]).is_done();
    let light = Path::new("light").join(name);
    assert_eq!(case.list(light.join("ckpt")), Vec::<String>::new());
    case.statetune(&["generate", "latest", "--runs-dir", "light", "--prompt", "a"]).is_done();

    // A flipped bit anywhere is found, and leaves nothing.
    let bytes = fs::read(case.path("whole.run.tar.zst")).expect("a file");
    let cut = [bytes.len() / 3, bytes.len() / 2, bytes.len() - 20];
    for at in cut {
        let mut broken = bytes.clone();
        broken[at] ^= 1;
        case.write("broken.run.tar.zst", broken);
        let output =
            case.statetune(&["runs", "unpack", "broken.run.tar.zst", "--runs-dir", "broken"]);
        assert_eq!(output.code, Some(2), "{output:?}");
        assert!(output.stderr.starts_with("error[ST6050]: broken.run.tar.zst: "), "{output:?}");
        assert_eq!(case.list("broken"), Vec::<String>::new());
    }
    case.write("broken.run.tar.zst", &bytes[..bytes.len() / 2]);
    let output = case.statetune(&["runs", "unpack", "broken.run.tar.zst", "--runs-dir", "broken"]);
    assert_eq!((output.code, case.list("broken").len()), (Some(2), 0), "{output:?}");
}

/// The program in the background, until a checkpoint of its run exists.
#[expect(clippy::zombie_processes, reason = "its caller ends it and waits for it")]
fn running(case: &Case, arguments: &[&str]) -> (Child, PathBuf) {
    let known = case.runs();
    let child = program()
        .current_dir(case.path(""))
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program starts");
    let started = Instant::now();
    loop {
        let run = case.runs().into_iter().find(|run| !known.contains(run));
        if let Some(run) = run.filter(|run| case.path(run.join("ckpt/last")).exists()) {
            return (child, run);
        }
        assert!(started.elapsed() < Duration::from_secs(60), "it never came to it");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn a_running_run_and_a_killed_one() {
    let case = Case::new();
    let long = ["run", STATE, "--set", "train.epoch_count=2000"];
    let (mut child, run) = running(&case, &long);
    let live = &ls(&case, &[])[0];
    assert_eq!(live["standing"], "running");
    assert!(live["steps"].as_u64().is_some_and(|steps| steps >= 2), "{live}");
    for command in [&["runs", "rm", "latest", "--yes"][..], &["runs", "pack", "latest"]] {
        let busy = case.statetune(command);
        let message = format!(
            "error[ST6007]: another process is using the run `runs/DATE-tiny-ID`\n  |\n  = \
             note: process {} holds its lock: `{}`\n  = \
             help: wait for it to finish, or stop it with `statetune ctl runs/DATE-tiny-ID stop`",
            child.id(),
            command_of(&child)
        );
        refused(&busy, 26, &message);
    }
    case.statetune(&["runs", "prune", "--yes"]).succeeds("nothing to remove", "");
    case.statetune(&["runs", "tag", "latest", "seen"]).is_done();
    child.kill().expect("killed");
    child.wait().expect("it ends");

    // A killed writer leaves half a line.
    let metrics = case.lines_that_are_whole(run.join("metrics.jsonl"));
    let last = metrics.last().expect("a line")["step"].clone();
    let half = case.read(run.join("metrics.jsonl")) + "{\"step\":99999,\"lo";
    case.write(run.join("metrics.jsonl"), half);
    let killed = &ls(&case, &["--where", "status=killed"])[0];
    assert_eq!(killed["tags"], serde_json::json!(["seen"]));
    let saved = killed["record"]["steps"].clone();
    assert_eq!(killed["steps"].as_u64(), last.as_u64().max(saved.as_u64()));
    assert!(killed["record"]["best"]["val_loss"].is_number(), "{killed}");
    // `prune` keeps a run that can be resumed; `--needed` resumes it.
    case.statetune(&["runs", "prune", "--yes"]).succeeds("nothing to remove", "");
    let (mut child, other) =
        running(&case, &[&long[..], &["--set", "train.random_seed=1"]].concat());
    child.kill().expect("killed");
    child.wait().expect("it ends");
    assert_eq!(case.runs().len(), 2);
    assert_ne!(identity(&case, &run), identity(&case, &other));
}

#[test]
fn an_unfinished_run_of_the_same_identity_is_resumed() {
    let case = Case::new();
    let few = ["run", STATE, "--set", "train.epoch_count=60", "--needed", "--resume", "auto"];
    let (mut child, run) = running(&case, &few);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    let output = case.statetune(&few);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(case.only_run(), run);
    assert_eq!(case.json(run.join("status.json"))["status"], "done");
    assert!(case.statetune(&few).stdout.starts_with("not needed: "));
}

/// Every record that a run writes is what its schema says, and has no key that the schema does not know.
#[test]
fn records_fit_their_schemas() {
    let tables =
        "[[sample.probe]]\nname = \"e\"\nregex = \"e\"\n\n[eval]\nsuites = [\"s.jsonl\"]\n\n[log]";
    let item = "{\"question\": \"a?\", \"answer\": 1}\n";
    let case = Case::new().with(STATE, "[log]", tables).having("s.jsonl", item);
    case.statetune(&["run", STATE, "--set", "eval.patience=9"]).is_done();
    case.statetune(&["resume", "latest", "--set", "train.epoch_count=3"]).is_done();
    case.statetune(&["data", "show", "--run", "latest", "--worst", "1"]).is_done();
    let run = case.only_run();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
    for (schema, records) in [
        ("metrics", case.lines(run.join("metrics.jsonl"))),
        ("times", case.lines(run.join("times.jsonl"))),
        ("ledger", case.lines(run.join("ledger.jsonl"))),
        ("val_losses", case.lines(run.join("val_losses.jsonl"))),
        ("suites", case.lines(run.join("suites.jsonl"))),
        ("events", case.lines(run.join("events.jsonl"))),
        ("run", vec![case.json(run.join("status.json"))]),
    ] {
        let text =
            fs::read_to_string(root.join(format!("{schema}.schema.json"))).expect("a schema");
        let schema: Value = serde_json::from_str(&text).expect("JSON");
        let validator = jsonschema::draft7::new(&schema).expect("a valid schema");
        assert!(!records.is_empty());
        for record in records {
            if let Err(error) = validator.validate(&record) {
                panic!("{record}: {error} at {}", error.instance_path());
            }
            for key in record.as_object().expect("an object").keys() {
                assert!(text.contains(&format!("\"{key}\": {{")), "{key} of {record}");
            }
        }
    }
}

#[test]
fn a_sweep_runs_each_member_once() {
    let case = Case::new().with(
        STATE,
        "[log]",
        "[sweep]\naxes = { \"schedule.lr_init\" = [1.0, 0.5], \"train.micro_bsz\" = [2, 4] }\n\n[log]",
    );
    case.statetune(&["run", STATE]).is_done(); // one of the members
    let first = case.only_run();
    let output = case.statetune(&["sweep", STATE, "--format", "json"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(case.runs().len(), 4);
    let answer: Value = serde_json::from_str(&output.stdout).expect("JSON");
    let members = answer["members"].as_array().expect("members");
    let settings: Vec<String> = members.iter().map(|one| one["settings"].to_string()).collect();
    assert_eq!(
        settings,
        [
            r#"{"schedule.lr_init":1.0,"train.micro_bsz":2}"#,
            r#"{"schedule.lr_init":1.0,"train.micro_bsz":4}"#,
            r#"{"schedule.lr_init":0.5,"train.micro_bsz":2}"#,
            r#"{"schedule.lr_init":0.5,"train.micro_bsz":4}"#,
        ]
    );
    assert_eq!(members[1]["run"]["id"], id(&first));
    assert!(output.stderr.contains(
        "member 2 of 4: schedule.lr_init=1.0, train.micro_bsz=4: not needed: runs/DATE-tiny-ID is done"
    ));
    // Again nothing is run, and the table says what came of each.
    let again = case.statetune(&["sweep", STATE, "--jobs", "2"]);
    assert_eq!((again.code, case.runs().len()), (Some(0), 4), "{again:?}");
    let words: Vec<&str> =
        again.stdout.lines().next().expect("a line").split_whitespace().collect();
    assert_eq!(
        words,
        ["ID", "schedule.lr_init", "train.micro_bsz", "STATUS", "VAL", "BEST@", "PROBE"]
    );
    assert_eq!(again.stdout.lines().count(), 5);

    // The axes of the command line replace those of the file; a member that fails does not stop the others.
    let axes = ["--axis", "schedule.lr_init=1e300,0.25", "--axis", "train.micro_bsz=4"];
    let failing = case.statetune(&[&["sweep", STATE][..], &axes].concat());
    assert_eq!((failing.code, case.runs().len()), (Some(24), 6), "{failing:?}");
    let lines: Vec<&str> = failing.stdout.lines().collect();
    assert!(lines[1].contains("diverged") && lines[2].contains("done"), "{}", failing.stdout);
}

#[test]
fn a_sweep_is_checked_before_it_begins() {
    let case = Case::new();
    let none = case.statetune(&["sweep", STATE]);
    let message = "\
error[ST6051]: not a valid sweep: the sweep has no axes
  |
  = help: pass values: `--axis schedule.lr_init=0.3,1.0`
  = help: or write them in the file: `[sweep]` with `axes = { \"schedule.lr_init\" = [0.3, 1.0] }`";
    refused(&none, 2, message);
    let wrong = case.statetune(&["sweep", STATE, "--axis", "schedule.lr_init=0.5,fast"]);
    assert_eq!(wrong.code, Some(2));
    assert!(
        wrong.stderr.starts_with("error[ST2002]: `fast` is not a choice of `schedule.lr_init`\n"),
        "{wrong:?}"
    );
    let file =
        Case::new().with(STATE, "[log]", "[sweep]\naxes = { \"train.ctx_len\" = 64 }\n\n[log]");
    let wrong = file.statetune(&["check", STATE]);
    assert_eq!(wrong.code, Some(2), "{wrong:?}");
    assert_eq!(
        wrong.stderr.trim_end(),
        "error[ST2001]: `sweep.axes.train.ctx_len` must be a list, found an integer\n  --> \
         state.toml:29:28\n   |\n29 | axes = { \"train.ctx_len\" = 64 }\n   |                            ^^ \
         expected a list"
    );
    assert_eq!(case.runs(), Vec::<PathBuf>::new());
}

/// A folder that cannot be read is not a folder without runs.
#[test]
fn a_folder_of_runs_that_cannot_be_read_is_named() {
    let case = Case::new();
    std::os::unix::fs::symlink("runs", case.path("runs")).expect("a link to itself");
    for command in [&["runs", "ls"][..], &["runs", "prune", "--yes"], &["runs", "show", "latest"]] {
        let output = case.statetune(command);
        assert!(output.stderr.starts_with("error[ST6042]: cannot read `runs`\n"), "{output:?}");
        assert!(output.stderr.contains("Too many levels of symbolic links"), "{output:?}");
        assert_eq!((output.code, &*output.stdout), (Some(2), ""));
    }
}

#[test]
fn a_stopped_sweep_is_resumed() {
    let case = Case::new();
    let axis = "schedule.lr_init=1.0,0.5";
    let arguments = ["sweep", STATE, "--axis", axis, "--set", "train.epoch_count=60"];
    // Killed, it does not leave its member behind.
    let (mut child, run) = running(&case, &arguments);
    child.kill().expect("killed");
    child.wait().expect("it ends");
    wait_until(|| case.json(run.join("status.json"))["status"] == "interrupted");
    fs::remove_dir_all(case.path(run)).expect("removed");
    let (child, run) = running(&case, &arguments);
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().expect("kill is there");
    let mut child = child;
    assert_eq!(child.wait().expect("it ends").code(), Some(75));
    assert_eq!(
        (case.only_run(), case.json(run.join("status.json"))["status"].clone()),
        (run.clone(), "interrupted".into())
    );
    let short = ["--resume", "--set", "train.epoch_count=60"];
    let output = case.statetune(&[&arguments[..4], &short].concat());
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(case.runs().len(), 2);
    let events = case.lines(run.join("events.jsonl"));
    assert!(events.iter().any(|event| event["event"] == "resume"));
    assert_eq!(case.json(run.join("status.json"))["status"], "done");
}

#[test]
fn losses_over_other_validation_documents_are_marked() {
    let case = Case::new();
    case.statetune(&["run", STATE]).is_done();
    case.statetune(&["run", STATE, "--set", "schedule.lr_init=0.5"]).is_done();
    let note = "VAL: losses with different letters are over different validation documents; do not compare them";
    let listed = case.statetune(&["runs", "ls"]).is_done().stdout.clone();
    assert!(!listed.contains(note), "the same documents: {listed}");
    assert!(ls(&case, &[]).iter().all(|run| run["validation"].is_null()));

    case.statetune(&["run", STATE, "--set", "data.val_seed=7"]).is_done();
    case.statetune(&["run", STATE, "--set", "eval.limit=2"]).is_done();
    case.statetune(&["run", STATE, "--set", "data.val_seed=7", "--set", "schedule.lr_init=0.1"])
        .is_done();
    let letters = |runs: &[Value]| -> Vec<String> {
        runs.iter().map(|run| run["validation"].as_str().unwrap_or_default().to_string()).collect()
    };
    assert_eq!(letters(&ls(&case, &[])), ["a", "a", "b", "c", "b"]);
    let sorted = ls(&case, &["--sort", "val_loss"]);
    assert_eq!(letters(&sorted), ["a", "a", "b", "b", "c"], "no ranking across sets");
    let loss = |run: &Value| run["record"]["best"]["val_loss"].as_f64().expect("a loss");
    assert!(loss(&sorted[0]) <= loss(&sorted[1]) && loss(&sorted[2]) <= loss(&sorted[3]));
    let listed = case.statetune(&["runs", "ls"]).is_done().stdout.clone();
    assert!(listed.trim_end().ends_with(note), "{listed}");
    let marked = Regex::new(r" \d\.\d{4} [abc] ").expect("an expression");
    assert_eq!(marked.find_iter(&listed).count(), 5, "{listed}");
    // The runs of one set alone need no marks.
    let listed =
        case.statetune(&["runs", "ls", "--where", "data.val_seed=7"]).is_done().stdout.clone();
    assert!(!listed.contains(note), "{listed}");
}

#[test]
fn a_sweep_over_other_validation_documents_is_marked() {
    let case = Case::new();
    let swept = case.statetune(&["sweep", STATE, "--axis", "data.val_seed=1,7"]);
    let note = "VAL: losses with different letters";
    assert!(swept.is_done().stdout.contains(note), "{swept:?}");
    let swept = case.statetune(&["sweep", STATE, "--axis", "schedule.lr_init=0.5,1.0"]);
    assert!(!swept.is_done().stdout.contains(note), "{swept:?}");
}

/// Runs of an experiment in a sub-folder are found from above.
#[test]
fn runs_of_sub_folders() {
    let case = Case::new();
    for file in [STATE, "data.jsonl", "vocab.txt", "base.pth"] {
        case.write(format!("emoji/{file}"), std::fs::read(case.path(file)).expect("there"));
    }
    case.statetune(&["run", "emoji/state.toml"]).is_done();
    let shown = case.statetune(&["runs", "show", "latest"]);
    assert!(shown.is_done().stdout.contains("emoji/runs/"), "{shown:?}");
    case.statetune(&["watch", "tiny", "--once"]).is_done();
    let listed = case.statetune(&["runs", "ls"]);
    assert_eq!(listed.stderr.trim_end(), "runs in emoji/runs");
    assert!(listed.is_done().stdout.contains("tiny"), "{listed:?}");
    let output = case.statetune(&["watch", "latst", "--once"]);
    assert!(output.stderr.contains("help: did you mean `latest`?"), "{output:?}");
    // A run of this folder comes first, and a folder that is named stays the only one.
    case.statetune(&["run", STATE]).is_done();
    let shown = case.statetune(&["runs", "show", "latest"]);
    assert!(!shown.is_done().stdout.contains("emoji/runs/"), "{shown:?}");
    let output = case.statetune(&["runs", "show", "latest", "--runs-dir", "elsewhere"]);
    assert_eq!(output.code, Some(2), "{output:?}");
}
