//! Containers of records: each gives its rows as JSON objects.
//!
//! To add a container, add a file with a type that implements [`RowReader`], and its value of [`Container`] with its
//! name, its ending or first bytes, and its arm in [`open`].

mod arrow;
mod claims;
mod columns;
mod csv;
mod decode;
mod guarded;
mod json;
mod lines;
mod messages;
mod outline;
mod pages;
mod parquet;
mod row;
mod scan;
mod table;

use std::io::{self, Read as _};
use std::path::Path;

pub(crate) use decode::{Compression, decompress, whole_text};
pub(crate) use row::{At, RowPlace, RowReader};

use self::csv::Csv;
use self::json::Json;
use self::lines::Lines;
use self::outline::Outline;
use crate::data::container_fault::ContainerFault;
use crate::data::error::DataError;
use crate::input_file::regular_file;

/// How a file holds records.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Container {
    /// A JSON object on each line.
    Lines,
    /// JSON of any other arrangement.
    Json,
    /// Text with a delimiter between cells.
    Csv,
    /// Text with a tab between cells.
    Tsv,
    Parquet,
    /// An Arrow file or stream.
    Arrow,
}

impl Container {
    /// The name as a setting.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Lines => "jsonl",
            Self::Json => "json",
            Self::Csv => "csv",
            Self::Tsv => "tsv",
            Self::Parquet => "parquet",
            Self::Arrow => "arrow",
        }
    }

    /// The binary container that begins with these bytes.
    fn of_magic(start: &[u8]) -> Option<Self> {
        if start.starts_with(b"PAR1") || start.starts_with(b"PARE") {
            Some(Self::Parquet)
        } else if start.starts_with(arrow::FILE_MAGIC)
            || (start.starts_with(&[0xff; 4]) && start.get(4).is_some_and(|byte| *byte != 0xff))
        {
            Some(Self::Arrow)
        } else {
            None
        }
    }

    /// The container that a file's name tells and its text cannot.
    pub(crate) fn of_name(file: &Path) -> Option<Self> {
        let name = file.file_name()?.to_str()?.to_ascii_lowercase();
        let name = name.strip_suffix(".gz").or_else(|| name.strip_suffix(".zst")).unwrap_or(&name);
        match Path::new(name).extension()?.to_str()? {
            "csv" => Some(Self::Csv),
            "tsv" => Some(Self::Tsv),
            _ => None,
        }
    }
}

/// Opens a file of records. Its content tells the container, or its name, or else `asked`.
///
/// # Errors
/// [`DataError::Read`]; [`DataError::Container`] for a file that is not of the container `asked` or of none.
pub(crate) fn open(file: &Path, asked: Option<Container>) -> Result<Box<dyn RowReader>, DataError> {
    let start = start(file).map_err(|source| DataError::Read { file: file.into(), source })?;
    let agree = |found: Container| match asked {
        Some(asked) if asked != found => {
            let fault = ContainerFault::Contradiction { asked: asked.name(), found: found.name() };
            Err(DataError::Container { file: file.into(), fault })
        }
        _ => Ok(()),
    };
    match Container::of_magic(&start) {
        Some(container @ Container::Parquet) => {
            agree(container)?;
            return Ok(Box::new(parquet::open(file)?));
        }
        Some(container) => {
            agree(container)?;
            return Ok(Box::new(arrow::open(file)?));
        }
        None => {}
    }
    let text = decode::open(file)?;
    let outline = Outline::of(file, &text)?;
    let is_object = text.head.trim_ascii_start().starts_with(b"{");
    let found = match (&outline, asked) {
        (Outline::Lines, Some(Container::Json | Container::Lines) | None) if is_object => {
            Container::Lines
        }
        (Outline::Lines, Some(table @ (Container::Csv | Container::Tsv))) if !is_object => table,
        (Outline::Lines, None) => Container::of_name(file).unwrap_or(Container::Lines),
        (Outline::Lines, Some(Container::Json)) => Container::Json,
        (Outline::Lines, _) => Container::Lines,
        _ => Container::Json,
    };
    let is_any_json = asked == Some(Container::Json) && found == Container::Lines && is_object;
    if !is_any_json {
        agree(found)?;
    }
    Ok(match found {
        Container::Csv | Container::Tsv => {
            let delimiter = (found == Container::Tsv).then_some(b'\t');
            let head = text.head.clone();
            Box::new(Csv::new(file, &head, text.input(), delimiter)?)
        }
        Container::Json => Box::new(Json::new(file, text.input(), outline)),
        _ => Box::new(Lines::new(file, text.input())),
    })
}

