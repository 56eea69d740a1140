//! Helps for a path that does not exist, by what the path looks like.

use std::fs;
use std::path::{Path, PathBuf};

use super::Faults;
use crate::config::{
    Origin, foreign_path, hub_address, hub_dataset, hub_file, is_repository, nearest_word,
};
use crate::diagnostic::{Diagnostic, Text, msg};
use crate::records::RunDir;

/// The key whose file may lie on a hub.
const WEIGHTS: &str = "model.load_model";

impl Faults<'_> {
    /// Adds the fault that the file of `key` does not exist.
    pub(super) fn add_missing(&mut self, key: &str, path: &Path, message: Text) {
        let fault = Diagnostic { helps: self.path_helps(key, path), ..Diagnostic::error(message) };
        self.add(key, fault);
    }

    /// `fault` of the file of `key` with helps that suit the path, in place of the usual one.
    pub(super) fn with_path_helps(
        &self,
        key: &str,
        path: &Path,
        mut fault: Diagnostic,
    ) -> Diagnostic {
        let before = fault.helps.len();
        fault.helps.retain(|help| ![msg!(RELATIVE_PATH), msg!(RELATIVE_PATHS)].contains(help));
        if fault.helps.len() < before {
            fault.helps.extend(self.path_helps(key, path));
        }
        fault
    }

    /// What to do about the path of `key`, which does not exist.
    fn path_helps(&self, key: &str, path: &Path) -> Vec<Text> {
        let written = self.as_written(path);
        let text = written.to_string_lossy();
        if let Some(help) = foreign_form(key, &text) {
            return vec![help];
        }
        if key == "model.tokenizer" && text == "none" {
            return vec![msg!(TOKEN_IDS_NEED_NO_TOKENIZER)];
        }
        let is_of_run = self.loaded.file.ends_with(RunDir::SETTINGS);
        match key {
            WEIGHTS if is_of_run => return vec![msg!(PASS_MOVED_WEIGHTS)],
            "model.tokenizer" if is_of_run => return vec![msg!(PASS_MOVED_TOKENIZER)],
            "data.data_file" | "peft.init_file" if is_of_run => {
                return vec![msg!(PASS_MOVED_INPUT, key)];
            }
            _ => {}
        }
        let mut helps: Vec<Text> = similar_file(path).into_iter().collect();
        if written.is_absolute() {
            if helps.is_empty() {
                helps.extend(first_missing_folder(path));
            }
            return helps;
        }
        if key == WEIGHTS && is_repository(&written) {
            helps.push(msg!(NAME_HUB_FILE, repo = text));
        }
        let origins = &self.loaded.origins;
        let origin = origins.get(key).or_else(|| origins.get("data.source"));
        helps.push(match origin {
            Some(Origin::CommandLine) => msg!(RELATIVE_PATHS_OF_SET),
            Some(Origin::Environment { .. }) => msg!(RELATIVE_PATHS_OF_VARIABLES),
            _ => msg!(RELATIVE_PATHS),
        });
        helps
    }

    /// A path without the folder of the experiment file.
    fn as_written(&self, path: &Path) -> PathBuf {
        let folder = self.loaded.file.parent().unwrap_or(Path::new(""));
        path.strip_prefix(folder).unwrap_or(path).to_path_buf()
    }
}

/// What to do about the path of `key` in a command line, which does not exist.
pub fn missing_path_helps(key: &str, path: &Path) -> Vec<Text> {
    let text = path.to_string_lossy();
    if let Some(help) = foreign_form(key, &text) {
        return vec![help];
    }
    let is_on_hub = key == WEIGHTS && is_repository(path);
    let hub = is_on_hub.then(|| msg!(NAME_HUB_FILE, repo = text));
    similar_file(path).into_iter().chain(hub).collect()
}

/// The help for a text that is not a path of this system.
fn foreign_form(key: &str, text: &str) -> Option<Text> {
    let on_hub = |address: &str| match key {
        WEIGHTS => hub_file(address),
        _ => hub_dataset(address),
    };
    if let Some(address) = hub_address(text) {
        return Some(match (on_hub(&address), key) {
            (Some(path), _) => msg!(WRITE_HUB_PATH, path),
            (None, WEIGHTS) => msg!(HUB_FILE_FORM),
            (None, key) if key.starts_with("data.") => msg!(HUB_DATASET_FORM),
            (None, _) => msg!(URLS_ARE_NOT_READ),
        });
    }
    foreign_path(text, |address| on_hub(address).map(|path| msg!(WRITE_HUB_PATH, path)))
}

/// A file with a similar name in the same folder.
fn similar_file(path: &Path) -> Option<Text> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names: Vec<String> = fs::read_dir(shown)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|other| other.len() > 2 && other != name) // any two letters are similar
        .collect();
    let near = nearest_word(name, names.iter().map(String::as_str))?;
    Some(msg!(SIMILAR_FILE, file = folder.join(near)))
}

/// The first folder of an absolute path that does not exist.
fn first_missing_folder(path: &Path) -> Option<Text> {
    let folders: Vec<&Path> = path.ancestors().skip(1).collect();
    let missing = folders.into_iter().rev().find(|folder| !folder.exists())?;
    Some(msg!(FOLDER_DOES_NOT_EXIST, folder = missing))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_by_key() {
        let help = |key: &str, text: &str| foreign_form(key, text).map(|help| help.to_string());
        let says = |key: &str, text: &str, part: &str| {
            let help = help(key, text).unwrap_or_default();
            assert!(help.contains(part), "{text}: {help}");
        };
        says(WEIGHTS, "https://h.co/O/R/resolve/main/a.pth", "`hf://O/R/a.pth`");
        says(WEIGHTS, "https://huggingface.co/datasets/a/b", "download");
        says("data.data_file", "https://huggingface.co/datasets/a/b", "`hf://datasets/a/b`");
        says(WEIGHTS, "hf:/O/R/a.pth", "`hf://O/R/a.pth`");
        says(WEIGHTS, "hf:O/R", "`hf://OWNER/REPO/FILE`");
        says("data.data_file", "hf:datasets/O/R", "`hf://datasets/O/R`");
        says("data.data_file", "hf:O/R", "`hf://datasets/OWNER/REPO`");
        says("model.tokenizer", "hf://O/R/vocab.txt", "download");
        says("data.data_file", "C:\\a.jsonl", "`/mnt/c/a.jsonl`");
        assert_eq!(help(WEIGHTS, "models/a.pth"), None);
    }
}
