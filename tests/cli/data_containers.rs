//! The same records in every container.

use std::fs;
use std::sync::Arc;

use arrow_array::{ArrayRef, BinaryArray, StringArray};
use parquet::basic::Compression;
use serde_json::{Value, json};

use crate::case::{Case, STATE};
use crate::container_files::{
    NamedFile, arrow, batch, binary_tables, conversations, gzip, json_forms, message_batch,
    parquet, records, table, text_batches, text_tables, texts,
};

const SOURCE: &str = "data_file = \"data.jsonl\"\n";

/// The files of prepared data.
fn prepared(case: &Case) -> Vec<(String, Vec<u8>)> {
    let _ = fs::remove_dir_all(case.path("runs"));
    case.statetune(&["data", "prepare", STATE]).is_done_with_warnings();
    let folders = case.prepared();
    let [folder] = &folders[..] else { panic!("{folders:?}") };
    let folder = format!("runs/.cache/{folder}");
    let files = case.list(&folder).into_iter().filter(|file| {
        // The report has the path and the digest of the source; places are lines or rows.
        !["source.json", "places"].contains(&&**file)
    });
    let read = |file: String| {
        let bytes = fs::read(case.path(format!("{folder}/{file}"))).expect("a file");
        (file, bytes)
    };
    files.map(read).collect()
}

/// A case whose experiment reads the file `named`, with more settings.
fn case_of(named: &str, more: &str) -> Case {
    Case::new().with(STATE, SOURCE, &format!("data_file = \"{named}\"\n{more}"))
}

/// Every file gives the prepared data of the first one.
#[track_caller]
fn all_are_the_same(files: &[NamedFile], more: &str) {
    let mut first = None;
    for (name, bytes) in files {
        let case = case_of(name, more).having(name, bytes);
        let prepared = prepared(&case);
        let first = first.get_or_insert_with(|| prepared.clone());
        for (one, other) in first.iter().zip(&prepared) {
            assert!(one == other, "{name}: {} differs", one.0);
        }
        assert_eq!(first.len(), prepared.len(), "{name}");
    }
}

#[test]
fn texts_are_the_same_from_every_arrangement_of_json() {
    all_are_the_same(&json_forms(&records()), "");
}

#[test]
fn texts_are_the_same_from_every_table_of_text() {
    let ids = (0..10).map(|i: usize| i.to_string()).collect();
    let mut files = json_forms(&records())[..1].to_vec();
    files.extend(text_tables(&[("id", ids), ("text", texts())]));
    all_are_the_same(&files, "");
}

#[test]
fn texts_are_the_same_from_every_binary_table() {
    let mut files = json_forms(&records())[..1].to_vec();
    files.extend(binary_tables(&text_batches()));
    all_are_the_same(&files, "");
}

#[test]
fn conversations_are_the_same_from_every_container() {
    let records = conversations();
    let cells = records.iter().map(|record| record["messages"].to_string()).collect();
    let mut files = json_forms(&records);
    files.retain(|(name, _)| !name.contains(".gz") && !name.contains("crlf"));
    files.extend([("d.csv".to_owned(), table(&[("messages", cells)], ',').into_bytes())]);
    files.extend(binary_tables(&[("list", message_batch())]));
    all_are_the_same(&files, "");
}

#[test]
fn two_columns_are_the_same_from_every_container() {
    let questions: Vec<String> = texts().iter().map(|text| text.replace("\n\n", " ")).collect();
    let answers: Vec<String> = questions.iter().map(|text| text.replace("User", "x")).collect();
    let pairs = || questions.iter().zip(&answers);
    let records: Vec<Value> = pairs().map(|(q, a)| json!({ "q": q, "a": a })).collect();
    let mut files = json_forms(&records);
    files.truncate(9);
    files.extend(text_tables(&[("q", questions.clone()), ("a", answers.clone())]));
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("q", Arc::new(StringArray::from(questions.clone()))),
        ("a", Arc::new(StringArray::from(answers.clone()))),
    ];
    files.extend(binary_tables(&[("two", batch(columns))]));
    all_are_the_same(&files, "sft_field = [\"q\", \"a\"]\n");
}

