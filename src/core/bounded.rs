//! Files that are read whole and are never long.

use std::io::{self, Read as _};
use std::path::Path;

use crate::input_file::stream;

/// The content of a file of at most `most` MiB.
///
/// # Errors
/// A file that cannot be read, or a longer one, such as a device without an end, of which no more is read.
pub fn read_at_most(most: u64, file: &Path) -> io::Result<Vec<u8>> {
    let bytes = most << 20;
    let mut content = Vec::new();
    stream(file)?.take(bytes + 1).read_to_end(&mut content)?;
    if content.len() as u64 > bytes {
        let text = format!("the file is larger than {most} MiB");
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_an_end_is_refused() {
        let error = read_at_most(1, Path::new("/dev/zero")).expect_err("no end");
        assert_eq!(error.to_string(), "the file is larger than 1 MiB");
        assert_eq!(read_at_most(1, Path::new("/dev/null")).expect("a file"), b"");
        let folder = tempfile::tempdir().expect("a temporary folder");
        let file = folder.path().join("a");
        std::fs::write(&file, vec![7; 1 << 20]).expect("written");
        assert_eq!(read_at_most(1, &file).expect("just as long").len(), 1 << 20);
    }
}
