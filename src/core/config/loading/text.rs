//! The text of an experiment file or a script, which is never long.

use std::io::Read as _;
use std::path::Path;

use crate::diagnostic::{Text, msg};
use crate::input_file::stream;

/// The most bytes of such a text.
const MOST: u64 = 16 << 20;

/// The text of a file.
///
/// # Errors
/// Why there is none: the system's error, other bytes than UTF-8, or more than 16 MiB, which are not read.
pub fn read_text(file: &Path) -> Result<String, Text> {
    let mut bytes = Vec::new();
    let read = stream(file).and_then(|file| file.take(MOST + 1).read_to_end(&mut bytes));
    read.map_err(Text::library)?;
    if bytes.len() as u64 > MOST {
        return Err(msg!(FILE_TOO_LARGE, mib = MOST >> 20));
    }
    String::from_utf8(bytes)
        .map_err(|error| msg!(BYTES_NOT_UTF8, byte = error.utf8_error().valid_up_to()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_short_texts_are_read() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("e.toml");
        let read = |bytes: &[u8]| {
            std::fs::write(&file, bytes).expect("written");
            read_text(&file).map_err(|error| error.to_string())
        };
        assert_eq!(read("a = 1 # 你".as_bytes()), Ok("a = 1 # 你".to_string()));
        assert_eq!(read(b"PK\xff"), Err("byte 2 is not UTF-8".to_string()));
        let long = vec![b'#'; (16 << 20) + 1];
        assert_eq!(read(&long), Err("the file has more than 16 MiB".to_string()));
        assert_eq!(read(&long[1..]).map(|text| text.len()), Ok(16 << 20));
        assert!(read_text(Path::new("/dev/zero")).is_err(), "a file without an end");
    }
}
