//! Helps for a path that was given as an experiment file and is none.

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use crate::config::nearest_word;
use crate::diagnostic::{Join, Text, msg};
use crate::records::RunDir;

/// The endings of data files.
const DATA: [&str; 8] = ["jsonl", "json", "csv", "tsv", "txt", "parquet", "arrow", "npy"];
/// Experiment files that a help names at most.
const NAMED: usize = 3;

/// What may have been meant by `file`, which cannot be read as an experiment file.
pub(in crate::config) fn helps_for(file: &Path) -> Vec<Text> {
    let path = file;
    if file.join(RunDir::SETTINGS).is_file() {
        return vec![msg!(RESUME_RUN_DIRECTORY, path), msg!(RUN_LIKE_DIRECTORY, path)];
    }
    if file.is_dir() {
        return experiments(file, None);
    }
    match ending(file) {
        "pth" | "safetensors" | "st" | "gguf" | "bin" if file.exists() => {
            vec![msg!(INIT_WITH_MODEL, path)]
        }
        "toml" if is_utf16(file) => vec![msg!(SAVE_EXPERIMENT_AS_UTF8)],
        _ if file.exists() => helps_for_data(file),
        _ => missing(file),
    }
}

/// What to do with `file` if its name is that of a data file; otherwise nothing.
pub(in crate::config) fn helps_for_data(file: &Path) -> Vec<Text> {
    let is_data = match ending(file) {
        "gz" | "zst" => DATA.contains(&ending(&file.with_extension(""))),
        one => DATA.contains(&one),
    };
    let path = file;
    if is_data && file.is_file() { vec![msg!(INIT_WITH_DATA, path)] } else { Vec::new() }
}

fn ending(file: &Path) -> &str {
    file.extension().and_then(|ending| ending.to_str()).unwrap_or_default()
}

/// Whether a file begins with the byte order mark of UTF-16, as files of Windows do.
fn is_utf16(file: &Path) -> bool {
    let mut mark = [0; 2];
    let read = fs::File::open(file).and_then(|mut file| file.read_exact(&mut mark));
    read.is_ok() && [[0xff, 0xfe], [0xfe, 0xff]].contains(&mark)
}

/// For a file that does not exist: the one with the ending that was left out, or one with a similar name.
fn missing(file: &Path) -> Vec<Text> {
    let with_ending = file.with_added_extension("toml");
    if with_ending.is_file() {
        return vec![msg!(EXPERIMENT_IS, files = with_ending)];
    }
    let name = file.file_name().and_then(|name| name.to_str());
    experiments(file.parent().unwrap_or(Path::new("")), name)
}

/// The experiment files in a folder; with `like`, only one with a similar name.
fn experiments(folder: &Path, like: Option<&str>) -> Vec<Text> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(here).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| Path::new(name).extension().is_some_and(|ending| ending == "toml"))
        .collect();
    names.sort();
    if let Some(like) = like {
        names = nearest_word(like, names.iter().map(String::as_str)).into_iter().collect();
    }
    if names.is_empty() || names.len() > NAMED {
        return Vec::new();
    }
    let paths: Vec<PathBuf> = names.iter().map(|name| folder.join(name)).collect();
    let paths = paths.iter().map(|path| format!("`{}`", path.display()));
    vec![msg!(EXPERIMENTS_ARE, files = Text::list(Join::Comma, paths))]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = |name: &str| folder.path().join(name);
        let helps = |name: &str| {
            let helps = helps_for(&path(name));
            helps.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
        };
        assert_eq!(helps("a.toml"), "");
        fs::write(path("emoji.toml"), "").expect("written");
        fs::write(path("model.pth"), "").expect("written");
        fs::write(path("data.jsonl.gz"), "\u{1f}").expect("written");
        fs::write(path("windows.toml"), b"\xff\xfen\0").expect("written");
        fs::create_dir(path("run")).expect("a folder");
        fs::write(path("run/resolved.toml"), "").expect("written");
        for (name, part) in [
            ("model.pth", "statetune init --model "),
            ("data.jsonl.gz", "statetune init --data "),
            ("windows.toml", "iconv -f UTF-16"),
            ("emoji", "emoji.toml`"),
            ("emoij.toml", "emoji.toml`"),
            ("", "emoji.toml`"),
            ("run", "statetune resume "),
        ] {
            assert!(helps(name).contains(part), "{name}: {}", helps(name));
        }
    }
}
