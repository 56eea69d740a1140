//! The published kinds of training scripts of `tests/data/import/variants.toml`, each written in several ways: all import, pass
//! `check`, and have every setting that the original would have had.

use std::collections::BTreeMap;

use statetune_core::import::{Imported, Outcome, from_infctx, from_script};
use toml::{Table, Value};

use crate::case::Case;

/// A script as flags, and the settings of its import.
#[derive(Clone, Debug, Default)]
struct Variant {
    program: String,
    /// Flags with their values, as they are written.
    flags: Vec<(String, String)>,
    here: BTreeMap<String, Value>,
}

/// The variants by name, in the order of the file.
fn variants() -> Vec<(String, Variant)> {
    let file: Table = include_str!("../data/import/variants.toml").parse().expect("TOML");
    let mut all: Vec<(String, Variant)> = Vec::new();
    for one in file["variant"].as_array().expect("variants") {
        let text = |key: &str| one.get(key).and_then(Value::as_str);
        let list = |key: &str| one.get(key).and_then(Value::as_array).cloned().unwrap_or_default();
        let name = text("name").expect("a name").to_string();
        let from = text("from").map(|from| {
            let found = all.iter().find(|(name, _)| name == from);
            found.unwrap_or_else(|| panic!("{name}: {from} is not above")).1.clone()
        });
        let mut variant = from.unwrap_or_default();
        variant.program = text("program").unwrap_or("train.py").to_string();
        for line in text("flags").unwrap_or_default().lines().filter(|line| !line.is_empty()) {
            let (flag, value) = line.split_once(' ').unwrap_or((line, ""));
            match variant.flags.iter_mut().find(|(known, _)| known == flag) {
                Some(known) => known.1 = value.to_string(),
                None => variant.flags.push((flag.to_string(), value.to_string())),
            }
        }
        for flag in list("without") {
            let before = variant.flags.len();
            variant.flags.retain(|(known, _)| Some(known.as_str()) != flag.as_str());
            assert_eq!(variant.flags.len() + 1, before, "{name}: {flag} is missing");
        }
        for key in list("absent") {
            let removed = variant.here.remove(key.as_str().expect("a key"));
            assert!(removed.is_some(), "{name}: {key} is missing");
        }
        variant.here.extend(flat(text("here").unwrap_or_default()));
        all.push((name, variant));
    }
    all
}

/// Settings by dotted key; numbers as floats, so that 1 and 1.0 are the same.
fn flat(toml: &str) -> BTreeMap<String, Value> {
    fn add(prefix: &str, table: &Table, into: &mut BTreeMap<String, Value>) {
        for (key, value) in table {
            let key = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                Value::Table(table) if key != "data.mask_id" => add(&key, table, into),
                Value::Integer(number) => {
                    into.insert(key, Value::Float(*number as f64));
                }
                value => {
                    into.insert(key, value.clone());
                }
            }
        }
    }
    let mut settings = BTreeMap::new();
    add(
        "",
        &toml.parse::<Table>().unwrap_or_else(|error| panic!("{error}\n{toml}")),
        &mut settings,
    );
    settings
}

/// The words of a flag's value, quoted where a shell needs it.
fn quoted(flag: &str, value: &str) -> String {
    let is_plain =
        |text: &str| text.chars().all(|one| one.is_ascii_alphanumeric() || "./_-,:".contains(one));
    match value {
        "" => String::new(),
        "\"\"" => " \"\"".to_string(),
        several if matches!(flag, "--sft_field" | "--train_parts") => {
            let words = several.split(' ').map(|word| quoted("", word));
            words.collect()
        }
        plain if is_plain(plain) => format!(" {plain}"),
        other => format!(" '{other}'"),
    }
}

