//! `init`, `presets`, `completions`, `man`, `version` and `doctor`.

use serde_json::Value;

use super::case::{Case, STATE};

#[test]
fn a_first_experiment_runs_as_it_is_written() {
    let case = Case::new();
    case.statetune(&["init", "new", "--yes"]).succeeds(
        "\
wrote    new/first.toml
trains   the answers (`loss_mask = \"assistant\"`): 24 of 24 documents have answers after `Assistant:`
check    statetune check new/first.toml
run      statetune run new/first.toml",
        "",
    );
    assert_eq!(case.list("new"), [".statetune", "example.jsonl", "first.toml"]);
    let text = case.read("new/first.toml");
    assert!(text.starts_with("#:schema .statetune/experiment.schema.json\n"), "{text}");
    let schema = include_str!("../../schemas/experiment.schema.json");
    assert_eq!(case.read("new/.statetune/experiment.schema.json"), schema);
    case.statetune(&["check", "new/first.toml"]).succeeds("new/first.toml: valid", "");
    let arguments = ["run", "new/first.toml", "-p", "smoke", "--set", "sample.max_tokens=4"];
    case.statetune(&arguments).is_done();
}

#[test]
fn init_takes_flags_and_replaces_nothing() {
    let case = Case::new();
    let flags = ["--data", "data.jsonl", "--model", "base.pth", "--tokenizer", "vocab.txt"];
    let more = ["--method", "lora", "--device", "cpu", "--low-memory", "--name", "mine", "--yes"];
    case.statetune(&[&["init", "sub"], &flags[..], &more[..]].concat()).is_done();
    case.statetune(&["check", "sub/mine.toml"]).succeeds("sub/mine.toml: valid", "");
    let shown = case.statetune(&["config", "show", "sub/mine.toml"]).stdout;
    for value in ["recipe lora", "\"nf4\"", "\"lora\"", "\"cpu\""] {
        assert!(shown.contains(value), "{value} is not in\n{shown}");
    }
    case.refuses_to(
        &["init", "sub", "--name", "mine", "--yes"],
        2,
        "\
error[ST0122]: `sub/mine.toml` already exists
  |
  = help: choose another name; existing files are never replaced",
    );
    let before = case.list("sub");
    case.refuses_to(
        &["init", "sub", "--name", "other", "--yes", "--method", "state"],
        2,
        "\
error[ST0125]: `state` needs trained weights
  |
  = help: pass the weights: `--model FILE`",
    );
    case.refuses_to(
        &["init", "sub", "--name", "other"],
        2,
        "\
error[ST0125]: `init` asks five questions, but standard input is not a terminal
  |
  = help: pass the answers as flags, and `--yes` to use the defaults for the rest",
    );
    let refused = case.statetune(&["init", "sub", "--name", "other", "--data", "no", "--yes"]);
    assert_eq!(refused.code, Some(20), "{refused:?}");
    assert_eq!(case.list("sub"), before);
}

#[test]
fn init_knows_the_kinds_of_documents() {
    let case = Case::new().having("words.txt", "one two three ".repeat(400));
    case.statetune(&["data", "export", STATE, "--to", "binidx"]).is_done();
    for (data, data_type) in [("words.txt", "utf-8"), ("state.bin", "binidx")] {
        let name = data_type.trim_end_matches("-8");
        case.statetune(&["init", "--yes", "--data", data, "--name", name]).is_done();
        let file = format!("{name}.toml");
        assert!(case.read(&file).contains(&format!("data_type = \"{data_type}\"")), "{data}");
        case.statetune(&["check", &file]).succeeds(&format!("{file}: valid"), "");
    }
}

#[test]
fn presets_are_listed_and_shown() {
    let case = Case::new();
    let listed = case.statetune(&["presets", "ls", "--format", "json"]);
    let listed: Value = serde_json::from_str(&listed.stdout).expect("JSON");
    let presets = listed["presets"].as_array().expect("a list");
    assert_eq!(presets.len(), 18 + 5 + 7);
    // Every preset is an experiment file's own words.
    for preset in presets {
        let name = preset["name"].as_str().expect("a name");
        let shown = case.statetune(&["presets", "show", name]);
        let text = shown.is_done().stdout.parse::<toml_edit::DocumentMut>();
        assert!(text.is_ok_and(|text| !text.is_empty()), "{shown:?}");
    }
    let recipes = case.statetune(&["presets", "ls", "--kind", "recipe"]).stdout;
    assert!(recipes.contains("recipe ┆ state ┆ State tuning") && !recipes.contains("rwkv7-7b"));
    case.refuses_to(
        &["presets", "show", "rwkv8"],
        2,
        "\
error[ST0124]: unknown preset `rwkv8`
  |
  = help: run `statetune presets ls` to list the presets",
    );
}

#[test]
fn completions_manual_and_version() {
    let case = Case::new();
    for (shell, binds) in [
        ("bash", "complete -o nospace -o bashdefault -F _clap_complete_statetune statetune"),
        ("zsh", "compdef _clap_dynamic_completer_statetune statetune"),
        ("fish", "complete --keep-order --exclusive --command statetune"),
    ] {
        let script = case.statetune(&["completions", shell]);
        assert!(script.is_done().stdout.contains(binds), "{shell}: {}", script.stdout);
    }
    case.statetune(&["man", "pages"]).succeeds("", "");
    let pages = case.list("pages");
    for page in ["statetune.1", "statetune-run.1", "statetune-config-diff.1"] {
        assert!(pages.iter().any(|name| name == page), "{page} is not in {pages:?}");
    }
    assert!(case.read("pages/statetune-run.1").contains("Run an experiment"));
    let version = case.statetune(&["version"]);
    let expected = format!(
        r"^statetune {}( \([0-9a-f]{{12,}}\))?\nlibtorch 2\.11\.0\n$",
        env!("CARGO_PKG_VERSION")
    );
    let expected = regex::Regex::new(&expected).expect("a valid expression");
    assert!(expected.is_match(&version.is_done().stdout), "{version:?}");
}

