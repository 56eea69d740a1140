//! Inputs of a run whose recorded paths are gone, because they or the folder around them were moved or renamed.

use std::fs;
use std::path::{Component, Path, PathBuf};

use crate::config::Loaded;
use crate::digest::sha256_of_file;
use crate::recorded_paths::absolute;
use crate::records::{Lock, LockedFile};

/// Where the settings of the run at `run` name files that are gone, names the same files beside the run: at the same place
/// under a folder that holds the run, else under the same name in a folder near by, and with the recorded content. Folders
/// and patterns of documents are found by their place alone; commands that read documents compare their content with the
/// record.
pub fn follow_moved_inputs(loaded: &mut Loaded, run: &Path) {
    let Some(lock) = Lock::load(run) else { return };
    let run = absolute(run);
    let locked: Vec<&LockedFile> =
        Lock::INPUTS.into_iter().flat_map(|name| lock.input(name)).collect();
    for (key, path) in loaded.config.paths_mut() {
        if path.exists() {
            continue;
        }
        let recorded = absolute(path);
        let of_path = locked.iter().find(|one| absolute(&one.path) == recorded);
        let is_same = |found: &PathBuf| match of_path {
            Some(one) => sha256_of_file(found).is_ok_and(|sha256| sha256 == one.sha256),
            None => key.starts_with("data.") && found.is_dir(),
        };
        let found = places(&recorded, &run).chain(near(path, &run)).find(is_same);
        if let Some(found) = found {
            *path = found;
        }
    }
}

/// Existing files where `path` would be if a folder around it and around `run` had another name: the nearest folder of the
/// run first, and in each the longest rest of `path`.
fn places(path: &Path, run: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    let parts: Vec<Component<'_>> = path.components().collect();
    let rests: Vec<PathBuf> = (1..parts.len()).map(|from| parts[from..].iter().collect()).collect();
    let folders: Vec<PathBuf> = run.ancestors().skip(1).map(Path::to_path_buf).collect();
    let all = folders
        .into_iter()
        .flat_map(move |folder| rests.clone().into_iter().map(move |rest| folder.join(rest)));
    all.filter(|path| path.exists())
}

/// Folders above a run that are searched, the nearest first.
const FOLDERS_ABOVE: usize = 2;

/// Existing files of the name of `path` in the folders above `run` and in the current one, and in their sub-folders.
fn near(path: &Path, run: &Path) -> impl Iterator<Item = PathBuf> {
    let name = path.file_name().unwrap_or_default().to_os_string();
    let above = run.ancestors().skip(1).take(FOLDERS_ABOVE).map(Path::to_path_buf);
    let here = std::env::current_dir().ok();
    let folders = above.chain(here).flat_map(|folder| {
        let mut below: Vec<PathBuf> = fs::read_dir(&folder)
            .into_iter()
            .flatten()
            .filter_map(|entry| Some(entry.ok()?.path()))
            .filter(|path| path.is_dir())
            .collect();
        below.sort();
        [folder].into_iter().chain(below)
    });
    folders.map(move |folder| folder.join(&name)).filter(|path| path.is_file())
}