/// The script in the ways in which people write it.
fn scripts(variant: &Variant) -> Vec<String> {
    let Variant { program, flags, .. } = variant;
    let words: Vec<String> =
        flags.iter().map(|(flag, value)| format!("{flag}{}", quoted(flag, value))).collect();
    let mut variables = String::from("#!/bin/bash\n");
    let mut with_variables = format!("python {program}");
    let mut with_equals = format!(
        "python -m {}",
        program.trim_end_matches(".py").rsplit('/').next().expect("a name")
    );
    for (i, (flag, value)) in flags.iter().enumerate() {
        let word = quoted(flag, value);
        let is_one = !word.is_empty() && word.matches(' ').count() == 1;
        match is_one {
            true => {
                variables += &format!("V{i}={} # the {i}th\n", word.trim_start());
                with_variables += &format!(" \\\n  {flag} \"${{V{i}}}\"");
                with_equals += &format!(" {flag}={}", word.trim_start());
            }
            false => {
                with_variables += &format!(" \\\n  {flag}{word}");
                with_equals += &format!(" {flag}{word}");
            }
        }
    }
    vec![
        format!("python {program} {}", words.join(" ")),
        format!(
            "cd trainer && CUDA_VISIBLE_DEVICES=0 nohup python3 -u {program} \\\r\n  {} > log.txt 2>&1 &\r\n",
            words.join(" \\\r\n  ")
        ),
        format!("{variables}{with_variables} | tee log.txt\n"),
        format!(
            "ARGS=(\n  {}\n)\nif [ \"$1\" != \"\" ]; then\n  deepspeed {program} \"${{ARGS[@]}}\"\nfi\n",
            words.join("\n  ")
        ),
        with_equals,
    ]
}

/// Checks an imported file by the rules of `check`, without its files and, where `with_files`, with files in their places.
fn passes_check(case: &Case, name: &str, toml: &str) {
    let check = |file: &str| {
        let output = case.statetune(&["check", "--no-files", file, "--format", "json"]);
        let found: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
        assert_eq!(output.code, Some(0), "{name}: {found:#}\n{toml}");
        let errors =
            found.as_array().expect("a list").iter().filter(|one| one["severity"] == "error");
        assert_eq!(errors.count(), 0, "{name}: {found:#}\n{toml}");
    };
    case.write("imported.toml", toml);
    check("imported.toml");
    let settings = flat(toml);
    let data_file = match settings["data.data_type"].as_str() {
        Some("jsonl") => "data.jsonl",
        Some("binidx") => "tokens",
        _ => "any.file",
    };
    let mut here = toml.to_string();
    for (key, file) in [("data.data_file", data_file), ("model.load_model", "base.pth")] {
        if let Some(Value::String(path)) = settings.get(key) {
            here = here.replace(&format!("{path:?}"), &format!("{file:?}"));
        }
    }
    case.write("present.toml", here);
    check("present.toml");
}

/// A case in which data of every type is present.
fn with_all_data() -> Case {
    let case = Case::new().having("any.file", "text");
    let export = [
        "data",
        "export",
        "data.jsonl",
        "--to",
        "binidx",
        "--tokenizer",
        "vocab.txt",
        "--out",
        "tokens",
    ];
    case.statetune(&export).is_done();
    case
}

#[test]
fn published_scripts_import_pass_check_and_have_the_settings_of_the_original() {
    let case = with_all_data();
    let variants = variants();
    let mut written = 0;
    for (name, variant) in &variants {
        let scripts = scripts(variant);
        written += scripts.len();
        for (way, script) in scripts.iter().enumerate() {
            let imported =
                from_script(script, name).unwrap_or_else(|error| panic!("{name}: {error}"));
            let expected = &variant.here;
            let found = flat(&imported.toml);
            let differ = |key: &&String| expected.get(*key) != found.get(*key);
            let keys: std::collections::BTreeSet<&String> =
                expected.keys().chain(found.keys()).collect();
            let different: Vec<String> = keys
                .into_iter()
                .filter(differ)
                .map(|key| {
                    format!("{key}: expected {:?}, found {:?}", expected.get(key), found.get(key))
                })
                .collect();
            assert!(different.is_empty(), "{name}, way {way}: {different:#?}\n{script}");
            rows_are_true(name, &imported, &found);
            if way == 0 {
                every_flag_has_a_row(name, variant, &imported);
                passes_check(&case, name, &imported.toml);
            }
        }
    }
    assert!(variants.len() >= 60);
    println!(
        "{} variants, {written} scripts: all import, all pass check, all settings",
        variants.len()
    );
}

