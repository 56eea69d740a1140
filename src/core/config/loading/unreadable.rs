//! Helps for a path that was given as an experiment file and is none.

use std::fs;
use std::io::Read as _;
use std::path::Path;

use super::foreign_path::{foreign_path, hub_address, hub_dataset, hub_file, is_repository};
use crate::config::nearest_word;
use crate::diagnostic::{Join, Text, msg};
use crate::input_file::regular_file;
use crate::records::RunDir;

/// The endings of data files.
const DATA: [&str; 8] = ["jsonl", "json", "csv", "tsv", "txt", "parquet", "arrow", "npy"];
/// The folder of runs, which has no experiment files.
const RUNS_DIR: &str = "runs";
/// Experiment files that a help names at most.
const NAMED: usize = 3;

/// What may have been meant by `file`, which cannot be read as an experiment file.
pub(in crate::config) fn helps_for(file: &Path) -> Vec<Text> {
    let path = file;
    if file.join(RunDir::SETTINGS).is_file() {
        return vec![msg!(RESUME_RUN_DIRECTORY, path), msg!(RUN_LIKE_DIRECTORY, path)];
    }
    if file.is_dir() {
        return experiments_in_or_below(file);
    }
    if let Some(address) = hub_address(&file.to_string_lossy()).filter(|_| !file.exists()) {
        return vec![on_hub(&address).unwrap_or(msg!(INIT_WITH_HUB_FILE, repo = "OWNER/REPO"))];
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
    let read = regular_file(file).and_then(|mut file| file.read_exact(&mut mark));
    read.is_ok() && [[0xff, 0xfe], [0xfe, 0xff]].contains(&mark)
}

/// For a file that does not exist: what a text in another form means, the file with the ending that was left out, one with
/// a similar name, or the experiment files that there are.
fn missing(file: &Path) -> Vec<Text> {
    let text = file.to_string_lossy();
    if let Some(help) = foreign_path(&text, on_hub) {
        return vec![help];
    }
    let with_ending = file.with_added_extension("toml");
    if with_ending.is_file() {
        return vec![msg!(EXPERIMENT_IS, files = with_ending)];
    }
    let folder = file.parent().unwrap_or(Path::new(""));
    let names = toml_files(folder);
    let name = file.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    if let Some(near) = nearest_word(name, names.iter().map(String::as_str)) {
        return named(folder, &[near]);
    }
    if is_repository(file) && ending(file) != "toml" {
        return vec![msg!(INIT_WITH_HUB_FILE, repo = text)];
    }
    if folder.as_os_str().is_empty() { experiments_in_or_below(folder) } else { Vec::new() }
}

/// What to do with an address on a hub.
fn on_hub(address: &str) -> Option<Text> {
    let mut parts = address.split(['?', '#']).next()?.trim_end_matches('/').splitn(3, '/');
    match (hub_file(address), hub_dataset(address)) {
        (Some(path), _) => Some(msg!(INIT_WITH_MODEL, path)),
        (_, Some(path)) => Some(msg!(INIT_WITH_DATA, path)),
        _ => match [parts.next()?, parts.next()?, parts.next().unwrap_or_default()] {
            ["huggingface.co" | "hf.co" | "hf-mirror.com", owner, repo]
                if !owner.is_empty() && !repo.is_empty() && !repo.contains('/') =>
            {
                Some(msg!(INIT_WITH_HUB_FILE, repo = format!("{owner}/{repo}")))
            }
            _ => None,
        },
    }
}

/// The experiment files in a folder, or where there is none, in the folders in it.
fn experiments_in_or_below(folder: &Path) -> Vec<Text> {
    let folder = if folder == Path::new(".") { Path::new("") } else { folder };
    let here = toml_files(folder);
    if !here.is_empty() {
        return named(folder, &here);
    }
    let mut below: Vec<String> = entries(folder)
        .filter(|name| name != RUNS_DIR && !name.starts_with('.'))
        .flat_map(|name| {
            let files = toml_files(&folder.join(&name)).into_iter();
            files.map(move |file| format!("{name}/{file}"))
        })
        .collect();
    below.sort();
    named(folder, &below)
}

/// The names in a folder that are UTF-8.
fn entries(folder: &Path) -> impl Iterator<Item = String> {
    let here = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let entries = fs::read_dir(here).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok())
}

/// The names of the experiment files in a folder, in order.
fn toml_files(folder: &Path) -> Vec<String> {
    let is_toml = |name: &String| ending(Path::new(name)) == "toml";
    let mut names: Vec<String> = entries(folder).filter(is_toml).collect();
    names.sort();
    names
}

/// The help that names these files of a folder, unless they are many or none.
fn named(folder: &Path, names: &[String]) -> Vec<Text> {
    if names.is_empty() || names.len() > NAMED {
        return Vec::new();
    }
    let paths = names.iter().map(|name| format!("`{}`", folder.join(name).display()));
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
        fs::create_dir_all(path("all/deep")).expect("a folder");
        fs::write(path("all/deep/one.toml"), "").expect("written");
        assert!(helps("all").contains("all/deep/one.toml`"), "{}", helps("all"));
    }

    #[test]
    fn texts_that_are_no_paths() {
        for (text, part) in [
            ("https://example.com/x.toml", "download the file"),
            ("https://huggingface.co/O/R", "statetune init --model hf://O/R/FILE.pth"),
            ("https://huggingface.co/O/R/resolve/main/m.pth", "--model hf://O/R/m.pth"),
            ("https://huggingface.co/datasets/O/R", "--data hf://datasets/O/R"),
            ("hf://O/R/m.pth", "--model hf://O/R/m.pth"),
            ("hf:/O/R/m.pth", "--model hf://O/R/m.pth"),
            ("hf:O/R/m.pth", "--model hf://O/R/m.pth"),
            ("hf://O/R", "--model hf://O/R/FILE.pth"),
            ("hf://", "--model hf://OWNER/REPO/FILE.pth"),
            ("huggingface.co/O/R/blob/main/m.pth", "--model hf://O/R/m.pth"),
            ("hf:datasets/O/R", "--data hf://datasets/O/R"),
            ("C:\\x.toml", "`/mnt/c/x.toml`"),
            ("configs\\x.toml", "`configs/x.toml`"),
            ("~/x.toml", "`~` is not expanded"),
            ("Owner/rwkv-7-world", "statetune init --model hf://Owner/rwkv-7-world/FILE"),
        ] {
            let helps = helps_for(Path::new(text));
            let helps: Vec<String> = helps.iter().map(ToString::to_string).collect();
            assert!(helps.len() == 1 && helps[0].contains(part), "{text}: {helps:?}");
        }
    }
}