#[test]
fn preference_pairs_are_read_from_every_container() {
    let record = json!({ "prompt": "a?", "chosen": "good", "rejected": "bad" });
    let columns: Vec<(&str, Vec<String>)> =
        [("prompt", "a?"), ("chosen", "good"), ("rejected", "bad")]
            .map(|(name, cell)| (name, vec![cell.to_string(); 10]))
            .to_vec();
    let arrays: Vec<(&str, ArrayRef)> = columns
        .iter()
        .map(|(name, cells)| -> (&str, ArrayRef) {
            (name, Arc::new(StringArray::from(cells.clone())))
        })
        .collect();
    let mut files = json_forms(&vec![record; 10]);
    files.truncate(6);
    files.extend(text_tables(&columns).into_iter().take(2));
    files.extend(binary_tables(&[("pairs", batch(arrays))]).into_iter().take(4));
    for (name, bytes) in files {
        let case = case_of(&name, "").having(&name, bytes);
        let checked = case.statetune(&["data", "check", STATE]);
        let found = "shapes: preference pair 10 (keys chosen, rejected)\n";
        assert_eq!(checked.code, Some(20), "{name}: {checked:?}");
        assert!(checked.stdout.contains(found), "{name}: {checked:?}");
        let shown = case.statetune(&["data", "show", STATE]).is_done_with_warnings().stdout.clone();
        let rejected = "with the rejected answer:\nUser: a?\n\nAssistant: bad";
        assert_eq!(shown.matches(rejected).count(), 3, "{name}: {shown}");
        let refused = case.statetune(&["run", STATE]);
        assert_eq!(refused.code, Some(20), "{name}: {refused:?}");
        assert!(refused.stderr.contains("is a preference pair"), "{name}: {refused:?}");
    }
}

#[test]
fn rows_of_containers_are_called_rows() {
    let totals = |name: &str, bytes: &[u8]| {
        let case = case_of(name, "").having(name, bytes);
        let output = case.statetune(&["data", "check", STATE]);
        assert_eq!(output.code, Some(20), "{output:?}");
        let total = output.stdout.lines().find(|line| line.starts_with("error"));
        total.unwrap_or_default().to_owned()
    };
    let rows = "error    ST3003       2  rows are not valid documents";
    let lines = rows.replace("rows", "lines");
    assert_eq!(totals("d.json", b"[{\"text\": 1}, {\"text\": 2}]"), rows);
    assert_eq!(totals("d.jsonl", b"{\"text\": 1}\n{\"text\": 2}\n"), lines);
    let numbers: ArrayRef = Arc::new(arrow_array::Int64Array::from(vec![1, 2]));
    assert_eq!(totals("d.parquet", &parquet_of(vec![("text", numbers)])), rows);
    assert_eq!(totals("d.csv", b"text,more\na\nb\n"), lines);
}

/// Standard error of `data prepare` for a file, which is refused.
#[track_caller]
fn message(name: &str, bytes: &[u8], more: &str) -> String {
    let case = case_of(name, more).having(name, bytes);
    let output = case.statetune(&["data", "prepare", STATE]);
    assert_eq!((output.code, &*output.stdout), (Some(20), ""), "{}", output.stderr);
    output.stderr.trim_end().to_owned()
}

/// A pair of columns as a Parquet file.
fn parquet_of(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    parquet(&batch(columns), Compression::SNAPPY)
}

