//! Packed weights on disk, so that later runs map them instead of packing again.
//!
//! One file for each checkpoint and format, `CACHE/weights-NAME/packed`:
//!
//! ```text
//! at 0    "statetune packed"
//! at 16   the length of the header, u64
//! at 24   the SHA-256 of the header, 32 bytes
//! at 56   the header, JSON, see `Header`
//! then    zeros to a multiple of 4096, where the data starts
//! data    the matrices in the order of the header
//! ```
//!
//! Numbers are little-endian. A matrix starts at a multiple of 4096 bytes and a part of it at a multiple of 64, with zeros
//! between. Parts are those of [`Format::parts`].
//!
//! The folder holds `source.json` besides, `{"weights": PATH}`. A process that uses the folder holds a shared lock on it.

use std::fs::{self, File};
use std::io::{self, Seek as _, Write as _};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::digest::{hex, sha256_hex};
use crate::hold::Hold;
use crate::known_digest::{known_digest, let_age};
use crate::quant::Format;
use crate::recorded_paths::{absolute, path_of_record, recorded_path};
use crate::tensorfile::{MappedFile, write_atomically};

const MAGIC: &[u8; 16] = b"statetune packed";
/// The version of the file format.
const VERSION: u32 = 1;
const DIGEST_AT: usize = 24;
const HEADER_AT: usize = 56;
const PAGE: u64 = 4096;
const ALIGNMENT: u64 = 64;
/// The file of packed weights in its folder.
const FILE: &str = "packed";
/// The kind of the recorded digest of a file's data.
const CONTENTS: &str = "contents";
/// The file that names the checkpoint.
const SOURCE: &str = "source.json";
/// The file that a process locks while it packs.
const LOCK: &str = "lock";
/// The start of the names of folders.
pub const FOLDER: &str = "weights-";

/// What a file describes.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Header {
    /// [`VERSION`].
    format: u32,
    /// [`Wanted::packing`].
    packing: u32,
    /// `quant.type`.
    quant: String,
    /// Whether scales are quantised as well.
    double: bool,
    /// The SHA-256 of the checkpoint.
    weights: String,
    /// The SHA-256 of the data.
    contents: String,
    /// Bytes of the data.
    bytes: u64,
    matrices: Vec<Matrix>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Matrix {
    /// The name of its tensor in the checkpoint.
    name: String,
    /// Rows and columns.
    shape: [i64; 2],
    parts: Vec<Part>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct Part {
    name: String,
    /// The first byte, from the start of the data.
    at: u64,
    bytes: u64,
}

/// The content of [`SOURCE`].
#[derive(Debug, Deserialize, Serialize)]
struct Source {
    /// As the runs beside the cache record a path.
    weights: PathBuf,
}

/// The packed weights that are looked for.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    /// The checkpoint.
    pub path: &'a Path,
    /// The SHA-256 of the checkpoint.
    pub sha256: &'a str,
    /// The format of the matrices.
    pub quant: Format,
    /// The version of the code that packs: another version may write other bits.
    pub packing: u32,
    /// Name, rows and columns of each matrix.
    pub matrices: &'a [(String, [i64; 2])],
}

/// Why packed weights are not used.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unusable {
    /// There are none.
    Absent,
    /// The packed weights are of another content of the checkpoint.
    OtherWeights,
    /// The packed weights were made with other settings or by another version.
    OtherPacking,
    /// The file is not what was written.
    Damaged,
}

