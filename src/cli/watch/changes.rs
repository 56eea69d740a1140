//! Watches a folder for changed files.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

/// A burst ends after this long without a change: one save makes several changes.
const QUIET: Duration = Duration::from_millis(60);
/// A burst ends at the latest after this long: a fast run writes without a pause.
const LONGEST: Duration = Duration::from_millis(500);

/// The changed files of a folder. Watches the folder instead of a file, since editors replace files.
pub(super) struct Changes {
    changed: Receiver<PathBuf>,
    _watcher: RecommendedWatcher,
}

impl Changes {
    /// Watches a folder from now on.
    ///
    /// # Errors
    /// A folder that the system cannot watch.
    pub(super) fn of(folder: &Path) -> notify::Result<Changes> {
        let (sender, changed) = channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reads are not changes. A missed event is found at the next check.
            for path in event
                .ok()
                .filter(|event| !event.kind.is_access())
                .into_iter()
                .flat_map(|event| event.paths)
            {
                let _ = sender.send(path); // the receiver is gone
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Changes { changed, _watcher: watcher })
    }

    /// Waits for the first change, at most `at_most`, and then for the end of the burst. Returns the changed files.
    pub(super) fn wait(&self, at_most: Duration) -> Vec<PathBuf> {
        let first = self.changed.recv_timeout(at_most).ok();
        let mut changed: Vec<PathBuf> = first.into_iter().collect();
        let began = Instant::now();
        while !changed.is_empty() && began.elapsed() < LONGEST {
            match self.changed.recv_timeout(QUIET) {
                Ok(path) => changed.push(path),
                Err(_) => break,
            }
        }
        changed
    }

    /// Whether a file has changed since the last call.
    pub(super) fn any(&self) -> bool {
        self.changed.try_iter().count() > 0
    }
}
