//! Token ids as a pair of files, `PREFIX.bin` and `PREFIX.idx` (the "MMIDIDX" format of Megatron-LM).
//!
//! `.bin` holds the tokens of all documents, one after the other. `.idx`, little-endian and without padding:
//!
//! | offset    | type   | field                                                     |
//! |-----------|--------|-----------------------------------------------------------|
//! | 0         | 9 x u8 | `MMIDIDX\0\0`                                             |
//! | 9         | u64    | version, 1                                                |
//! | 17        | u8     | dtype code of the tokens, see [`TokenDtype`]                   |
//! | 18        | u64    | n, documents                                              |
//! | 26        | u64    | m, entries of the document index                          |
//! | 34        | n i32  | size of each document in tokens                           |
//! | 34 + 4 n  | n i64  | start of each document in `.bin` in bytes                 |
//! | 34 + 12 n | m i64  | document index: 0, then running counts; only checked      |

mod writer;

pub use writer::BinidxWriter;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::data::error::DataError;
use crate::data::fault::BinidxFault as Fault;
use crate::input_file::regular_file;

const MAGIC: &[u8; 9] = b"MMIDIDX\0\0";
const VERSION: u64 = 1;
const HEADER_BYTES: usize = 34;

/// The integer type of stored tokens.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum TokenDtype {
    U8 = 1,
    I8 = 2,
    I16 = 3,
    I32 = 4,
    I64 = 5,
    U16 = 8,
}

impl TokenDtype {
    /// The type with this code; codes 6 and 7 are floats.
    fn from_code(code: u8) -> Option<Self> {
        [Self::U8, Self::I8, Self::I16, Self::I32, Self::I64, Self::U16]
            .into_iter()
            .find(|&dtype| dtype as u8 == code)
    }

    fn bytes(self) -> usize {
        match self {
            Self::U8 | Self::I8 => 1,
            Self::I16 | Self::U16 => 2,
            Self::I32 => 4,
            Self::I64 => 8,
        }
    }

    /// The type that holds ids below `vocab_size`: 2 bytes up to 65536, 4 bytes above.
    fn for_vocabulary(vocab_size: usize) -> Self {
        if vocab_size <= 1 << 16 { Self::U16 } else { Self::I32 }
    }

    /// The value of a stored token of [`Self::bytes`] bytes.
    fn value(self, token: &[u8]) -> i64 {
        match self {
            Self::U8 => u8::from_le_bytes(array(token)).into(),
            Self::I8 => i8::from_le_bytes(array(token)).into(),
            Self::I16 => i16::from_le_bytes(array(token)).into(),
            Self::U16 => u16::from_le_bytes(array(token)).into(),
            Self::I32 => i32::from_le_bytes(array(token)).into(),
            Self::I64 => i64::from_le_bytes(array(token)),
        }
    }
}

fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    bytes.try_into().expect("the caller cuts to size")
}

/// `PREFIX.bin` and `PREFIX.idx`. A dot in the prefix is part of the name.
pub(crate) fn pair(prefix: &Path) -> (PathBuf, PathBuf) {
    let with = |extension| {
        let mut name = OsString::from(prefix);
        name.push(extension);
        PathBuf::from(name)
    };
    (with(".bin"), with(".idx"))
}

/// A pair opened for reading. The index is held in memory, tokens are read from disk on each call.
#[derive(Debug)]
pub struct Binidx {
    prefix: PathBuf,
    bin: File,
    dtype: TokenDtype,
    /// The start of each document in tokens, and the end of the last one.
    starts: Vec<u64>,
}

