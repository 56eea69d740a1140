//! The process that holds the lock of a run.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::run_dir::LOCK_FILE;
use super::{RunRecord, Status, is_busy};
use crate::diagnostic::{Text, msg};

/// Characters of a command line that are shown.
const COMMAND_CHARS: usize = 120;

/// A note that names the process which holds the lock of the run at `path`, as far as the system or the run's status
/// tells; `None` where no process holds it by now.
pub fn holder_note(path: &Path) -> Option<Text> {
    let pid =
        of_locks(&path.join(LOCK_FILE)).or_else(|| of_status(path).filter(|_| is_busy(path)))?;
    Some(match command(pid) {
        Some(command) => msg!(PROCESS_HOLDS_RUN_WITH_COMMAND, pid, command),
        None => msg!(PROCESS_HOLDS_RUN, pid),
    })
}

/// The process that the kernel names for the lock of a file.
fn of_locks(lock: &Path) -> Option<u32> {
    let inode = fs::metadata(lock).ok()?.ino().to_string();
    fs::read_to_string("/proc/locks").ok()?.lines().find_map(|line| holder_in(line, &inode))
}

/// The process in a line of `/proc/locks` about the file `inode`: `1: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF`. A
/// process of another container has the number 0.
fn holder_in(line: &str, inode: &str) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_, "FLOCK", _, "WRITE", pid, file, ..] = words[..] else { return None };
    let (_, found) = file.rsplit_once(':')?;
    (found == inode).then(|| pid.parse().ok()).flatten().filter(|pid| *pid > 0)
}

/// The process that the status of the run names.
fn of_status(path: &Path) -> Option<u32> {
    match RunRecord::load(path).ok()?.status {
        Status::Running { pid } => Some(pid),
        _ => None,
    }
}

/// The command line of a process, shortened.
fn command(pid: u32) -> Option<String> {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
    let line = String::from_utf8_lossy(&bytes).trim_end_matches('\0').replace('\0', " ");
    let shown: String = line.chars().take(COMMAND_CHARS).collect();
    (!shown.is_empty()).then_some(shown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_is_read_from_the_locks_of_the_kernel() {
        let line = "31: FLOCK  ADVISORY  WRITE 4242 08:01:131 0 EOF";
        assert_eq!(holder_in(line, "131"), Some(4242));
        assert_eq!(holder_in(line, "31"), None);
        assert_eq!(holder_in("31: POSIX  ADVISORY  WRITE 4242 08:01:131 0 EOF", "131"), None);
        assert_eq!(holder_in("31: FLOCK  ADVISORY  WRITE 0 08:01:131 0 EOF", "131"), None);
        assert_eq!(holder_in("31: -> FLOCK  ADVISORY  WRITE 7 08:01:131 0 EOF", "131"), None);
    }
}
