//! A writer that takes everything after its first error.

use std::io::{self, Seek, SeekFrom, Write};

/// Returns the first error of `inner`, and from then on does nothing and says that all is well.
///
/// An archive that is dropped after an error tries to write its end all the same, and complains on standard
/// error when it cannot.
#[derive(Debug)]
pub(super) struct Quiet<W> {
    inner: W,
    has_failed: bool,
}

impl<W> Quiet<W> {
    pub(super) fn new(inner: W) -> Quiet<W> {
        Quiet { inner, has_failed: false }
    }

    fn attempt<T>(
        &mut self,
        nothing: T,
        act: impl FnOnce(&mut W) -> io::Result<T>,
    ) -> io::Result<T> {
        if self.has_failed {
            return Ok(nothing);
        }
        let result = act(&mut self.inner);
        self.has_failed = result.is_err();
        result
    }
}

impl<W: Write> Write for Quiet<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(bytes.len(), |inner| inner.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt((), W::flush)
    }
}

impl<W: Seek> Seek for Quiet<W> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.attempt(0, |inner| inner.seek(to))
    }
}
