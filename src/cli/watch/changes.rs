//! What changes in a folder, in bursts.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};

/// So long nothing changes between two bursts: a save is several changes.
const QUIET: Duration = Duration::from_millis(60);
/// A burst counts as ended after so long: a fast run writes without a pause.
const LONGEST: Duration = Duration::from_millis(500);

/// Tells which files of a folder change. The folder is watched rather than a file, as editors replace files
/// by others.
pub(super) struct Changes {
    changed: Receiver<PathBuf>,
    _watcher: RecommendedWatcher,
}

impl Changes {
    /// Watches a folder from now on.
    ///
    /// # Errors
    /// When the system cannot.
    pub(super) fn of(folder: &Path) -> notify::Result<Changes> {
        let (sender, changed) = channel();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            // Reading is no change. What the system fails to tell is found at the next look.
            for path in event
                .ok()
                .filter(|event| !event.kind.is_access())
                .into_iter()
                .flat_map(|event| event.paths)
            {
                let _ = sender.send(path); // nobody waits any more
            }
        })?;
        watcher.watch(folder, RecursiveMode::NonRecursive)?;
        Ok(Changes { changed, _watcher: watcher })
    }

    /// Waits for a burst of changes to begin, `at_most` so long, and to end; the files that changed.
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

    /// Whether something has changed since the last look.
    pub(super) fn any(&self) -> bool {
        self.changed.try_iter().count() > 0
    }
}
