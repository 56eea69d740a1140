//! Shift states through the program: which programs read them is said before training, and nothing drops them silently;
//! layers and rates by layer.

use serde_json::Value;
use statetune_engine::model::{Shape, TimeState, Version};

use crate::case::{Case, Output, SIZES, STATE};

/// The case that trains both parts.
fn case() -> Case {
    with_peft("parts = [\"wkv\", \"shift\"]")
}

/// The case with this line below `type = "state"`.
fn with_peft(line: &str) -> Case {
    Case::new().with(STATE, "type = \"state\"", &format!("type = \"state\"\n{line}"))
}

fn json(output: &Output) -> Value {
    assert_eq!(output.code, Some(0), "{output:?}");
    serde_json::from_str(&output.stdout).expect("JSON")
}

fn refused(output: &Output, message: &str) {
    let found = (output.code, &*output.stdout, output.stderr.trim_end());
    assert_eq!(found, (Some(28), "", message));
}

#[test]
fn what_reads_shift_states_is_said_before_training() {
    let warning = "\
warning[ST2306]: few programs read trained shift states
  --> state.toml:15:9
   |
15 | parts = [\"wkv\", \"shift\"]
   |         ^^^^^^^^^^^^^^^^
   |
   = note: read by statetune, rwkv-pip (`mount --for rwkv-pip`) and llama.cpp (`export --to gguf`)
   = note: not read by RWKV Runner (`mount --for rwkv-runner`), Ai00/web-rwkv (`mount --for ai00`, `export --to st`) and \
           programs that read states in a model file (`merge --states embed`)
   = note: for these, `mount` and `export` write the WKV states alone with `--drop shift`
   = help: silence with `# statetune: allow(ST2306)` on the line above";
    let case = case();
    for command in ["check", "plan"] {
        let output = case.statetune(&[command, STATE]);
        assert_eq!(output.code, Some(0), "{output:?}");
        let said = output.stderr.replace("\n           programs", " programs");
        assert!(said.contains(&warning.replace("\n           programs", " programs")), "{said}");
    }
    let silent = with_peft("# statetune: allow(ST2306)\nparts = [\"shift\"]");
    let output = silent.statetune(&["check", STATE]);
    assert!(!output.stderr.contains("ST2306"), "{output:?}");
    assert!(!Case::new().statetune(&["check", STATE]).stderr.contains("ST2306"));
}

#[test]
fn no_program_loses_shift_states_silently() {
    let case = case();
    case.statetune(&["run", STATE]).is_done_with_warnings();
    let export = case.only_run().join("export");
    let files = case.list(&export);
    assert!(files.iter().all(|file| !file.ends_with(".st")), "{files:?}");
    let shape = Shape::for_scratch(Version::V7, SIZES.0, SIZES.1, SIZES.2);
    let state = TimeState::load(&case.path(export.join("rwkv-1.pth")), &shape).expect("a state");
    // The channel mixes of the small model add nothing.
    for (_, name, s) in state.tensors().filter(|(_, name, _)| !name.contains("ffn")) {
        assert!(s.abs().max().double_value(&[]) > 0.0, "{name}");
    }

    let counts = "it refuses a state file that has other tensors than one for each layer";
    let reads =
        "it reads `time_state` alone, and would start without the shift states and without a word";
    let drop = "add `--drop shift` to write the WKV states alone: the model then differs from the trained one";
    let runner = "RWKV Runner (`mount --for rwkv-runner`)";
    let ai00 = "Ai00/web-rwkv (`mount --for ai00`, `export --to st`)";
    let message = |program, reason| {
        format!(
            "error[ST8033]: shift states are not read by {program}\n  |\n  = note: {reason}\n  = help: {drop}"
        )
    };
    for (arguments, program, reason) in [
        (&["mount", "latest", "--for", "rwkv-runner", "--out", "out"][..], runner, counts),
        (&["mount", "latest", "--for", "ai00", "--out", "out"], ai00, reads),
        (&["export", "latest", "--to", "st", "--out", "out/a.st"], ai00, reads),
    ] {
        refused(&case.statetune(arguments), &message(program, reason));
        assert!(!case.path("out").exists());
    }
    case.statetune(&["mount", "latest", "--for", "rwkv-runner", "--drop", "shift"]).is_done();
    let dropped = ["export", "latest", "--to", "st", "--out", "wkv.st", "--drop", "shift"];
    case.statetune(&dropped).is_done();
    let found = TimeState::load(&case.path("wkv.st"), &shape).expect("a state");
    assert!(found.shift.is_none());
    for (x, y) in found.wkv.iter().zip(&state.wkv) {
        assert!(x.allclose(y, 1e-2, 1e-4, false));
    }

    let mounted =
        json(&case.statetune(&["mount", "latest", "--for", "rwkv-pip", "--format", "json"]));
    assert!(mounted["difference"].as_f64().expect("a number") < 1e-4, "{mounted}");
    let entry = mounted["entry"].as_str().expect("a program");
    let row = "state += [tuned[f\"blocks.{i}.att.shift_state\"].float(), s, \
               tuned[f\"blocks.{i}.ffn.shift_state\"].float()]";
    assert!(entry.contains(row), "{entry}");

    let cache = |more: &[&str], name: &str| {
        let out = format!("{name}.gguf");
        let arguments = ["export", "latest", "--to", "gguf", "--out", &out];
        let output = case.statetune(&[&arguments[..], more].concat());
        assert_eq!(output.code, Some(0), "{output:?}");
        std::fs::read(case.path(format!("{name}.session"))).expect("a prompt cache")
    };
    let (whole, wkv) = (cache(&[], "whole"), cache(&["--drop", "shift"], "wkv"));
    assert!(whole.len() == wkv.len() && whole != wkv);

    let embed = case.statetune(&["merge", "latest", "--out", "m.pth", "--states", "embed"]);
    let message = format!(
        "error[ST8033]: shift states are not read by programs that read states in a model file (`merge --states embed`)\n  |\n  \
         = note: {reads}\n  = help: set `--states beside` to write a state file beside the model"
    );
    refused(&embed, &message);
    let beside = ["merge", "latest", "--out", "m.pth", "--states", "beside"];
    assert_eq!(case.statetune(&beside).code, Some(0));
    let beside = TimeState::load(&case.path("m-state.pth"), &shape).expect("a state");
    assert_eq!(beside.tensors().count(), state.tensors().count());
}

#[test]
fn commands_about_states_know_both_parts() {
    let case = case();
    case.statetune(&["run", STATE]).is_done_with_warnings();
    let info = json(&case.statetune(&["state", "info", "latest", "--format", "json"]));
    assert_eq!(info["shift_norms"].as_array().map(Vec::len), Some(SIZES.0 as usize));
    assert_eq!(info["passport"]["method"]["parts"], serde_json::json!(["wkv", "shift"]));
    let table = case.statetune(&["state", "info", "latest"]).stdout;
    assert!(table.contains("att shift") && table.contains("ffn shift"), "{table}");
    case.statetune(&["state", "scale", "0.5", "latest", "--out", "half", "--dtype", "fp32"])
        .succeeds("state  half.pth", "");
    let diff = ["state", "diff", "latest", "half.pth", "--format", "json"];
    let diff = json(&case.statetune(&diff));
    let cosine = diff["layers"][1]["shift"]["att"]["cosine"].as_f64().expect("a number");
    assert!((cosine - 1.0).abs() < 1e-6, "{diff}");
    // What is read from the file is what was trained.
    case.write("tokens.json", "[1, 72, 4095, 5, 0, 33, 900, 2]");
    let loss = |state: &str| {
        let state = ["score", state, "--tokens", "tokens.json", "--model", "base.pth"];
        json(&case.statetune(&state))["mean_nll"].as_f64().expect("a number")
    };
    let file = case.only_run().join("export/rwkv-1.pth").to_string_lossy().into_owned();
    let wkv = ["export", "latest", "--to", "pth", "--out", "wkv.pth", "--drop", "shift"];
    case.statetune(&wkv).is_done();
    assert_ne!(loss(&file), loss("wkv.pth"));
    // A state with both parts is a start.
    let second = Case::new().with(
        STATE,
        "type = \"state\"",
        "type = \"state\"\ninit = \"file\"\ninit_file = \"start.pth\"",
    );
    std::fs::copy(case.path(&file), second.path("start.pth")).expect("copied");
    second.statetune(&["run", STATE]).is_done();
    let info = json(&second.statetune(&["state", "info", "latest", "--format", "json"]));
    assert_eq!(info["shift_norms"].as_array().map(Vec::len), Some(SIZES.0 as usize));
}

#[test]
fn layers_and_rates_that_a_model_does_not_have() {
    let cases = [
        (
            "layers = [0, \"1-7\"]",
            "\
error[ST4007]: the model has no layer 7
  --> state.toml:15:14
   |
15 | layers = [0, \"1-7\"]
   |              ^^^^^
   |
   = note: its layers are 0 to 1",
        ),
        (
            "lr_scale = { \"0\" = 0.5, \"2-3\" = 0.1 }",
            "\
error[ST4007]: the model has no layer 3
  --> state.toml:15:33
   |
15 | lr_scale = { \"0\" = 0.5, \"2-3\" = 0.1 }
   |                                 ^^^
   |
   = note: its layers are 0 to 1",
        ),
        (
            "lr_scale = { \"0-1\" = 0.5, \"1\" = 0.1 }",
            "\
error[ST2125]: `lr_scale` has two factors for one layer: `0-1` and `1`
  --> state.toml:15:33
   |
15 | lr_scale = { \"0-1\" = 0.5, \"1\" = 0.1 }
   |                                 ^^^",
        ),
    ];
    for (line, message) in cases {
        let output = with_peft(line).statetune(&["run", STATE]);
        assert_eq!(output.stderr.trim_end(), message, "{line}");
    }
    for (line, column) in [
        ("layers = [\"1-0\"]", 11),
        ("layers = [-1]", 11),
        ("layers = [0, 1.5]", 14),
        ("layers = [\"0..1\"]", 11),
        ("lr_scale = { \"0\" = 0.0 }", 20),
        ("lr_scale = { all = 0.5 }", 20),
    ] {
        let output = with_peft(line).statetune(&["check", STATE]);
        let place = format!("  --> state.toml:15:{column}\n");
        assert!(output.code == Some(2) && output.stderr.contains(&place), "{output:?}");
    }
}

/// One layer of two, at half its rate: `plan` counts what is trained, and the first layer stays as it started.
#[test]
fn one_layer_is_trained() {
    let case = with_peft("layers = [1]\nlr_scale = { \"1\" = 0.5 }");
    let plan = json(&case.statetune(&["plan", STATE, "--format", "json"]));
    assert_eq!(plan["trains"]["numbers"], 64 * 64, "{plan}");
    case.statetune(&["run", STATE]).is_done();
    let info = json(&case.statetune(&["state", "info", "latest", "--format", "json"]));
    let norm = |layer: usize| info["norms"][layer].as_f64().expect("a number");
    assert!(norm(0) == 0.0 && norm(1) > 0.0, "{info}");
    let lora = Case::new()
        .with(STATE, "type = \"state\"", "type = \"lora\"\nrank = 4\nlayers = [1]")
        .with(STATE, "lr_init = 1.0", "lr_init = 1e-3");
    lora.statetune(&["run", STATE]).is_done_with_warnings();
    assert_eq!(lora.statetune(&["generate", "latest", "-p", "Hi"]).code, Some(0));
    let merged = lora.statetune(&["merge", "latest", "--out", "m.pth"]);
    assert!(merged.stderr.contains("export   12 tensors of"), "{merged:?}");
}
