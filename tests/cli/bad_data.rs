//! Documents that are refused: exit code 20, a message with its place, no run directory.

use statetune::data::BinidxWriter;

use crate::case::{Case, STATE};

#[test]
fn a_missing_file() {
    Case::new().with(STATE, "data.jsonl", "nowhere.jsonl").refuses(
        20,
        "\
error[ST3005]: the data file `nowhere.jsonl` does not exist
 --> state.toml:5:13
  |
5 | data_file = \"nowhere.jsonl\"
  |             ^^^^^^^^^^^^^^^
  |
  = help: relative paths start at the experiment file",
    );
}

#[test]
fn a_folder() {
    Case::new().with(STATE, "data.jsonl", "folder").having("folder/file", "").refuses(
        20,
        "\
error[ST3005]: cannot read `folder`
  |
  = note: Is a directory (os error 21)
  = help: name a file in this folder",
    );
}

#[test]
fn broken_lines() {
    let lines = concat!(
        r#"{"text": "User: a\n\nAssistant: b"}"#,
        "\n",
        r#"{"text": "User: say "hi"\n\nAssistant: b"}"#,
        "\n\n",
        r#"{"text": "User: c\n\nAssistant: d"}"#,
        "\n",
        r#"{"text": "User: e"#,
        "\n",
    );
    Case::new().having("data.jsonl", lines).refuses(
        20,
        r#"error[ST3001]: line 2 of `data.jsonl` is not valid JSON
 --> data.jsonl:2:22
  |
2 | {"text": "User: say "hi"\n\nAssistant: b"}
  |                      ^ the text ended at the quote before this
  |
  = note: quotes inside the text need a backslash: `\"`
  = note: 2 other lines are fine; 1 more has the same problem (5)"#,
    );
}

#[test]
fn an_empty_file() {
    Case::new()
        .having("data.jsonl", "\n\n")
        .refuses(20, "error[ST3004]: `data.jsonl` holds no documents");
}

#[test]
fn a_line_without_text() {
    Case::new().having("data.jsonl", "{\"txt\": \"a\", \"id\": 1}\n").refuses(
        20,
        r#"error[ST3003]: line 1 of `data.jsonl` has no key `text`
 --> data.jsonl:1:1
  |
1 | {"txt": "a", "id": 1}
  | ^ keys found: `txt`, `id`"#,
    );
}

#[test]
fn documents_in_which_nobody_answers() {
    let line = r#"{"text": "User: hi\n\nBot: hello"}"#;
    Case::new().having("data.jsonl", line).refuses(
        20,
        r#"error[ST3102]: 1 of 1 documents would teach nothing
 --> data.jsonl:1:1
  |
1 | {"text": "User: hi\n\nBot: hello"}
  | ^
  |
  = note: the first one is line 1 of `data.jsonl`
  = note: `loss_mask = "assistant"` learns what follows `Assistant:` at the start of a turn, as far as `train.ctx_len` reaches
  = help: mend or remove such documents, or set `data.loss_mask = "pad"`"#,
    );
}

#[test]
fn a_document_that_is_too_long() {
    let lines = concat!(
        r#"{"text": "User: hi\n\nAssistant: a b c d e f g h i j k l m n o p q r s t"}"#,
        "\n",
        r#"{"text": "User: hi\n\nAssistant: a"}"#,
        "\n",
    );
    let case = Case::new()
        .having("data.jsonl", lines)
        .with(STATE, "val_split = 0.2", "val_split = 0.0")
        .with(STATE, "ctx_len = 64", "ctx_len = 16");
    case.refuses(
        20,
        r#"error[ST3030]: line 1 of `data.jsonl` has 40 tokens, more than the 17 that fit
 --> data.jsonl:1:1
  |
1 | {"text": "User: hi\n\nAssistant: a b c d e f g h i j k l m n o p q r s t"}
  | ^
  |
  = help: raise `train.ctx_len`
  = help: or set `data.overlong = "truncate"` and lose the end of such documents"#,
    );
}

/// The case with its documents read from `tokens.bin` and `tokens.idx`.
fn of_tokens() -> Case {
    Case::new().with(
        STATE,
        "data_file = \"data.jsonl\"\nval_split = 0.2\nloss_mask = \"assistant\"\n",
        "data_type = \"binidx\"\ndata_file = \"tokens\"\n",
    )
}

fn write_tokens(case: &Case, documents: &[&[u32]]) {
    let mut writer = BinidxWriter::create(&case.path("tokens"), 65536).expect("a pair");
    documents.iter().for_each(|ids| writer.push(ids).expect("a document"));
    writer.finish().expect("a pair");
}

#[test]
fn a_pair_that_is_missing() {
    of_tokens().refuses(
        20,
        "\
error[ST3010]: `tokens` names no data: neither `tokens.bin` nor `tokens.idx` exists
 --> state.toml:6:13
  |
6 | data_file = \"tokens\"
  |             ^^^^^^^^
  |
  = help: `data.data_file` is the path without `.bin` and `.idx`
  = help: a relative path is looked up beside the experiment file",
    );
}

#[test]
fn a_pair_of_which_one_half_is_missing() {
    let case = of_tokens();
    write_tokens(&case, &[&[5, 6, 7, 0]]);
    std::fs::remove_file(case.path("tokens.idx")).expect("it was just written");
    case.refuses(
        20,
        "\
error[ST3010]: `tokens.idx` is missing, although `tokens.bin` exists
 --> state.toml:6:13
  |
6 | data_file = \"tokens\"
  |             ^^^^^^^^
  |
  = note: a pair is two files of one name, `.bin` with tokens and `.idx` with places",
    );
}

#[test]
fn windows_that_are_longer_than_the_tokens() {
    let case = of_tokens().with(STATE, "[data]", "[data]\ndataload = \"get\"");
    write_tokens(&case, &[&[5, 6, 7, 0], &[8, 9, 0]]);
    case.refuses(
        20,
        "\
error[ST3032]: `tokens` has 7 tokens, but windows of `ctx_len = 64` need 65
  |
  = help: lower `train.ctx_len`, or set `data.dataload = \"pad\"`",
    );
}

#[test]
fn a_pair_with_a_document_of_one_token() {
    let case = of_tokens();
    write_tokens(&case, &[&[5, 6, 7, 0], &[0]]);
    case.refuses(
        20,
        "\
error[ST3102]: 1 of 2 documents would teach nothing
  |
  = note: the first one is document 1 of `tokens`
  = note: `loss_mask = \"assistant\"` learns what follows `Assistant:` at the start of a turn, as far as `train.ctx_len` reaches
  = help: mend or remove such documents, or set `data.loss_mask = \"pad\"`",
    );
}

#[test]
fn a_pair_with_an_id_that_the_model_does_not_know() {
    let case = of_tokens();
    write_tokens(&case, &[&[5, 6, 7, 0], &[5, 5000, 0]]);
    case.refuses(
        20,
        "\
error[ST3031]: document 1 of `tokens` has token id 5000, but the model has only 4096 ids
  |
  = help: tokenise with the vocabulary of the model",
    );
}

#[test]
fn a_vocabulary_that_is_none() {
    Case::new().with(STATE, "vocab.txt", "base.txt").having("base.txt", "hello world\n").refuses(
        20,
        "\
error[ST3020]: line 1 of `base.txt` is not `<id> <literal> <byte length>`
 --> base.txt:1:1
  |
1 | hello world
  | ^^^^^^^^^^^
  |
  = note: each line is `<id> <Python literal> <byte length>`, for example `36786 ' Hello' 6`",
    );
}