impl Binidx {
    /// Opens `PREFIX.bin` and `PREFIX.idx` and checks that they belong together.
    ///
    /// # Errors
    /// [`DataError::Binidx`] names the file that is missing or not valid, [`DataError::Read`] one that
    /// cannot be read, [`DataError::NoDocuments`] a pair without tokens.
    pub fn open(prefix: &Path) -> Result<Self, DataError> {
        let (bin_path, idx_path) = pair(prefix);
        let missing = |file: &Path, fault| DataError::Binidx { file: file.into(), fault };
        match (bin_path.exists(), idx_path.exists()) {
            (true, true) => {}
            (false, true) => {
                return Err(missing(&bin_path, Fault::HalfMissing { other: idx_path }));
            }
            (true, false) => {
                return Err(missing(&idx_path, Fault::HalfMissing { other: bin_path }));
            }
            (false, false) => {
                return Err(missing(prefix, Fault::NoPair { bin: bin_path, idx: idx_path }));
            }
        }
        let unreadable = |file: &Path, source| DataError::Read { file: file.into(), source };
        let idx = regular_file(&idx_path).map_err(|source| unreadable(&idx_path, source))?;
        let bin = regular_file(&bin_path).map_err(|source| unreadable(&bin_path, source))?;
        let bin_bytes = bin.metadata().map_err(|source| unreadable(&bin_path, source))?.len();

        let (dtype, starts) = read_index(&idx).map_err(|error| match error {
            IndexError::Read(source) => unreadable(&idx_path, source),
            IndexError::Fault(fault) => DataError::Binidx { file: idx_path, fault },
        })?;
        let token_bytes = dtype.bytes() as u64;
        let tokens = starts.last().copied().unwrap_or(0);
        let expected = tokens * token_bytes;
        if bin_bytes != expected {
            let fault = if bin_bytes.is_multiple_of(token_bytes) {
                Fault::DataSize { found: bin_bytes, expected }
            } else {
                Fault::PartialToken { found: bin_bytes, token_bytes }
            };
            return Err(DataError::Binidx { file: bin_path, fault });
        }
        if tokens == 0 {
            return Err(DataError::NoDocuments { file: bin_path });
        }
        Ok(Self { prefix: prefix.into(), bin, dtype, starts })
    }

    /// The name of both files without `.bin` and `.idx`.
    pub fn prefix(&self) -> &Path {
        &self.prefix
    }

    /// The number of documents.
    #[expect(clippy::len_without_is_empty, reason = "a pair without documents does not open")]
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// The number of tokens of all documents.
    pub fn tokens(&self) -> u64 {
        self.starts[self.len()]
    }

    /// The number of tokens of document `i`.
    ///
    /// # Panics
    /// When `i` is not below [`Self::len`].
    pub fn doc_len(&self, i: usize) -> usize {
        (self.starts[i + 1] - self.starts[i]) as usize
    }

    /// The positions of all documents that overlap `tokens`. Positions count the tokens of all documents;
    /// `tokens` is not empty.
    pub(crate) fn documents_around(&self, tokens: Range<u64>) -> Range<u64> {
        let documents = self.documents_in(tokens);
        self.starts[documents.start]..self.starts[documents.end]
    }

    /// The documents that overlap `tokens`.
    pub(crate) fn documents_in(&self, tokens: Range<u64>) -> Range<usize> {
        let first = self.starts.partition_point(|start| *start <= tokens.start) - 1;
        first..self.starts.partition_point(|start| *start < tokens.end)
    }

    /// The tokens of document `i`.
    ///
    /// # Errors
    /// [`DataError::Read`], or [`DataError::Binidx`] for a value that is not a token id.
    ///
    /// # Panics
    /// When `i` is not below [`Self::len`].
    pub fn doc(&self, i: usize) -> Result<Vec<u32>, DataError> {
        self.slice(self.starts[i], self.doc_len(i))
    }

    /// The `len` tokens from position `offset` on, across documents.
    ///
    /// # Errors
    /// [`DataError::Read`], or [`DataError::Binidx`] for a value that is not a token id.
    ///
    /// # Panics
    /// When `offset + len` exceeds [`Self::tokens`].
    pub fn slice(&self, offset: u64, len: usize) -> Result<Vec<u32>, DataError> {
        assert!(
            offset.checked_add(len as u64).is_some_and(|end| end <= self.tokens()),
            "{len} tokens at {offset} of {}",
            self.tokens()
        );
        let bytes = self.stored(offset, len)?;
        (offset..)
            .zip(bytes.chunks_exact(self.dtype.bytes()))
            .map(|(position, token)| {
                let value = self.dtype.value(token);
                value.try_into().map_err(|_| DataError::Binidx {
                    file: self.bin_path(),
                    fault: Fault::Token { position, value },
                })
            })
            .collect()
    }

    /// The bytes of document `i` as stored.
    pub(crate) fn stored_doc(&self, i: usize) -> Result<Vec<u8>, DataError> {
        self.stored(self.starts[i], self.doc_len(i))
    }

