//! Writes pairs of files of token ids.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Write as _};
use std::os::unix::fs::{FileExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempPath};

use crate::data::error::DataError;
use crate::data::fault::BinidxFault as Fault;

use super::{HEADER_BYTES, MAGIC, TokenDtype, VERSION, next, pair};

/// Writes a pair in constant memory. Both files appear in [`BinidxWriter::finish`], the index last; a writer that is
/// dropped before leaves nothing.
#[derive(Debug)]
pub struct BinidxWriter {
    bin: PairFile,
    idx: PairFile,
    vocab_size: usize,
    documents: u64,
    tokens: u64,
}

impl BinidxWriter {
    /// Starts a pair of token ids below `vocab_size`: 2 bytes per token up to a `vocab_size` of 65536, 4 bytes above.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn create(prefix: &Path, vocab_size: usize) -> Result<Self, DataError> {
        let (bin, idx) = pair(prefix);
        let (bin, mut idx) = (PairFile::create(bin)?, PairFile::create(idx)?);
        idx.write(&[0; HEADER_BYTES])?; // the header is written last
        Ok(Self { bin, idx, vocab_size, documents: 0, tokens: 0 })
    }

    fn dtype(&self) -> TokenDtype {
        TokenDtype::for_vocabulary(self.vocab_size)
    }

    /// Documents so far.
    pub fn documents(&self) -> u64 {
        self.documents
    }

    /// Tokens so far.
    pub fn tokens(&self) -> u64 {
        self.tokens
    }

    /// Appends one document.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::UnknownToken`] for an id that is not below `vocab_size`,
    /// [`DataError::Binidx`] for a document of more than `i32::MAX` tokens.
    pub fn push(&mut self, document: &[u32]) -> Result<(), DataError> {
        if let Some(&id) = document.iter().find(|&&id| id as usize >= self.vocab_size) {
            return Err(DataError::UnknownToken { id, vocab_size: self.vocab_size });
        }
        let token_bytes = self.dtype().bytes();
        let mut stored = Vec::with_capacity(document.len() * token_bytes);
        for id in document {
            stored.extend_from_slice(&id.to_le_bytes()[..token_bytes]);
        }
        self.push_stored(&stored)
    }

    /// Appends one document as stored in a pair of the same [`TokenDtype`].
    ///
    /// # Errors
    /// See [`Self::push`].
    pub(crate) fn push_stored(&mut self, stored: &[u8]) -> Result<(), DataError> {
        let tokens = stored.len() / self.dtype().bytes();
        let size: i32 = tokens.try_into().map_err(|_| DataError::Binidx {
            file: self.bin.path.clone(),
            fault: Fault::DocumentTooLong { tokens },
        })?;
        self.bin.write(stored)?;
        self.idx.write(&size.to_le_bytes())?;
        self.documents += 1;
        self.tokens += tokens as u64;
        Ok(())
    }

    /// Completes the index and gives both files their names.
    ///
    /// # Errors
    /// [`DataError::Io`].
    pub fn finish(mut self) -> Result<(), DataError> {
        self.complete_index().map_err(|source| unwritable(&self.idx.path, source))?;
        self.bin.publish()?;
        self.idx.publish()
    }

    /// Writes everything of the index but the sizes, which it contains already.
    fn complete_index(&mut self) -> io::Result<()> {
        self.idx.file.flush()?;
        let mut sizes = BufReader::with_capacity(1 << 16, File::open(&self.idx.temporary)?);
        next::<HEADER_BYTES>(&mut sizes)?;
        let token_bytes = self.dtype().bytes() as i64;
        let mut pointer = 0;
        for _ in 0..self.documents {
            self.idx.file.write_all(&i64::to_le_bytes(pointer))?;
            pointer += i64::from(i32::from_le_bytes(next(&mut sizes)?)) * token_bytes;
        }
        for entry in 0..=self.documents {
            self.idx.file.write_all(&entry.to_le_bytes())?;
        }
        self.idx.file.flush()?;

        let mut header = Vec::with_capacity(HEADER_BYTES);
        header.extend_from_slice(MAGIC);
        header.extend_from_slice(&VERSION.to_le_bytes());
        header.push(self.dtype() as u8);
        header.extend_from_slice(&self.documents.to_le_bytes());
        header.extend_from_slice(&(self.documents + 1).to_le_bytes());
        self.idx.file.get_ref().write_all_at(&header, 0)
    }
}

/// One file of a pair while it is written.
#[derive(Debug)]
struct PairFile {
    /// The final path.
    path: PathBuf,
    file: BufWriter<File>,
    /// The path until [`PairFile::publish`]; removed on drop.
    temporary: TempPath,
}

impl PairFile {
    fn create(path: PathBuf) -> Result<Self, DataError> {
        match temporary_beside(&path).map(NamedTempFile::into_parts) {
            Ok((file, temporary)) => {
                Ok(Self { path, file: BufWriter::with_capacity(1 << 16, file), temporary })
            }
            Err(source) => Err(unwritable(&path, source)),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), DataError> {
        self.file.write_all(bytes).map_err(|source| unwritable(&self.path, source))
    }

    /// Flushes the file to disk and gives it its final name.
    fn publish(self) -> Result<(), DataError> {
        let Self { path, file, temporary } = self;
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .and_then(|()| temporary.persist(&path).map_err(|failed| failed.error))
            .map_err(|source| unwritable(&path, source))
    }
}

/// A temporary file in the folder of `path`, removed on drop.
fn temporary_beside(path: &Path) -> io::Result<NamedTempFile> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    tempfile::Builder::new()
        .permissions(fs::Permissions::from_mode(0o666)) // less the umask, like any new file
        .tempfile_in(folder.unwrap_or(Path::new(".")))
}

fn unwritable(path: &Path, source: io::Error) -> DataError {
    DataError::Io { path: path.into(), source }
}
