//! Where the entries of a ZIP archive lie, for archives whose entries are stored as they are.
//!
//! Written out here because the `zip` crate, made for reading archives from a stream, searches a
//! truncated file of 14 GB to its first byte for a directory and reserves as much memory as the
//! directory claims to need. The format is PKWARE's APPNOTE.TXT 6.3.10, section 4.3.

use std::collections::HashMap;
use std::ops::Range;

use super::error::{Problem, quoted};
use crate::diagnostic::{Text, msg};

/// The first bytes of an archive that has an entry.
pub(super) const MAGIC: &[u8] = b"PK\x03\x04";

const ENTRY: &[u8] = MAGIC;
const DIRECTORY_ENTRY: &[u8] = b"PK\x01\x02";
const END: &[u8] = b"PK\x05\x06";
const END_64: &[u8] = b"PK\x06\x06";
const END_64_LOCATOR: &[u8] = b"PK\x06\x07";

const ENTRY_LEN: usize = 30;
const DIRECTORY_ENTRY_LEN: usize = 46;
const END_LEN: usize = 22;
const END_64_LOCATOR_LEN: usize = 20;

/// The tag of the extra field that holds 64-bit sizes and offsets.
const ZIP64_FIELD: u64 = 0x0001;
/// A 32-bit field whose value is in the [`ZIP64_FIELD`].
const SEE_ZIP64: u64 = 0xffff_ffff;

/// An entry of an archive.
#[derive(Clone, Debug)]
pub(super) struct Entry<'a> {
    name: &'a str,
    range: Range<usize>,
    stored: bool,
}

impl Entry<'_> {
    /// The byte range of its contents in the archive's file.
    ///
    /// # Errors
    /// `NotACheckpoint` when they are compressed or encrypted.
    pub(super) fn range(&self) -> Result<Range<usize>, Problem> {
        if self.stored {
            return Ok(self.range.clone());
        }
        Err(Problem::NotACheckpoint {
            found: msg!(COMPRESSED_ENTRY, entry = quoted(self.name)),
            hint: Some(msg!(SAVE_UNCOMPRESSED)),
        })
    }
}

/// The entries of the archive `file`, by name.
///
/// # Errors
/// `Corrupted` when the directory is missing, or has an entry twice, outside the file or across
/// another entry.
pub(super) fn entries(file: &[u8]) -> Result<HashMap<&str, Entry<'_>>, Problem> {
    let directory = directory(file)?;
    let mut rest = &file[directory.clone()];
    let mut entries = HashMap::new();
    let mut extents = Vec::new();
    while !rest.is_empty() {
        let (entry, after) = directory_entry(rest)?;
        rest = after;
        let DirectoryEntry { name, header, stored, .. } = entry;
        let range = contents(file, &entry, directory.start)?;
        extents.push((header, range.end));
        if entries.insert(name, Entry { name, range, stored }).is_some() {
            return Err(corrupted(msg!(ENTRY_TWICE, entry = quoted(name))));
        }
    }
    extents.sort_unstable();
    if extents.windows(2).any(|pair| pair[0].1 > pair[1].0) {
        return Err(corrupted(msg!(ENTRIES_OVERLAP)));
    }
    Ok(entries)
}

/// The byte range of the list of entries.
fn directory(file: &[u8]) -> Result<Range<usize>, Problem> {
    // The end record is the last thing in a file, but for a comment that it tells the length of.
    let lowest = file.len().saturating_sub(END_LEN + usize::from(u16::MAX));
    let end = (lowest..=file.len().saturating_sub(END_LEN))
        .rev()
        .find(|&at| {
            file[at..].starts_with(END)
                && number::<2>(file, at + 20)
                    .is_ok_and(|comment| at + END_LEN + comment == file.len())
        })
        .ok_or_else(|| corrupted(msg!(END_IS_MISSING)))?;
    let locator = end.checked_sub(END_64_LOCATOR_LEN);
    let (len, start) = match locator.filter(|&at| file[at..].starts_with(END_64_LOCATOR)) {
        Some(locator) => {
            let end_64 = number::<8>(file, locator + 8)?;
            if !file.get(end_64..).is_some_and(|record| record.starts_with(END_64)) {
                return Err(corrupted(msg!(DIRECTORY_64_MISSING)));
            }
            (number::<8>(file, end_64 + 40)?, number::<8>(file, end_64 + 48)?)
        }
        None => (number::<4>(file, end + 12)?, number::<4>(file, end + 16)?),
    };
    match start.checked_add(len) {
        Some(stop) if stop <= end => Ok(start..stop),
        _ => Err(corrupted(msg!(DIRECTORY_OUTSIDE))),
    }
}

