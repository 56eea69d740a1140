//! Plain text: split into samples, and never a vocabulary of its own for weights that have another.

use statetune_engine::model::{Shape, Version};

use crate::case::{Case, SIZES, STATE, checkpoint};
use crate::container_files::{gzip, zstd};

const SOURCE: &str = "data_file = \"data.jsonl\"\n";

#[test]
fn init_splits_one_long_text() {
    let story = "Once upon a time there was a text that was longer than any sample. ".repeat(100);
    let case = Case::new().having("story.txt", story);
    case.statetune(&["init", "new", "--data", "story.txt", "--yes"]).is_done_with_warnings();
    let text = case.read("new/first.toml");
    for line in ["data_type = \"utf-8\"", "overlong = \"split\"", "loss_mask = \"pad\""] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let plan = |overlong| case.coverage("new/first.toml", &["--set", overlong]);
    assert!(plan("data.overlong=split").contains("100 % of 1 copy"));
    let cut = plan("data.overlong=truncate");
    assert!(cut.contains(" 4 % of the 1,502 tokens of 1 copy"), "{cut}");
}

/// A case that trains weights with this many ids on raw text, with more settings of the data and no tokenizer.
fn raw_text(vocab_size: i64, data: &str) -> Case {
    let (n_layer, n_embd, _) = SIZES;
    Case::new()
        .having(
            "base.pth",
            checkpoint(Shape::for_scratch(Version::V7, n_layer, n_embd, vocab_size)),
        )
        .having("story.txt", "Once upon a time there was a king. ".repeat(50))
        .with(STATE, SOURCE, data)
        .with(STATE, "tokenizer = \"vocab.txt\"\n", "")
        .with(STATE, "loss_mask = \"assistant\"", "loss_mask = \"pad\"\noverlong = \"split\"")
        .with(STATE, "val_split = 0.2", "val_split = 0")
}

#[test]
fn compressed_text_is_read_and_other_encodings_are_named() {
    let text = "Once upon a time there was a king. ".repeat(50);
    let of = |name: &str, bytes: Vec<u8>| {
        let data = format!("data_file = \"{name}\"\ndata_type = \"utf-8\"\noverlong = \"split\"\n");
        Case::new()
            .having(name, bytes)
            .with(STATE, SOURCE, &data)
            .with(STATE, "loss_mask = \"assistant\"", "loss_mask = \"pad\"")
            .with(STATE, "val_split = 0.2", "val_split = 0")
    };
    let plain = of("d.txt", text.clone().into_bytes()).coverage(STATE, &[]);
    for (name, bytes) in [("d.txt.gz", gzip(text.as_bytes())), ("d.txt.zst", zstd(text.as_bytes()))]
    {
        let case = of(name, bytes);
        assert_eq!(case.coverage(STATE, &[]), plain, "{name}");
        case.statetune(&["check", STATE]).is_done();
    }
    let gbk = b"\xc4\xe3\xba\xc3\xa3\xac\xbd\xf1\xcc\xec\xcc\xec\xc6\xf8\xba\xdc\xba\xc3\xa1\xa3\n"
        .repeat(9);
    let message = |name: &str, command: &str| {
        format!(
            "error[ST3002]: `{name}` is not valid UTF-8 at byte 0\n  |\n  = help: the text looks like \
             GB18030: run `{command}` and use the new file"
        )
    };
    let command = "iconv -f GB18030 -t UTF-8 d.txt > d.utf8.txt";
    of("d.txt", gbk.clone()).refuses(20, &message("d.txt", command));
    let command = "gzip -dc d.txt.gz | iconv -f GB18030 -t UTF-8 > d.utf8.txt";
    of("d.txt.gz", gzip(&gbk)).refuses(20, &message("d.txt.gz", command));
}

#[test]
fn weights_never_train_on_a_vocabulary_made_from_the_data() {
    let text = "data_type = \"utf-8\"\ndata_file = \"story.txt\"\n";
    let jsonl = "data_file = \"data.jsonl\"\n";
    for (vocab_size, data) in [(4096, text), (100_000, text), (4096, jsonl), (100_000, jsonl)] {
        let line = if data == text { 12 } else { 11 };
        raw_text(vocab_size, data).refuses(
            21,
            &format!(
                "\
error[ST4005]: the tokenizer of the weights is not known: the weights have {vocab_size} ids, the World tokenizer has 65530
  --> state.toml:{line}:14
   |
{line} | load_model = \"base.pth\"
   |              ^^^^^^^^^^
   |
   = note: the ids of another tokenizer mean nothing to the weights
   = help: set `model.tokenizer` to the vocabulary file of the weights; a run on characters keeps its own in `RUN/vocab.json`
   = help: or train a new model: replace `model.load_model` with `model.n_layer` and `model.n_embd`, and set `recipe = \"full\"`"
            ),
        );
    }
    let dummy = raw_text(4096, "data_type = \"dummy\"\n").statetune(&["run", STATE]);
    assert!(dummy.stderr.contains("error[ST4005]: the tokenizer of the weights"), "{dummy:?}");
}

#[test]
fn weights_of_the_size_of_world_have_its_tokenizer() {
    let text = "data_type = \"utf-8\"\ndata_file = \"story.txt\"\n";
    let tokens = |case: &Case| {
        let output = case.statetune(&["data", "prepare", STATE]);
        let stdout = &output.is_done_with_warnings().stdout;
        stdout.lines().find(|line| line.starts_with("train")).expect("a line").to_owned()
    };
    let case = raw_text(65536, text);
    let auto = tokens(&case);
    assert_eq!(auto, "train      1 document, 452 tokens");
    case.statetune(&["run", STATE]).is_done_with_warnings();
    let case = case.with(STATE, "[peft]", "tokenizer = \"world\"\n\n[peft]");
    assert_eq!(tokens(&case), auto);
}

/// The ways out of the refusal, followed to the letter.
#[test]
fn the_vocabulary_of_a_run_on_characters_is_named_to_train_its_model_on() {
    let text = "data_type = \"utf-8\"\ndata_file = \"story.txt\"\n";
    let new = "n_layer = 2\nn_embd = 64";
    let case = raw_text(4096, text)
        .with(STATE, "load_model = \"base.pth\"", new)
        .with(STATE, "format = 1\n", "format = 1\nrecipe = \"full\"\n")
        .with(STATE, "[peft]\ntype = \"state\"\n", "");
    case.statetune(&["run", STATE]).is_done_with_warnings();
    let run = case.only_run();
    assert!(
        case.path(run.join("vocab.json")).exists(),
        "a new model may have a vocabulary of characters"
    );
    let weights = format!("load_model = \"{}/export/rwkv-1.pth\"", run.display());
    let vocabulary = format!("{weights}\ntokenizer = \"{}/vocab.json\"", run.display());
    let case = case.with(STATE, new, &weights);
    let refused = case.statetune(&["run", STATE]);
    assert!(refused.stderr.contains("error[ST4005]"), "{refused:?}");
    let case = case.with(STATE, &weights, &vocabulary);
    case.statetune(&["run", STATE]).is_done_with_warnings();
}
