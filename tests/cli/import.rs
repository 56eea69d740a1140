//! Scripts of other trainers become experiment files, and every option is accounted for.

use std::collections::BTreeMap;

use serde_json::Value;
use statetune_core::import::{Imported, Outcome, from_infctx, from_script};

use crate::case::Case;

const SCRIPTS: [(&str, &str); 8] = [
    ("state", include_str!("../data/import/state.sh")),
    ("lora", include_str!("../data/import/lora.sh")),
    ("pissa", include_str!("../data/import/pissa.sh")),
    ("disha", include_str!("../data/import/disha.sh")),
    ("sft", include_str!("../data/import/sft.sh")),
    ("pretrain", include_str!("../data/import/pretrain.sh")),
    ("infctx", include_str!("../data/import/infctx.sh")),
    ("appendix", include_str!("../data/import/appendix.sh")),
];
const YAML: &str = include_str!("../data/import/infctx.yaml");

fn script(name: &str) -> Imported {
    let (_, text) = SCRIPTS.iter().find(|(known, _)| *known == name).expect("a script");
    from_script(text, name).expect("a training")
}

/// Outcome and successor of an option.
#[track_caller]
fn became(imported: &Imported, original: &str) -> (Outcome, String) {
    let mut found = imported.options.iter().filter(|row| row.original.starts_with(original));
    let row = found.next().unwrap_or_else(|| panic!("{original}: {:#?}", imported.options));
    (row.outcome, row.becomes.clone())
}

#[test]
fn every_import_is_a_valid_experiment_file() {
    let case = Case::new();
    let imports = SCRIPTS.map(|(name, text)| (name, from_script(text, name).expect("a training")));
    let yaml = ("infctx-yaml", from_infctx(YAML, "infctx").expect("an experiment"));
    for (name, Imported { toml, .. }) in imports.iter().chain([&yaml]) {
        let file = format!("{name}.toml");
        case.write(&file, toml);
        let output = case.statetune(&["check", "--no-files", &file]);
        assert_eq!(output.code, Some(0), "{toml}\n{}", output.stderr);
    }
}