/// Where the packed weights of a model are.
#[derive(Clone, Debug)]
pub enum PackedWeights {
    /// In a file that was there.
    Found(&'static PackedFile),
    /// In a file that was written now, and why.
    Made(&'static PackedFile, Unusable),
    /// In memory, because the file cannot be written for this reason.
    InMemory(String),
}

/// Packed weights in a mapped file that was checked.
#[derive(Debug)]
pub struct PackedFile {
    path: PathBuf,
    map: MappedFile,
    header: Header,
    data: usize,
    _hold: Hold,
}

impl PackedWeights {
    /// The file, if there is one.
    #[must_use]
    pub fn file(&self) -> Option<&'static PackedFile> {
        match self {
            Self::Found(file) | Self::Made(file, _) => Some(file),
            Self::InMemory(_) => None,
        }
    }

    /// The line about them at the start of a run.
    #[must_use]
    pub fn in_words(&self) -> String {
        match self {
            Self::Found(file) => format!("mapped from {}", file.path.display()),
            Self::Made(file, why) => {
                let made = match why {
                    Unusable::Absent => "written to",
                    Unusable::OtherWeights => "made again, because the weights changed:",
                    Unusable::OtherPacking => "made again for this version of statetune:",
                    Unusable::Damaged => "made again, because the file was damaged:",
                };
                format!("{made} {}", file.path.display())
            }
            Self::InMemory(why) => {
                format!("in memory, made again at every start: no file can be written ({why})")
            }
        }
    }
}

impl Wanted<'_> {
    /// The folder of the packed weights in a cache. The name tells checkpoints of equal names in different folders apart.
    fn folder(&self, cache: &Path) -> PathBuf {
        let stem = self.path.file_stem().unwrap_or_default().to_string_lossy();
        let recorded = recorded_path(self.path, cache);
        let key = sha256_hex(recorded.as_os_str().as_encoded_bytes());
        let double = if self.quant.is_double() { "-double" } else { "" };
        cache.join(format!("{FOLDER}{stem}-{}{double}-{key:.8}", self.quant.name()))
    }

    /// The header of the file, without the digest of the contents.
    fn header(&self) -> Header {
        let mut at = 0;
        let mut place = |bytes: u64, alignment: u64| {
            let first: u64 = u64::next_multiple_of(at, alignment);
            at = first + bytes;
            first
        };
        let mut matrix = |(name, shape): &(String, [i64; 2])| {
            let parts = self.quant.parts(*shape).into_iter().zip(0..).map(|((part, bytes), i)| {
                let alignment = if i == 0 { PAGE } else { ALIGNMENT };
                Part { name: part.to_owned(), at: place(bytes, alignment), bytes }
            });
            Matrix { name: name.clone(), shape: *shape, parts: parts.collect() }
        };
        let matrices = self.matrices.iter().map(&mut matrix).collect();
        Header {
            format: VERSION,
            packing: self.packing,
            quant: self.quant.name().to_owned(),
            double: self.quant.is_double(),
            weights: self.sha256.to_owned(),
            contents: String::new(),
            bytes: at,
            matrices,
        }
    }

    /// Opens the packed weights in a cache. Reads the header; reads the data too, to check the digest, where the file was
    /// touched since its digest was last checked.
    ///
    /// # Errors
    /// Why they are not used.
    pub fn open(&self, cache: &Path) -> Result<PackedFile, Unusable> {
        let folder = self.folder(cache);
        let _cache = Hold::on(cache);
        let hold = Hold::on(&folder);
        let path = folder.join(FILE);
        let map = MappedFile::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Unusable::Absent,
            _ => Unusable::Damaged,
        })?;
        let (header, data) = read_header(map.bytes()).ok_or(Unusable::Damaged)?;
        let wanted = Header { contents: header.contents.clone(), ..self.header() };
        if (header.format, header.packing) != (wanted.format, wanted.packing)
            || (&header.quant, header.double) != (&wanted.quant, wanted.double)
        {
            return Err(Unusable::OtherPacking);
        }
        if header.weights != wanted.weights {
            return Err(Unusable::OtherWeights);
        }
        // Places in the file are used as they are expected, not as they are found.
        let len = data as u64 + wanted.bytes;
        if header != wanted || map.bytes().len() as u64 != len {
            return Err(Unusable::Damaged);
        }
        let file = PackedFile { path, map, header, data, _hold: hold };
        let read = || Ok::<_, io::Error>(file.digest());
        match known_digest(cache, &file.path, CONTENTS, read) {
            Ok(found) if found == file.header.contents => {
                // `cache` shows this time as that of the last use; a read-only folder keeps the old time.
                let source = File::open(folder.join(SOURCE));
                let _ = source.and_then(|source| source.set_modified(SystemTime::now()));
                Ok(file)
            }
            _ => Err(Unusable::Damaged),
        }
    }

    /// Writes the packed weights to a cache and opens them. `pack` makes the parts of each matrix, by its number. Processes that
    /// want the same file wait for the first, and do not pack.
    ///
    /// # Errors
    /// A file that cannot be written, and errors of `pack`.
    pub fn write(
        &self,
        cache: &Path,
        pack: impl FnMut(usize) -> io::Result<Vec<Vec<u8>>>,
    ) -> io::Result<PackedFile> {
        fs::create_dir_all(cache)?; // the name of the folder depends on where the cache is
        let folder = self.folder(cache);
        let path = folder.join(FILE);
        let lock = {
            let _cache = Hold::on(cache);
            fs::create_dir_all(&folder)?;
            (Hold::on(&folder), File::create(folder.join(LOCK))?)
        };
        let _ = lock.1.lock(); // where the file system supports locks
        if let Ok(found) = self.open(cache) {
            return Ok(found);
        }
        let source = serde_json::to_vec(&Source { weights: recorded_path(self.path, cache) })?;
        write_atomically(&folder.join(SOURCE), |file| file.write_all(&source))?;
        let mut contents = String::new();
        write_atomically(&path, |file| {
            contents = write_file(file.as_file_mut(), self.header(), pack)?;
            Ok(())
        })?;
        let_age();
        let written = || Ok::<_, io::Error>(contents);
        known_digest(cache, &path, CONTENTS, written)?;
        self.open(cache).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))
    }
}

