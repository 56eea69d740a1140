//! How fast a file can be read from its disk.

use std::fs::File;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::{Duration, Instant};

use memmap2::MmapMut;

/// Bytes read at a time.
const BLOCK: usize = 4 << 20;
/// How long is read.
const TIME: Duration = Duration::from_millis(200);

/// Bytes a second of the disk with the file at `path`, read in order and without the page cache; reads for a fifth of a
/// second at most. `None` for files and file systems that cannot be read without the page cache.
pub fn disk_speed(path: &Path) -> Option<f64> {
    let direct = rustix::fs::OFlags::DIRECT.bits();
    let file = File::options().read(true).custom_flags(direct as i32).open(path).ok()?;
    let blocks = file.metadata().ok()?.len() / BLOCK as u64;
    // Reading without the cache needs memory that starts at a page.
    let mut memory = MmapMut::map_anon(BLOCK).ok()?;
    let began = Instant::now();
    let mut read = 0;
    while read < blocks && began.elapsed() < TIME {
        file.read_exact_at(&mut memory, read * BLOCK as u64).ok()?;
        read += 1;
    }
    (read > 0).then(|| (read * BLOCK as u64) as f64 / began.elapsed().as_secs_f64())
}
