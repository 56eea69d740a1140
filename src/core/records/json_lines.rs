//! Reading JSONL files: all lines, or only the last one.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::de::DeserializeOwned;

use super::ReadRunError;
use crate::diagnostic::{Text, msg};

/// Bytes read at a time from the end of a file.
const BLOCK: u64 = 4096;

/// All lines of a file. An incomplete last line, as a killed process leaves it, is ignored; a missing file has no lines.
///
/// # Errors
/// When the file cannot be read, and at the first complete line that is not a valid `T`.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ReadRunError> {
    let mut records = Vec::new();
    for_each_line(path, |line| {
        let record = serde_json::from_slice(line).map_err(|error| {
            let problem =
                msg!(LINE_PROBLEM, number = records.len() + 1, problem = Text::library(error));
            ReadRunError::Damaged { path: path.to_path_buf(), problem }
        })?;
        records.push(record);
        Ok(())
    })?;
    Ok(records)
}

/// The valid lines of a file that only tells how a run went. A line that a full disk or a killed process has broken is
/// passed over: the rest of the record stays readable.
///
/// # Errors
/// When the file cannot be read.
pub fn read_records<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ReadRunError> {
    let mut records = Vec::new();
    for_each_line(path, |line| {
        records.extend(serde_json::from_slice::<T>(line));
        Ok(())
    })?;
    Ok(records)
}

/// Calls `take` with each complete line of a file.
fn for_each_line(
    path: &Path,
    mut take: impl FnMut(&[u8]) -> Result<(), ReadRunError>,
) -> Result<(), ReadRunError> {
    let unreadable = |source| ReadRunError::Read { path: path.to_path_buf(), source };
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unreadable(error)),
    };
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
        if line.ends_with(b"\n") {
            take(&line)?;
        }
        line.clear();
    }
    Ok(())
}

/// The last complete and valid line of a file, reading only its end; `None` when the file has none or is missing. A
/// broken line is passed over, as by [`read_records`].
///
/// # Errors
/// When the file cannot be read.
pub fn read_last_line<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ReadRunError> {
    let unreadable = |source| ReadRunError::Read { path: path.to_path_buf(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let Some(line) = last_whole_line(&mut file).map_err(unreadable)? else { return Ok(None) };
    match serde_json::from_slice(&line) {
        Ok(record) => Ok(Some(record)),
        Err(_) => Ok(read_records(path)?.pop()),
    }
}

/// The bytes between the last two line breaks.
fn last_whole_line(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let mut start = file.seek(SeekFrom::End(0))?;
    let mut tail = Vec::new();
    loop {
        if let Some(end) = tail.iter().rposition(|&byte| byte == b'\n') {
            let before = tail[..end].iter().rposition(|&byte| byte == b'\n');
            if before.is_some() || start == 0 {
                return Ok(Some(tail[before.map_or(0, |at| at + 1)..end].to_vec()));
            }
        }
        if start == 0 {
            return Ok(None);
        }
        let size = BLOCK.min(start);
        start -= size;
        file.seek(SeekFrom::Start(start))?;
        let mut block = vec![0; size as usize];
        file.read_exact(&mut block)?;
        block.extend(tail);
        tail = block;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    /// Results of both readers for a file with this text.
    fn read(text: &str) -> (Vec<Value>, Option<Value>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("lines.jsonl");
        std::fs::write(&path, text).expect("written");
        (read_lines(&path).expect("lines"), read_last_line(&path).expect("a line"))
    }

    #[test]
    fn an_incomplete_last_line_is_ignored() {
        let long = "x".repeat(3 * BLOCK as usize);
        for (text, expected) in [
            (String::new(), vec![]),
            ("{\"a\":".to_string(), vec![]),
            ("1\n".to_string(), vec![json!(1)]),
            ("1\n2\n".to_string(), vec![json!(1), json!(2)]),
            ("1\n2\n{\"step\":3,\"lo".to_string(), vec![json!(1), json!(2)]),
            (format!("1\n\"{long}\"\n\"{long}"), vec![json!(1), json!(long)]),
        ] {
            let (lines, last) = read(&text);
            assert_eq!(lines.last(), last.as_ref());
            assert_eq!(lines, expected);
        }
        let nowhere = Path::new("no/such/file");
        assert_eq!(read_lines::<Value>(nowhere).expect("no lines"), Vec::<Value>::new());
        assert_eq!(read_last_line::<Value>(nowhere).expect("no line"), None);
    }

    #[test]
    fn a_broken_line_is_named() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("lines.jsonl");
        std::fs::write(&path, "1\nx\n3\n").expect("written");
        let error = read_lines::<Value>(&path).expect_err("a broken line");
        let expected = format!("{}: line 2: expected value at line 1 column 1", path.display());
        assert_eq!(error.to_string(), expected);
        assert_eq!(read_last_line::<Value>(&path).expect("the last one is whole"), Some(json!(3)));
        assert_eq!(read_records::<Value>(&path).expect("two are whole"), [json!(1), json!(3)]);
        std::fs::write(&path, "1\nx\n").expect("written");
        assert_eq!(read_last_line::<Value>(&path).expect("the first is whole"), Some(json!(1)));
    }
}
