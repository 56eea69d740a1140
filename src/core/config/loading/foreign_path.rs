//! Texts in the form of other systems, given where a path is expected.

use std::env;
use std::path::{Component, Path};

use crate::diagnostic::{Text, msg};

/// The help for a text that is not a path of this system. `on_hub` gives the help for an address, without its scheme, of
/// something that a hub has.
pub fn foreign_path(text: &str, on_hub: impl FnOnce(&str) -> Option<Text>) -> Option<Text> {
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
    if let Some((_, address)) = text.split_once("://") {
        return Some(on_hub(address).unwrap_or(msg!(URLS_ARE_NOT_READ)));
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
pub fn hub_file(address: &str) -> Option<String> {
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
pub fn hub_dataset(address: &str) -> Option<String> {
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
pub fn is_repository(path: &Path) -> bool {
    let parts: Vec<Component<'_>> = path.components().collect();
    let [Component::Normal(owner), Component::Normal(_)] = parts[..] else { return false };
    let is_file = path.extension().is_some_and(|ending| ending == "pth" || ending == "safetensors");
    !is_file && !Path::new(owner).exists()
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
        let help = |text: &str| foreign_path(text, |_| None).map(|help| help.to_string());
        let says = |text: &str, part: &str| {
            let help = help(text).unwrap_or_default();
            assert!(help.contains(part), "{text}: {help}");
        };
        says("C:\\Users\\me\\a.pth", "`/mnt/c/Users/me/a.pth`");
        says("models\\a.pth", "`models/a.pth`");
        says("https://h.co/a.pth", "download");
        says("~/a.pth", "/a.pth`");
        says("file:///a/b.pth", "`/a/b.pth`");
        says("my\\ model.pth", "`my model.pth`");
        says("$PATH_OF_NO_ONE/a.pth", "not expanded");
        let home = env::var("HOME").unwrap_or_default();
        assert_eq!(expanded("$HOME/a${HOME}").as_deref(), Some(&*format!("{home}/a{home}")));
        assert_eq!(help("models/a.pth"), None);
        assert_eq!(help("é"), None);
    }
}
