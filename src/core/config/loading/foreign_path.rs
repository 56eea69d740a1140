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

/// The address, without its scheme, that a text on the hub stands for: of `hf://OWNER/REPO/FILE`, also with fewer slashes or
/// parts, and of `huggingface.co/OWNER/REPO`.
pub fn hub_address(text: &str) -> Option<String> {
    const HUB: &str = "huggingface.co/";
    if let Some(rest) = text.strip_prefix("hf:").or(text.strip_prefix("HF:")) {
        let rest = rest.trim_matches('/');
        let parts: Vec<&str> = rest.splitn(3, '/').collect();
        return Some(match parts[..] {
            [owner, repo, file] if owner != "datasets" => {
                let (repo, revision) = repo.split_once('@').unwrap_or((repo, "main"));
                format!("{HUB}{owner}/{repo}/resolve/{revision}/{file}")
            }
            _ => format!("{HUB}{rest}"),
        });
    }
    ["huggingface.co/", "www.huggingface.co/", "hf.co/", "hf-mirror.com/"]
        .iter()
        .find_map(|hub| Some(format!("{HUB}{}", text.strip_prefix(hub)?)))
}

/// `hf://OWNER/REPO@REVISION/FILE` for the address of a file on a hub, without its scheme:
/// `huggingface.co/OWNER/REPO/resolve/REVISION/FILE`.
pub fn hub_file(address: &str) -> Option<String> {
    let address = address.split(['?', '#']).next()?;
    let mut parts = address.splitn(6, '/').skip(1);
    let (owner, repo, verb) = (parts.next()?, parts.next()?, parts.next()?);
    let (revision, file) = (parts.next()?, parts.next()?);
    let is_empty = [owner, repo, revision, file].iter().any(|part| part.is_empty());
    if !["resolve", "blob", "raw"].contains(&verb) || is_empty {
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
    let (owner, repo) = (parts.next()?, parts.next()?);
    let is_named = !owner.is_empty() && !repo.is_empty();
    (is_dataset && is_named).then(|| format!("hf://datasets/{owner}/{repo}"))
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
    fn short_forms_become_addresses() {
        let file = |text: &str| hub_address(text).as_deref().and_then(hub_file);
        let data = |text: &str| hub_address(text).as_deref().and_then(hub_dataset);
        for text in ["hf:O/R/F.pth", "hf:/O/R/F.pth", "hf://O/R/F.pth", "HF:///O/R/F.pth"] {
            assert_eq!(file(text).as_deref(), Some("hf://O/R/F.pth"), "{text}");
            assert_eq!(data(text), None);
        }
        assert_eq!(file("hf:O/R@v1/a/F.pth").as_deref(), Some("hf://O/R@v1/a/F.pth"));
        assert_eq!(file("huggingface.co/O/R/blob/main/F.pth").as_deref(), Some("hf://O/R/F.pth"));
        assert_eq!(data("hf:datasets/O/R").as_deref(), Some("hf://datasets/O/R"));
        for text in
            ["hf:", "hf://", "hf://O", "hf://O/R", "hf://O/R/", "hf:///R//F", "hf:datasets/O"]
        {
            assert_eq!((file(text), data(text)), (None, None), "{text}");
            assert!(hub_address(text).is_some());
        }
        assert_eq!(hub_address("a/hf.pth"), None);
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
