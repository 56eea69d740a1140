//! `statetune data check`, `data show` and `data stats`, and settings of `[data]` that are refused.

use serde_json::Value;

use std::fs;

use crate::case::{Case, STATE};

const SOUND: &str = r#"{"text": "User: hi\n\nAssistant: hello"}"#;

#[test]
fn sound_documents() {
    let output = Case::new().statetune(&["data", "check", STATE]);
    output.succeeds("state.toml: 20 documents  no findings", "");
}

#[test]
fn every_kind_of_fault_is_shown_and_counted() {
    let lines = [
        SOUND,
        r#"{"text": "User: what does "ok" mean?\n\nAssistant: yes"}"#,
        r#"{"text": "User: hi\n\nBot: hello"}"#,
        SOUND,
        r#"{"text": "User: a\\n\\nAssistant: b"}"#,
    ];
    let case = Case::new().having("data.jsonl", lines.join("\n"));
    let output = case.statetune(&["data", "check", STATE]);
    assert_eq!(output.code, Some(20));
    assert_eq!(
        output.stdout.trim_end(),
        "\
state.toml: 4 documents
error    ST3001       1  lines are not valid JSON
error    ST3102       2  documents have no target tokens
warning  ST3103       1  words open turns but are not role words of the template
warning  ST3104       1  documents write `\\n` for a line break
warning  ST3110       1  documents repeat another one"
    );
    for message in [
        "error[ST3001]: line 2 of `data.jsonl` is not valid JSON\n --> data.jsonl:2:",
        "error[ST3102]: line 3 of `data.jsonl` has no target tokens\n --> data.jsonl:3:23",
        "set `data.template = { extends = \"rwkv-qa\", aliases = { assistant = [\"Bot\"] } }`",
        "warning[ST3103]: `Bot:` starts turns in 1 of 4 documents, but is not a role word of the template `rwkv-qa`",
        "warning[ST3104]: line 5 of `data.jsonl` contains a literal backslash and n instead of a line break\n --> data.jsonl:5:18",
        "warning[ST3110]: line 4 of `data.jsonl` is a duplicate of line 1 of `data.jsonl`",
    ] {
        assert!(output.stderr.contains(message), "{message}\nin\n{}", output.stderr);
    }

    let output = case.statetune(&["data", "check", STATE, "--format", "json"]);
    let answer: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!((output.code, &answer["schema"]), (Some(20), &"statetune.data-check/1".into()));
    assert_eq!(answer["findings"][0]["first"][0]["line"], 2);
    assert_eq!(answer["findings"][1]["count"], 2);
}

#[test]
fn what_can_be_repaired_is_written_beside_the_file() {
    let lines = [
        SOUND,
        r#"{"text": "User: what does "ok" mean?\n\nAssistant: yes"}"#,
        r#"{"text": ""}"#,
        r#"{"text": "User: a\\n\\nAssistant: b"}"#,
    ];
    let case = Case::new().having("data.jsonl", lines.join("\n"));
    let output = case.statetune(&["data", "check", STATE, "--fix"]);
    assert_eq!(output.code, Some(20), "the file itself is as it was");
    let wrote = "wrote data.fixed.jsonl: 2 lines fixed, 1 dropped (no text)";
    assert!(output.stderr.trim_end().ends_with(wrote), "{}", output.stderr);
    assert_eq!(case.read("data.jsonl"), lines.join("\n"));
    let fixed = case.with(STATE, "data.jsonl", "data.fixed.jsonl");
    fixed.statetune(&["data", "check", STATE]).succeeds("state.toml: 3 documents  no findings", "");
    // A second copy would overwrite the first.
    let output = fixed
        .with(STATE, "data.fixed.jsonl", "data.jsonl")
        .statetune(&["data", "check", STATE, "--fix"]);
    assert_eq!(output.code, Some(29));
    assert!(
        output.stderr.contains("error[ST3006]: cannot write `data.fixed.jsonl`"),
        "{}",
        output.stderr
    );
}

#[test]
fn documents_that_stand_in_another_file() {
    let case = Case::new().having("data.jsonl", SOUND).having("other.jsonl", format!("\n{SOUND}"));
    let output = case.statetune(&["data", "check", STATE, "--against", "other.jsonl"]);
    assert_eq!(output.code, Some(20));
    let message = "error[ST3112]: line 1 of `data.jsonl` is also in line 2 of `other.jsonl`";
    assert!(output.stderr.starts_with(message), "{}", output.stderr);
}