/// What the directory says about one entry.
struct DirectoryEntry<'a> {
    name: &'a str,
    /// Byte position of the entry's own header.
    header: usize,
    /// Bytes in the archive.
    len: usize,
    /// Whether these are the contents as they are.
    stored: bool,
}

/// The entry at the beginning of `directory`, and what follows it.
fn directory_entry(directory: &[u8]) -> Result<(DirectoryEntry<'_>, &[u8]), Problem> {
    let truncated = || corrupted(msg!(DIRECTORY_DAMAGED));
    if !directory.starts_with(DIRECTORY_ENTRY) {
        return Err(truncated());
    }
    let flags = number::<2>(directory, 8)?;
    let method = number::<2>(directory, 10)?;
    let mut stored_len = number::<4>(directory, 20)?;
    let mut len = number::<4>(directory, 24)?;
    let name_len = number::<2>(directory, 28)?;
    let extra_len = number::<2>(directory, 30)?;
    let comment_len = number::<2>(directory, 32)?;
    let mut header = number::<4>(directory, 42)?;

    let (_, variable) = directory.split_at_checked(DIRECTORY_ENTRY_LEN).ok_or_else(truncated)?;
    let (name, variable) = variable.split_at_checked(name_len).ok_or_else(truncated)?;
    let (mut extra, variable) = variable.split_at_checked(extra_len).ok_or_else(truncated)?;
    let rest = variable.get(comment_len..).ok_or_else(truncated)?;
    let name = str::from_utf8(name).map_err(|_| corrupted(msg!(ENTRY_NAME_NOT_UTF8)))?;

    while extra.len() >= 4 {
        let (tag, field_len) = (number::<2>(extra, 0)?, number::<2>(extra, 2)?);
        let (field, after) = extra[4..].split_at_checked(field_len).ok_or_else(truncated)?;
        if tag as u64 == ZIP64_FIELD {
            let mut at = 0;
            for value in [&mut len, &mut stored_len, &mut header] {
                if *value as u64 == SEE_ZIP64 {
                    *value = number::<8>(field, at)?;
                    at += 8;
                }
            }
        }
        extra = after;
    }
    let stored = flags & 1 == 0 && method == 0 && stored_len == len;
    Ok((DirectoryEntry { name, header, len: stored_len, stored }, rest))
}

/// The byte range of the contents of `entry`, all of it before `limit`.
fn contents(
    file: &[u8],
    entry: &DirectoryEntry<'_>,
    limit: usize,
) -> Result<Range<usize>, Problem> {
    let damaged = || corrupted(msg!(ENTRY_DAMAGED, entry = quoted(entry.name)));
    let header = file[..limit].get(entry.header..).ok_or_else(damaged)?;
    if !header.starts_with(ENTRY) {
        return Err(damaged());
    }
    // The entry's own sizes may be unset; its name and extra field differ from the directory's.
    let (name_len, extra_len) = (number::<2>(header, 26)?, number::<2>(header, 28)?);
    let start = entry.header + ENTRY_LEN + name_len + extra_len;
    let stop = start.checked_add(entry.len).filter(|&stop| stop <= limit).ok_or_else(damaged)?;
    Ok(start..stop)
}

/// The little-endian number of `LEN` bytes at byte `at`.
fn number<const LEN: usize>(bytes: &[u8], at: usize) -> Result<usize, Problem> {
    at.checked_add(LEN)
        .and_then(|stop| bytes.get(at..stop))
        .map(|digits| {
            digits.iter().rev().fold(0_u64, |value, &digit| value << 8 | u64::from(digit))
        })
        .and_then(|value| usize::try_from(value).ok())
        .ok_or_else(|| corrupted(msg!(RECORD_CUT_OFF)))
}