#[test]
fn the_file_of_a_state_script() {
    let expected = "\
# Imported from a shell script by `statetune import`.
name = \"emoji-state\"              # each run has a directory in `runs/`

[data]
data_type = \"jsonl\"
data_file = \"emoji.jsonl\"         # tokenised by the run
repeat = 10
val_split = 0.0                   # default of the original
dataload = \"pad\"
loss_mask = \"pad\"
overlong = \"truncate\"             # default of the original

[model]
version = \"x060\"
load_model = \"/models/rwkv-0b4.pth\"
n_layer = 24
n_embd = 1024

[peft]
type = \"state\"

[quant]
type = \"nf4\"

[train]
op = \"auto\"                       # the fastest for the device
ctx_len = 512
micro_bsz = 1
epoch_count = 5
precision = \"bf16\"
grad_cp = true
l2wrap = 1e-4                     # default of the original
epoch_steps = 1000                # an interval between checkpoints; the original also cuts the data to this many batches

[hardware]
devices = 1
accelerator = \"gpu\"

[optimizer]
beta1 = 0.9
beta2 = 0.99
adam_eps = 1e-8

[schedule]
lr_final = 0.0                    # `wsd` of the original ends at 0 and ignores lr_final
lr_init = 1
lr_schedule = \"cos\"               # `wsd` of the original is a warmup and a cosine to 0, whatever lr_final is
warmup_steps = 10

[checkpoint]
epoch_save = 1

[log]
sinks = [\"jsonl\", \"train_log\", \"tensorboard\"]  # local event files; a run uploads nothing

# Not imported:
#   --lr_final 0.01: no effect in the original, `wsd` of the original ends at 0 and ignores lr_final
";
    assert_eq!(script("state").toml, expected);
}

#[test]
fn every_flag_of_every_script_is_accounted_for() {
    for (name, text) in SCRIPTS {
        let rows = script(name).options;
        for word in text.split_whitespace().filter(|word| word.starts_with("--")) {
            let is_comment = text.lines().any(|line| line.starts_with('#') && line.contains(word));
            let is_row = |original: &str| {
                original
                    .split(' ')
                    .next()
                    .is_some_and(|first| first == word || first.starts_with(&format!("{word}.")))
            };
            assert!(is_comment || rows.iter().any(|row| is_row(&row.original)), "{name}: {word}");
        }
    }
}

#[test]
fn adapters_with_their_settings_in_json() {
    let lora = script("lora");
    assert_eq!(became(&lora, "--peft"), (Outcome::Mapped, "peft.type = \"lora\"".into()));
    assert_eq!(became(&lora, "--lora_config.lora_r"), (Outcome::Mapped, "peft.rank = 32".into()));
    assert_eq!(
        became(&lora, "--lora_config.lora_alpha"),
        (Outcome::Mapped, "peft.alpha = 64".into())
    );
    assert_eq!(
        became(&lora, "--lora_config.lora_dropout"),
        (Outcome::Mapped, "peft.dropout = 0.05".into())
    );
    assert_eq!(
        became(&lora, "--train_parts"),
        (Outcome::Changed, "peft.train_parts = [\"ln\"]".into())
    );
    assert_eq!(
        became(&lora, "--epoch_steps"),
        (Outcome::Changed, "train.epoch_steps = 100".into())
    );
    assert_eq!(
        became(&lora, "--warmup_steps -1"),
        (Outcome::Changed, "schedule.warmup_steps = 0".into())
    );

    let pissa = script("pissa");
    assert_eq!(
        became(&pissa, "--pissa_config.svd_niter"),
        (Outcome::Mapped, "peft.svd_niter = 8".into())
    );
    assert_eq!(became(&pissa, "--quant"), (Outcome::Changed, "quant.type = \"fp4\"".into()));
    assert_eq!(became(&pissa, "--random_seed"), (Outcome::Mapped, "train.random_seed = 7".into()));

    let disha = script("disha");
    assert_eq!(
        became(&disha, "--disha_config.mode"),
        (Outcome::Mapped, "peft.mode = \"bat\"".into())
    );
    assert_eq!(became(&disha, "--fused_kernel").0, Outcome::NoEffect);
    assert_eq!(became(&disha, "--dropout").0, Outcome::NoEffect);

    let sft = script("sft");
    assert_eq!(
        became(&sft, "--sft_field"),
        (Outcome::Mapped, "data.sft_field = [\"query\", \"response\"]".into())
    );
    let text = include_str!("../data/import/sft.sh");
    let text = text.replace("query response", "instruction input output");
    let three = from_script(&text, "sft").expect("a training");
    assert_eq!(
        became(&three, "--sft_field"),
        (Outcome::Changed, "data.sft_field = [\"instruction\", \"input\", \"output\"]".into())
    );
    assert_eq!(became(&sft, "--bone_config.bone_load").0, Outcome::Unsupported);
    assert_eq!(became(&sft, "--lisa_r").0, Outcome::Unsupported);
}

#[test]
fn a_pretraining_of_rwkv_lm() {
    let pretrain = script("pretrain");
    // Stages start from the newest checkpoint of the folder.
    assert_eq!(became(&pretrain, "--load_model"), (Outcome::Changed, "no model.load_model".into()));
    // 40320 / (16 samples * 8 devices).
    assert_eq!(
        became(&pretrain, "--train_stage"),
        (Outcome::Changed, "train.epoch_steps = 315".into())
    );
    // 1498226207 / (512 * 40320), rounded up.
    assert_eq!(
        became(&pretrain, "--my_exit_tokens"),
        (Outcome::Changed, "train.epoch_count = 73".into())
    );
    assert_eq!(became(&pretrain, "--devices").0, Outcome::Changed);
    assert!(pretrain.toml.contains("accumulate_grad_batches = 8"), "{}", pretrain.toml);
    assert_eq!(became(&pretrain, "--ds_bucket_mb").0, Outcome::NoEffect);
    assert_eq!(became(&pretrain, "--epoch_begin").0, Outcome::Unsupported);
    assert!(pretrain.toml.contains("lr_schedule = \"cos\""), "{}", pretrain.toml);
    assert!(pretrain.toml.contains("type = \"full\""), "{}", pretrain.toml);
    let infctx = script("infctx");
    let chunks = "train.chunk_ctx = 512".to_string();
    assert_eq!(became(&infctx, "--train_type"), (Outcome::Changed, chunks.clone()));
    assert_eq!(became(&infctx, "--chunk_ctx"), (Outcome::Mapped, chunks));
    assert!(infctx.toml.contains("\nchunk_ctx = 512 "), "{}", infctx.toml);
}

#[test]
fn the_appendix_that_calls_lora_a_state_and_is_cut_off_by_a_comment() {
    let appendix = script("appendix");
    assert_eq!(became(&appendix, "--grad_cp"), (Outcome::NoEffect, String::new()));
    assert_eq!(became(&appendix, "--warmup_steps"), (Outcome::NoEffect, String::new()));
    assert!(!appendix.toml.contains("grad_cp = true"), "{}", appendix.toml);
    let notes = appendix.notes.join("\n");
    assert!(notes.contains("without `--train_type state` the script trains an adapter"), "{notes}");
    assert!(notes.contains("the training command ends before line 8"), "{notes}");
}

#[test]
fn a_file_of_infctx_trainer() {
    let imported = from_infctx(YAML, "infctx").expect("an experiment");
    assert_eq!(
        became(&imported, "model.lr_init"),
        (Outcome::Mapped, "schedule.lr_init = 1e-5".into())
    );
    assert_eq!(
        became(&imported, "model.ctx_len"),
        (Outcome::Changed, "train.ctx_len = 4096".into())
    );
    assert_eq!(
        became(&imported, "trainer.microbatch_size"),
        (Outcome::Mapped, "train.micro_bsz = 4".into())
    );
    assert_eq!(became(&imported, "model.bptt_learning:").0, Outcome::Changed);
    assert_eq!(became(&imported, "trainer.logger.init_args.project").0, Outcome::Changed);
    // 30 keys, and 5 defaults of the original.
    assert_eq!(imported.options.len(), 35, "{:#?}", imported.options);
}

#[test]
fn a_variable_that_only_the_shell_knows_is_not_guessed() {
    let text = "python train.py --n_layer $LAYERS --n_embd 8x --load_model ${BASE:-a.pth} --micro_bsz=2 --micro_bsz 3";
    let imported = from_script(text, "x").expect("a training");
    let why = |original| {
        let mut rows = imported.options.iter().filter(|row| row.original == original);
        rows.next().map(|row| (row.outcome, row.why.as_str()))
    };
    let unknown = "the value of a variable is unknown";
    assert_eq!(why("--n_layer $LAYERS"), Some((Outcome::Unsupported, unknown)));
    assert_eq!(why("--n_embd 8x"), Some((Outcome::Unsupported, "not an integer of at least 1")));
    assert_eq!(why("--load_model a.pth"), Some((Outcome::Mapped, "")));
    assert_eq!(why("--micro_bsz 2"), Some((Outcome::NoEffect, "overridden by a later flag")));
    assert_eq!(why("--micro_bsz 3"), Some((Outcome::Mapped, "")));
}

#[test]
fn the_command_writes_the_file_once_and_prints_the_account() {
    let case = Case::new()
        .having("state.sh", SCRIPTS[0].1)
        .having("merge.sh", "python merge_state.py --a b\n");
    let output = case.statetune(&["import", "state.sh", "--out", "emoji.toml", "--format", "json"]);
    let account: Value = serde_json::from_str(&output.is_done().stdout).expect("JSON");
    assert_eq!(account["schema"], "statetune.import/1");
    assert_eq!(case.read("emoji.toml"), script("state").toml);
    let human = case.statetune(&["import", "state.sh"]);
    assert_eq!(human.is_done().stdout.trim_end(), script("state").toml.trim_end());
    assert!(
        human.stderr.contains("no effect in the original")
            || human.stderr.contains("changed meaning")
    );

    case.refuses_to(
        &["import", "state.sh", "--out", "emoji.toml"],
        2,
        "\
error[ST0403]: `emoji.toml` already exists
  |
  = help: choose another `--out`; existing files are never overwritten",
    );
    case.refuses_to(
        &["import", "merge.sh"],
        2,
        "error[ST0402]: cannot import `merge.sh`: the script merges a checkpoint and does not train; use `statetune merge RUN`",
    );
    case.refuses_to(
        &["import", "data.jsonl"],
        2,
        "\
error[ST0402]: cannot import `data.jsonl`: the script does not run a trainer: no `train.py` found
  |
  = help: run `statetune init` to create an experiment from a few questions",
    );
    case.refuses_to(
        &["import", "nowhere.sh"],
        2,
        "error[ST0401]: cannot read `nowhere.sh`: No such file or directory (os error 2)",
    );
}

/// Settings by key, as `config show` prints them.
fn settings(case: &Case, file: &str) -> BTreeMap<String, Value> {
    let output = case.statetune(&["config", "show", file, "--format", "json"]);
    let shown: Value = serde_json::from_str(&output.is_done().stdout).expect("JSON");
    let list = shown["settings"].as_array().expect("a list");
    list.iter()
        .map(|one| (one["key"].as_str().expect("a key").into(), one["value"].clone()))
        .collect()
}

/// The script of an experiment, which must bring back each setting unless its comments name it.
#[track_caller]
fn there_and_back(case: &Case, file: &str) -> String {
    let script =
        case.statetune(&["config", "show", file, "--as", "rwkv-peft"]).is_done().stdout.clone();
    let (_, comments) = script.split_once("\n# Different in RWKV-PEFT:\n").unwrap_or((&script, ""));
    // Paths were replaced for the comparison with expected texts.
    let folder = case.path("");
    let real = script.replace("CASE/", &folder.to_string_lossy());
    let imported = from_script(&real, "x").expect("a training");
    // The cosine of this release has no warmup, which the comments say.
    let is_lost = |row: &&statetune_core::import::ImportedOption| {
        [Outcome::NoEffect, Outcome::Unsupported].contains(&row.outcome)
            && !row.original.starts_with("--warmup_steps")
    };
    let lost: Vec<_> = imported.options.iter().filter(is_lost).collect();
    assert!(lost.is_empty(), "{file}: {lost:#?}\n{script}");
    case.write("back.toml", &imported.toml);
    let back = settings(case, "back.toml");
    // The preset stands as its sizes, the description at the head.
    let elsewhere = ["model.preset", "description"];
    for (key, value) in settings(case, file) {
        let same = match (&value, back.get(&key)) {
            (Value::Number(a), Some(Value::Number(b))) => a.as_f64() == b.as_f64(),
            (value, other) => other == Some(value),
        };
        // Another objective is named as a whole.
        let is_of_objective = key.starts_with("objective.") && comments.contains("objective.type");
        let is_named =
            comments.contains(key.as_str()) || elsewhere.contains(&&*key) || is_of_objective;
        assert!(same || is_named, "{file}: {key} = {value}, and {:?}\n{script}", back.get(&key));
    }
    script
}

const LORA: &str = "\
type = \"lora\"
rank = 16
alpha = 24.0
dropout = 0.01
train_parts = [\"ln\"]
";
const DISHA: &str = "type = \"bone\"\nmode = \"bat\"\nrank = 32\n";
const PISSA: &str = "type = \"pissa\"\nrank = 8\nsvd_niter = 2\n\n[quant]\ntype = \"nf4\"\n";

#[test]
fn the_script_of_an_experiment_brings_its_settings_back() {
    let case = Case::new();
    let root = env!("CARGO_MANIFEST_DIR");
    let configs = std::fs::read_dir(format!("{root}/configs")).expect("the examples");
    for config in configs {
        let path = config.expect("an example").path();
        there_and_back(&case, path.to_str().expect("UTF-8"));
    }
    let method = "type = \"state\"\n";
    let variants = [
        ("state", method, ""),
        (
            "lora",
            LORA,
            "--peft lora \\\n  --lora_config '{\"lora_load\":\"\",\"lora_r\":16,\"lora_alpha\":24.0,\"lora_dropout\":0.01}' \\\n  --train_parts ln \\\n",
        ),
        (
            "disha",
            DISHA,
            "--peft disha \\\n  --disha_config '{\"load\":\"\",\"mode\":\"bat\",\"r\":32}' \\\n  --train_parts '[]' \\\n",
        ),
        (
            "pissa",
            PISSA,
            "--pissa_config '{\"pissa_load\":\"\",\"pissa_init\":\"\",\"pissa_r\":8,\"svd_niter\":2}'",
        ),
    ];
    for (name, table, flags) in variants {
        let text = case.read(crate::case::STATE).replace(method, table);
        let file = format!("{name}.toml");
        case.write(&file, text);
        let script = there_and_back(&case, &file);
        assert!(script.contains(flags), "{script}");
    }
}

#[test]
fn the_script_of_a_state() {
    let case = Case::new()
        .with(
            crate::case::STATE,
            "name = \"tiny\"",
            "name = \"tiny\"\ndescription = \"it's $HOME\"",
        )
        .with(crate::case::STATE, "[train]\n", "[train]\naccumulate_grad_batches = 3\n");
    let script = there_and_back(&case, crate::case::STATE);
    let expected = "\
#!/bin/sh
# tiny: it's $HOME
# Written from state.toml by `statetune config show --as rwkv-peft`. Run this script in the folder of RWKV-PEFT.
# `make_data.py` is part of RWKV-LM and writes into the current folder.
set -e
python make_data.py CASE/data.jsonl 1 64
python train.py \\
  --load_model CASE/base.pth \\
  --proj_dir out/tiny \\
  --my_testing x070 \\
  --vocab_size 4096 \\
  --n_layer 2 \\
  --n_embd 64 \\
  --data_file data \\
  --data_type binidx \\
  --loss_mask pad \\
  --epoch_steps 6 \\
  --lr_schedule cos \\
  --warmup_steps 1 \\
  --train_type state \\
  --dataload pad \\
  --ctx_len 64 \\
  --micro_bsz 4 \\
  --accumulate_grad_batches 3 \\
  --epoch_count 2 \\
  --epoch_save 1 \\
  --lr_init 1.0 \\
  --lr_final 0.01 \\
  --beta1 0.9 \\
  --beta2 0.99 \\
  --adam_eps 1e-8 \\
  --weight_decay 0.0 \\
  --accelerator cpu \\
  --precision fp32 \\
  --grad_cp 0 \\
  --random_seed 42 \\
  --devices 1 \\
  --strategy deepspeed_stage_1

# Different in RWKV-PEFT:
#   model.tokenizer = \"CASE/vocab.txt\": RWKV-PEFT only has the World vocabulary: tokenise with `statetune data export FILE --to binidx`
#   data.val_split = 0.2: RWKV-PEFT has no validation split and trains on all documents
#   data.overlong = \"error\": RWKV-PEFT truncates documents to ctx_len
#   data.loss_mask = \"assistant\": no such mask: the script trains on all tokens of a document; the closest, `--loss_mask qa`, fails in newer releases
#   train.epoch_steps = 2: RWKV-PEFT counts micro-steps and cuts the data to this many batches
#   train.l2wrap = 0.0: RWKV-PEFT always uses 1e-4, per sample
#   train.precision = \"fp32\": the CUDA kernels of RWKV-PEFT only compute in bf16
#   schedule.warmup_steps = 1: releases of 2025 have no warmup with a cosine
#   log.every_steps: no such flag
";
    assert_eq!(script, expected);
    // A shell reads it as one.
    let checked = std::process::Command::new("sh").args(["-n", "-c", &script]).status();
    assert!(checked.expect("a shell").success());
}

#[test]
fn what_the_other_trainer_cannot_do_is_named() {
    let case = Case::new();
    let method = "type = \"state\"\n";
    let state = case.read(crate::case::STATE);
    for (name, old, new, expected) in [
        (
            "prompt",
            method,
            "type = \"state\"\ninit = \"prompt\"\ninit_prompt = \"Hi\"\n",
            "#   peft.init = \"prompt\": states start at zero in RWKV-PEFT, unless the weights hold a state\n",
        ),
        (
            "fp8",
            method,
            "type = \"state\"\n\n[quant]\ntype = \"fp8\"\n",
            "#   quant.type = \"fp8\": RWKV-PEFT rounds activations too, without scales, and fails with newer PyTorch\n",
        ),
        (
            "pack",
            "loss_mask = \"assistant\"\n",
            "dataload = \"pack\"\n",
            "#   data.dataload = \"pack\": RWKV-PEFT trains one document per sample (`pad`)\n",
        ),
        (
            "wsd",
            "lr_init = 1.0\n",
            "lr_init = 1.0\nlr_schedule = \"wsd\"\n",
            "#   schedule.lr_schedule = \"wsd\": `wsd` of RWKV-PEFT is a warmup and a cosine to 0; the script uses the cosine\n",
        ),
        (
            "adapter",
            method,
            "type = \"miss\"\ntargets = [\"att.key\"]\nstate = true\ntrain_parts = [\"time\"]\n",
            "#   peft.type = \"miss\": the same method as disha in RWKV-PEFT\n\
          #   peft.train_parts = [\"time\"]: RWKV-PEFT matches parts of parameter names: `att` and `ffn` match whole mixes, `time` matches none in RWKV-7, and also the low-rank matrices in RWKV-6\n\
          #   peft.state = true: RWKV-PEFT trains either an adapter or a state\n\
          #   peft.targets = [\"att.key\"]: RWKV-PEFT adapts every linear layer\n",
        ),
        (
            "source",
            "data_file = \"data.jsonl\"\n",
            "repeat = 2\nlimit = 3\nwalk = \"magic_prime\"\ndataload = \"get\"\nsource = [{ data_file = \"data.jsonl\" }]\n",
            "RWKV-PEFT reads one file: combine the files with `statetune data export FILE --to binidx`\n",
        ),
        (
            "sft",
            "data_file = \"data.jsonl\"\n",
            "data_file = \"data.jsonl\"\nsft_field = [\"q\", \"the answer\"]\n",
            "RWKV-PEFT always uses the Alpaca template and ends answers with \\x17\n",
        ),
        (
            "plain",
            "data_file = \"data.jsonl\"\n",
            "data_file = \"data.jsonl\"\nend_of_doc = false\n",
            "  --data_type jsonl",
        ),
    ] {
        assert!(state.contains(old), "{old}");
        let file = format!("{name}.toml");
        case.write(&file, state.replace(old, new));
        let script = there_and_back(&case, &file);
        assert!(script.contains(expected), "{name}\n{script}");
    }
}
