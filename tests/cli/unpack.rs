//! Packed runs that are none, or that want to write where they should not.

use serde_json::{Value, json};
use statetune_core::digest::sha256_hex;
use tar::{Builder, EntryType, Header};

use crate::case::Case;

const PACK: &str = "hostile.run.tar.zst";
/// What every archive here holds beside what is wrong with it.
const STATUS: (&str, &str) = ("status.json", "{}");

/// An entry of an archive as it stands there, whatever the list of files says.
struct Entry {
    name: String,
    kind: EntryType,
    content: Vec<u8>,
    /// What a link leads to.
    link: Option<&'static str>,
    /// The bytes that its header says it has, where these are not those of its content.
    size: Option<u64>,
}

fn file(name: &str, content: &str) -> Entry {
    let content = content.as_bytes().to_vec();
    Entry { name: name.to_string(), kind: EntryType::Regular, content, link: None, size: None }
}

fn special(name: &str, kind: EntryType, link: Option<&'static str>) -> Entry {
    Entry { kind, link, ..file(name, "") }
}

/// A line of the list of files.
fn listed(name: &str, content: &str) -> Value {
    let sha256 = sha256_hex(content);
    json!({ "path": name, "bytes": content.len(), "sha256": sha256 })
}

fn list(files: &[Value]) -> Entry {
    list_of("2026-01-01-tiny-abcd", files)
}

fn list_of(directory: &str, files: &[Value]) -> Entry {
    let schema = "statetune.pack/1";
    let manifest =
        json!({ "schema": schema, "directory": directory, "checkpoints": true, "files": files });
    file("pack.json", &manifest.to_string())
}

/// The archive, not yet compressed. Names go into the headers unseen.
fn tar(entries: &[Entry]) -> Vec<u8> {
    let mut archive = Builder::new(Vec::new());
    for Entry { name, kind, content, link, size } in entries {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        if let Some(link) = link {
            header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        }
        header.set_entry_type(*kind);
        header.set_mode(0o4777);
        header.set_size(size.unwrap_or(content.len() as u64));
        header.set_cksum();
        archive.append(&header, &content[..]).expect("written");
    }
    archive.into_inner().expect("written")
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("compressed")
}

/// Unpacking is refused with this about the file; nothing is there that was not there before.
#[track_caller]
fn refuses(bytes: &[u8], problem: &str) {
    let case = Case::new().having(PACK, bytes);
    let before = case.list("");
    let output = case.statetune(&["runs", "unpack", PACK, "--runs-dir", "deep"]);
    let message = format!("error[ST6050]: {PACK}: {problem}\n  |\n  = note: no files were kept\n");
    assert_eq!((&*output.stderr, &*output.stdout), (&*message, ""));
    assert_eq!(output.code, Some(2));
    assert_eq!(case.list(""), before);
    assert!(!case.path("../escaped").exists());
}

/// Refused in an archive of this list and these entries behind it.
#[track_caller]
fn refuses_entries(files: &[Value], entries: Vec<Entry>, problem: &str) {
    let mut all = vec![list(files)];
    all.extend(entries);
    refuses(&zstd(&tar(&all)), problem);
}

#[test]
fn a_sound_one_is_unpacked() {
    let (name, content) = STATUS;
    let case = Case::new()
        .having(PACK, zstd(&tar(&[list(&[listed(name, content)]), file(name, content)])));
    let output = case.statetune(&["runs", "unpack", PACK]);
    output.succeeds("runs/DATE-tiny-ID: 1 files", "");
    let run = case.only_run();
    assert_eq!(case.list(&run), ["ckpt", "export", "samples", "status.json"]);
    assert_eq!(case.read(run.join(name)), content, "and what the header says of its mode is lost");
}

#[test]
fn paths_that_lead_out_of_the_run() {
    for path in ["../escaped", "/tmp/escaped", "a/../../escaped", "./status.json", ""] {
        refuses_entries(
            &[listed(path, "x")],
            vec![file(path, "x")],
            &format!("`{path}` points outside the run directory"),
        );
    }
    for directory in ["..", "a/b", "/tmp/a", ".hidden", "", "a\n"] {
        let name = directory.escape_debug();
        let problem = match directory {
            "a\n" => "the archive has no `status.json`, so it is not a run".to_string(),
            _ => format!("`{name}` is not a valid run name"),
        };
        refuses(&zstd(&tar(&[list_of(directory, &[])])), &problem);
    }
    // The list is sound, the entry is not.
    let (name, content) = STATUS;
    refuses_entries(
        &[listed(name, content)],
        vec![file("../escaped", content)],
        "`../escaped` does not match the list of files",
    );
    refuses_entries(
        &[listed(name, content)],
        vec![file("\u{1b}[2Jx", content)],
        "`\\u{1b}[2Jx` does not match the list of files",
    );
}

#[test]
fn entries_that_are_not_files() {
    let (name, content) = STATUS;
    for (kind, link) in [
        (EntryType::Symlink, Some("/etc/passwd")),
        (EntryType::Link, Some("../../data.jsonl")),
        (EntryType::Char, None),
        (EntryType::Block, None),
        (EntryType::Fifo, None),
        (EntryType::Directory, None),
    ] {
        refuses_entries(
            &[listed(name, content), listed("link", "")],
            vec![file(name, content), special("link", kind, link)],
            "`link` does not match the list of files",
        );
    }
}

