//! Helps for a path that does not exist, by what the path looks like.

use std::env;
use std::fs;
use std::path::{Component, Path, PathBuf};

use super::Faults;
use crate::config::{Origin, nearest_word};
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

/// The help for a text that is not a path of this system.
fn foreign_form(key: &str, text: &str) -> Option<Text> {
    if text == "~" || text.starts_with("~/") {
        let home = env::var("HOME").unwrap_or("/home/NAME".to_owned());
        return Some(msg!(TILDE_STAYS, path = text.replacen('~', &home, 1)));
    }
    if let Some(path) = text.strip_prefix("file://") {
        return Some(msg!(WRITE_PATH, path));
    }
    if text.contains('$') {
        return Some(match expanded(text) {
            Some(path) => msg!(VARIABLES_STAY, path),
            None => msg!(VARIABLES_STAY_TEXT),
        });
    }
    if let Some((_, rest)) = text.split_once("://") {
        if let Some(path) = hub_dataset(rest).filter(|_| key != WEIGHTS) {
            return Some(msg!(WRITE_HUB_PATH, path));
        }
        return Some(match hub_file(rest).filter(|_| key == WEIGHTS) {
            Some(path) => msg!(WRITE_HUB_PATH, path),
            None => msg!(URLS_ARE_NOT_READ),
        });
    }
    let unescaped = text.replace("\\ ", " ");
    if unescaped != text {
        return Some(msg!(BLANKS_AS_THEY_ARE, path = unescaped));
    }
    let slashes = text.replace('\\', "/");
    match slashes.split_once(":/") {
        Some((drive, rest)) if drive.len() == 1 => {
            Some(msg!(WINDOWS_DRIVE, path = format!("/mnt/{}/{rest}", drive.to_lowercase())))
        }
        _ => (slashes != text).then(|| msg!(BACKSLASHES, path = slashes)),
    }
}

/// `hf://OWNER/REPO@REVISION/FILE` for the address of a file on a hub, without its scheme:
/// `huggingface.co/OWNER/REPO/resolve/REVISION/FILE`.
fn hub_file(address: &str) -> Option<String> {
    let address = address.split(['?', '#']).next()?;
    let mut parts = address.splitn(6, '/').skip(1);
    let (owner, repo, verb) = (parts.next()?, parts.next()?, parts.next()?);
    let (revision, file) = (parts.next()?, parts.next()?);
    if !["resolve", "blob", "raw"].contains(&verb) || file.is_empty() {
        return None;
    }
    let revision = if revision == "main" { String::new() } else { format!("@{revision}") };
    Some(format!("hf://{owner}/{repo}{revision}/{file}"))
}

/// `hf://datasets/OWNER/REPO` for the address of a data set on a hub, without its scheme:
/// `huggingface.co/datasets/OWNER/REPO`.
fn hub_dataset(address: &str) -> Option<String> {
    let mut parts = address.split(['?', '#']).next()?.split('/').skip(1);
    let is_dataset = parts.next()? == "datasets";
    let (owner, repo) = (parts.next()?, parts.next().filter(|repo| !repo.is_empty())?);
    is_dataset.then(|| format!("hf://datasets/{owner}/{repo}"))
}

/// The path with the variables `$NAME` and `${NAME}` of a shell replaced; `None` if one is not set.
fn expanded(text: &str) -> Option<String> {
    let mut parts = text.split('$');
    let mut path = parts.next()?.to_owned();
    for part in parts {
        let (name, rest) = match part.strip_prefix('{') {
            Some(braced) => braced.split_once('}')?,
            None => {
                let is_name = |one: char| one.is_ascii_alphanumeric() || one == '_';
                part.split_at(part.find(|one| !is_name(one)).unwrap_or(part.len()))
            }
        };
        path += &env::var(name).ok()?;
        path += rest;
    }
    Some(path)
}

/// Whether a path looks like the name of a repository: `OWNER/REPO`, in no folder that exists.
fn is_repository(path: &Path) -> bool {
    let parts: Vec<Component<'_>> = path.components().collect();
    let [Component::Normal(owner), Component::Normal(_)] = parts[..] else { return false };
    let is_file = path.extension().is_some_and(|ending| ending == "pth" || ending == "safetensors");
    !is_file && !Path::new(owner).exists()
}

/// A file with a similar name in the same folder.
fn similar_file(path: &Path) -> Option<Text> {
    let name = path.file_name()?.to_str()?;
    let folder = path.parent()?;
    let shown = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    let names: Vec<String> = fs::read_dir(shown)
        .ok()?
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.len() > 2) // any two letters are similar
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
    fn addresses_on_a_hub_become_paths() {
        let of = |address: &str| hub_file(address);
        let path = "huggingface.co/BlinkDL/rwkv-7-world/resolve/main/a/b.pth?download=true";
        assert_eq!(of(path).as_deref(), Some("hf://BlinkDL/rwkv-7-world/a/b.pth"));
        assert_eq!(of("h.co/O/R/blob/v1/f.pth").as_deref(), Some("hf://O/R@v1/f.pth"));
        assert_eq!(of("h.co/O/R"), None);
        assert_eq!(of("h.co/a/b/c/d/f.pth"), None);
    }

    #[test]
    fn texts_that_are_no_paths_here() {
        let help = |text: &str| foreign_form(WEIGHTS, text).map(|help| help.to_string());
        let says = |text: &str, part: &str| {
            let help = help(text).unwrap_or_default();
            assert!(help.contains(part), "{text}: {help}");
        };
        says("C:\\Users\\me\\a.pth", "`/mnt/c/Users/me/a.pth`");
        says("models\\a.pth", "`models/a.pth`");
        says("https://h.co/O/R/resolve/main/a.pth", "`hf://O/R/a.pth`");
        says("https://h.co/a.pth", "download");
        says("~/a.pth", "/a.pth`");
        says("file:///a/b.pth", "`/a/b.pth`");
        says("my\\ model.pth", "`my model.pth`");
        says("$PATH_OF_NO_ONE/a.pth", "not expanded");
        let home = env::var("HOME").unwrap_or_default();
        assert_eq!(expanded("$HOME/a${HOME}").as_deref(), Some(&*format!("{home}/a{home}")));
        let data = foreign_form("data.data_file", "https://huggingface.co/datasets/a/b");
        assert!(data.is_some_and(|help| help.to_string().contains("`hf://datasets/a/b`")));
        assert_eq!(help("models/a.pth"), None);
        assert_eq!(help("é"), None);
    }
}