impl PackedFile {
    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The mapped file.
    #[must_use]
    pub fn mapped(&self) -> &MappedFile {
        &self.map
    }

    /// The parts of a matrix, by its number: contiguous bytes, each part aligned to 64.
    #[must_use]
    pub fn parts(&self, matrix: usize) -> Vec<&[u8]> {
        let parts = self.header.matrices[matrix].parts.iter();
        parts.map(|part| &self.map.bytes()[self.data..][place(part)]).collect()
    }

    /// Where the parts of a matrix are in the file.
    #[must_use]
    pub fn place(&self, matrix: usize) -> Range<usize> {
        let parts = &self.header.matrices[matrix].parts;
        let last = parts.last().expect("a matrix has parts");
        self.data + place(&parts[0]).start..self.data + place(last).end
    }

    /// Whether the data have the digest of the header. Reads the whole file.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.digest() == self.header.contents
    }

    fn digest(&self) -> String {
        sha256_hex(&self.map.bytes()[self.data..])
    }
}

/// The checkpoint of the packed weights in a folder of the cache; `None` where there are none that are complete.
#[must_use]
pub fn packed_source(folder: &Path) -> Option<PathBuf> {
    let source: Source = serde_json::from_slice(&fs::read(folder.join(SOURCE)).ok()?).ok()?;
    let weights = path_of_record(&source.weights, folder.parent()?);
    folder.join(FILE).exists().then(|| absolute(&weights))
}

fn place(part: &Part) -> Range<usize> {
    // Parts are within the file, whose length was checked.
    part.at as usize..(part.at + part.bytes) as usize
}

/// The header of a file, and where the data starts.
fn read_header(file: &[u8]) -> Option<(Header, usize)> {
    let len = u64::from_le_bytes(*file.strip_prefix(MAGIC)?.first_chunk()?);
    let digest = file.get(DIGEST_AT..HEADER_AT)?;
    let end = HEADER_AT.checked_add(usize::try_from(len).ok()?)?;
    let text = file.get(HEADER_AT..end)?;
    let is_sound = Sha256::digest(text).as_slice() == digest;
    let header = serde_json::from_slice(text).ok().filter(|_| is_sound)?;
    Some((header, end.next_multiple_of(PAGE as usize)))
}

