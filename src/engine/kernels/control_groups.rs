//! Memory limits of control groups (containers, batch systems), versions 1 and 2.

use std::fs;
use std::path::{Path, PathBuf};

/// Where groups of a version lie, and the files of a group.
struct Version {
    /// The folder below which the groups lie.
    mount: &'static str,
    limit: &'static str,
    usage: &'static str,
    /// The keys of pages in `memory.stat` that belong to files, and go when memory is needed.
    cache: [&'static str; 2],
}

const V1: Version = Version {
    mount: "sys/fs/cgroup/memory",
    limit: "memory.limit_in_bytes",
    usage: "memory.usage_in_bytes",
    cache: ["total_active_file", "total_inactive_file"],
};
const V2: Version = Version {
    mount: "sys/fs/cgroup",
    limit: "memory.max",
    usage: "memory.current",
    cache: ["active_file", "inactive_file"],
};

/// Bytes that the control groups of this process leave free, cached files not counted as used; `u64::MAX` without a limit.
/// `root` is the root of the file system.
pub(super) fn free_in_groups(root: &Path) -> u64 {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let groups = text.lines().filter_map(|line| {
        // ID:CONTROLLERS:PATH; version 2 has no controllers.
        let [_, controllers, path] = line.splitn(3, ':').collect::<Vec<_>>()[..] else {
            return None;
        };
        let is_memory = controllers.split(',').any(|one| one == "memory");
        let version = if controllers.is_empty() { V2 } else { V1 };
        (controllers.is_empty() || is_memory).then(|| free(root, &version, path))
    });
    groups.min().unwrap_or(u64::MAX)
}

/// Bytes that a group and the groups around it leave free.
fn free(root: &Path, version: &Version, group: &str) -> u64 {
    let mount = root.join(version.mount);
    let mut folder: PathBuf = mount.join(group.trim_start_matches('/'));
    let mut least = u64::MAX;
    // Within a container the path may be that of the host: then only the mount itself is there.
    while folder.starts_with(&mount) {
        least = least.min(free_in(&folder, version).unwrap_or(u64::MAX));
        folder.pop();
    }
    least
}

/// Bytes that one group leaves free; `None` without a limit.
fn free_in(folder: &Path, version: &Version) -> Option<u64> {
    let number = |file: &str| -> Option<u64> {
        fs::read_to_string(folder.join(file)).ok()?.trim().parse().ok()
    };
    let (limit, usage) = (number(version.limit)?, number(version.usage)?);
    let stat = fs::read_to_string(folder.join("memory.stat")).unwrap_or_default();
    let pages = stat.lines().filter_map(|line| line.split_once(' '));
    let cached = pages.filter(|(key, _)| version.cache.contains(key));
    let cached: u64 = cached.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum();
    Some(limit.saturating_sub(usage.saturating_sub(cached)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A root with these files.
    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a temporary folder");
        for (name, text) in files {
            let path = root.path().join(name);
            fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
            fs::write(path, text).expect("written");
        }
        root
    }

    #[test]
    fn the_page_cache_of_a_group_is_free() {
        let root = root(&[
            ("proc/self/cgroup", "0::/\n"),
            ("sys/fs/cgroup/memory.max", "4000\n"),
            ("sys/fs/cgroup/memory.current", "3900\n"),
            ("sys/fs/cgroup/memory.stat", "anon 100\nactive_file 800\ninactive_file 3000\n"),
        ]);
        assert_eq!(free_in_groups(root.path()), 3900);
    }

    #[test]
    fn the_tightest_group_around_counts() {
        let root = root(&[
            ("proc/self/cgroup", "0::/jobs/one\n"),
            ("sys/fs/cgroup/jobs/memory.max", "1000"),
            ("sys/fs/cgroup/jobs/memory.current", "900"),
            ("sys/fs/cgroup/jobs/one/memory.max", "max"),
            ("sys/fs/cgroup/jobs/one/memory.current", "10"),
        ]);
        assert_eq!(free_in_groups(root.path()), 100);
    }

    #[test]
    fn version_1_and_its_containers() {
        let files = |folder: &str| {
            let name = |file: &str| format!("{folder}/{file}");
            let names = ["memory.limit_in_bytes", "memory.usage_in_bytes", "memory.stat"].map(name);
            let [limit, usage, stat] = &names;
            let stats = "cache 90\ntotal_inactive_file 20\ntotal_active_file 10\n";
            let root = root(&[
                ("proc/self/cgroup", "9:cpu:/other\n7:memory,hugetlb:/docker/abc\n"),
                (limit, "100"),
                (usage, "70"),
                (stat, stats),
            ]);
            free_in_groups(root.path())
        };
        assert_eq!(files("sys/fs/cgroup/memory/docker/abc"), 60);
        assert_eq!(files("sys/fs/cgroup/memory"), 60);
        assert_eq!(files("sys/fs/cgroup/cpu"), u64::MAX);
    }
}