#[test]
fn a_document_with_its_mask() {
    let case = Case::new().having("data.jsonl", format!("{SOUND}\n{SOUND}"));
    let output = case.statetune(&["data", "show", STATE, "--line", "2"]);
    output.succeeds(
        "\
line 2 of `data.jsonl`: 9 tokens, 2 target tokens, 8 inputs of ctx_len 64
User: hi

Assistant:[[ hello]][[<end>]]",
        "",
    );
    let output = case.statetune(&["data", "show", STATE, "--line", "2", "--color", "always"]);
    assert!(
        output.stdout.contains("\x1b[32m hello\x1b[0m\x1b[32m<end>\x1b[0m"),
        "{}",
        output.stdout
    );
    let output = case.statetune(&["data", "show", STATE, "--random", "1"]);
    assert_eq!(output.stdout.matches("target tokens").count(), 1);
    case.refuses_to(
        &["data", "show", STATE, "--line", "3"],
        20,
        "\
error[ST3105]: line 3 has no document
  |
  = note: `data.jsonl` has its documents on lines 1 to 2",
    );
}

#[test]
fn figures_of_the_documents() {
    let case = Case::new().having("data.jsonl", format!("{SOUND}\n{SOUND}\n{SOUND}"));
    let output = case.statetune(&["data", "stats", STATE, "--format", "json"]);
    let answer: Value = serde_json::from_str(&output.stdout).expect("JSON");
    assert_eq!(answer["schema"], "statetune.data-stats/1");
    assert_eq!((&answer["documents"], &answer["tokens"]), (&3.into(), &27.into()));
    assert_eq!((&answer["lengths"]["max"], &answer["pack_rows"]), (&9.into(), &1.into()));
    let output = case.statetune(&["data", "stats", STATE]);
    output.is_done();
    assert!(
        output.stdout.contains("pack       1 rows of ctx_len, 37.5 % full"),
        "{}",
        output.stdout
    );
}

