//! Experiment files that are refused: exit code 2, a message with its place, no run directory.

use crate::case::{Case, FULL, STATE};

#[test]
fn a_missing_file() {
    Case::new().refuses_to(
        &["run", "nowhere.toml"],
        2,
        "\
error[ST1101]: cannot read the experiment file `nowhere.toml`
  |
  = note: No such file or directory (os error 2)
  = help: experiment files here: `full.toml`, `state.toml`",
    );
}

#[test]
fn a_syntax_error() {
    Case::new().with(STATE, "[train]", "[train").refuses(
        2,
        "\
error[ST1000]: the file is not valid TOML: unclosed table
  --> state.toml:16:7
   |
16 | [train
   |       ^ expected `]`",
    );
}

#[test]
fn a_key_without_a_value() {
    Case::new().with(STATE, "ctx_len = 64", "ctx_len = ").refuses(
        2,
        "\
error[ST1000]: the file is not valid TOML: a key has no value
  --> state.toml:17:11
   |
17 | ctx_len = 
   |           ^ expected a value",
    );
}

#[test]
fn a_misspelt_key() {
    Case::new().with(STATE, "micro_bsz", "micro_bzs").refuses(
        2,
        "\
error[ST1001]: unknown key `micro_bzs` in `[train]`
  --> state.toml:18:1
   |
18 | micro_bzs = 4
   | ^^^^^^^^^ did you mean `micro_bsz`?
   |
   = note: if this key were ignored, `train.micro_bsz` would keep its default, 1
   = help: `statetune check state.toml --fix` renames the key",
    );
}

#[test]
fn a_number_in_quotes() {
    Case::new().with(STATE, "lr_init = 1.0", "lr_init = \"1\"").refuses(
        2,
        "\
error[ST2001]: `schedule.lr_init` must be a number or `auto`, found a string
  --> state.toml:24:11
   |
24 | lr_init = \"1\"
   |           ^^^ remove the quotes: `1`
   |
   = note: in TOML, `1`, `1.0`, `1e-2` and `1e-08` are numbers; anything in quotes is a string
   = help: `statetune check state.toml --fix` writes `lr_init = 1`",
    );
}

#[test]
fn a_wrong_type() {
    Case::new().with(STATE, "epoch_count = 2", "epoch_count = true").refuses(
        2,
        "\
error[ST2001]: `train.epoch_count` must be an integer, found a boolean
  --> state.toml:20:15
   |
20 | epoch_count = true
   |               ^^^^ expected an integer",
    );
}

#[test]
fn an_unknown_choice() {
    Case::new().with(STATE, "type = \"state\"", "type = \"stat\"").refuses(
        2,
        "\
error[ST2002]: `stat` is not a choice of `peft.type`
  --> state.toml:14:8
   |
14 | type = \"stat\"
   |        ^^^^^^ did you mean `state`?
   |
   = note: choices are `state`, `lora`, `pissa`, `disha`, `miss`, `bone`, `full`
   = help: `statetune check state.toml --fix` writes `type = \"state\"`
   = help: run `statetune explain peft.type` to see what each choice does",
    );
}

#[test]
fn all_faults_are_shown_together() {
    let case = Case::new()
        .with(STATE, "data.jsonl", "nowhere.jsonl")
        .with(STATE, "base.pth", "nowhere.pth")
        .with(STATE, "vocab.txt", "nowhere.txt")
        .with(STATE, "lr_final = 0.01\n", "");
    // What the file says is wrong as well, so its own code counts.
    case.refuses(
        2,
        "\
error[ST2108]: `schedule.lr_final` is missing
  --> state.toml:24:11
   |
24 | lr_init = 1.0
   |           ^^^ a rate that falls needs a final value
   |
   = note: the rate decays from `lr_init` to `lr_final`
   = help: for state tuning, a usual choice is `lr_init = 1.0` and `lr_final = 0.01`
   = help: or keep the rate constant: `lr_schedule = \"constant\"`

error[ST3005]: the data file `nowhere.jsonl` does not exist
 --> state.toml:5:13
  |
5 | data_file = \"nowhere.jsonl\"
  |             ^^^^^^^^^^^^^^^
  |
  = help: relative paths start at the folder of the experiment file

error[ST3005]: the vocabulary file `nowhere.txt` does not exist
  --> state.toml:11:13
   |
11 | tokenizer = \"nowhere.txt\"
   |             ^^^^^^^^^^^^^
   |
   = help: relative paths start at the folder of the experiment file

error[ST4001]: the weights file `nowhere.pth` does not exist
  --> state.toml:10:14
   |
10 | load_model = \"nowhere.pth\"
   |              ^^^^^^^^^^^^^
   |
   = help: relative paths start at the folder of the experiment file

4 errors in state.toml",
    );
}

#[test]
fn state_tuning_without_a_model() {
    Case::new().with(STATE, "load_model = \"base.pth\"\n", "").refuses(
        2,
        "\
error[ST2111]: state tuning requires a trained model, but `model.load_model` is missing
  --> state.toml:13:8
   |
13 | type = \"state\"
   |        ^^^^^^^
   |
   = help: set the path of a checkpoint: `load_model = \"../models/rwkv7-0.1b.pth\"`
   = help: or train a new model with `type = \"full\"`",
    );
}

#[test]
fn a_new_model_without_sizes() {
    Case::new().with(FULL, "n_layer = 2\n", "").refuses_to(
        &["run", FULL],
        2,
        "\
error[ST2112]: a new model requires `n_layer` and `n_embd`, or a `preset`
 --> full.toml:8:1
  |
8 | [model]
  | ^^^^^^^
  |
  = note: without `load_model`, a new model is trained from scratch
  = help: choose a size, for example `preset = \"rwkv7-0.1b\"`
  = help: or start from a checkpoint: `load_model = \"../models/rwkv7-0.1b.pth\"`",
    );
}

#[test]
fn a_new_model_without_its_table() {
    let model = "[model]\nn_layer = 2\nn_embd = 64\ntokenizer = \"vocab.txt\"\n\n";
    Case::new().with(FULL, model, "").refuses_to(
        &["run", FULL],
        2,
        "\
error[ST2112]: a new model requires `n_layer` and `n_embd`, or a `preset`
 --> full.toml:9:8
  |
9 | type = \"full\"
  |        ^^^^^^
  |
  = note: without `load_model`, a new model is trained from scratch
  = help: choose a size, for example `preset = \"rwkv7-0.1b\"`
  = help: or start from a checkpoint: `load_model = \"../models/rwkv7-0.1b.pth\"`",
    );
}

#[test]
fn a_width_that_is_not_a_multiple_of_the_head_size() {
    Case::new().with(FULL, "n_embd = 64", "n_embd = 65").refuses_to(
        &["run", FULL],
        2,
        "\
error[ST2113]: `n_embd = 65` is not a multiple of the head size 64
  --> full.toml:10:10
   |
10 | n_embd = 65
   |          ^^ nearest: 64 or 128",
    );
}

#[test]
fn sizes_that_contradict_their_preset() {
    let sizes = "preset = \"rwkv7-0.1b\"\nn_layer = 12";
    Case::new().with(FULL, "n_layer = 2", sizes).refuses_to(
        &["run", FULL],
        2,
        "\
error[ST2110]: `model.n_embd` is 64, but the preset has 768
  --> full.toml:11:10
   |
11 | n_embd = 64
   |          ^^
   |
   = help: delete one of the two lines",
    );
}

#[test]
fn a_probe_without_a_valid_expression() {
    let probe = "[[sample.probe]]\nname = \"letters\"\nregex = '[a-z'\n\n[log]";
    Case::new().with(STATE, "[log]", probe).refuses(
        2,
        "\
error[ST2107]: the regular expression of the probe `letters` is not valid
  --> state.toml:30:9
   |
30 | regex = '[a-z'
   |         ^^^^^^ unclosed character class",
    );
}

#[test]
fn an_empty_prompt() {
    Case::new().with(STATE, "[log]", "[sample]\nprompts = [\"\"]\n\n[log]").refuses(
        2,
        "\
error[ST2106]: an entry of `sample.prompts` is empty
  --> state.toml:29:11
   |
29 | prompts = [\"\"]
   |           ^^^^",
    );
}

#[test]
fn prompts_from_documents_without_validation_documents() {
    let case = Case::new().with(STATE, "val_split = 0.2", "val_split = 0.0").with(
        STATE,
        "[log]",
        "[sample]\nheld_out = 3\n\n[log]",
    );
    case.refuses(
        2,
        "\
error[ST2105]: `sample.held_out` needs validation documents, but the run has none
  --> state.toml:29:12
   |
29 | held_out = 3
   |            ^
   |
   = help: set `data.val_split`, or write `sample.prompts` instead",
    );
}

#[test]
fn an_override_that_cannot_be_read() {
    Case::new().refuses_to(
        &["run", STATE, "--set", "schedule.lr_final=fast"],
        2,
        "\
error[ST0104]: cannot read `--set schedule.lr_final=fast`
 --> command line
  |
  | --set schedule.lr_final=fast
  |                         ^^^^ `schedule.lr_final` is a number
  |
  = help: for example `--set schedule.lr_final=0.01`
  = help: pass one `--set` for each setting",
    );
}

/// A folder under a file cannot be made, not even by the superuser.
#[test]
fn a_runs_folder_that_cannot_be_made() {
    Case::new().having("file", "").refuses_to(
        &["run", STATE, "--runs-dir", "file/runs"],
        29,
        "\
error[ST3006]: cannot write `file/runs/.cache`
  |
  = note: Not a directory (os error 20)
  = note: no incomplete file was left behind",
    );
}
