//! Documents that are refused: exit code 20, a message with its place, no run directory.

use statetune_core::data::BinidxWriter;

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
  = help: relative paths start at the folder of the experiment file",
    );
}

#[test]
fn a_folder() {
    let case = Case::new().with(STATE, "data.jsonl", "folder").having("folder/file", "");
    case.refuses(20, "error[ST3004]: `folder/file` contains no documents");
    std::fs::remove_file(case.path("folder/file")).expect("it was just written");
    case.refuses(
        20,
        "\
error[ST3004]: the folder `folder` has no data files
 --> state.toml:5:13
  |
5 | data_file = \"folder\"
  |             ^^^^^^^^
  |
  = note: a folder stands for the files in it, without hidden files and sub-folders",
    );
    // Its files are one level below, as `datasets` writes them.
    let records = case.read("data.jsonl");
    let case =
        case.having("folder/train/a.jsonl", &records).having("folder/dataset_dict.json", "{}");
    for command in ["check", "run"] {
        let output = case.statetune(&[command, STATE]);
        assert_eq!(output.code, Some(20), "{output:?}");
        let help = "= help: name the folder that has the files: `folder/train`\n";
        assert!(output.stderr.contains(help), "{}", output.stderr);
    }
    // Beside records, a file that holds none.
    let case = case.having("folder/a.jsonl", &records).having("folder/README.md", "# Notes");
    case.refuses(
        20,
        "\
error[ST3015]: `folder/README.md` in the folder `folder` is not a file of records
 --> state.toml:5:13
  |
5 | data_file = \"folder\"
  |             ^^^^^^^^
  |
  = note: a folder stands for the files in it, without hidden files and sub-folders
  = help: name the files by a pattern: `data_file = \"folder/*.jsonl\"`",
    );
    case.statetune(&["check", STATE, "--set", "data.data_file=folder/*.jsonl"]).is_done();
}

#[test]
fn files_that_are_no_documents_are_named() {
    let kinds = [
        (
            "n.ipynb",
            &b"{\n \"cells\": [\n  {\n   \"cell_type\": \"markdown\","[..],
            "is a Jupyter notebook, not documents",
        ),
        ("m.gguf", b"GGUF\x03\0\0\0\0\0", "has the weights of a model, not documents"),
        (
            "m.st",
            b"\x40\0\0\0\0\0\0\0{\"a\":{\"dtype\"",
            "has the weights of a model, not documents",
        ),
        ("a.npy", b"\x93NUMPY\x01\0", "is an array of NumPy"),
    ];
    for (name, bytes, fault) in kinds {
        let case = Case::new().with(STATE, "data.jsonl", name).having(name, bytes);
        for command in ["check", "run"] {
            let output = case.statetune(&[command, STATE]);
            let message = format!("error[ST3015]: `{name}` {fault}\n");
            assert!(output.stderr.starts_with(&message), "{}", output.stderr);
            assert_eq!(output.code, Some(20), "{output:?}");
        }
    }
    let output = Case::new().statetune(&["check", STATE, "--set", "data.data_file=base.pth"]);
    let message = "error[ST3015]: `base.pth` has the weights of a model, not documents\n";
    assert!(output.stderr.starts_with(message), "{}", output.stderr);
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
  |                      ^ the string ended at the quote before this
  |
  = note: quotes inside the text need a backslash: `\"`
  = note: 2 other lines are fine; 1 more has the same problem (5)"#,
    );
}

#[test]
fn a_file_without_documents() {
    for content in ["", "\n\n", " \t\r\n  "] {
        Case::new()
            .having("data.jsonl", content)
            .refuses(20, "error[ST3004]: `data.jsonl` contains no documents");
    }
}

#[test]
fn lines_that_are_not_utf8() {
    let mut lines = b"{\"text\": \"a\"}\n{\"text\": \"".to_vec();
    lines.extend(b"\xc4\xe3\xba\xc3\"}\n");
    Case::new().having("data.jsonl", lines).refuses(
        20,
        r#"error[ST3002]: line 2 of `data.jsonl` is not valid UTF-8
 --> data.jsonl:2:11
  |
2 | {"text": "���"}
  |           ^ byte 0xc4
  |
  = note: 1 other line is fine
  = help: save the file as UTF-8, for example `iconv -f GB18030 -t UTF-8 OLD > NEW`"#,
    );
}

