//! A file mapped into memory, and advice to the system about its pages.

use std::io;
use std::ops::Range;
use std::path::Path;

use memmap2::{Advice, Mmap, UncheckedAdvice};

use crate::input_file::regular_file;

/// A file mapped into memory. Its pages belong to the system's page cache: reading them loads them from the file.
#[derive(Debug)]
pub struct MappedFile(Mmap);

impl MappedFile {
    /// Maps the file at `path`. The file must not change while it is mapped: if another process truncates it, a signal
    /// ends this process.
    ///
    /// # Errors
    /// A file that cannot be read or is not a regular file.
    pub fn open(path: &Path) -> io::Result<MappedFile> {
        let file = regular_file(path)?;
        // SAFETY: the map is only read. A change of the file by another process would be undefined behaviour;
        // `open` requires that the file does not change, as every reader of a mapped file does.
        unsafe { Mmap::map(&file) }.map(MappedFile)
    }

    /// The content of the file.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Asks the system to load these bytes, which returns when most of the reading is done.
    pub fn read_ahead(&self, bytes: Range<usize>) {
        // Advice: a system that cannot follow it loads the pages when they are read.
        let _ = self.0.advise_range(Advice::WillNeed, bytes.start, bytes.len());
    }

    /// Takes the pages of these bytes from this process, where the system supports it. They stay in the page cache while
    /// memory lasts; who still reads them finds them there, or loads them from the file.
    pub fn forget(&self, bytes: Range<usize>) {
        let (offset, len) = (bytes.start, bytes.len());
        // SAFETY: the pages belong to a file that is only read and, as `open` requires, does not change, so reading
        // the pages again returns the same bytes.
        let _ = unsafe { self.0.unchecked_advise_range(UncheckedAdvice::DontNeed, offset, len) };
    }
}