/// The first bytes of a file.
fn start(file: &Path) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    regular_file(file)?.take(8).read_to_end(&mut start)?;
    Ok(start)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::Arc;

    use ::parquet::arrow::ArrowWriter;
    use ::parquet::basic::Compression;
    use ::parquet::file::properties::WriterProperties;
    use arrow_array::{ArrayRef, RecordBatch, StringArray};
    use arrow_ipc::CompressionType;
    use arrow_ipc::writer::{FileWriter, IpcWriteOptions, StreamWriter};
    use rand::{Rng as _, SeedableRng as _};
    use rand_chacha::ChaCha8Rng;

    use super::*;

    /// The records of a file with this name and content, or the message of the first error.
    fn read(name: &str, bytes: &[u8]) -> Result<Vec<String>, String> {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        let bare = |error: DataError| {
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        };
        let mut reader = open(&file, None).map_err(bare)?;
        let mut records = Vec::new();
        let mut json = Vec::new();
        while let Some(place) = reader.next(&mut json).map_err(bare)? {
            let text = String::from_utf8_lossy(&json).into_owned();
            records.push(match place.fault {
                Some(fault) => format!("{}: {fault}", place.at.number()),
                None => text,
            });
            json.clear();
        }
        Ok(records)
    }

    fn batch() -> RecordBatch {
        let texts: ArrayRef = Arc::new(StringArray::from_iter_values(
            (0..50).map(|i| format!("User: {i}?\n\nAssistant: {}", "yes ".repeat(i % 7))),
        ));
        let none: ArrayRef =
            Arc::new(StringArray::from_iter((0..50).map(|i| (i % 2 > 0).then_some("x"))));
        RecordBatch::try_from_iter([("text", texts), ("more", none)]).unwrap()
    }

    /// The same records in every container that is not text.
    fn tables() -> Vec<(&'static str, Vec<u8>)> {
        let batch = batch();
        let mut files = Vec::new();
        for compression in [
            Compression::UNCOMPRESSED,
            Compression::SNAPPY,
            Compression::ZSTD(Default::default()),
            Compression::LZ4_RAW,
            Compression::GZIP(Default::default()),
            Compression::BROTLI(Default::default()),
        ] {
            let properties = WriterProperties::builder().set_compression(compression).build();
            let mut writer =
                ArrowWriter::try_new(Vec::new(), batch.schema(), Some(properties)).unwrap();
            writer.write(&batch).unwrap();
            files.push(("d.parquet", writer.into_inner().unwrap()));
        }
        for compression in [None, Some(CompressionType::LZ4_FRAME), Some(CompressionType::ZSTD)] {
            let options = || IpcWriteOptions::default().try_with_compression(compression).unwrap();
            let mut bytes = Vec::new();
            let mut writer =
                FileWriter::try_new_with_options(&mut bytes, &batch.schema(), options()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
            drop(writer);
            files.push(("file.arrow", bytes));
            let mut bytes = Vec::new();
            let mut writer =
                StreamWriter::try_new_with_options(&mut bytes, &batch.schema(), options()).unwrap();
            writer.write(&batch).unwrap();
            writer.finish().unwrap();
            drop(writer);
            files.push(("stream.arrow", bytes));
        }
        files
    }

    fn texts() -> Vec<(&'static str, Vec<u8>)> {
        let list = r#"[{"text": "a", "n": [1, {"b": "]}"}]}, {"text": "b\n\"c\""}, {"text": "d"}]"#;
        let pretty: serde_json::Value = serde_json::from_str(list).unwrap();
        let pretty = serde_json::to_string_pretty(&pretty).unwrap();
        let wrapped = format!("{{\n\"version\": 1, \"data\": {pretty}, \"x\": {{}} }}");
        let objects = pretty.trim_matches(['[', ']']).replace("  },", "  }");
        let csv = "text,more\n\"a, \"\"b\"\"\",c\n\"two\nlines\",d\ne,f\n";
        let utf16: Vec<u8> =
            "\u{feff}[{\"text\": \"你好\"}]".encode_utf16().flat_map(u16::to_le_bytes).collect();
        vec![
            ("list.json", list.into()),
            ("pretty.json", pretty.into()),
            ("wrapped.json", wrapped.into()),
            ("objects.json", objects.into()),
            ("d.csv", csv.into()),
            ("utf16.json", utf16),
            ("d.jsonl.zst", zstd::encode_all(list.as_bytes(), 3).unwrap()),
        ]
    }

    #[test]
    fn damaged_files_end_in_words() {
        let mut rng = ChaCha8Rng::seed_from_u64(7);
        let mut refused = 0;
        for (name, bytes) in tables().into_iter().chain(texts()) {
            assert!(!read(name, &bytes).unwrap().is_empty(), "{name}");
            for round in 0..120 {
                let mut damaged = bytes.clone();
                match round % 3 {
                    0 => damaged.truncate(rng.random_range(0..bytes.len())),
                    1 => (0..4).for_each(|_| {
                        let at = rng.random_range(0..bytes.len());
                        damaged[at] = rng.random();
                    }),
                    _ => {
                        // The end of a table has its sizes.
                        let at = bytes.len() - 1 - rng.random_range(0..bytes.len().min(200));
                        damaged[at] ^= 1 << rng.random_range(0..8);
                    }
                }
                refused += usize::from(read(name, &damaged).is_err());
            }
        }
        assert!(refused > 500, "{refused}");
    }

    /// A table with a text of `bytes` equal letters.
    fn long_text(bytes: usize) -> RecordBatch {
        let text: ArrayRef = Arc::new(StringArray::from(vec!["a".repeat(bytes)]));
        RecordBatch::try_from_iter([("text", text)]).unwrap()
    }

    #[test]
    fn a_few_bytes_do_not_become_many() {
        let zstd = Compression::ZSTD(Default::default());
        let properties = WriterProperties::builder().set_compression(zstd).build();
        let parquet = |batch: &RecordBatch| {
            let properties = Some(properties.clone());
            let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), properties).unwrap();
            writer.write(batch).unwrap();
            writer.into_inner().unwrap()
        };
        let arrow = |batch: &RecordBatch| {
            let zstd = Some(CompressionType::ZSTD);
            let options = IpcWriteOptions::default().try_with_compression(zstd).unwrap();
            let mut bytes = Vec::new();
            let mut writer =
                StreamWriter::try_new_with_options(&mut bytes, &batch.schema(), options).unwrap();
            writer.write(batch).unwrap();
            writer.finish().unwrap();
            drop(writer);
            bytes
        };
        let (short, long) = (long_text(8 << 20), long_text(160 << 20));
        for (short, long, refusal) in [
            (parquet(&short), parquet(&long), "`d` cannot be read as Parquet"),
            (arrow(&short), arrow(&long), "`d` cannot be read as Arrow"),
        ] {
            assert!(long.len() < 40_000, "{} bytes", long.len());
            assert_eq!(read("d", &short).unwrap().len(), 1);
            assert_eq!(read("d", &long).unwrap_err(), refusal);
        }
    }

    #[test]
    fn the_outline_of_json_is_found() {
        let records = |text: &str| read("d.jsonl", text.as_bytes()).unwrap().len();
        for (text, expected) in [
            ("[]", 0),
            ("[\n]", 0),
            ("[{}]", 1),
            ("[{\"a\": 1},\n{\"a\": 2}]", 2),
            ("{\"data\": [{\"text\": \"a\"}, {\"text\": \"b\"}]}", 2),
            ("{\"messages\": [{\"role\": \"user\"}, {\"role\": \"assistant\"}]}", 1),
            ("{\n\"messages\": [{\"role\": \"user\"}, {\"role\": \"assistant\"}]}\n", 1),
            ("{\"messages\": [{\"role\": \"user\"}]}\n{\"messages\": [{\"role\": \"user\"}]}\n", 2),
            ("{\"text\": \"a\"}{\"text\": \"b\"}", 2),
            ("{\n  \"text\": \"a\"\n}\n{\n  \"text\": \"b\"\n}\n", 2),
            ("{ \"text\": \"a\"\n}\n{ \"text\": \"b\"\n}\n", 2),
            ("{\"text\": \"a\"\n{\"text\": \"b\"}\n", 2),
            ("{\"text\": \"a\n{\"text\": \"b\"}\n", 2),
            ("[{\"role\": \"user\"}]\n[{\"role\": \"user\"}]\n[{\"role\": \"user\"}]\n", 3),
            ("[\"a\"]\n", 1),
            ("", 0),
            ("\n\n{\"text\": \"a\"}\n", 3),
        ] {
            assert_eq!(records(text), expected, "{text}");
        }
    }

    #[test]
    fn lists_that_are_broken_are_named_with_their_place() {
        let error = |text: &str| read("d.json", text.as_bytes()).unwrap_err();
        assert_eq!(error("[{}, {}"), "`d.json` ends on line 1 within the list of records");
        assert_eq!(error("[{},\n]"), "line 2 of `d.json` is not valid JSON");
        assert_eq!(error("[{}\n{}]"), "line 2 of `d.json` is not valid JSON");
        assert_eq!(error("[\n{}]\nx"), "line 3 of `d.json` is not valid JSON");
        let element = format!("{{\"x\": \"{}\"}},", "a".repeat(1 << 20));
        let long = format!("[{}{{}}]", element.repeat(20));
        let beside = |key: &str, other: &str| format!("{{\"{key}\": {long}, \"{other}\": [{{}}]}}");
        assert_eq!(read("d.json", beside("data", "b").as_bytes()).unwrap().len(), 21);
        let several = "`d.json` has several lists of objects";
        assert_eq!(error(&beside("a", "b")), several, "found behind a long list");
        assert_eq!(error(&beside("data", "train")), several);
        let two = "{\"a\": [{\"x\": 1}], \"b\": [{\"x\": 1}]}";
        assert_eq!(error(two), "`d.json` has several lists of objects");
    }

    #[test]
    fn tables_of_text_are_read_with_their_header() {
        let rows = |text: &str| read("d.csv", text.as_bytes());
        assert_eq!(rows("text\na\n\nb").unwrap(), [r#"{"text": "a"}"#, r#"{"text": "b"}"#]);
        assert_eq!(rows("a;b\n1;2\n").unwrap(), [r#"{"a": "1", "b": "2"}"#]);
        assert_eq!(rows("a,b\n1,\n").unwrap(), [r#"{"a": "1", "b": ""}"#]);
        assert_eq!(rows("text\r\n\"a\r\nb\"\r\n").unwrap(), [r#"{"text": "a\nb"}"#]);
        assert_eq!(
            rows("a,b\n1\n1,2,3\n").unwrap(),
            [
                "2: has 1 cell, but the header names 2 columns",
                "3: has 3 cells, but the header names 2 columns",
            ]
        );
        assert_eq!(rows("").unwrap(), [""; 0]);
        assert_eq!(rows("a,,b\n1,2,3\n").unwrap_err(), "`d.csv` has no header");
        assert_eq!(rows("a,a\n1,2\n").unwrap_err(), "`d.csv` has no header");
        let open = rows("text\nfine\n\"a\nb\nc\n").unwrap_err();
        assert_eq!(open, "`d.csv` has a quote that is not closed in the row that begins on line 3");
        // Content comes before the name.
        assert_eq!(rows("{\"text\": \"a\"}\n").unwrap().len(), 1);
    }

    /// Reads the file that `STATETUNE_BIG_FILE` names and prints the records, and the memory this took at most.
    #[test]
    #[ignore = "needs a large file, see tests/data/big_table.py"]
    fn memory_of_a_large_file() {
        let file = std::env::var("STATETUNE_BIG_FILE").expect("a path");
        let mut reader = open(Path::new(&file), None).unwrap();
        let (mut json, mut records) = (Vec::new(), 0);
        while reader.next(&mut json).unwrap().is_some() {
            records += 1;
            if records == 1 {
                println!("{}", String::from_utf8_lossy(&json[..json.len().min(1000)]));
            }
            json.clear();
        }
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let most = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
        println!("{records} records, {most}");
    }
}