#[test]
fn lists_that_contradict_themselves() {
    let (name, content) = STATUS;
    let twice = [listed(name, content), listed(name, content)];
    refuses_entries(&twice, Vec::new(), "`status.json` appears twice");
    let clash = [listed(name, content), listed("a", ""), listed("a/b", "")];
    refuses_entries(&clash, Vec::new(), "`a` is both a file and a folder");
    let clash = [listed(name, content), listed("ckpt", "")];
    refuses_entries(&clash, Vec::new(), "`ckpt` is both a file and a folder");
    refuses_entries(
        &[listed("a", "")],
        vec![file("a", "")],
        "the archive has no `status.json`, so it is not a run",
    );
    refuses_entries(
        &[listed(name, content)],
        vec![file(name, "[]")],
        "the content of `status.json` does not match the list of files",
    );
    refuses_entries(&[listed(name, content)], Vec::new(), "`status.json` is missing");
    let schema = "statetune.pack/2";
    let future = json!({ "schema": schema, "directory": "a", "checkpoints": true, "files": [] });
    refuses(
        &zstd(&tar(&[file("pack.json", &future.to_string())])),
        "the archive has schema `statetune.pack/2`, expected `statetune.pack/1`",
    );
}

#[test]
fn two_runs_in_one_file() {
    let (name, content) = STATUS;
    let one = |directory| tar(&[list_of(directory, &[listed(name, content)]), file(name, content)]);
    let (first, second) = (one("2026-01-01-tiny-aaaa"), one("2026-01-01-tiny-bbbb"));
    let both = [zstd(&first), zstd(&second)].concat();
    refuses(&both, "the archive has data after its last file");
    refuses(&zstd(&[&first[..], &second].concat()), "the archive has data after its last file");
    let unlisted = vec![file(name, content), file("more", "x")];
    let more = "the archive has more files than its list";
    refuses_entries(&[listed(name, content)], unlisted, more);
}

#[test]
fn files_that_are_not_complete_archives() {
    let (name, content) = STATUS;
    let whole = zstd(&tar(&[list(&[listed(name, content)]), file(name, content)]));
    refuses(b"", "not a valid packed run: incomplete frame");
    refuses(&zstd(b""), "the archive is empty");
    refuses(b"text, not an archive", "not a valid packed run: Unknown frame descriptor");
    refuses(
        &zstd(&[b'x'; 1024]),
        "not a valid packed run: numeric field was not a number: xxxxxxxx when getting cksum for \
         xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    );
    refuses(&zstd(&tar(&[file("a", "b")])), "not a valid packed run: the list of files is missing");
    refuses(
        &zstd(&tar(&[file("pack.json", "{")])),
        "pack.json: EOF while parsing an object at line 1 column 1",
    );
    for part in [whole.len() / 4, whole.len() / 2, whole.len() - 1] {
        let case = Case::new().having(PACK, &whole[..part]);
        let output = case.statetune(&["runs", "unpack", PACK]);
        assert_eq!((output.code, case.list("runs").len()), (Some(2), 0), "{part}: {output:?}");
        let message = format!("error[ST6050]: {PACK}: ");
        assert!(output.stderr.starts_with(&message), "{part}: {output:?}");
    }
}

/// Little that becomes much: neither disk nor memory is filled.
#[test]
fn what_expands_to_more_than_it_lists() {
    let (name, content) = STATUS;
    // The list itself says so much.
    let mut huge = listed("huge", "");
    huge["bytes"] = json!(1u64 << 60);
    let bytes = (1u64 << 60) + content.len() as u64;
    let archive = tar(&[list(&[listed(name, content), huge]), file(name, content)]);
    let case = Case::new().having(PACK, zstd(&archive));
    let message = format!(
        "error[ST6052]: not enough disk space for {bytes} bytes in `deep`\n  |\n  = note: no files were unpacked\n"
    );
    let output = case.statetune(&["runs", "unpack", PACK, "--runs-dir", "deep"]);
    assert_eq!((&*output.stderr, output.code), (&*message, Some(29)));
    assert!(!case.path("deep").exists());

    // An entry has more than is listed.
    let zeros = "\0".repeat(64 << 20);
    refuses_entries(
        &[listed(name, content)],
        vec![file(name, &zeros)],
        "`status.json` does not match the list of files",
    );
    // A name without an end, which a reader of archives keeps in memory.
    let endless =
        Entry { kind: EntryType::GNULongName, ..file("././@LongLink", &"x".repeat(64 << 20)) };
    refuses_entries(
        &[listed(name, content)],
        vec![endless, file(name, content)],
        "the archive expands to more data than its list states",
    );
    // Nothing but zeros behind the last file.
    let tail = tar(&[list(&[listed(name, content)]), file(name, content)]);
    let tail = [&tail[..], &vec![0; 128 << 20]].concat();
    refuses(&zstd(&tail), "the archive expands to more data than its list states");
    // A header that promises what does not come.
    let promise = Entry { size: Some(1 << 40), ..file(name, content) };
    let listed_so = json!({ "path": name, "bytes": 1u64 << 30, "sha256": "" });
    refuses_entries(&[listed_so], vec![promise], "`status.json` does not match the list of files");
}

/// A time that no clock knows.
#[test]
fn a_file_of_no_time() {
    let (name, content) = STATUS;
    let mut archive = tar(&[list(&[listed(name, content)]), file(name, content)]);
    let at = archive.windows(name.len()).rposition(|window| window == name.as_bytes());
    let at = at.expect("the header of the file");
    let mut header = Header::from_byte_slice(&archive[at..at + 512]).clone();
    header.set_mtime(u64::MAX);
    header.set_cksum();
    archive[at..at + 512].copy_from_slice(header.as_bytes());
    refuses(&zstd(&archive), "the time of `status.json` is invalid");
}
