//! The same records in files of every container.

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

/// A file with its name.
pub type NamedFile = (String, Vec<u8>);

/// Ten texts with everything that a container must escape.
pub fn texts() -> Vec<String> {
    let odd =
        ["a, b; c", "say \"hi\"", "two\nlines", "你好，世界 😀", "tab\there | pipe", "[1, {2}]"];
    let text = |i: usize| format!("User: {} {i}?\n\nAssistant: {}.", odd[i % 6], odd[(i + 1) % 6]);
    (0..10).map(text).collect()
}

/// Records with this key of the text and another column.
pub fn records() -> Vec<Value> {
    let record = |(i, text): (usize, String)| json!({ "id": i, "text": text });
    texts().into_iter().enumerate().map(record).collect()
}

/// Ten conversations in the shape `messages`.
pub fn conversations() -> Vec<Value> {
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

pub fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

pub fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("memory")
}

pub fn utf16(text: &[u8], to_bytes: fn(u16) -> [u8; 2]) -> Vec<u8> {
    let text = str::from_utf8(text).expect("UTF-8");
    format!("\u{feff}{text}").encode_utf16().flat_map(to_bytes).collect()
}

/// A text in every encoding and compression, with both kinds of line breaks.
pub fn encodings(name: &str, text: &str) -> Vec<NamedFile> {
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
pub fn json_forms(records: &[Value]) -> Vec<NamedFile> {
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
pub fn table(columns: &[(&str, Vec<String>)], delimiter: char) -> String {
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
pub fn text_tables(columns: &[(&str, Vec<String>)]) -> Vec<NamedFile> {
    let forms = [("comma.csv", ','), ("semicolon.csv", ';'), ("pipe.csv", '|'), ("tab.tsv", '\t')];
    let texts = forms.into_iter().map(|(name, delimiter)| (name, table(columns, delimiter)));
    let files = texts.enumerate().flat_map(|(i, (name, text))| some_encodings(i, name, &text));
    files.collect()
}

pub fn parquet(batch: &RecordBatch, compression: Compression) -> Vec<u8> {
    let properties = WriterProperties::builder()
        .set_compression(compression)
        .set_max_row_group_row_count(Some(4))
        .build();
    let mut writer =
        ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).expect("a writer");
    writer.write(batch).expect("memory");
    writer.into_inner().expect("memory")
}

pub fn arrow(batch: &RecordBatch, is_file: bool, compression: Option<CompressionType>) -> Vec<u8> {
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
pub fn binary_tables(batches: &[(&str, RecordBatch)]) -> Vec<NamedFile> {
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
pub fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter(columns).expect("columns of one length")
}

/// The texts as columns of every type of strings.
pub fn text_batches() -> Vec<(&'static str, RecordBatch)> {
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
pub fn message_batch() -> RecordBatch {
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

/// A text as it is and in some of the other encodings, which all texts together have all of.
fn some_encodings(index: usize, name: &str, text: &str) -> Vec<NamedFile> {
    let mut all = encodings(name, text);
    let others = [1 + index % 11, 1 + (index + 5) % 11].map(|at| all[at].clone());
    all.truncate(1);
    all.extend(others);
    all
}
