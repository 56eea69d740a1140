//! Profiles, parents and overrides as a person uses them, and the commands about settings.

use serde_json::Value;

use super::case::{Case, STATE};

const PROFILES: &str = "
[profile.short.train]
epoch_count = 1

[profile.tiny.train]
ctx_len = 32
";

fn with_profiles() -> Case {
    let case = Case::new();
    let text = case.read(STATE) + PROFILES;
    case.having(STATE, text)
}

/// A setting and its origin in what `config show --format json` prints.
fn setting(shown: &str, key: &str) -> (Value, String) {
    let shown: Value = serde_json::from_str(shown).expect("JSON");
    let settings = shown["settings"].as_array().expect("a list");
    let found = settings.iter().find(|one| one["key"] == key).expect("the setting");
    (found["value"].clone(), found["origin"].as_str().expect("a text").to_owned())
}

#[test]
fn a_run_records_what_profiles_and_flags_have_set() {
    let case = with_profiles();
    let arguments =
        ["run", STATE, "-p", "short", "--profile", "tiny", "--set", "train.micro_bsz=2"];
    case.statetune_with(&arguments, &[("STATETUNE__LOG__EVERY_STEPS", "2")]).is_done();
    let resolved = case.read(case.only_run().join("resolved.toml"));
    for line in [
        "epoch_count = 1  # profile short, file line 35",
        "ctx_len = 32  # profile tiny, file line 38",
        "micro_bsz = 2  # --set",
        "every_steps = 2  # environment STATETUNE__LOG__EVERY_STEPS",
        "precision = \"fp32\"  # file line 21",
        "op = \"auto\"  # default",
    ] {
        assert!(resolved.contains(&format!("\n{line}\n")), "{line} is not in\n{resolved}");
    }
    let run = case.only_run();
    let run = run.to_str().expect("a plain path");
    let arguments = ["config", "diff", STATE, run, "--exit-code"];
    let differs = case.statetune(&arguments);
    assert_eq!(differs.code, Some(1), "{differs:?}");
    assert!(differs.stdout.contains("4 changed, "), "{differs:?}");
    let arguments = ["config", "diff", STATE, run, "--exit-code", "-p", "short", "-p", "tiny"];
    let same = ["--set", "train.micro_bsz=2", "--set", "log.every_steps=2"];
    let alike = case.statetune(&[&arguments[..], &same].concat());
    assert_eq!(alike.code, Some(0), "{alike:?}");
    assert!(alike.stdout.starts_with("0 changed, "), "{alike:?}");
}

#[test]
fn an_unknown_profile() {
    with_profiles().refuses_to(
        &["check", STATE, "--profile", "shrot"],
        2,
        "\
error[ST0121]: unknown profile `shrot` in `state.toml`
 --> command line
  |
  | --profile shrot
  |           ^^^^^ did you mean `short`?",
    );
}

#[test]
fn settings_are_shown_with_their_origin() {
    let case = with_profiles().having("base.toml", "[train]\nmicro_bsz = 3\nctx_len = 16\n");
    let text = case.read(STATE).replace("micro_bsz = 4\n", "");
    let case = case.having(STATE, format!("extends = \"base.toml\"\n{text}"));
    let arguments =
        ["config", "show", STATE, "--format", "json", "-p", "tiny", "--unset", "schedule.lr_final"];
    let lone = ["--set-json", "tags=[\"a\", \"b\"]"];
    let shown = case.statetune(&[&arguments[..], &lone].concat());
    let of = |key: &str| setting(&shown.stdout, key);
    assert_eq!(of("train.micro_bsz"), (3.into(), "base.toml line 2".into()));
    assert_eq!(of("train.ctx_len"), (32.into(), "profile tiny, file line 38".into()));
    assert_eq!(of("tags"), (serde_json::json!(["a", "b"]), "--set".into()));
    assert_eq!(of("train.op"), ("auto".into(), "default".into()));
    assert!(!shown.stdout.contains("lr_final"));
    let toml = case.statetune(&["config", "show", STATE, "--format", "toml"]);
    case.write("shown.toml", toml.stdout.replace("CASE", &case.path("").to_string_lossy()));
    let alike = case.statetune(&["config", "diff", STATE, "shown.toml"]);
    assert!(alike.stdout.starts_with("0 changed, "), "{alike:?}");
}

#[test]
fn a_file_is_filled_and_made_minimal() {
    let case = with_profiles();
    case.statetune(&["config", "fill", STATE, "--out", "full.new"]).succeeds("", "");
    case.statetune(&["config", "minimal", "full.new", "--out", "small.new"]).succeeds("", "");
    for file in ["full.new", "small.new"] {
        let alike = case.statetune(&["config", "diff", STATE, file]);
        assert!(alike.stdout.starts_with("0 changed, "), "{alike:?}");
    }
    assert!(case.read("full.new").contains("\nkeep_last = 3\n"));
    assert!(
        !case.read("small.new").contains("keep_last") && case.read("small.new").contains("tiny")
    );
    case.refuses_to(
        &["config", "fill", STATE, "--out", "small.new"],
        2,
        "\
error[ST0122]: `small.new` already exists
  |
  = help: choose another name; existing files are never replaced",
    );
}

#[test]
fn a_parent_that_is_not_there() {
    let case = Case::new();
    let text = case.read(STATE);
    let case = case.having(STATE, format!("extends = \"none.toml\"\n{text}"));
    case.refuses_to(
        &["check", STATE],
        2,
        "\
error[ST1310]: cannot read the parent file `none.toml`
 --> state.toml:1:11
  |
1 | extends = \"none.toml\"
  |           ^^^^^^^^^^^
  |
  = note: No such file or directory (os error 2)",
    );
}
