//! The same records in every container.

use std::fs;
use std::io::Write as _;
use std::sync::Arc;

use arrow_array::builder::{ListBuilder, StringBuilder, StringDictionaryBuilder, StructBuilder};
use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BinaryArray, Int64Array, LargeStringArray, RecordBatch, StringArray, StringViewArray,
};
use arrow_ipc::CompressionType;
use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
use arrow_schema::{DataType, Field, Fields};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::{Value, json};
use statetune_engine::model::{Shape, Version};

use crate::case::{Case, SIZES, STATE, checkpoint};

const SOURCE: &str = "data_file = \"data.jsonl\"\n";

/// A file with its name.
type NamedFile = (String, Vec<u8>);

/// Ten texts with everything that a container must escape.
fn texts() -> Vec<String> {
    let odd =
        ["a, b; c", "say \"hi\"", "two\nlines", "你好，世界 😀", "tab\there | pipe", "[1, {2}]"];
    let text = |i: usize| format!("User: {} {i}?\n\nAssistant: {}.", odd[i % 6], odd[(i + 1) % 6]);
    (0..10).map(text).collect()
}

/// Records with this key of the text and another column.
fn records() -> Vec<Value> {
    let record = |(i, text): (usize, String)| json!({ "id": i, "text": text });
    texts().into_iter().enumerate().map(record).collect()
}

/// Ten conversations in the shape `messages`.
fn conversations() -> Vec<Value> {
    let turn = |role: &str, content: String| json!({ "role": role, "content": content });
    let one = |i: usize| {
        let odd =
            &texts()[i].replace("User:", "u").replace("Assistant:", "a").replace("\n\n", "\n");
        json!({ "messages": [
            turn("user", format!("{odd}?")),
            turn("assistant", format!("\"{i}\", or {{{odd}}}")),
        ] })
    };
    (0..10).map(one).collect()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("memory")
}

fn utf16(text: &[u8], to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let text = str::from_utf8(text).expect("UTF-8");
    format!("\u{feff}{text}").encode_utf16().flat_map(to_bytes).collect()
}

/// A text in every encoding and compression, with both kinds of line breaks.
fn encodings(name: &str, text: &str) -> Vec<NamedFile> {
    let breaks = [("", text.to_owned()), ("crlf-", text.replace('\n', "\r\n"))];
    let of_text = |(kind, text): (&str, String)| {
        let text = text.into_bytes();
        vec![
            (format!("{kind}{name}"), text.clone()),
            (format!("{kind}{name}.gz"), gzip(&text)),
            (format!("{kind}{name}.zst"), zstd(&text)),
            (format!("{kind}bom-{name}"), [b"\xef\xbb\xbf", &text[..]].concat()),
            (format!("{kind}le-{name}"), utf16(&text, u16::to_le_bytes)),
            (format!("{kind}be-{name}.gz"), gzip(&utf16(&text, u16::to_be_bytes))),
        ]
    };
    breaks.into_iter().flat_map(of_text).collect()
}

/// Records in every arrangement of JSON.
fn json_forms(records: &[Value]) -> Vec<NamedFile> {
    let list = Value::from(records.to_vec());
    let pretty = |value: &Value| serde_json::to_string_pretty(value).expect("JSON") + "\n";
    let joined = |between: &str, form: &dyn Fn(&Value) -> String| -> String {
        records.iter().map(form).collect::<Vec<_>>().join(between)
    };
    let other = json!([{ "text": "of another split" }]);
    let splits = json!({ "version": "1", "test": other, "train": list, "more": {"a": [1]} });
    let texts = [
        ("d.jsonl", joined("\n", &Value::to_string) + "\n"),
        ("no-end.jsonl", joined("\n", &Value::to_string)),
        ("list.json", list.to_string()),
        ("list-of-lines.json", format!("[\n{}\n]\n", joined(",\n", &Value::to_string))),
        ("pretty.json", pretty(&list)),
        ("data.json", json!({ "data": list }).to_string()),
        ("pretty-data.json", pretty(&json!({ "data": list }))),
        ("rows.json", pretty(&json!({ "rows": list, "n": 10 }))),
        ("splits.json", splits.to_string()),
        ("pretty-splits.json", pretty(&splits)),
        ("objects.json", joined("", &pretty)),
        ("concatenated.json", joined("", &Value::to_string)),
        ("on-one-line.jsonl", joined(" ", &Value::to_string)),
    ];
    let files =
        texts.iter().enumerate().flat_map(|(i, (name, text))| some_encodings(i, name, text));
    files.collect()
}

