//! From what a person types to a run directory.

use std::fs;
use std::path::{Path, PathBuf};

use crate::diagnostic::Diagnostic;

/// The run that `name` means: `latest`, the four letters of its id, its name or the whole name of its
/// directory (the newest of several), or a path.
pub fn find_run(runs_dir: &Path, name: &str) -> Option<PathBuf> {
    let as_path = Path::new(name);
    if as_path.join("resolved.toml").is_file() {
        return Some(as_path.to_path_buf());
    }
    let mut runs: Vec<(std::time::SystemTime, PathBuf)> = fs::read_dir(runs_dir)
        .ok()?
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let made = fs::metadata(path.join("resolved.toml")).ok()?.modified().ok()?;
            Some((made, path))
        })
        .collect();
    runs.sort();
    let matches = |path: &Path| {
        let directory = path.file_name().unwrap_or_default().to_string_lossy();
        // DATE-NAME-ID, where DATE has 10 letters and ID 4.
        let id = directory.rsplit('-').next().unwrap_or_default();
        let middle = directory.get(11..directory.len().saturating_sub(id.len() + 1));
        name == "latest" || name == directory || name == id || Some(name) == middle
    };
    runs.into_iter().map(|(_, path)| path).rfind(|path| matches(path))
}

/// The newest `.pth` that a run has exported: that of the highest mini-epoch.
pub fn newest_product(run: &Path) -> Option<PathBuf> {
    let products = fs::read_dir(run.join("export")).ok()?.filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?;
        let epoch: u64 = name.strip_prefix("rwkv-")?.strip_suffix(".pth")?.parse().ok()?;
        Some((epoch, path))
    });
    products.max().map(|(_, path)| path)
}

/// The file that `name` stands for: itself, or the newest product of a run.
///
/// # Errors
/// A message when there is no such file, no such run, or nothing in it.
pub fn product_file(runs_dir: &Path, name: &str) -> Result<PathBuf, Box<Diagnostic>> {
    if Path::new(name).is_file() {
        return Ok(PathBuf::from(name));
    }
    let run = find_run(runs_dir, name).ok_or_else(|| {
        let runs = runs_dir.display();
        let message = format!("there is no file `{name}`, and no such run in `{runs}`");
        Box::new(Diagnostic::error("ST0205", message))
    })?;
    newest_product(&run).ok_or_else(|| Box::new(nothing_saved(&run)))
}

/// The message about a run without products.
pub fn nothing_saved(run: &Path) -> Diagnostic {
    let message = format!("the run `{}` has not saved anything yet", run.display());
    Diagnostic::error("ST6002", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_every_name() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let run = folder.path().join("2026-11-24-emoji-state-k3f9");
        fs::create_dir(&run).expect("a run");
        fs::write(run.join("resolved.toml"), "").expect("a file");
        fs::create_dir(folder.path().join(".cache")).expect("another folder");
        for name in ["latest", "k3f9", "emoji-state", "2026-11-24-emoji-state-k3f9"] {
            assert_eq!(find_run(folder.path(), name).as_ref(), Some(&run), "{name}");
        }
        assert_eq!(find_run(Path::new("nowhere"), &run.to_string_lossy()), Some(run.clone()));
        assert_eq!(find_run(folder.path(), "other"), None);
    }
}
