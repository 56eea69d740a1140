//! `data prepare`, `data export` and `cache`: documents without a run.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use statetune_core::data::{Binidx, BinidxWriter, Tokenizer};

use parquet::file::reader::SerializedFileReader;
use parquet::record::RowAccessor;

use crate::case::{Case, STATE};
use crate::python::python_with;

const SOURCE: &str = "data_file = \"data.jsonl\"\n";

/// The texts of a JSONL file, sorted.
fn texts(case: &Case, file: &str) -> Vec<String> {
    let text = |line: Value| line["text"].as_str().expect("a text").to_owned();
    let mut texts: Vec<String> = case.lines(file).into_iter().map(text).collect();
    texts.sort();
    texts
}

/// The texts that an experiment trains on, with nothing held out.
fn trained(case: &Case) -> Vec<String> {
    let export = ["data", "export", STATE, "--to", "jsonl", "--out", "out", "--force"];
    case.statetune(&[&export[..], &["--set", "data.val_split=0"]].concat()).is_done();
    texts(case, "out.jsonl")
}

/// The case with this in the place of its data file.
fn with_source(source: &str) -> Case {
    Case::new().with(STATE, SOURCE, source)
}

fn compressed(text: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(text).expect("memory");
    encoder.finish().expect("memory")
}

#[test]
fn prepare_makes_what_a_run_would_use() {
    let case = Case::new();
    let report = |made: &str| {
        format!(
            "\
data       runs/.cache/data-KEY, {made}
documents  20, 4 for validation
train      16 documents, 282 tokens
validation 4 documents, 68 tokens
longest    21 tokens, line 10 of `data.jsonl`"
        )
    };
    let prepare = |case: &Case| {
        let output = case.statetune(&["data", "prepare", STATE]);
        output.is_done();
        let key = case.prepared().pop().expect("prepared data");
        output.stdout.trim_end().replace(&key, "data-KEY")
    };
    assert_eq!(prepare(&case), report("prepared"));
    let data = case.read("data.jsonl");
    case.write("data.jsonl", &data); // touched, but the same
    assert_eq!(prepare(&case), report("cached"));
    case.write("data.jsonl", data.replacen("\n", " \n", 1)); // one more byte
    let output = case.statetune(&["data", "prepare", STATE]);
    assert!(output.is_done().stdout.contains(", prepared\n"), "{output:?}");
    assert_eq!(case.prepared().len(), 2);
    assert!(case.runs().is_empty());
}

#[test]
fn prepare_opens_a_pair_as_it_is() {
    let case = with_source("data_type = \"binidx\"\ndata_file = \"tokens\"\n").with(
        STATE,
        "val_split = 0.2\n",
        "",
    );
    write_pair(&case.path("tokens"), 65536, &[&[5, 6, 7, 0], &[8, 0]]);
    case.statetune(&["data", "prepare", STATE])
        .succeeds("data       tokens, used unchanged\ndocuments  2\ntokens     6", "");
}

fn write_pair(prefix: &Path, vocab_size: usize, documents: &[&[u32]]) {
    let mut writer = BinidxWriter::create(prefix, vocab_size).expect("a pair");
    documents.iter().for_each(|ids| writer.push(ids).expect("a document"));
    writer.finish().expect("a pair");
}

fn read_pair(prefix: &Path) -> Vec<Vec<u32>> {
    let pair = Binidx::open(prefix).expect("a pair");
    (0..pair.len()).map(|i| pair.doc(i).expect("a document")).collect()
}