#[test]
fn a_record_is_named_by_its_line_or_row() {
    let list = "[\n  {\"text\": \"User: a\\n\\nAssistant: b\"},\n  {\n    \"text\": 7\n  }\n]\n";
    assert_eq!(
        message("d.json", list.as_bytes(), ""),
        "\
error[ST3003]: row 2 of `d.json` must have a string as `text`, found a number
 --> d.json:4:13
  |
4 |     \"text\": 7
  |             ^
  |
  = note: a line looks like `{\"text\": \"User: ...\\n\\nAssistant: ...\"}`
  = note: 1 other row is fine"
    );
    assert_eq!(
        message("d.csv", b"text,n\n\"a\nb\",1\n,2\n", ""),
        "\
error[ST3003]: line 4 of `d.csv` has an empty `text`
 --> d.csv:4:10
  |
4 | {\"text\": \"\", \"n\": \"2\"}
  |          ^^ no text
  |
  = note: 1 other line is fine
  = help: delete the setting"
    );
    let columns: Vec<(&str, ArrayRef)> = vec![("prompt", Arc::new(StringArray::from(vec!["a"])))];
    assert_eq!(
        message("d.parquet", &parquet_of(columns), ""),
        "\
error[ST3003]: row 1 of `d.parquet` has no text and no conversation of a known shape
 --> d.parquet
  |
  | {\"prompt\": \"a\"}
  | ^ keys found: `prompt`
  |
  = note: shapes that are read: `text`; `messages`; `conversations`; `instruction` and `output`; `prompt` and `completion`; `question` and `answer`
  = note: `data.sft_field` names the keys of a question and an answer with other names"
    );
    let texts: Vec<&[u8]> = vec![b"User: a\n\nAssistant: b", b"a\xff"];
    let columns: Vec<(&str, ArrayRef)> = vec![("text", Arc::new(BinaryArray::from(texts)))];
    let bytes = message("d.parquet", &parquet_of(columns), "");
    assert_eq!(
        bytes,
        "\
error[ST3002]: row 2 of `d.parquet` is not valid UTF-8
 --> d.parquet
  |
  | {\"text\": \"a\u{fffd}\"}
  |            ^ byte 0xff
  |
  = note: 1 other row is fine
  = help: write the column as UTF-8 text"
    );
}

#[test]
fn bad_rows_are_skipped_where_that_is_asked_for() {
    let csv = "text\nUser: a\n\"User: a\n\nAssistant: b\"\nx,y\n\"User: c\n\nAssistant: d\"\n";
    let case = case_of("d.csv", "on_bad_line = \"skip\"\n").having("d.csv", csv);
    let output = case.statetune(&["data", "prepare", STATE]);
    let stdout = &output.is_done_with_warnings().stdout;
    assert!(stdout.contains("documents  3") && stdout.contains("skipped    1"), "{stdout}");
}

#[test]
fn a_broken_container_is_refused_in_words() {
    let note = |name: &str, text: &str, notes: &str| {
        format!("error[ST3015]: `{name}` {text}\n  |\n  = {notes}")
    };
    let again = "help: the file is incomplete or damaged: write or download the file again";
    let list = b"[{\"text\": \"a\"},\n {\"text\": \"b\"}";
    let ends = "ends on line 2 within the list of records";
    assert_eq!(message("d.json", list, ""), note("d.json", ends, again));
    let quote = b"text\n\"a\nb\n";
    let open = "has a quote that is not closed in the row that begins on line 2";
    assert_eq!(message("d.csv", quote, ""), note("d.csv", open, again));
    let (name, whole) = binary_tables(&text_batches()[..1]).remove(1);
    let cut = message(&name, &whole[..whole.len() - 9], "");
    assert!(
        cut.starts_with(&format!("error[ST3015]: `{name}` cannot be read as Parquet\n")),
        "{cut}"
    );
    assert!(cut.ends_with(again), "{cut}");
    let stream = arrow(&text_batches()[0].1, false, None);
    let cut = message("d.arrow", &stream[..stream.len() / 2], "");
    let incomplete = "note: Ipc error: the stream is incomplete\n  = ";
    assert_eq!(cut, note("d.arrow", "cannot be read as Arrow", &format!("{incomplete}{again}")));
    let file = arrow(&text_batches()[0].1, true, None);
    let cut = message("d.arrow", &file[..file.len() - 3], "");
    let end = "note: the end of the file is missing\n  = ";
    assert_eq!(cut, note("d.arrow", "cannot be read as Arrow", &format!("{end}{again}")));
}

#[test]
fn files_that_hold_no_records_are_named() {
    let refused = |name: &str, bytes: &[u8], text: &str, help: &str| {
        let expected = format!("error[ST3015]: `{name}` {text}\n  |\n  = help: {help}");
        assert_eq!(message(name, bytes, ""), expected);
    };
    refused(
        "d.xlsx",
        b"PK\x03\x04rest",
        "is a ZIP archive, for example an Excel workbook",
        "unpack the archive, or save the table as CSV in UTF-8",
    );
    refused("d.jsonl.xz", b"\xfd7zXZ\0rest", "is compressed with xz", "decompress the file");
    refused(
        "d.parquet",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        "is a Git LFS pointer, not the file itself",
        "run `git lfs pull` in its folder",
    );
    refused(
        "d.jsonl",
        b"<!DOCTYPE html>\n<html>",
        "is a web page, not a data file",
        "download the file itself: on Hugging Face the address has `/resolve/` in place of `/blob/`",
    );
    refused(
        "d.parquet.gz",
        &gzip(b"PAR1rest"),
        "is a Parquet file that is compressed as a whole",
        "decompress the file",
    );
    let unmarked: Vec<u8> =
        "{\"text\": \"abc\"}\n".encode_utf16().flat_map(u16::to_le_bytes).collect();
    assert_eq!(
        message("d.jsonl", &unmarked, ""),
        "\
error[ST3002]: `d.jsonl` looks like UTF-16LE, but has no byte order mark
  |
  = help: the text looks like UTF-16LE: run `iconv -f UTF-16LE -t UTF-8 d.jsonl > d.utf8.jsonl` and use the new file"
    );
}

#[test]
fn a_data_type_that_the_file_contradicts_names_both() {
    let line = b"{\"text\": \"a\"}\n{\"text\": \"b\"}\n";
    let stream = arrow(&text_batches()[0].1, false, None);
    let cases: [(&str, &[u8], &str, &str); 4] = [
        ("d.jsonl", line, "parquet", "jsonl"),
        ("d.jsonl", line, "csv", "jsonl"),
        ("d.arrow", &stream, "parquet", "arrow"),
        ("d.json", b"[{\"text\": \"a\"}]", "tsv", "json"),
    ];
    for (name, bytes, asked, found) in cases {
        assert_eq!(
            message(name, bytes, &format!("data_type = \"{asked}\"\n")),
            format!(
                "error[ST3015]: `{name}` is not `{asked}`, as `data_type` says, but `{found}`\n  |\n  \
                 = help: set `data_type = \"{found}\"`, or delete `data_type`"
            )
        );
    }
    // What the file is may be said, and a table may have any name.
    let csv = table(&[("text", texts())], ',').into_bytes();
    let files = [
        ("d.jsonl", json_forms(&records())[0].1.clone(), "json"),
        ("d.txt", csv, "csv"),
        ("d.arrow", stream, "arrow"),
    ];
    for (name, bytes, data_type) in files {
        let case = case_of(name, &format!("data_type = \"{data_type}\"\n")).having(name, bytes);
        prepared(&case);
    }
}

#[test]
fn a_table_under_another_name_gets_a_help() {
    assert_eq!(
        message("d.txt", b"text,n\na,1\n", ""),
        "\
error[ST3001]: line 1 of `d.txt` is not valid JSON
 --> d.txt:1:2
  |
1 | text,n
  |  ^ expected ident
  |
  = note: 1 more has the same problem (2)
  = help: if the file is a table, set `data_type = \"csv\"`; if the file is plain text, set `data_type = \"utf-8\"`"
    );
}

#[test]
fn a_folder_may_mix_containers() {
    let lines = json_forms(&records());
    let tables = binary_tables(&text_batches()[..1]);
    let mut case = case_of("all", "");
    for (name, bytes) in lines[..3].iter().chain(&tables[..1]) {
        case = case.having(&format!("all/{name}"), bytes);
    }
    let output = case.statetune(&["data", "prepare", STATE]);
    assert!(output.is_done_with_warnings().stdout.contains("documents  40"), "{output:?}");
}

#[test]
fn files_of_pyarrow_and_datasets_are_read() {
    let files: [(&str, &[u8]); 3] = [
        ("pyarrow.parquet", include_bytes!("../data/containers/pyarrow.parquet")),
        ("pyarrow.arrow", include_bytes!("../data/containers/pyarrow.arrow")),
        ("saved/data.arrow", include_bytes!("../data/containers/saved/data-00000-of-00001.arrow")),
    ];
    let text = |i: usize| json!({ "text": format!("User: {i}?\n\nAssistant: {i}.") }).to_string();
    let lines: Vec<String> = (0..10).map(text).collect();
    let mut all = vec![("d.jsonl".to_owned(), lines.join("\n").into_bytes())];
    all.extend(files.iter().map(|(name, bytes)| ((*name).to_owned(), bytes.to_vec())));
    all_are_the_same(&all, "");
    // A folder of `datasets` as it is.
    let case = case_of("saved", "")
        .having("saved/data-00000-of-00001.arrow", files[2].1)
        .having(
            "saved/dataset_info.json",
            include_bytes!("../data/containers/saved/dataset_info.json"),
        )
        .having("saved/state.json", include_bytes!("../data/containers/saved/state.json"));
    let output = case.statetune(&["data", "prepare", STATE]);
    assert!(output.is_done_with_warnings().stdout.contains("documents  10"), "{output:?}");
}

#[test]
fn an_exported_table_is_readable_again() {
    let case = Case::new();
    let export = ["data", "export", "data.jsonl", "--to", "parquet", "--out", "out"];
    case.statetune(&export).is_done();
    let back = ["data", "export", "out.parquet", "--to", "jsonl", "--out", "back"];
    case.statetune(&back).is_done();
    let sorted = |file: &str| {
        let text = |line: Value| line["text"].as_str().expect("a text").to_owned();
        let mut texts: Vec<String> = case.lines(file).into_iter().map(text).collect();
        texts.sort();
        texts
    };
    assert_eq!(sorted("back.jsonl"), sorted("data.jsonl"));
}

#[test]
fn show_finds_a_row_and_fix_writes_lines() {
    let good = "User: a\n\nAssistant: b";
    let column = |texts: Vec<&str>| -> Vec<u8> {
        parquet_of(vec![("text", Arc::new(StringArray::from(texts)))])
    };
    let case = case_of("d.parquet", "")
        .having("d.parquet", column(vec![good, "", "User: c\n\nAssistant: d"]));
    let shown = case.statetune(&["data", "show", STATE, "--line", "3"]);
    assert!(shown.is_done_with_warnings().stdout.contains("row 3 of `d.parquet`"), "{shown:?}");
    let fixed = case.statetune(&["data", "check", STATE, "--fix"]);
    assert!(fixed.stderr.contains("wrote d.fixed.jsonl: 0 lines fixed, 1 dropped"), "{fixed:?}");
    let lines = case.lines("d.fixed.jsonl");
    assert_eq!(lines, [json!({ "text": good }), json!({ "text": "User: c\n\nAssistant: d" })]);
    // A row that no line can hold is named, and nothing is written.
    let case = case_of("d.csv", "").having("d.csv", "text\n\"\"\na,b\n");
    let output = case.statetune(&["data", "check", STATE, "--fix"]);
    assert_eq!(output.code, Some(20));
    assert!(
        output.stderr.contains("line 3 of `d.csv` has 2 cells, but the header names 1 column\n"),
        "{output:?}"
    );
    assert!(!case.path("d.fixed.jsonl").exists());
}

#[test]
fn init_reads_every_container() {
    let texts = binary_tables(&text_batches()[..1]);
    let mut files = vec![
        ("x.csv".to_owned(), table(&[("text", self::texts())], ',').into_bytes(), "csv"),
        ("x.parquet".to_owned(), texts[0].1.clone(), "parquet"),
        ("x.arrow".to_owned(), arrow(&text_batches()[0].1, false, None), "arrow"),
    ];
    let json = json_forms(&records());
    files.extend([("x.json".to_owned(), json[6].1.clone(), "json")]);
    files.extend([("x.jsonl.gz".to_owned(), gzip(&json[0].1), "jsonl")]);
    files.extend([("x.csv.gz".to_owned(), gzip(&files[0].1), "csv")]);
    for (name, bytes, data_type) in files {
        let case = Case::new().having(&name, bytes);
        case.statetune(&["init", "new", "--data", &name, "--yes"]).is_done_with_warnings();
        let text = case.read("new/first.toml");
        assert!(text.contains(&format!("data_type = \"{data_type}\"")), "{name}: {text}");
        assert!(text.contains("loss_mask = \"assistant\""), "{name}: {text}");
        case.statetune(&["check", "new/first.toml"]).is_done_with_warnings();
        case.statetune(&["data", "prepare", "new/first.toml"]).is_done_with_warnings();
    }
}