    fn stored(&self, offset: u64, len: usize) -> Result<Vec<u8>, DataError> {
        let token_bytes = self.dtype.bytes();
        let mut bytes = vec![0; len * token_bytes];
        self.bin
            .read_exact_at(&mut bytes, offset * token_bytes as u64)
            .map_err(|source| DataError::Read { file: self.bin_path(), source })?;
        Ok(bytes)
    }

    /// The bytes of a stored token.
    pub fn token_bytes(&self) -> usize {
        self.dtype.bytes()
    }

    fn bin_path(&self) -> PathBuf {
        pair(&self.prefix).0
    }
}

/// Why an index cannot be used.
enum IndexError {
    Read(io::Error),
    Fault(Fault),
}

impl From<io::Error> for IndexError {
    fn from(error: io::Error) -> Self {
        Self::Read(error)
    }
}

impl From<Fault> for IndexError {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

/// The type of the tokens, and [`Binidx::starts`].
fn read_index(idx: &File) -> Result<(TokenDtype, Vec<u64>), IndexError> {
    let found = idx.metadata()?.len();
    let mut idx = BufReader::with_capacity(1 << 16, idx);
    let mut header = Vec::with_capacity(HEADER_BYTES);
    idx.by_ref().take(HEADER_BYTES as u64).read_to_end(&mut header)?;
    if !header.starts_with(MAGIC) {
        return Err(Fault::Magic.into());
    }
    let size_error = |expected| Err(Fault::IndexSize { found, expected }.into());
    if header.len() < HEADER_BYTES {
        return size_error(HEADER_BYTES as u128);
    }
    let u64_at = |at: usize| u64::from_le_bytes(array(&header[at..at + 8]));
    let version = u64_at(9);
    if version != VERSION {
        return Err(Fault::Version { found: version }.into());
    }
    let dtype = TokenDtype::from_code(header[17]).ok_or(Fault::Dtype { code: header[17] })?;
    let (documents, entries) = (u64_at(18), u64_at(26));
    let expected = HEADER_BYTES as u128 + 12 * u128::from(documents) + 8 * u128::from(entries);
    if u128::from(found) != expected {
        return size_error(expected);
    }

    // Both counts are smaller than the file now.
    let documents = documents as usize;
    let mut starts = Vec::with_capacity(documents + 1);
    let mut end = 0;
    starts.push(end);
    for document in 0..documents {
        let size = i32::from_le_bytes(next(&mut idx)?);
        end += u64::try_from(size).map_err(|_| Fault::Size { document, size })?;
        starts.push(end);
    }
    for (document, start) in starts[..documents].iter().enumerate() {
        let found = i64::from_le_bytes(next(&mut idx)?);
        let expected = start * dtype.bytes() as u64;
        if u64::try_from(found) != Ok(expected) {
            return Err(Fault::Pointer { document, found, expected }.into());
        }
    }
    for entry in 0..entries as usize {
        let found = i64::from_le_bytes(next(&mut idx)?);
        if !usize::try_from(found).is_ok_and(|found| found <= documents) {
            return Err(Fault::DocumentIndex { entry, found }.into());
        }
    }
    Ok((dtype, starts))
}

/// The next `N` bytes of a file.
fn next<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::process::Command;

    use super::*;

    /// Two documents, `[33155, 0]` and `[5, 6, 7, 0]`, as other tools write them.
    const GOLDEN_BIN: [u8; 12] = [0x83, 0x81, 0, 0, 0x05, 0, 0x06, 0, 0x07, 0, 0, 0];

    fn golden_idx() -> Vec<u8> {
        let mut idx = b"MMIDIDX\0\0\x01\0\0\0\0\0\0\0\x08".to_vec();
        for count in [2u64, 3] {
            idx.extend(count.to_le_bytes());
        }
        for size in [2i32, 4] {
            idx.extend(size.to_le_bytes());
        }
        for word in [0i64, 4, 0, 1, 2] {
            idx.extend(word.to_le_bytes());
        }
        idx
    }

    fn write_pair(prefix: &Path, bin: &[u8], idx: &[u8]) {
        let (bin_path, idx_path) = pair(prefix);
        fs::write(bin_path, bin).unwrap();
        fs::write(idx_path, idx).unwrap();
    }

