//! Files that commands are told to read. None of them makes a command wait or read without an end.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::diagnostic::msg;

/// Opens a file that is read more than once, or from any place.
///
/// # Errors
/// A file that cannot be read, a folder, pipe or device.
pub fn regular_file(path: &Path) -> io::Result<File> {
    let file = open(path)?;
    let kind = file.metadata()?.file_type();
    if kind.is_file() {
        return Ok(file);
    }
    let reason = match () {
        () if kind.is_dir() => msg!(IS_A_FOLDER),
        () if kind.is_fifo() => msg!(PIPE_IS_READ_ONCE),
        () => msg!(IS_A_DEVICE),
    };
    Err(io::Error::new(io::ErrorKind::InvalidInput, reason))
}

/// Opens a file that is read once from its start to its end, which may be a pipe.
///
/// # Errors
/// A file that cannot be read, or a pipe into which nothing is written.
pub fn stream(path: &Path) -> io::Result<impl Read> {
    let mut file = open(path)?;
    let mut start = Vec::new();
    if file.metadata()?.file_type().is_fifo() {
        let mut first = [0];
        match file.read(&mut first) {
            Ok(0) => {
                return Err(io::Error::new(io::ErrorKind::BrokenPipe, msg!(PIPE_WITHOUT_WRITER)));
            }
            Ok(_) => start.extend(first),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {} // a writer that has not written yet
            Err(error) => return Err(error),
        }
    }
    fcntl_setfl(&file, fcntl_getfl(&file)? & !OFlags::NONBLOCK)?;
    Ok(Cursor::new(start).chain(file))
}

/// Opens a file at once: opening a pipe waits for a writer otherwise.
fn open(path: &Path) -> io::Result<File> {
    let flags = OFlags::NONBLOCK.bits().cast_signed();
    File::options().read(true).custom_flags(flags).open(path)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write as _;
    use std::path::PathBuf;
    use std::process::Command;

    use super::*;

    fn pipe(folder: &Path) -> PathBuf {
        let pipe = folder.join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().expect("mkfifo").success());
        pipe
    }

    #[test]
    fn only_files_can_be_read_twice() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let fault = |path: &Path| regular_file(path).expect_err("not a file").to_string();
        assert_eq!(fault(folder.path()), "it is a folder");
        assert_eq!(
            fault(&pipe(folder.path())),
            "it is a pipe, which can be read only once; write its content into a file"
        );
        for device in ["/dev/zero", "/dev/null", "/dev/urandom"] {
            assert_eq!(fault(Path::new(device)), "it is a device");
        }
        let file = folder.path().join("file");
        fs::write(&file, "text").expect("written");
        assert!(regular_file(&file).is_ok());
    }

    #[test]
    fn pipes_are_read_where_they_have_a_writer() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = pipe(folder.path());
        let fault = stream(&path).map(drop).expect_err("no writer").to_string();
        assert_eq!(fault, "nothing is written into this pipe");
        let text = "some text ".repeat(20_000); // more than a pipe holds
        let writer = std::thread::spawn({
            let (path, text) = (path.clone(), text.clone());
            // Opened first, which waits for the reader, and written late.
            move || {
                let mut pipe = File::options().write(true).open(path).expect("a reader");
                std::thread::sleep(std::time::Duration::from_millis(50));
                pipe.write_all(text.as_bytes()).expect("written");
            }
        });
        let mut read = String::new();
        loop {
            match stream(&path) {
                Ok(mut stream) => {
                    stream.read_to_string(&mut read).expect("text");
                    break;
                }
                Err(_) => std::thread::yield_now(), // the thread has not come to its pipe
            }
        }
        writer.join().expect("written");
        assert!(read == text);
    }
}