#[test]
fn nul_bytes() {
    Case::new().having("data.jsonl", "{\"text\": \"a\0b\"}\n").refuses(
        20,
        "\
error[ST3001]: line 1 of `data.jsonl` is not valid JSON
 --> data.jsonl:1:12
  |
1 | {\"text\": \"a\u{2400}b\"}
  |            ^ control character (\\u0000-\\u001F) found while parsing a string",
    );
    let blank = vec![0; 4096]; // what a disk that lost power may leave
    let output = Case::new().having("data.jsonl", blank).statetune(&["run", STATE]);
    assert_eq!(output.code, Some(20));
    assert!(
        output.stderr.contains("line 1 of `data.jsonl` is not valid JSON"),
        "{}",
        output.stderr
    );
    assert!(output.stderr.len() < 1000, "the line is cut");
}

/// A line may have any length; what is shown of it is cut.
#[test]
fn a_line_of_100_megabytes() {
    let text = "words ".repeat(100_000_000 / 6);
    let case = Case::new().having("data.jsonl", format!("{{\"text\": \"{text}"));
    case.refuses(
        20,
        r#"error[ST3001]: line 1 of `data.jsonl` is not valid JSON
 --> data.jsonl:1:100000006
  |
1 | ...ords words words words words words words
  |                                            ^ the line ends within a string"#,
    );
    case.write("data.jsonl", format!("{{\"text\": \"{text}\"}}"));
    let output = case.statetune(&["data", "prepare", STATE, "--set", "data.val_split=0"]);
    assert!(output.is_done().stdout.contains("documents  1, 0 for validation"), "{output:?}");
}

#[test]
fn a_line_without_text() {
    Case::new().having("data.jsonl", "{\"txt\": \"a\", \"id\": 1}\n").refuses(
        20,
        r#"error[ST3003]: line 1 of `data.jsonl` has no text and no conversation of a known shape
 --> data.jsonl:1:2
  |
1 | {"txt": "a", "id": 1}
  |  ^^^^^ did you mean `text`?
  |
  = help: rename `txt` to `text`"#,
    );
}

#[test]
fn documents_without_an_assistant_turn() {
    let line = r#"{"text": "User: hi\n\nBot: hello"}"#;
    Case::new().having("data.jsonl", line).refuses(
        20,
        r#"error[ST3102]: 1 of 1 documents has no target tokens
 --> data.jsonl:1:23
  |
1 | {"text": "User: hi\n\nBot: hello"}
  |                       ^^^^ no `Assistant:` turn, so every token is masked
  |
  = note: `loss_mask = "assistant"` with template `rwkv-qa` looks for `System:`, `User:`, `Assistant:`
  = note: role words found: User 1, Bot 1
  = help: set `data.template = { extends = "rwkv-qa", aliases = { assistant = ["Bot"] } }`
  = help: run `statetune data show state.toml --line 1` to print the sample with its mask
  = help: fix or remove such documents, or set `data.loss_mask = "pad"`"#,
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
  = help: raise `train.ctx_len` to 39 or more
  = help: or set `data.overlong` to `split` (several samples), `truncate` (drops the end) or `drop` (skips the document)"#,
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
error[ST3010]: `tokens` does not exist: neither `tokens.bin` nor `tokens.idx` was found
 --> state.toml:6:13
  |
6 | data_file = \"tokens\"
  |             ^^^^^^^^
  |
  = help: `data.data_file` is the path without `.bin` and `.idx`
  = help: relative paths start at the folder of the experiment file",
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
  = note: a pair is two files with the same name: `.bin` with tokens and `.idx` with offsets",
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
error[ST3102]: 1 of 2 documents has no target tokens
  |
  = note: the first one: document 1 of `tokens`
  = help: remove documents of one token; training predicts each token from the tokens before it",
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
  = help: tokenise the data with the vocabulary of the model",
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

/// The case with a pair of these bytes in the place of its documents.
fn of_bytes(bin: &[u8], idx: &[u8]) -> Case {
    of_tokens().having("tokens.bin", bin).having("tokens.idx", idx)
}

#[test]
fn a_pair_that_contradicts_itself() {
    let case = of_tokens();
    write_tokens(&case, &[&[5, 6, 7, 0], &[8, 0]]);
    let bytes = |half| std::fs::read(case.path(half)).expect("it was just written");
    let (bin, idx) = (bytes("tokens.bin"), bytes("tokens.idx"));
    let changed = |at: usize, byte: u8| {
        let mut idx = idx.clone();
        idx[at] = byte;
        idx
    };
    let place = "
 --> state.toml:6:13
  |
6 | data_file = \"tokens\"
  |             ^^^^^^^^";
    let copied = "
  |
  = note: the two files belong to different data, or one was not copied completely";
    let cases: [(&[u8], Vec<u8>, &str, &str); 7] = [
        (
            &bin,
            changed(0, b'P'),
            "ST3011]: `tokens.idx` is not a binidx index: it does not begin with `MMIDIDX`",
            "",
        ),
        (&bin, changed(9, 2), "ST3011]: `tokens.idx` has version 2, expected 1", ""),
        (
            &bin,
            changed(17, 7),
            "ST3011]: `tokens.idx` has dtype code 7, which is for floats, not token ids",
            "",
        ),
        (
            &bin[..10],
            idx.clone(),
            "ST3012]: `tokens.bin` has 10 bytes, but its index describes 12",
            copied,
        ),
        (
            &bin[..11],
            idx.clone(),
            "ST3012]: `tokens.bin` has 11 bytes, which is not a multiple of 2, the size of a token",
            copied,
        ),
        (
            &bin,
            idx[..60].to_vec(),
            "ST3012]: `tokens.idx` has 60 bytes, but its header requires 82",
            "",
        ),
        (
            &bin,
            changed(34, 3),
            "ST3012]: `tokens.idx` puts document 1 at byte 8, expected 6",
            "
  |
  = note: each document must begin where the one before it ends",
        ),
    ];
    for (bin, idx, message, note) in cases {
        of_bytes(bin, &idx).refuses(20, &format!("error[{message}{place}{note}"));
    }
}

#[test]
fn arrays_that_hold_no_ids() {
    let case = |data_type: &str, content: &[u8]| {
        Case::new()
            .with(
                STATE,
                "data_file = \"data.jsonl\"\n",
                &format!("data_type = \"{data_type}\"\ndata_file = \"tokens\"\n"),
            )
            .having("tokens", content)
    };
    case("uint16", &[1, 2, 3]).refuses(
        20,
        "\
error[ST3012]: `tokens` has 3 bytes, which is not a multiple of 2, the size of a token
  |
  = note: the file was not copied completely, or has another type",
    );
    case("numpy", b"PK\x03\x04").refuses(20, "error[ST3011]: `tokens` is not a .npy file");
}

/// A file system of a quarter of a megabyte; needs a superuser who may mount.
#[test]
fn a_full_disk() {
    let line = |i: usize| format!("{{\"text\": \"User: {i}\\n\\nAssistant: {i}\"}}\n");
    let case = Case::new().having("data.jsonl", (0..20_000).map(line).collect::<String>());
    std::fs::create_dir(case.path("small")).expect("a folder");
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"])
        .arg(case.path("small"))
        .output();
    if !mounted.as_ref().is_ok_and(|mount| mount.status.success()) {
        println!("skipped: a small file system cannot be mounted: {mounted:?}");
        return;
    }
    let output = case.statetune(&["data", "prepare", STATE, "--runs-dir", "small"]);
    let left = case.list("small/.cache");
    let export = ["data", "export", "data.jsonl", "--to", "binidx", "--out", "small/out"];
    let exported = case.statetune(&export);
    let left_of_export = case.list("small");
    let unmounted = std::process::Command::new("umount").arg(case.path("small")).status();
    assert!(unmounted.is_ok_and(|status| status.success()));

    let key = regex::Regex::new("data-[0-9a-f]{16}").expect("a valid expression");
    assert_eq!(
        key.replace(output.stderr.trim_end(), "data-KEY"),
        "\
error[ST3006]: cannot write `small/.cache/data-KEY`
  |
  = note: No space left on device (os error 28)
  = note: no incomplete file was left behind"
    );
    assert_eq!((output.code, left), (Some(29), Vec::new()));
    assert_eq!(
        exported.stderr.trim_end(),
        "\
error[ST3006]: cannot write `small/out`
  |
  = note: No space left on device (os error 28)
  = note: no incomplete file was left behind"
    );
    assert_eq!((exported.code, left_of_export), (Some(29), vec![".cache".to_owned()]));
}

/// The longest document is named, so that the help says how much is enough.
#[test]
fn the_longest_of_several_long_documents() {
    let line =
        |n: usize| format!("{{\"text\": \"User: hi\\n\\nAssistant: {}\"}}\n", "a ".repeat(n));
    let case = Case::new()
        .having("data.jsonl", [line(2), line(20), line(40), line(30)].concat())
        .with(STATE, "val_split = 0.2", "val_split = 0.0")
        .with(STATE, "ctx_len = 64", "ctx_len = 16");
    let output = case.statetune(&["run", STATE]);
    assert!(output.stderr.starts_with("error[ST3030]: line 3 of `data.jsonl` has "), "{output:?}");
    assert!(output.stderr.contains("note: 2 other documents are too long as well"), "{output:?}");
    let (_, least) = output.stderr.split_once("raise `train.ctx_len` to ").expect("a help");
    let least: u32 = least.split(' ').next().and_then(|n| n.parse().ok()).expect("a number");
    let enough = format!("train.ctx_len={least}");
    case.statetune(&["check", STATE, "--set", &enough]).is_done();
    let little = format!("train.ctx_len={}", least - 1);
    assert_eq!(case.statetune(&["check", STATE, "--set", &little]).code, Some(20));
}
