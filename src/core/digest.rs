//! SHA-256 of files and bytes as hexadecimal text.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::Path;

use sha2::{Digest as _, Sha256};

use crate::input_file::regular_file;

/// Bytes read at a time.
const BLOCK: usize = 1 << 16;

/// A digest as lower-case hexadecimal text.
pub fn hex(digest: impl AsRef<[u8]>) -> String {
    digest.as_ref().iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The SHA-256 of a file, in hexadecimal.
///
/// # Errors
/// The file cannot be read.
pub fn sha256_of_file(path: &Path) -> io::Result<String> {
    let mut hasher = Sha256::new();
    for_each_block(path, |block| hasher.update(block))?;
    Ok(hex(hasher.finalize()))
}

/// Calls `take` with the bytes of a file, block by block.
///
/// # Errors
/// The file cannot be read.
pub fn for_each_block(path: &Path, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut file = regular_file(path)?;
    let mut block = vec![0; BLOCK];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(()),
            count => take(&block[..count]),
        }
    }
}

/// The SHA-256 of bytes, in hexadecimal.
pub fn sha256_hex(bytes: impl AsRef<[u8]>) -> String {
    hex(Sha256::digest(bytes))
}