    /// An index of one document with the given type and size.
    fn idx_of(code: u8, tokens: i32) -> Vec<u8> {
        let mut idx = golden_idx()[..17].to_vec();
        idx.push(code);
        idx.extend([1u64, 2].map(u64::to_le_bytes).concat());
        idx.extend(tokens.to_le_bytes());
        idx.extend([0u64, 0, 1].map(u64::to_le_bytes).concat());
        idx
    }

    /// The sentence of the error, with the folder removed.
    fn refusal(bin: &[u8], idx: &[u8]) -> String {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("d");
        write_pair(&prefix, bin, idx);
        let error = Binidx::open(&prefix).and_then(|data| data.doc(0)).unwrap_err();
        error.to_string().replace(&format!("{}/", folder.path().display()), "")
    }

    #[test]
    fn the_writer_makes_the_golden_files() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("rwkv-x070.v1");
        let mut writer = BinidxWriter::create(&prefix, 65536).unwrap();
        writer.push(&[33155, 0]).unwrap();
        writer.push(&[5, 6, 7, 0]).unwrap();
        writer.finish().unwrap();
        let (bin, idx) = pair(&prefix);
        assert!(bin.ends_with("rwkv-x070.v1.bin"));
        assert_eq!(fs::read(bin).unwrap(), GOLDEN_BIN);
        let idx = fs::read(idx).unwrap();
        assert_eq!(idx.len(), 82);
        assert_eq!(idx, golden_idx());
    }

    #[test]
    fn the_golden_files_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("d");
        write_pair(&prefix, &GOLDEN_BIN, &golden_idx());
        let data = Binidx::open(&prefix).unwrap();
        assert_eq!((data.len(), data.tokens()), (2, 6));
        assert_eq!((data.doc_len(0), data.doc_len(1)), (2, 4));
        assert_eq!(data.doc(0).unwrap(), [33155, 0]);
        assert_eq!(data.doc(1).unwrap(), [5, 6, 7, 0]);
        assert_eq!(data.slice(1, 3).unwrap(), [0, 5, 6]);
        assert_eq!(data.slice(6, 0).unwrap(), [0u32; 0]);
    }

    #[test]
    #[should_panic(expected = "2 tokens at 5 of 6")]
    fn a_slice_past_the_end_is_a_mistake_of_the_caller() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("d");
        write_pair(&prefix, &GOLDEN_BIN, &golden_idx());
        let _ = Binidx::open(&prefix).unwrap().slice(5, 2);
    }

    /// tests/data/check_binidx.py reads what was written, with two and with four bytes a token.
    #[test]
    fn an_independent_reader_agrees() {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/check_binidx.py");
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("d");
        for (vocab_size, dtype, id) in [(65536, "u16", 65535), (70000, "i32", 69999)] {
            let mut writer = BinidxWriter::create(&prefix, vocab_size).unwrap();
            writer.push(&[id, 1, 0]).unwrap();
            writer.push(&[0]).unwrap();
            writer.finish().unwrap();
            let run = Command::new("python3").arg(script).arg(&prefix).output();
            let run = run.expect("python3 is installed");
            assert!(run.status.success(), "{}", String::from_utf8_lossy(&run.stderr));
            assert_eq!(
                String::from_utf8(run.stdout).unwrap(),
                format!("{{\"dtype\": \"{dtype}\", \"documents\": [[{id}, 1, 0], [0]]}}\n")
            );
        }
    }

    #[test]
    fn every_integer_type_is_read() {
        let cases: [(u8, &[u8], u32); 6] = [
            (1, &[200], 200),
            (2, &[100], 100),
            (3, &[0x34, 0x12], 0x1234),
            (8, &[0xff, 0xff], 0xffff),
            (4, &[0x78, 0x56, 0x34, 0x12], 0x1234_5678),
            (5, &[0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], u32::MAX),
        ];
        for (code, bin, id) in cases {
            let folder = tempfile::tempdir().unwrap();
            let prefix = folder.path().join("d");
            write_pair(&prefix, bin, &idx_of(code, 1));
            assert_eq!(Binidx::open(&prefix).unwrap().doc(0).unwrap(), [id], "code {code}");
        }
    }

    #[test]
    fn values_that_are_not_valid_ids_are_refused() {
        assert_eq!(
            refusal(&[0xff], &idx_of(2, 1)),
            "`d.bin` has -1 as token 0, which is not a valid token id"
        );
        assert_eq!(
            refusal(&[0, 0, 0, 0, 1, 0, 0, 0], &idx_of(5, 1)),
            "`d.bin` has 4294967296 as token 0, which is not a valid token id"
        );
    }

    #[test]
    fn a_wrong_header_is_refused() {
        assert_eq!(
            refusal(b"", b"PK\x03\x04"),
            "`d.idx` is not a binidx index: it does not begin with `MMIDIDX`"
        );
        assert_eq!(
            refusal(b"", &golden_idx()[..20]),
            "`d.idx` has 20 bytes, but its header requires 34"
        );
        let mut version = golden_idx();
        version[9] = 2;
        assert_eq!(refusal(b"", &version), "`d.idx` has version 2, expected 1");
        assert_eq!(
            refusal(b"", &idx_of(7, 1)),
            "`d.idx` has dtype code 7, which is for floats, not token ids"
        );
        assert_eq!(refusal(b"", &idx_of(9, 1)), "`d.idx` has dtype code 9, which is unknown");
    }

    #[test]
    fn sizes_that_do_not_add_up_are_refused() {
        let change = |at: usize, bytes: &[u8]| {
            let mut idx = golden_idx();
            idx[at..at + bytes.len()].copy_from_slice(bytes);
            refusal(&GOLDEN_BIN, &idx)
        };
        assert_eq!(
            refusal(&GOLDEN_BIN, &golden_idx()[..81]),
            "`d.idx` has 81 bytes, but its header requires 82"
        );
        assert_eq!(
            change(18, &u64::MAX.to_le_bytes()),
            format!(
                "`d.idx` has 82 bytes, but its header requires {}",
                34 + 12 * u128::from(u64::MAX) + 24
            )
        );
        assert_eq!(
            change(38, &(-4i32).to_le_bytes()),
            "`d.idx` gives document 1 a size of -4 tokens"
        );
        assert_eq!(
            change(50, &6i64.to_le_bytes()),
            "`d.idx` puts document 1 at byte 6, expected 4"
        );
        assert_eq!(
            change(74, &(-1i64).to_le_bytes()),
            "`d.idx` has -1 as entry 2 of its document index"
        );
        assert_eq!(
            refusal(&GOLDEN_BIN[..11], &golden_idx()),
            "`d.bin` has 11 bytes, which is not a multiple of 2, the size of a token"
        );
        assert_eq!(
            refusal(&GOLDEN_BIN[..10], &golden_idx()),
            "`d.bin` has 10 bytes, but its index describes 12"
        );
        assert_eq!(refusal(b"", &idx_of(8, 0)), "`d.bin` contains no documents");
    }

    #[test]
    fn a_missing_half_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let prefix = folder.path().join("d");
        let open = || {
            let error = Binidx::open(&prefix).unwrap_err();
            assert_eq!(error.code(), "ST3010");
            error.to_string().replace(&format!("{}/", folder.path().display()), "")
        };
        assert_eq!(open(), "`d` does not exist: neither `d.bin` nor `d.idx` was found");
        write_pair(&prefix, &GOLDEN_BIN, &golden_idx());
        fs::remove_file(folder.path().join("d.idx")).unwrap();
        assert_eq!(open(), "`d.idx` is missing, although `d.bin` exists");
        write_pair(&prefix, &GOLDEN_BIN, &golden_idx());
        fs::remove_file(folder.path().join("d.bin")).unwrap();
        assert_eq!(open(), "`d.bin` is missing, although `d.idx` exists");
    }

    #[test]
    fn an_unfinished_writer_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut writer = BinidxWriter::create(&folder.path().join("d"), 10).unwrap();
        writer.push(&[1, 0]).unwrap();
        assert!(matches!(writer.push(&[10]), Err(DataError::UnknownToken { id: 10, .. })));
        drop(writer);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn an_unwritable_place_is_named() {
        let prefix = Path::new("no/such/folder/d");
        let error = BinidxWriter::create(prefix, 10).unwrap_err();
        assert_eq!(error.to_string(), "cannot write `no/such/folder/d.bin`");
    }
}
