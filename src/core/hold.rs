//! Locks on folders of the cache.

use std::fs::File;
use std::path::Path;

/// A shared lock on a folder, for as long as the value lives.
#[derive(Debug)]
pub struct Hold {
    _folder: Option<File>,
}

impl Hold {
    /// Locks an existing folder, where the file system supports locks.
    pub fn on(folder: &Path) -> Self {
        let locked = File::open(folder).and_then(|folder| folder.lock_shared().map(|()| folder));
        Self { _folder: locked.ok() }
    }
}
