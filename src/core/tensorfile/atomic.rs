//! Files that appear complete or not at all.

use std::fs::{self, File, Permissions};
use std::io::{self, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::{NamedTempFile, TempDir};

use crate::diagnostic::{Diagnostic, msg};

/// Start and end of the names of temporary files.
pub(crate) const TEMPORARY: (&str, &str) = (".statetune-", ".tmp");

/// Links from one file to the next that are followed.
const MAX_LINKS: usize = 40;

/// Writes the file at `path`, replacing an existing one.
///
/// `write` fills a temporary file in the same folder, which is then flushed to disk and renamed. On an error the
/// temporary file is removed. A link stays: the file that it leads to is replaced. A device, pipe or socket stays, too:
/// the content is written into it.
pub fn write_atomically(
    path: &Path,
    write: impl FnOnce(&mut NamedTempFile) -> io::Result<()>,
) -> io::Result<()> {
    let mut temporary = temporary_for(path)?;
    write(&mut temporary)?;
    publish(temporary, path)
}

/// An empty file to fill, which [`publish`] makes the file at `path`. Dropped, it is removed.
///
/// # Errors
/// A folder that cannot be written.
pub fn temporary_for(path: &Path) -> io::Result<NamedTempFile> {
    match is_written_through(path) {
        true => temporary(&std::env::temp_dir()),
        false => temporary(folder_of(&target(path)?)),
    }
}

/// The error for a device or pipe where several files are written.
#[must_use]
pub fn one_of_several(out: &Path) -> Option<Diagnostic> {
    let fault = || Diagnostic::error(msg!(OUT_TAKES_ONE_FILE, out)).help(msg!(NAME_A_FILE_AS_OUT));
    is_written_through(out).then(fault)
}

/// Flushes a file of [`temporary_for`] to disk and makes it the file at `path`, as [`write_atomically`] does.
///
/// # Errors
/// A file that cannot be written.
pub fn publish(temporary: NamedTempFile, path: &Path) -> io::Result<()> {
    // By its name: another file may have been put there.
    let mut content = File::open(temporary.path())?;
    if is_written_through(path) {
        return match is_standard_output(path) {
            true => io::copy(&mut content, &mut io::stdout()).and_then(|_| io::stdout().flush()),
            false => io::copy(&mut content, &mut File::options().write(true).open(path)?).map(drop),
        };
    }
    content.sync_all()?;
    let path = target(path)?;
    // Not `persist`: the standard library's call can be watched, as the tests do.
    fs::rename(temporary.path(), &path)?;
    temporary.into_temp_path().keep().map_err(|error| error.error)?;
    File::open(folder_of(&path))?.sync_all() // the rename itself
}

/// Writes a new file at `path`, which appears complete or not at all. A device, pipe or socket gets the content.
///
/// # Errors
/// [`io::ErrorKind::AlreadyExists`] where a file or folder is at `path`, or a file that cannot be written.
pub fn create_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    if is_written_through(path) {
        return write_atomically(path, |file| file.write_all(content));
    }
    if path.symlink_metadata().is_ok() {
        return Err(io::Error::from(io::ErrorKind::AlreadyExists));
    }
    let mut temporary = temporary(folder_of(path))?;
    temporary.as_file_mut().write_all(content)?; // an error that does not name the temporary file
    temporary.as_file().sync_all()?;
    temporary.persist_noclobber(path).map_err(|error| error.error)?;
    File::open(folder_of(path))?.sync_all()
}

/// Whether the content goes into what is at `path`: a device, pipe or socket, or a name of an open file.
pub fn is_written_through(path: &Path) -> bool {
    let is_special = |found: fs::Metadata| !found.is_file() && !found.is_dir();
    is_standard_output(path)
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc")
        || fs::metadata(path).is_ok_and(is_special)
}

/// Whether `path` is the standard output of this process, which may be a file that has content already.
pub fn is_standard_output(path: &Path) -> bool {
    ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"].iter().any(|name| path == Path::new(name))
}

/// The file that `path` leads to, which need not exist.
fn target(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::read_link(&path) {
            Ok(next) => path = folder_of(&path).join(next),
            Err(_) => return Ok(path), // not a link, or nothing yet
        }
    }
    Err(io::Error::from(io::ErrorKind::InvalidInput))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A new file in `folder`, readable for others as far as the umask allows, like any new file.
fn temporary(folder: &Path) -> io::Result<NamedTempFile> {
    fs::metadata(folder)?; // an error that does not name the temporary file
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY.0).suffix(TEMPORARY.1);
    builder.permissions(Permissions::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// A new folder in `folder`, for a library that makes temporary files of its own. A run that continues removes what a
/// killed process left of it, as it does with other temporary files.
pub(super) fn temporary_folder(folder: &Path) -> io::Result<TempDir> {
    tempfile::Builder::new().prefix(TEMPORARY.0).suffix(TEMPORARY.1).tempdir_in(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_no_other() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("a.pth");
        write_atomically(&path, |file| file.write_all(b"old")).expect("written");
        let failed = write_atomically(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("disk full"))
        });
        assert_eq!(failed.expect_err("passed on").to_string(), "disk full");
        assert_eq!(std::fs::read(&path).expect("still there"), b"old");
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1);
    }
    #[test]
    fn links_stay_and_their_targets_are_written() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let write = |name: &str| write_atomically(&path(name), |file| file.write_all(b"new"));
        let is_link = |name: &str| path(name).symlink_metadata().expect("a link").is_symlink();
        fs::create_dir(path("far")).expect("a folder");
        fs::write(path("far/file"), "old").expect("written");
        std::os::unix::fs::symlink("far/file", path("link")).expect("a link");
        std::os::unix::fs::symlink("link", path("second")).expect("a link");
        write("second").expect("written");
        assert!(is_link("link") && is_link("second"));
        assert_eq!(fs::read(path("far/file")).expect("the target"), b"new");
        // What a link leads to may not exist yet.
        std::os::unix::fs::symlink("far/none", path("dangling")).expect("a link");
        write("dangling").expect("written");
        assert!(is_link("dangling"));
        assert_eq!(fs::read(path("far/none")).expect("the target"), b"new");
        std::os::unix::fs::symlink("circle", path("circle")).expect("a link");
        assert!(write("circle").is_err() && is_link("circle"));
    }

    #[test]
    fn pipes_get_the_content() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let pipe = folder.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
        assert!(made.success());
        let reader = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::read(pipe).expect("the content")
        });
        write_atomically(&pipe, |file| file.write_all(b"new")).expect("written");
        assert_eq!(reader.join().expect("read"), b"new");
        assert!(!fs::metadata(&pipe).expect("there").is_file(), "it is a pipe still");
    }
}