#[test]
fn settings_that_do_not_fit() {
    let refuses = |new: &str, message: &str| {
        let case = Case::new().with(STATE, "loss_mask = \"assistant\"\n", new);
        case.refuses_to(&["check", STATE], 2, message);
    };
    refuses(
        "loss_mask = \"qa\"\ntemplate = \"raw\"\n",
        "\
error[ST2144]: the template `raw` has no role `assistant`
 --> state.toml:7:13
  |
7 | loss_mask = \"qa\"
  |             ^^^^ targets what the assistant says
  |
  = help: choose a `data.template` with an assistant role, or set `loss_mask = \"pad\"`",
    );
    refuses(
        "loss_mask = \"se\"\nmask_id = { mask0 = \"<q>\" }\n",
        "\
error[ST2143]: `loss_mask = \"se\"` requires `data.mask_id.mask1`
 --> state.toml:7:13
  |
7 | loss_mask = \"se\"
  |             ^^^^
  |
  = note: target tokens start after the text `mask1` and end before the text `mask0`
  = help: for example `mask_id = { mask0 = \"<user>\", mask1 = \"<answer>\" }`",
    );
    refuses(
        "mask_id = { mask0 = \"<q>\" }\n",
        "\
error[ST2142]: `data.mask_id.mask0` only applies with `loss_mask = \"se\"`
 --> state.toml:7:21
  |
7 | mask_id = { mask0 = \"<q>\" }
  |                     ^^^^^
  |
  = help: delete the setting",
    );
    refuses(
        "template = { extends = \"rwkv-qa\", aliases = { assistant = [\"Bot:\"] } }\n",
        "\
error[ST2141]: `Bot:` is not a valid role word
 --> state.toml:7:60
  |
7 | template = { extends = \"rwkv-qa\", aliases = { assistant = [\"Bot:\"] } }
  |                                                            ^^^^^^ a role word must begin and end with a letter or digit
  |
  = note: the word replaces the one in `Assistant:`, including the text around it",
    );
    refuses(
        "walk = \"magic_prime\"\n",
        "\
error[ST2146]: `data.walk` only applies to windows
 --> state.toml:7:8
  |
7 | walk = \"magic_prime\"
  |        ^^^^^^^^^^^^^ only applies with `dataload = \"get\"`
  |
  = help: delete the setting, or set `data.dataload = \"get\"`",
    );
    refuses(
        "dataload = \"get\"\noverlong = \"split\"\n",
        "\
error[ST2147]: `data.overlong` does not apply to windows
 --> state.toml:8:12
  |
8 | overlong = \"split\"
  |            ^^^^^^^ windows cut documents anywhere and skip no tokens
  |
  = help: `statetune check state.toml --fix` deletes the line",
    );
    refuses(
        "dataload = \"get\"\nwalk = \"magic_prime\"\nloss_mask = \"assistant\"\n",
        "\
error[ST2104]: the magic-prime walk uses every window, even those without target tokens
 --> state.toml:9:13
  |
9 | loss_mask = \"assistant\"
  |             ^^^^^^^^^^^ with this mask some windows have no target tokens
  |
  = note: the random walk draws again until a window has target tokens
  = help: set `data.walk = \"random\"`, or `data.loss_mask = \"pad\"`",
    );
}

#[test]
fn one_document_at_a_time() {
    Case::new().with(STATE, "[data]", "[data]\ndataload = \"only\"").refuses_to(
        &["check", STATE],
        2,
        "\
error[ST2145]: `dataload = \"only\"` takes one document at a time
  --> state.toml:19:13
   |
19 | micro_bsz = 4
   |             ^ must be 1
   |
   = note: this loader does not pad, so documents of different lengths cannot share a batch
   = help: set `train.micro_bsz = 1`, and raise `train.accumulate_grad_batches` for more samples in a step
   = help: or set `data.dataload = \"pack\"`, which pads little",
    );
}

/// An experiment on twelve documents of `emoji-qa.jsonl` and a line of noise, and the model that knows such talk.
fn planted() -> Case {
    let root = concat!(env!("CARGO_MANIFEST_DIR"), "/");
    let experiment = fs::read_to_string(format!("{root}configs/emoji-state.toml")).expect("a file");
    let experiment = experiment.replace("../", root);
    let noise = r#"{"text": "User: Hi\n\nAssistant: qX7#zz vv~ 0x%% kQ; ]]zj"}"#;
    let records = fs::read_to_string(format!("{root}data/emoji-qa.jsonl")).expect("a file");
    let mut lines: Vec<&str> = records.lines().take(12).collect();
    lines.insert(5, noise);
    let experiment = experiment.replace(&format!("{root}data/emoji-qa.jsonl"), "planted.jsonl");
    Case::new().having("planted.toml", experiment).having("planted.jsonl", lines.join("\n") + "\n")
}

/// A planted document of noise comes out on top.
#[test]
fn the_worst_documents_come_first() {
    let output = planted().statetune(&["data", "show", "planted.toml", "--worst", "3"]);
    assert_eq!(output.code, Some(0), "{output:?}");
    assert_eq!(output.stdout.matches("mean loss").count(), 3, "{}", output.stdout);
    let first = output.stdout.find("qX7#").expect("the noise is among them");
    let second = output.stdout.match_indices("mean loss").nth(1).expect("three documents").0;
    assert!(first < second, "{}", output.stdout);
}

/// Also after training, which the other documents gain more from; the losses are kept in the run.
#[test]
fn the_worst_documents_of_a_run_come_first() {
    let case = planted();
    let steps = ["train.epoch_steps=10", "train.epoch_count=1", "sample.held_out=0"];
    let mut arguments = vec!["run", "planted.toml"];
    arguments.extend(steps.iter().flat_map(|step| ["--set", step]));
    case.statetune(&arguments).is_done_with_warnings();
    let run = case.only_run();
    let show = ["data", "show", "--run", "latest", "--worst", "3"];
    let first = case.statetune(&show);
    assert_eq!(
        first.stderr,
        "scoring 13 documents before and after training\nall losses: runs/DATE-emoji-state-ID/ledger.jsonl\n"
    );
    assert_eq!((first.code, first.stdout.matches("mean loss").count()), (Some(0), 3));
    let noise = first.stdout.find("qX7#").expect("the noise is among them");
    assert!(noise < first.stdout.match_indices("mean loss").nth(1).expect("three").0, "{first:?}");
    assert!(first.stdout.contains("\nline 6 of `"), "{first:?}");

    let ledger = case.lines(run.join("ledger.jsonl"));
    assert_eq!((&ledger[0]["record"], ledger.len()), (&"compared".into(), 14));
    let loss = |line: &Value, when: &str| line[when].as_f64().expect("a loss");
    let noise = &ledger[6];
    for (at, line) in ledger.iter().enumerate().skip(1) {
        assert_eq!(line["document"], format!("line {at} of `planted.jsonl`"), "{line}");
        let gain = |line| loss(line, "before") - loss(line, "after");
        if at != 6 {
            assert!(loss(line, "after") < loss(noise, "after") && gain(line) > 0.0, "{line}");
        }
    }

    // Kept results are not computed again until the documents or the trained parameters change.
    let again = case.statetune(&show);
    assert_eq!((&again.stdout, again.stderr.lines().count()), (&first.stdout, 1));
    case.write("planted.jsonl", case.read("planted.jsonl").replacen("User: Hi", "User: Ho", 1));
    let other = case.statetune(&show);
    assert!(other.stderr.starts_with("scoring 13 documents"), "{other:?}");
    let unknown = case.statetune(&["data", "show", "--run", "unknown", "--worst", "3"]);
    assert_eq!((unknown.code, &*unknown.stdout), (Some(2), ""));
}