/// Every setting in the table is in the file, with this value.
fn rows_are_true(name: &str, imported: &Imported, found: &BTreeMap<String, Value>) {
    for row in &imported.options {
        for (key, value) in flat_of_row(&row.becomes) {
            // A setting that stands for several flags is named by each.
            let is_here = found.get(&key) == Some(&value);
            assert!(is_here, "{name}: {row:#?}, in the file {:?}", found.get(&key));
        }
        let says_nothing = row.becomes.is_empty() && row.why.is_empty();
        assert!(!says_nothing, "{name}: {row:#?}");
    }
}

/// The settings of a cell: `KEY = VALUE, KEY = VALUE`.
fn flat_of_row(becomes: &str) -> BTreeMap<String, Value> {
    if !becomes.contains(" = ") {
        return BTreeMap::new();
    }
    let lines = regex::Regex::new(r", ([a-z_]+\.[a-z_]+ = )").expect("a valid expression");
    flat(&lines.replace_all(becomes, "\n$1"))
}

fn every_flag_has_a_row(name: &str, variant: &Variant, imported: &Imported) {
    for (flag, _) in &variant.flags {
        let is_of = |original: &str| {
            let first = original.split(' ').next().unwrap_or_default();
            first == flag || first.starts_with(&format!("{flag}."))
        };
        let rows = imported.options.iter().filter(|row| is_of(&row.original)).count();
        assert!(rows > 0, "{name}: {flag}");
    }
}

#[test]
fn what_is_not_offered_or_trains_nothing_is_refused() {
    let refused = [
        (
            "python train.py --peft adalora --peft_config '{\"r\":8}'",
            "cannot import `x.sh`: statetune does not offer `--peft adalora`\n  |\n  = help: the methods are state,",
        ),
        ("python train.py --peft prefix", "statetune does not offer `--peft prefix`"),
        (
            "python train.py --data_type wds_img",
            "statetune does not offer `--data_type wds_img`\n  |\n  = help: the data types are jsonl,",
        ),
        (
            "python train.py --train_stage 1 --n_layer 12 --epoch_count 1",
            "only writes an initial model",
        ),
        ("python train.py --my_pile_stage 1 --n_layer 12", "only writes an initial model"),
        ("python make_data.py a.jsonl 3 512", "prepares data and does not train"),
        ("python merge/merge_lora.py --base a", "use `statetune merge RUN`"),
        ("python lightning_trainer.py fit -c a.yaml", "import its YAML file"),
        ("echo train", "no `train.py` found"),
    ];
    let case = Case::new();
    for (script, expected) in refused {
        case.write("x.sh", script);
        let output = case.statetune(&["import", "x.sh"]);
        assert_eq!(output.code, Some(2), "{script}");
        assert!(output.stderr.contains(expected), "{script}\n{}", output.stderr);
    }
    // Of two stages the second is the training.
    let both = "python train.py --train_stage 1 --n_layer 12\npython train.py --train_stage 3 --n_layer 24";
    assert!(from_script(both, "x").expect("a training").toml.contains("n_layer = 24"));
}