#[test]
fn export_of_a_file_is_seeded_and_keeps_what_exists() {
    let case = Case::new();
    let export = ["data", "export", "data.jsonl", "--to", "binidx", "--repeat", "10"];
    let with = |more: &[&'static str]| case.statetune(&[&export[..], more].concat());
    with(&["--ctx-len", "64"]).succeeds(
        "\
written    data.bin
written    data.idx
documents  200
tokens     3330, 2 bytes each
magic_prime 47 (for ctx_len 64)
--my_exit_tokens 3330 --magic_prime 47 --ctx_len 64",
        "",
    );
    let bytes = || ["data.bin", "data.idx"].map(|file| fs::read(case.path(file)).expect("a file"));
    let first = bytes();
    case.refuses_to(
        &export,
        2,
        "\
error[ST3009]: `data.bin` already exists
  |
  = help: pass another name, or `--force` to replace the file",
    );
    with(&["--force"]).is_done();
    assert_eq!(bytes(), first);
    with(&["--force", "--seed", "43"]).is_done();
    assert_ne!(bytes()[0], first[0]);
    assert_eq!(bytes()[0].len(), first[0].len());
    let names = case.list("");
    assert!(names.iter().all(|name| !name.starts_with('.')), "nothing is left over: {names:?}");

    let output = with(&["--force", "--ctx-len", "2000"]);
    let last = output.is_done().stdout.lines().last();
    assert_eq!(last, Some("magic_prime none: 3330 tokens are fewer than 3 x ctx_len = 6000"));
}

/// The column `text` of a Parquet file holds what the lines of JSONL hold, in the same order.
#[test]
fn parquet_holds_the_same_texts() {
    let case = Case::new();
    for to in ["jsonl", "parquet"] {
        case.statetune(&["data", "export", STATE, "--to", to, "--out", "out"]).is_done();
    }
    let file = std::fs::File::open(case.path("out.parquet")).expect("a file");
    let rows = SerializedFileReader::new(file).expect("Parquet").into_iter();
    let found: Vec<String> =
        rows.map(|row| row.expect("a row").get_string(0).expect("a text").clone()).collect();
    let lines = case.lines("out.jsonl");
    let expected: Vec<&str> = lines.iter().filter_map(|line| line["text"].as_str()).collect();
    assert_eq!((found.len(), found), (16, expected.into_iter().map(str::to_string).collect()));
}

#[test]
fn jsonl_to_binidx_and_back() {
    let case =
        Case::new().having("more.jsonl", "{\"text\": \"😀\\u0000\\n\"}\n{\"text\": \"你好\"}\n");
    for name in ["data", "more"] {
        let file = format!("{name}.jsonl");
        case.statetune(&["data", "export", &file, "--to", "binidx", "--out", "pair", "--force"])
            .is_done();
        let back = ["data", "export", "pair", "--to", "jsonl", "--out", "back", "--force"];
        assert!(case.statetune(&back).is_done().stdout.starts_with("written    back.jsonl\n"));
        assert_eq!(texts(&case, &file), texts(&case, "back.jsonl"));
    }
}

#[test]
fn export_of_an_experiment() {
    let case = Case::new();
    case.statetune(&["data", "export", STATE, "--to", "binidx"]).succeeds(
        "\
written    state.bin
written    state.idx
documents  16
tokens     282, 2 bytes each
magic_prime 2 (for ctx_len 64)
--my_exit_tokens 282 --magic_prime 2 --ctx_len 64
written    state-val.bin
written    state-val.idx
documents  4
tokens     68, 2 bytes each",
        "",
    );
    let both = [read_pair(&case.path("state")), read_pair(&case.path("state-val"))].concat();
    let world = Tokenizer::load(&case.path("vocab.txt")).expect("a vocabulary");
    let mut found: Vec<String> = both
        .iter()
        .map(|ids| String::from_utf8(world.decode(ids).expect("known ids")).expect("UTF-8"))
        .collect();
    found.sort();
    assert_eq!(found, texts(&case, "data.jsonl"));
    case.refuses_to(
        &["data", "export", STATE, "--to", "jsonl", "--repeat", "3"],
        2,
        "\
error[ST0212]: `--repeat` does not apply to an experiment file
  |
  = help: override the setting of the file: `--set data.repeat=...`",
    );
    case.refuses_to(
        &["data", "export", "data.jsonl", "--to", "jsonl", "--repeat", "3"],
        2,
        "\
error[ST0214]: `--repeat` only applies to `--to binidx`
  |
  = note: the other formats write every document once, in order",
    );
}

#[test]
fn other_formats_are_refused() {
    let refuses = |to: &str, reason: &str| {
        Case::new().refuses_to(
            &["data", "export", STATE, "--to", to],
            2,
            &format!(
                "error: invalid value '{to}' for '--to <binidx|jsonl|parquet>': {reason}\n\n\
                 For more information, try '--help'."
            ),
        );
    };
    refuses("csv", "choices are `binidx`, `jsonl` and `parquet`");
}

#[test]
fn tokens_that_are_not_valid_utf_8_are_named() {
    let case = Case::new();
    let byte = |byte: u32| byte + 1;
    write_pair(
        &case.path("pair"),
        65536,
        &[&[98, 0], &[byte(0xff), 0], &[byte(0x80), 98, 0], &[0]],
    );
    let export = ["data", "export", "pair.idx", "--to", "jsonl"];
    case.refuses_to(
        &export,
        20,
        "\
error[ST3027]: document 1 of `pair` is not valid UTF-8
  |
  = note: 1 other document is not valid UTF-8 either
  = note: JSON can only hold text, and no bytes are replaced
  = help: if the data was tokenised with another vocabulary, pass that one",
    );
    assert!(!case.path("pair.jsonl").exists());
    write_pair(&case.path("pair"), 65536, &[&[98, 0, 99, 0], &[0]]);
    case.statetune(&export)
        .succeeds("written    pair.jsonl\ndocuments  2\ndropped    1 document without text", "");
    assert_eq!(texts(&case, "pair.jsonl"), ["a", "b"]);
    write_pair(&case.path("pair"), 70000, &[&[65535, 0]]);
    case.refuses_to(
        &[&export[..], &["--force"]].concat(),
        20,
        "\
error[ST3024]: token id 65535 is not in the vocabulary of 65530 ids
  |
  = help: set `model.tokenizer` to the vocabulary that the data was tokenised with",
    );
}

#[test]
fn pairs_are_exchanged_with_numpy() {
    let Some(python) = python_with("numpy") else {
        println!("skipped: there is no python3 with numpy, and pip cannot install it");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/binidx_numpy.py");
    let case = Case::new();
    let prefix = case.path("pair");
    let cases: [(usize, &str, &str, &[&[u32]]); 2] = [
        (65536, "uint16", "u16", &[&[33155, 0], &[5, 6, 65535, 0]]),
        (70000, "int32", "i32", &[&[69999, 1, 0], &[0], &[7]]),
    ];
    for (vocab_size, dtype, name, documents) in cases {
        write_pair(&prefix, vocab_size, documents);
        let read = Command::new(&python).arg(script).arg("read").arg(&prefix).output();
        let read = read.expect("python3 starts");
        assert!(read.status.success(), "{}", String::from_utf8_lossy(&read.stderr));
        let found: Value = serde_json::from_slice(&read.stdout).expect("JSON");
        assert_eq!(found, json!({ "dtype": dtype, "documents": documents }));

        let written = pair_bytes(&prefix);
        fs::remove_file(case.path("pair.bin")).expect("it was just written");
        let mut write = Command::new(&python)
            .arg(script)
            .args(["write".as_ref(), prefix.as_os_str(), name.as_ref()])
            .stdin(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let input = json!(documents).to_string();
        write.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
        assert!(write.wait().expect("it ends").success());
        assert_eq!(read_pair(&prefix), documents);
        assert_eq!(pair_bytes(&prefix), written, "{name}: the same bytes");
    }
}

fn pair_bytes(prefix: &Path) -> [Vec<u8>; 2] {
    ["bin", "idx"].map(|half| fs::read(prefix.with_extension(half)).expect("a file"))
}

#[test]
fn sources_of_text() {
    let line = |text: &str| json!({ "text": text }).to_string() + "\n";
    let one = with_source("data_file = \"texts\"\n")
        .having("texts/b.jsonl", line("b") + &line("c"))
        .having("texts/a.any", compressed(line("a").as_bytes()))
        .having("texts/.hidden", "no JSON");
    assert_eq!(trained(&one), ["a", "b", "c"]);
    let pattern = with_source("data_file = \"texts/*.jsonl\"\nlimit = 1\n")
        .having("texts/b.jsonl", line("b") + "no JSON")
        .having("texts/c", "no JSON");
    assert_eq!(trained(&pattern), ["b"]);

    let records = concat!(
        r#"{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yo"}]}"#,
        "\n",
        r#"{"text": "plain"}"#,
    );
    let chat = with_source("data_file = \"chat.jsonl\"\n").having("chat.jsonl", records);
    assert_eq!(trained(&chat), ["User: Hi\n\nAssistant: Yo", "plain"]);
    let fields = with_source(
        "data_file = \"qa.jsonl\"\nsft_field = [\"q\", \"a\"]\ntemplate = \"instruction\"\n",
    )
    .having("qa.jsonl", r#"{"q": "2+2?", "a": "4"}"#);
    assert_eq!(trained(&fields), ["Instruction: 2+2?\n\nResponse: 4"]);

    let bad = "no JSON\n".to_owned() + &line("a") + "{}\n";
    let skip =
        with_source("data_file = \"bad.jsonl\"\non_bad_line = \"skip\"\n").having("bad.jsonl", bad);
    assert_eq!(trained(&skip), ["a"]);
    let output = skip.statetune(&["data", "prepare", STATE]);
    assert!(
        output.is_done().stdout.ends_with("skipped    2 lines that are not valid documents\n"),
        "{output:?}"
    );

    let utf16: Vec<u8> = "a\n你".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let plain = "data_type = \"utf-16le\"\ndata_file = \"t.txt\"\n";
    assert_eq!(trained(&with_source(plain).having("t.txt", utf16)), ["a\n你"]);
    let plain = "data_type = \"utf-8\"\ndata_file = \"*.txt\"\n";
    let case = with_source(plain).having("s.txt", "s\n").having("t.txt", "\u{feff}t");
    fs::remove_file(case.path("vocab.txt")).expect("it matches, too");
    let case = case.with(STATE, "tokenizer = \"vocab.txt\"\n", "");
    assert_eq!(trained(&case), ["s\n", "t"]);
}

#[test]
fn sources_of_tokens() {
    let raw = [98u16, 0, 99, 100, 0].map(u16::to_le_bytes).concat();
    let header = "{'descr': '>u2', 'fortran_order': False, 'shape': (5,), }\n";
    let mut npy = b"\x93NUMPY\x01\0".to_vec();
    npy.extend((header.len() as u16).to_le_bytes());
    npy.extend(header.bytes());
    npy.extend([98u16, 0, 99, 100, 0].map(u16::to_be_bytes).concat());
    for (data_type, content) in [("uint16", &raw), ("numpy", &npy)] {
        let source = format!("data_type = \"{data_type}\"\ndata_file = \"tokens\"\n");
        let case = with_source(&source).having("tokens", content);
        assert_eq!(trained(&case), ["a", "bc"], "{data_type}");
    }
}

#[test]
fn sources_with_weights() {
    let case = with_source("")
        .with(STATE, "[model]", "[[data.source]]\ndata_file = \"a.jsonl\"\nweight = 2.5\n\n[[data.source]]\ndata_type = \"binidx\"\ndata_file = \"b\"\nlimit = 1\n\n[model]")
        .having("a.jsonl", "{\"text\": \"a\"}\n{\"text\": \"c\"}\n");
    write_pair(&case.path("b"), 65536, &[&[99, 0], &[100, 0]]);
    let texts = trained(&case);
    let count = |text: &str| texts.iter().filter(|found| *found == text).count();
    assert_eq!((texts.len(), count("b")), (6, 1));
    assert_eq!((count("a").min(count("c")), count("a") + count("c")), (2, 5));
}

#[test]
fn sums_and_their_characters() {
    let case = with_source("data_type = \"dummy\"\nlimit = 13\n").with(
        STATE,
        "tokenizer = \"vocab.txt\"\n",
        "",
    );
    let texts = trained(&case);
    assert_eq!(texts.len(), 13);
    assert!(texts.contains(&".12+144=156.".to_owned()), "{texts:?}");
}

/// A model learns the characters of a text, and generation reads the vocabulary of the run.
#[test]
fn a_run_on_characters() {
    let case = Case::new()
        .having("text.txt", "aé你".repeat(40))
        .with(
            crate::case::FULL,
            SOURCE,
            "data_type = \"utf-8\"\ndata_file = \"text.txt\"\ndataload = \"get\"\n",
        )
        .with(crate::case::FULL, "tokenizer = \"vocab.txt\"\n", "");
    case.statetune(&["run", crate::case::FULL]).is_done();
    let run = case.only_run();
    let expected = json!({ "98": "a", "257": "é", "258": "你" });
    let vocabulary: Value = serde_json::from_str(&case.read(run.join("vocab.json"))).expect("JSON");
    assert_eq!(vocabulary, expected);
    fs::remove_file(case.path("text.txt")).expect("the text");
    case.statetune(&["generate", "latest", "--raw", "--prompt", "a"]).is_done();
}

#[test]
fn images_are_refused() {
    with_source("data_type = \"wds_img\"\ndata_file = \"data.jsonl\"\n").refuses(
        2,
        "\
error[ST2151]: `wds_img` is not a data type for language models
 --> state.toml:5:13
  |
5 | data_type = \"wds_img\"
  |             ^^^^^^^^^
  |
  = note: it is for archives of images, which no trainer of RWKV language models reads, although tutorials list it
  = help: choose another type, for example `jsonl`",
    );
}

#[test]
fn settings_without_a_meaning_are_refused() {
    with_source("").refuses(
        2,
        "\
error[ST2150]: `data.data_file` is missing
 --> state.toml:4:1
  |
4 | [data]
  | ^^^^^^
  |
  = help: set the documents: `data_file = \"texts.jsonl\"`
  = help: or write several sources, each in a table `[[data.source]]`",
    );
    with_source("data_type = \"dummy\"\nsft_field = [\"q\", \"a\"]\n").refuses(
        2,
        "\
error[ST2103]: `data.sft_field` does not apply to `data_type = \"dummy\"`
 --> state.toml:6:13
  |
6 | sft_field = [\"q\", \"a\"]
  |             ^^^^^^^^^^
  |
  = help: `statetune check state.toml --fix` deletes the line",
    );
    Case::new()
        .with(STATE, "[model]", "[[data.source]]\ndata_file = \"data.jsonl\"\n\n[model]")
        .refuses(
            2,
            "\
error[ST2152]: `data.data_file` and `data.source` cannot both be set
 --> state.toml:5:13
  |
5 | data_file = \"data.jsonl\"
  |             ^^^^^^^^^^^^
  |
  = note: each `[[data.source]]` has its own files and type
  = help: delete the setting, or move it into a `[[data.source]]`",
        );
}

#[test]
fn the_cache_is_listed_and_cleaned() {
    let case = Case::new();
    let cache = |arguments: &[&str]| case.statetune(&[&["cache"], arguments].concat());
    cache(&["ls"]).succeeds("nothing in the cache runs/.cache", "");
    cache(&["clean", "--all"]).succeeds("freed    0 B", "");

    case.statetune(&["run", STATE]).is_done();
    let used = case.prepared().pop().expect("prepared data");
    case.statetune(&["data", "prepare", STATE, "--set", "data.repeat=2"]).is_done();
    fs::create_dir(case.path("runs/.cache/.data-0123-abcdef")).expect("what was left over");
    let listed = cache(&["ls"]).is_done().stdout.clone();
    assert!(listed.contains(&used) && listed.contains("data.jsonl"), "{listed}");
    assert!(listed.contains("not complete") && listed.contains("just now"), "{listed}");

    cache(&["clean", "--older-than", "1d"]).is_done();
    assert!(!case.path("runs/.cache/.data-0123-abcdef").exists());
    assert_eq!(case.prepared().len(), 2, "only what was left over is gone");
    cache(&["clean", "--unused"]).is_done();
    assert_eq!(case.prepared(), std::slice::from_ref(&used));

    // What a live process builds or uses stays.
    let folder = File::open(case.path("runs/.cache").join(&used)).expect("prepared data");
    folder.lock_shared().expect("a lock");
    cache(&["clean", "--all"]).succeeds(&format!("in use   {used}, kept\nfreed    0 B"), "");
    drop(folder);
    let output = cache(&["clean", "--all"]);
    assert!(output.is_done().stdout.starts_with(&format!("removed  {used}, ")), "{output:?}");
    assert!(case.list("runs/.cache").is_empty());
    let output = cache(&["clean", "--older-than", "3"]);
    let expected = "\
error: invalid value '3' for '--older-than <AGE>': needs a unit: `d`, `h` or `m`

For more information, try '--help'.";
    assert_eq!((output.code, output.stderr.trim_end()), (Some(2), expected));
}