/// Writes a file and returns the digest of its data.
fn write_file(
    file: &mut File,
    mut header: Header,
    mut pack: impl FnMut(usize) -> io::Result<Vec<Vec<u8>>>,
) -> io::Result<String> {
    header.contents = hex([0; 32]); // as long as the digest to come
    let data = (HEADER_AT + serde_json::to_vec(&header)?.len()).next_multiple_of(PAGE as usize);
    file.seek(io::SeekFrom::Start(data as u64))?;
    let mut out = io::BufWriter::new(&mut *file);
    let mut hasher = Sha256::new();
    let mut at = 0;
    let mut write = |bytes: &[u8]| {
        hasher.update(bytes);
        out.write_all(bytes)
    };
    for (i, matrix) in header.matrices.iter().enumerate() {
        let parts = pack(i)?;
        for (part, bytes) in matrix.parts.iter().zip(&parts) {
            let is_as_planned =
                bytes.len() as u64 == part.bytes && matrix.parts.len() == parts.len();
            assert!(is_as_planned, "{} is packed as the format says", matrix.name);
            write(&vec![0; (part.at - at) as usize])?;
            write(bytes)?;
            at = part.at + part.bytes;
        }
    }
    out.flush()?;
    drop(out);
    header.contents = hex(hasher.finalize());
    let text = serde_json::to_vec(&header)?;
    let start = [MAGIC, &(text.len() as u64).to_le_bytes()[..], &Sha256::digest(&text), &text];
    file.seek(io::SeekFrom::Start(0))?;
    file.write_all(&start.concat())?;
    Ok(header.contents)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NF4: Format = Format::Nf4 { double: true };

    fn matrices() -> Vec<(String, [i64; 2])> {
        vec![("a".to_owned(), [64, 64]), ("b".to_owned(), [3, 64])]
    }

    fn packed(i: usize) -> Vec<Vec<u8>> {
        let parts = NF4.parts(matrices()[i].1);
        parts.into_iter().map(|(_, bytes)| vec![i as u8 + 1; bytes as usize]).collect()
    }

    #[test]
    fn what_is_written_is_opened_and_everything_else_is_told_apart() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let cache = folder.path().join("cache");
        let matrices = matrices();
        let wanted = Wanted {
            path: Path::new("w.pth"),
            sha256: "1f",
            quant: NF4,
            packing: 1,
            matrices: &matrices,
        };
        assert_eq!(wanted.open(&cache).expect_err("nothing yet"), Unusable::Absent);
        let file = wanted.write(&cache, |i| Ok(packed(i))).expect("written");
        let path = file.path().to_path_buf();
        drop(file);
        let never = |_: usize| -> io::Result<Vec<Vec<u8>>> { unreachable!("it is there") };
        drop(wanted.write(&cache, never).expect("found"));
        let file = wanted.open(&cache).expect("a sound file");
        for i in 0..2 {
            assert_eq!(file.parts(i), packed(i));
            assert!(file.place(i).start.is_multiple_of(PAGE as usize), "{:?}", file.place(i));
            let aligned = |part: &&[u8]| part.as_ptr().addr().is_multiple_of(ALIGNMENT as usize);
            assert!(file.parts(i).iter().all(aligned));
        }

        let refused = |wanted: Wanted<'_>| wanted.open(&cache).expect_err("to be refused");
        assert_eq!(refused(Wanted { sha256: "2f", ..wanted }), Unusable::OtherWeights);
        assert_eq!(refused(Wanted { packing: 2, ..wanted }), Unusable::OtherPacking);
        assert_eq!(refused(Wanted { matrices: &matrices[..1], ..wanted }), Unusable::Damaged);
        assert_eq!(refused(Wanted { path: Path::new("x/w.pth"), ..wanted }), Unusable::Absent);

        // Every byte counts but the zeros before the data, which nothing reads.
        let sound = fs::read(&path).expect("written");
        let header = u64::from_le_bytes(*sound[16..].first_chunk().expect("a length")) as usize;
        let data = (HEADER_AT + header).next_multiple_of(4096);
        for at in (0..HEADER_AT + header).step_by(7).chain((data..sound.len()).step_by(397)) {
            let mut wrong = sound.clone();
            wrong[at] ^= 4;
            fs::write(&path, wrong).expect("written");
            assert_eq!(refused(wanted), Unusable::Damaged, "byte {at}");
        }
        for len in [0, 10, 60, data - 1, data, sound.len() - 1] {
            fs::write(&path, &sound[..len]).expect("written");
            assert_eq!(refused(wanted), Unusable::Damaged, "{len} bytes");
        }
        fs::write(&path, &sound).expect("written");
        assert!(wanted.open(&cache).is_ok());
        fs::write(&path, [&sound[..], b"0"].concat()).expect("written");
        drop(wanted.write(&cache, |i| Ok(packed(i))).expect("made again"));
        assert_eq!(fs::read(&path).expect("written"), sound);

        let full = wanted.write(&folder.path().join("w"), |_| Err(io::Error::other("full")));
        assert_eq!(full.expect_err("no file").to_string(), "full");
    }
}
