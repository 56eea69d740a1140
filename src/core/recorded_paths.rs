//! Paths in the records of a run and of the cache: normalised, and relative to the run directory, or the cache, where they are in
//! the folder around the folder of runs, so that a project can be moved.

use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

/// The absolute path, valid from any working directory, without `.` and `..`.
pub fn absolute(path: &Path) -> PathBuf {
    normalised(std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf()))
}

/// `path` as the run at `run` records it: relative to the run directory if it is in the folder around the folder of
/// runs, else absolute.
pub(crate) fn recorded_path(path: &Path, run: &Path) -> PathBuf {
    let path = absolute(path);
    relative(&path, &absolute(run)).unwrap_or(path)
}

/// The path that a record of the run at `run` means: a relative one starts at the run directory.
pub(crate) fn path_of_record(recorded: &Path, run: &Path) -> PathBuf {
    match recorded.components().next() {
        Some(Component::ParentDir) => normalised(run.join(recorded)),
        _ => recorded.to_path_buf(), // absolute, or a name such as `world`
    }
}

/// The path of `path` from the run directory. Both are absolute.
fn relative(path: &Path, run: &Path) -> Option<PathBuf> {
    let (runs, project) = (run.parent()?, run.parent()?.parent()?);
    // A link to a folder of runs elsewhere moves with its target.
    let place = match run.canonicalize() {
        Ok(place) => place,
        Err(_) => runs.canonicalize().ok()?.join(run.file_name()?), // not made yet
    };
    let is_link = project.canonicalize().ok()? != place.parent()?.parent()?;
    if is_link || project.parent().is_none() || path.starts_with(run) {
        return None;
    }
    match path.strip_prefix(runs) {
        Ok(rest) => Some(Path::new("..").join(rest)),
        Err(_) => Some(Path::new("../..").join(path.strip_prefix(project).ok()?)),
    }
}

/// The path without `.` and `..`, unless it means another file then: `link/..` is the folder around the link's target.
fn normalised(path: PathBuf) -> PathBuf {
    let mut short = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir if short.file_name().is_some() => {
                short.pop();
            }
            Component::ParentDir if short.has_root() => {}
            part => short.push(part),
        }
    }
    if short.as_os_str() == OsStr::new("") {
        short.push(".");
    }
    match (path.canonicalize(), short.canonicalize()) {
        (Ok(meant), Ok(found)) if meant != found => path,
        (Ok(_), Err(_)) => path,
        _ => short,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn paths_in_the_project_are_relative_to_the_run() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().canonicalize().expect("a folder").join(name);
        let run = at("project/runs/one");
        fs::create_dir_all(&run).expect("a run");
        fs::create_dir_all(at("project/configs")).expect("a folder");
        for (path, recorded) in [
            ("project/base.pth", "../../base.pth".to_owned()),
            ("project/configs/../data/*.jsonl", "../../data/*.jsonl".to_owned()),
            ("project/runs/two/ckpt/last", "../two/ckpt/last".to_owned()),
            ("models/base.pth", at("models/base.pth").display().to_string()),
            ("project/../models/base.pth", at("models/base.pth").display().to_string()),
        ] {
            let written = recorded_path(&at(path), &run);
            assert_eq!(written, Path::new(&recorded), "{path}");
            let read = path_of_record(&written, &run);
            assert_eq!(read, absolute(&at(path)), "{path}");
        }
        assert_eq!(path_of_record("../../a".as_ref(), "runs/one".as_ref()), Path::new("a"));
        assert_eq!(path_of_record("../../a".as_ref(), "../runs/one".as_ref()), Path::new("../a"));
        assert_eq!(path_of_record("world".as_ref(), &run), Path::new("world"));
    }

    #[test]
    fn links_are_followed_as_the_system_follows_them() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = |name: &str| folder.path().canonicalize().expect("a folder").join(name);
        for path in ["large/runs/one", "project"] {
            fs::create_dir_all(at(path)).expect("a folder");
        }
        for file in ["large/a", "project/a"] {
            fs::write(at(file), "").expect("a file");
        }
        symlink(at("large/runs"), at("project/runs")).expect("a link");
        let run = at("project/runs/one");
        assert_eq!(recorded_path(&at("project/a"), &run), at("project/a"));
        assert_eq!(absolute(&at("project/runs/../a")), at("project/runs/../a"), "that is large/a");
        assert_eq!(path_of_record("../../a".as_ref(), &run), run.join("../../a"), "as well");
    }
}