/// What a shell is offered for the last of these words, by the way of bash.
fn offered(case: &Case, words: &[&str]) -> Vec<String> {
    let index = (words.len() - 1).to_string();
    let asked =
        [("COMPLETE", "bash"), ("_CLAP_IFS", "\n"), ("_CLAP_COMPLETE_INDEX", index.as_str())];
    let output = case.statetune_with(&[&["--"], words].concat(), &asked);
    output.is_done().stdout.lines().map(str::to_owned).collect()
}

#[test]
fn a_shell_is_offered_what_there_is() {
    let case = Case::new()
        .having("runs/2026-11-24-emoji-state-k3f9/experiment.toml", "")
        .having("more/2026-11-25-emoji-lora-b7q2/experiment.toml", "")
        .with(STATE, "[log]", "[profile.smoke.log]\nevery_steps = 2\n[profile.small]\n[log]");
    let offered = |words: &[&str]| offered(&case, &[&["statetune"], words].concat());
    assert_eq!(offered(&["comp"]), ["completions"]);
    assert_eq!(offered(&["verify", "--fr"]), [""; 0]);
    // Runs, in the folder that the command line names, and files where they may stand too.
    assert_eq!(offered(&["resume", ""])[..3], ["latest", "k3f9", "emoji-state"]);
    assert_eq!(offered(&["resume", "--runs-dir", "more", "b"]), ["b7q2"]);
    assert_eq!(offered(&["resume", "--runs-dir=more", "em"]), ["emoji-lora"]);
    assert_eq!(offered(&["config", "show", "sta"]), [STATE]);
    assert_eq!(offered(&["config", "show", "k"]), ["k3f9"]);
    // Keys, and the words that a value may be.
    let set = |word| offered(&["run", STATE, "--set", word]);
    assert_eq!(set("schedule.lr_i"), ["schedule.lr_init="]);
    assert_eq!(set("optimizer.type="), ["optimizer.type=adam"]);
    assert_eq!(set("train.precision=f"), ["train.precision=fp32", "train.precision=fp16"]);
    assert_eq!(set("train.ctx_len="), [""; 0]);
    assert_eq!(
        set("sched"),
        ["lr_schedule", "lr_init", "lr_final", "warmup_steps", "decay_share"]
            .map(|key| format!("schedule.{key}="))
    );
    assert_eq!(offered(&["check", STATE, "--set-json", "sample.pr"])[0], "sample.prompts=");
    assert_eq!(offered(&["plan", STATE, "--unset", "peft.ra"]), ["peft.rank"]);
    assert_eq!(offered(&["explain", "ST100"])[..2], ["ST1000", "ST1001"]);
    assert_eq!(offered(&["explain", "lr_i"]), ["schedule.lr_init"]);
    assert_eq!(offered(&["explain", "schedule.lr_i"]), ["schedule.lr_init"]);
    assert_eq!(offered(&["run", STATE, "-p", ""]), ["smoke", "small"]);
    assert_eq!(offered(&["run", STATE, "--profile", "sm"]), ["smoke", "small"]);
}

/// The script that `completions` prints, in a bash that completes a line.
#[test]
fn a_bash_completes_with_the_script() {
    let case = Case::new().having("runs/2026-11-24-emoji-state-k3f9/experiment.toml", "");
    let programs = std::path::Path::new(env!("CARGO_BIN_EXE_statetune")).parent();
    let path = format!(
        "{}:{}",
        programs.expect("a folder").display(),
        std::env::var("PATH").unwrap_or_default()
    );
    let script = "source <(statetune completions bash)\n\
        COMP_WORDS=(statetune resume k) COMP_CWORD=2 COMP_TYPE=9\n\
        _clap_complete_statetune statetune k resume\n\
        echo \"${COMPREPLY[@]}\"";
    let mut bash = std::process::Command::new("bash");
    bash.current_dir(case.path("")).env("PATH", path).args(["-c", script]);
    let output = match bash.output() {
        Ok(output) => output,
        Err(error) => return println!("skipped: no bash: {error}"),
    };
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "k3f9", "{output:?}");
}

#[test]
fn the_doctor_finds_right_kernels() {
    let output = Case::new().statetune(&["doctor", "--format", "json"]);
    let report: Value = serde_json::from_str(&output.is_done().stdout).expect("JSON");
    let findings = report["findings"].as_array().expect("a list");
    let of = |what: &str| findings.iter().filter(|one| one["what"] == what).collect::<Vec<_>>();
    let kernels = of("kernel");
    assert!(kernels.len() >= 3, "{findings:?}");
    for kernel in kernels {
        println!("{kernel}");
        assert_eq!(kernel["found"]["right"], true, "{kernel}");
    }
    assert_eq!(of("libtorch")[0]["found"]["version"], "2.11.0");
    assert!(of("memory")[0]["found"]["free_bytes"].is_u64(), "{findings:?}");
    assert!(of("disk")[0]["found"]["total_bytes"].is_u64(), "{findings:?}");
}