/// A table with these columns as text.
fn table(columns: &[(&str, Vec<String>)], delimiter: char) -> String {
    let cell = |text: &str| match text.contains(['"', '\n', delimiter]) {
        true => format!("\"{}\"", text.replace('"', "\"\"")),
        false => text.to_owned(),
    };
    let row = |cells: Vec<&str>| {
        let cells: Vec<String> = cells.into_iter().map(cell).collect();
        cells.join(&delimiter.to_string()) + "\n"
    };
    let header = row(columns.iter().map(|(name, _)| *name).collect());
    let rows =
        (0..columns[0].1.len()).map(|i| row(columns.iter().map(|(_, cells)| &*cells[i]).collect()));
    header + &rows.collect::<String>()
}

/// Tables with these columns as text.
fn text_tables(columns: &[(&str, Vec<String>)]) -> Vec<NamedFile> {
    let forms = [("comma.csv", ','), ("semicolon.csv", ';'), ("pipe.csv", '|'), ("tab.tsv", '\t')];
    let texts = forms.into_iter().map(|(name, delimiter)| (name, table(columns, delimiter)));
    let files = texts.enumerate().flat_map(|(i, (name, text))| some_encodings(i, name, &text));
    files.collect()
}

fn parquet(batch: &RecordBatch, compression: Compression) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(4))
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
    writer.write(batch).expect("memory");
    writer.into_inner().expect("memory")
}

fn arrow(batch: &RecordBatch, is_file: bool, compression: Option<CompressionType>) -> Vec<u8> {
    let options = IpcWriteOptions::default().try_with_compression(compression).expect("options");
    let (mut bytes, schema) = (Vec::new(), batch.schema());
    let parts = [(0, 3), (3, 0), (3, 7)].map(|(start, rows)| batch.slice(start, rows));
    if is_file {
        let mut writer =
            FileWriter::try_new_with_options(&mut bytes, &schema, options).expect("a writer");
        parts.iter().for_each(|part| writer.write(part).expect("memory"));
        writer.finish().expect("memory");
    } else {
        let mut writer =
            StreamWriter::try_new_with_options(&mut bytes, &schema, options).expect("a writer");
        parts.iter().for_each(|part| writer.write(part).expect("memory"));
        writer.finish().expect("memory");
    }
    bytes
}

/// A batch in every binary container.
fn binary_tables(batches: &[(&str, RecordBatch)]) -> Vec<NamedFile> {
    let mut files = Vec::new();
    for (index, (kind, batch)) in batches.iter().enumerate() {
        for (name, compression) in [
            ("plain", Compression::UNCOMPRESSED),
            ("snappy", Compression::SNAPPY),
            ("zstd", Compression::ZSTD(Default::default())),
            ("gzip", Compression::GZIP(Default::default())),
            ("lz4", Compression::LZ4_RAW),
            ("brotli", Compression::BROTLI(Default::default())),
        ] {
            // The first batch in every form, the others in one form each.
            if index == 0 || name == "snappy" {
                files.push((format!("{kind}-{name}.parquet"), parquet(batch, compression)));
            }
        }
        for (name, compression) in [
            ("plain", None),
            ("lz4", Some(CompressionType::LZ4_FRAME)),
            ("zstd", Some(CompressionType::ZSTD)),
        ] {
            if index == 0 || name == "plain" {
                files.push((format!("{kind}-{name}.arrow"), arrow(batch, true, compression)));
                let stream = arrow(batch, false, compression);
                files.push((format!("{kind}-{name}-stream.arrow"), stream));
            }
        }
    }
    files
}

/// A batch of these columns.
fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