#[test]
fn what_only_the_shell_knows_is_marked() {
    let case = Case::new();
    let script = "source settings.sh\ninfo=$(python sizes.py $1)\n\
                  python3 ./finetune/lora/train.py $info $@ --load_model $1 --data_file \"$2\" --lr_init $LR --ctx_len $N \
                  --lora --lora_r ${RANK} --proj_dir out/$3 --data_type binidx --peft_config $config";
    let imported = from_script(script, "x").expect("a training");
    passes_check_when_missing(&case, &imported.toml);
    let row = |original: &str| {
        let row = imported.options.iter().find(|row| row.original == original);
        row.map(|row| (row.outcome, row.becomes.as_str()))
    };
    let path = |key: &'static str| Some((Outcome::Unsupported, key));
    assert_eq!(row("--load_model $1"), path("model.load_model = \"SET_THIS_PATH\""));
    assert_eq!(row("--data_file $2"), path("data.data_file = \"SET_THIS_PATH\""));
    assert_eq!(row("--lr_init $LR"), path(""));
    assert_eq!(row("--lr_init"), Some((Outcome::Assumed, "schedule.lr_init = 6e-4")));
    assert_eq!(row("--lora_r ${RANK}"), path(""));
    assert_eq!(row("$(python sizes.py $1)"), path(""));
    assert_eq!(row("$@"), path(""));
    assert!(imported.toml.contains("data_file = \"SET_THIS_PATH\""), "{}", imported.toml);
    assert!(imported.toml.contains("name = \"x\""), "{}", imported.toml);
    let notes = imported.notes.join("\n");
    assert!(notes.contains("`settings.sh` is not read"), "{notes}");
}

/// The script of RWKV-Runner: another program prints the trainer and the sizes.
#[test]
fn a_program_that_only_the_shell_knows() {
    let script = "info=$(python3 ./sizes.py $weights)\nif [[ $info =~ \"--n_layer\" ]]; then\n\
                  python3 ./finetune/lora/$info $@ --proj_dir lora-models --data_type binidx --lora \\\n\
                  --lora_parts=att,ffn,time,ln --strategy deepspeed_stage_2 --accelerator gpu\nelse\n  exit 1\nfi";
    let imported = from_script(script, "x").expect("a training");
    let rows: Vec<_> = imported.options.iter().take(3).map(|row| row.original.as_str()).collect();
    assert_eq!(rows, ["./finetune/lora/$(python3 ./sizes.py $weights)", "$@", "--lora"]);
    assert!(imported.toml.contains("type = \"lora\"\nrank = 8 "), "{}", imported.toml);
    passes_check_when_missing(&Case::new(), &imported.toml);
}

fn passes_check_when_missing(case: &Case, toml: &str) {
    case.write("imported.toml", toml);
    let output = case.statetune(&["check", "--no-files", "imported.toml"]);
    assert_eq!(output.code, Some(0), "{toml}\n{}", output.stderr);
}

/// Values out of their ranges, words that are none, and settings that contradict each other.
#[test]
fn whatever_is_written_the_file_passes_check() {
    let case = with_all_data();
    let values = [
        "",
        "0",
        "-1",
        "1",
        "7",
        "0.5",
        "1e400",
        "nan",
        "x",
        "99999999999",
        "$UNSET",
        "'{\"r\":0}'",
    ];
    let known: std::collections::BTreeSet<String> = variants()
        .into_iter()
        .flat_map(|(_, variant)| variant.flags)
        .map(|(flag, _)| flag)
        .collect();
    let bases: Vec<(String, Variant)> = variants()
        .into_iter()
        .filter(|(name, _)| {
            ["2025-state", "2025-lora", "2026-lora", "lm-x070"].contains(&name.as_str())
        })
        .collect();
    let mut tried = 0;
    for (i, flag) in known.iter().enumerate() {
        for (j, value) in values.iter().enumerate() {
            let (name, base) = &bases[(i + j) % bases.len()];
            let script = format!("{} {flag} {value}", scripts(base)[0]);
            let Ok(imported) = from_script(&script, name) else { continue };
            // One process for many files.
            case.write(format!("tried/{tried}.toml"), &imported.toml);
            tried += 1;
        }
    }
    let files: Vec<String> = (0..tried).map(|i| format!("tried/{i}.toml")).collect();
    let arguments: Vec<&str> = ["check", "--no-files", "--format", "json"]
        .into_iter()
        .chain(files.iter().map(String::as_str))
        .collect();
    let output = case.statetune(&arguments);
    let found: serde_json::Value = serde_json::from_str(&output.stdout).expect("JSON");
    let errors: Vec<_> =
        found.as_array().expect("a list").iter().filter(|one| one["severity"] == "error").collect();
    assert!(errors.is_empty(), "{:#?}", errors.first());
    assert_eq!(output.code, Some(0));
    assert!(tried > 500, "{tried}");
    println!("{tried} scripts with odd values: all that import pass check");
}

