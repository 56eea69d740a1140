//! Files of JSON lines that only grow: read whole, or from their end.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use serde::de::DeserializeOwned;

use super::ReadRunError;
use crate::diagnostic::{Text, msg};

/// Bytes that are read at a time from the end of a file.
const BLOCK: u64 = 4096;

/// All lines of a file, the first one first. A last line that was not written to its end, as a killed process
/// leaves it, is left out; a file that is not there has no lines.
///
/// # Errors
/// When the file cannot be read, and at the first whole line that is no such record.
pub fn read_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>, ReadRunError> {
    let unreadable = |source| ReadRunError::Read { path: path.to_path_buf(), source };
    let mut reader = match File::open(path) {
        Ok(file) => BufReader::new(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unreadable(error)),
    };
    let (mut records, mut line) = (Vec::new(), Vec::new());
    while reader.read_until(b'\n', &mut line).map_err(unreadable)? > 0 {
        if line.ends_with(b"\n") {
            let record = serde_json::from_slice(&line).map_err(|error| {
                let problem =
                    msg!(LINE_PROBLEM, number = records.len() + 1, problem = Text::library(error));
                ReadRunError::Damaged { path: path.to_path_buf(), problem }
            })?;
            records.push(record);
        }
        line.clear();
    }
    Ok(records)
}

/// The last whole line of a file, of which only the end is read; `None` when it has none or is not there.
///
/// # Errors
/// As [`read_lines`].
pub fn read_last_line<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ReadRunError> {
    let unreadable = |source| ReadRunError::Read { path: path.to_path_buf(), source };
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error)),
    };
    let Some(line) = last_whole_line(&mut file).map_err(unreadable)? else { return Ok(None) };
    let record = serde_json::from_slice(&line).map_err(|error| {
        let problem = msg!(LAST_LINE_FAULT, error = Text::library(error));
        ReadRunError::Damaged { path: path.to_path_buf(), problem }
    })?;
    Ok(Some(record))
}

/// What stands before the last line break, back to the one before that.
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

    /// What both readers find in a file of this text.
    fn read(text: &str) -> (Vec<Value>, Option<Value>) {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("lines.jsonl");
        std::fs::write(&path, text).expect("written");
        (read_lines(&path).expect("lines"), read_last_line(&path).expect("a line"))
    }

    #[test]
    fn half_a_last_line_is_none() {
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
    }
}