fn corrupted(what: Text) -> Problem {
    Problem::Corrupted(what)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Write};

    use zip::write::SimpleFileOptions;
    use zip::{CompressionMethod, ZipWriter};

    use super::*;

    fn archive(large_file: bool) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        let options = SimpleFileOptions::default()
            .compression_method(CompressionMethod::Stored)
            .large_file(large_file);
        for (name, contents) in [("a/one", b"first".as_slice()), ("a/two", b""), ("b", b"third")] {
            archive.start_file(name, options).expect("written to memory");
            archive.write_all(contents).expect("written to memory");
        }
        archive.finish().expect("written to memory").into_inner()
    }

    fn problem(file: &[u8]) -> String {
        entries(file).expect_err("to be refused").to_string()
    }

    /// `file` with the bytes `from`, which occur in it, replaced.
    fn with(file: &[u8], from: &[u8], to: &[u8], occurrence: usize) -> Vec<u8> {
        let places = file.windows(from.len()).enumerate().filter(|(_, window)| *window == from);
        let at = places.map(|(at, _)| at).nth(occurrence).expect("it occurs");
        [&file[..at], to, &file[at + from.len()..]].concat()
    }

    #[test]
    fn contents_are_found() {
        for large_file in [false, true] {
            let file = archive(large_file);
            let entries = entries(&file).expect("a sound archive");
            assert_eq!(entries.len(), 3);
            for (name, contents) in
                [("a/one", b"first".as_slice()), ("a/two", b""), ("b", b"third")]
            {
                assert_eq!(&file[entries[name].range().expect("stored")], contents, "{name}");
            }
        }
    }

    #[test]
    fn an_archive_with_64_bit_directory_is_read() {
        let mut file = archive(false);
        let end = file.split_off(file.len() - END_LEN);
        let end_64 = file.len() as u64;
        let (len, start) = (number::<4>(&end, 12), number::<4>(&end, 16));
        let number =
            |value: Result<usize, Problem>| (value.expect("a number") as u64).to_le_bytes();
        file.extend([END_64, &[0; 36], &number(len), &number(start)].concat());
        file.extend([END_64_LOCATOR, &[0; 4], &end_64.to_le_bytes(), &[0; 4]].concat());
        file.extend([END, &[0xff; 16], &[0; 2]].concat());
        assert_eq!(entries(&file).expect("a sound archive").len(), 3);
        let lost = with(&file, END_64, b"PK--", 0);
        assert!(problem(&lost).contains("the archive's 64-bit directory is missing"));
    }

    #[test]
    fn damage_is_an_error() {
        let good = archive(false);
        for len in 0..good.len() {
            assert!(entries(&good[..len]).is_err(), "cut at {len}");
        }
        let truncated =
            "the file is corrupted: the end is missing, as after an interrupted download";
        assert_eq!(problem(&good[..good.len() / 2]), truncated);
        assert_eq!(problem(b""), truncated);

        let twice = with(&good, b"a/two", b"a/one", 1);
        assert_eq!(problem(&twice), "the file is corrupted: the archive has two entries `a/one`");
        let elsewhere = with(&good, ENTRY, b"PK--", 1);
        assert!(problem(&elsewhere).contains("entry `a/two` of the archive is damaged"));
        // Central directory: the second entry is said to begin where the first does, or to be long.
        let second = good.windows(4).rposition(|window| window == b"a/tw").expect("it occurs") - 46;
        let mut overlapping = good.clone();
        overlapping[second + 42..second + 46].fill(0);
        assert!(problem(&overlapping).contains("entries of the archive overlap"));
        for len in [100_u32, 0xffff_fff0, 0xffff_ffff] {
            let mut long = good.clone();
            long[second + 20..second + 24].copy_from_slice(&len.to_le_bytes());
            long[second + 24..second + 28].copy_from_slice(&len.to_le_bytes());
            assert!(problem(&long).contains("entry `a/two` of the archive is damaged"), "{len}");
        }
    }

    #[test]
    fn compressed_entries_are_refused() {
        let good = archive(false);
        let second = good.windows(4).rposition(|window| window == b"a/tw").expect("it occurs") - 46;
        for (at, value) in [(8, 1), (10, 8), (24, 7)] {
            let mut file = good.clone();
            file[second + at] = value;
            let entries = entries(&file).expect("a sound archive");
            let problem = entries["a/two"].range().expect_err("not stored").to_string();
            assert!(problem.contains("the compressed or encrypted entry `a/two`"), "{at}");
        }
    }
}