/// Files of infctx-trainer with gaps, templates and values of other kinds.
#[test]
fn files_of_infctx_trainer_pass_check() {
    let case = Case::new();
    let least = "model:\n  load_model: /m/rwkv.pth\n  ctx_len: 1024\n  lr_init: 3e-4\ndata:\n  data_path: /d\n";
    let files: [(&str, String, &[&str]); 8] = [
        (
            "text in a folder",
            format!("trainer:\n  max_steps: 10\n  target_batch_size: 32\n  devices: auto\n{least}  source: text\n  source_data_dir: ../texts/\n  tokenizer: neox\n"),
            &[
                "data_type = \"utf-8\"",
                "data_file = \"../texts/\"",
                "epoch_steps = 10 ",
                "accumulate_grad_batches = 32\n",
                "lr_schedule = \"constant\"",
                "weight_decay = 0.01 ",
                "overlong = \"split\"",
                "l2wrap = 1e-4",
                "tokenizer = \"world\"",
            ],
        ),
        (
            "a dataset of the hub",
            format!("trainer:\n  accelerator: gpu\n  devices: 4\n  microbatch_size: 4\n  target_batch_size: 32\n{least}  source: teven/enwiki_100k\n  test_split: 50\n"),
            &["data_file = \"SET_THIS_PATH\"", "accumulate_grad_batches = 8\n", "micro_bsz = 4\n", "val_split = 0.01 "],
        ),
        ("prepared before", format!("{least}  source: null\n"), &["data_file = \"SET_THIS_PATH\""]),
        (
            "a template",
            format!("seed_everything: true\n{}  source: json\n  source_data_dir: ${{DATA}}\n", least.replace("/m/rwkv", "../model/<TO-OVERRIDE>")),
            &["load_model = \"SET_THIS_PATH\"", "data_file = \"SET_THIS_PATH\"", "data_type = \"jsonl\""],
        ),
        (
            "without end",
            format!("trainer:\n  max_epochs: -1\n  gradient_clip_val: 0.5\n  accumulate_grad_batches: 2\n  devices: 2\n  precision: bf16-mixed\n{least}  source: json\n  source_data_dir: a.jsonl\n"),
            &["gradient_clip_val = 0.5", "accumulate_grad_batches = 4 ", "precision = \"bf16\"", "epoch_steps = \"pass\""],
        ),
        (
            "a warmup in place of the curve",
            format!("{}  source: json\n  source_data_dir: a.jsonl\n", least.replace("3e-4\n", "3e-4\n  lr_final: 1e-5\n  warmup_steps: 20\n  weight_decay: 0\n  grad_cp: false\n")),
            &["lr_schedule = \"constant\"", "warmup_steps = 20\n", "weight_decay = 0\n", "grad_cp = false\n"],
        ),
        (
            "values of other kinds",
            format!("trainer:\n  devices: [0, 1]\n  strategy:\n    class_path: x\n  callbacks:\n    - class_path: y\n  logger: false\n  accelerator: tpu\n{}  source: csv\n  source_data_dir: a\n  test_split: 0\n", least.replace("1024", "big").replace("3e-4", "-1")),
            &["ctx_len = 2048", "lr_init = 1e-8", "val_split = 0.0\n"],
        ),
        (
            "checkpoints",
            format!("trainer:\n  max_epochs: 3\n  callbacks:\n    class_path: z\n    init_args:\n      save_top_k: 2\n      dirpath: c\n{least}  source: json\n  source_data_dir: a.jsonl\n"),
            &["keep_last = 2 ", "epoch_count = 3\n"],
        ),
    ];
    for (name, yaml, expected) in files {
        let imported = from_infctx(&yaml, "x").unwrap_or_else(|error| panic!("{name}: {error}"));
        rows_are_true(name, &imported, &flat(&imported.toml));
        passes_check_when_missing(&case, &imported.toml);
        for line in expected {
            assert!(imported.toml.contains(line), "{name}: {line}\n{}", imported.toml);
        }
    }
}