/// The texts as columns of every type of strings.
fn text_batches() -> Vec<(&'static str, RecordBatch)> {
    let texts = texts();
    let ids: ArrayRef = Arc::new(Int64Array::from_iter_values(0..10));
    let mut dictionary = StringDictionaryBuilder::<Int32Type>::new();
    texts.iter().for_each(|text| dictionary.append_value(text));
    let bytes: Vec<&[u8]> = texts.iter().map(String::as_bytes).collect();
    let columns: Vec<(&str, ArrayRef)> = vec![
        ("utf8", Arc::new(StringArray::from(texts.clone()))),
        ("large", Arc::new(LargeStringArray::from(texts.clone()))),
        ("view", Arc::new(StringViewArray::from_iter_values(&texts))),
        ("dictionary", Arc::new(dictionary.finish())),
        ("binary", Arc::new(BinaryArray::from(bytes))),
    ];
    let of_column = |(name, column)| (name, batch(vec![("id", ids.clone()), ("text", column)]));
    columns.into_iter().map(of_column).collect()
}

/// The conversations as a column of lists.
fn message_batch() -> RecordBatch {
    let fields = ["role", "content"].map(|name| Field::new(name, DataType::Utf8, true));
    let turn = StructBuilder::from_fields(Fields::from(fields.to_vec()), 0);
    let mut lists = ListBuilder::new(turn);
    for record in conversations() {
        for message in record["messages"].as_array().expect("a list") {
            for (index, key) in ["role", "content"].into_iter().enumerate() {
                let cells = lists.values().field_builder::<StringBuilder>(index).expect("strings");
                cells.append_value(message[key].as_str().expect("a string"));
            }
            lists.values().append(true);
        }
        lists.append(true);
    }
    batch(vec![("messages", Arc::new(lists.finish()))])
}

/// The files of prepared data.
fn prepared(case: &Case) -> Vec<(String, Vec<u8>)> {
    let _ = fs::remove_dir_all(case.path("runs"));
    case.statetune(&["data", "prepare", STATE]).is_done_with_warnings();
    let folders = case.list("runs/.cache");
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
    Case::new().with(STATE, SOURCE, &format!("data_file = \"named\"\n{more}")).with(
        STATE,
        "data_file = \"named\"",
        &format!("data_file = \"{named}\""),
    )
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

/// A text as it is and in some of the other encodings, which all texts together have all of.
fn some_encodings(index: usize, name: &str, text: &str) -> Vec<NamedFile> {
    let mut all = encodings(name, text);
    let others = [1 + index % 11, 1 + (index + 5) % 11].map(|at| all[at].clone());
    all.truncate(1);
    all.extend(others);
    all
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
  = help: delete the line"
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
  = help: run `iconv -f UTF-16LE -t UTF-8 OLD > NEW`"
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

#[test]
fn init_splits_one_long_text() {
    let story = "Once upon a time there was a text that was longer than any sample. ".repeat(100);
    let case = Case::new().having("story.txt", story);
    case.statetune(&["init", "new", "--data", "story.txt", "--yes"]).is_done_with_warnings();
    let text = case.read("new/first.toml");
    for line in ["data_type = \"utf-8\"", "overlong = \"split\"", "loss_mask = \"pad\""] {
        assert!(text.contains(line), "{line}: {text}");
    }
    let plan = |overlong: &str| {
        let set = [
            "--set",
            "train.ctx_len=64",
            "--set",
            "data.val_split=0",
            "--set",
            "sample.held_out=0",
            "--set",
            overlong,
        ];
        let arguments = [&["plan", "new/first.toml", "--prepare"][..], &set].concat();
        let output = case.statetune(&arguments);
        let lines = output.is_done_with_warnings().stdout.clone();
        lines.lines().find(|line| line.contains("coverage")).expect("a line").to_owned()
    };
    assert!(plan("data.overlong=split").contains("100 % of 1 copies"));
    let cut = plan("data.overlong=truncate");
    assert!(cut.contains(" 4 % of the 1,502 tokens of 1 copies"), "{cut}");
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
